"""Locked logins: who is shut out now, and an operator's key."""

from typing import Any, ClassVar

from django.urls import reverse
from django.utils.timezone import now

from accounts.rules import Action
from accounts.services import locked, lockout
from accounts.services.lockout import NotLocked
from nexus.audit.types import Actor
from nexus.console.acts import Act, Done, Plan
from nexus.console.pages import Page

KINDS = {
    "pair": "A name from one network",
    "ip": "Everybody from one network",
    "user": "A name from anywhere",
    "otp": "The second factor of a person",
}


class LoginsPage(Page):
    """Who is shut out now, the oldest first."""

    action: ClassVar = Action.USER_READ
    template = "console/logins.html"
    title = "Locked logins"

    def context(self, **kwargs: Any) -> dict[str, Any]:
        """Read the locks."""
        at = now()
        rows = [(lock, KINDS.get(lock.kind, lock.kind)) for lock in locked.every(at=at)]
        return {"rows": rows, "at": at, "may_unlock": self.may(Action.LOGIN_UNLOCK)}


class UnlockPage(Act):
    """Let a name, or a network, try again."""

    action: ClassVar = Action.LOGIN_UNLOCK

    def plan(self, **kwargs: Any) -> Plan:
        """Show what is locked."""
        lock = locked.one(kwargs["bucket"], at=now())
        if lock is None:
            raise NotLocked("It is not locked any more: it ran out, or somebody opened it.")
        return Plan(
            title=f"Unlock {lock.username or lock.ip or 'a login'}",
            version=f"{lock.failures}.{lock.until.isoformat()}",
            button="Unlock",
            facts=(
                ("What", KINDS.get(lock.kind, lock.kind)),
                ("Name", lock.username or "–"),
                ("Address", lock.ip or "–"),
                ("Attempts", lock.failures),
                ("Locked until", f"{lock.until:%Y-%m-%d %H:%M:%S} UTC"),
            ),
            before="Locked.",
            after="May try again at once, from everywhere." if lock.username else "May try again at once.",
            consequences=("Make sure by another way that it is this person: whoever guesses may try again too.",),
            back=reverse("admin:console_logins"),
            barred="" if lock.can_open else "Nobody kept its name. It opens by itself, or by `manage.py unlock_login`.",
        )

    def act(self, words: dict[str, Any], plan: Plan, **kwargs: Any) -> Done:
        """Unlock it, if it still is locked."""
        lock = locked.one(kwargs["bucket"], at=now())
        if lock is None or not lock.can_open:
            raise NotLocked("It is not locked any more: it ran out, or somebody opened it.")
        lockout.unlock_one(
            email=lock.username, ip=lock.ip, reason=words["reason"], actor=Actor.user(self.person.public_id), at=now()
        )
        return Done(f"Unlocked: {lock.username or lock.ip}.", plan.back)
