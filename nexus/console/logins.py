"""Locked logins: who is shut out now, and an operator's key."""

from collections.abc import Sequence
from typing import Any, ClassVar

from django.urls import reverse
from django.utils.timezone import now
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from accounts import selectors as people
from accounts.rules import Action
from accounts.services import disclosures, locked, lockout
from accounts.services.locked import Lock
from accounts.services.lockout import NotLocked
from accounts.types import Principal
from nexus.audit.types import Actor, Target
from nexus.console.acts import Act, Done, Plan
from nexus.console.pages import Page
from nexus.console.words import stamp

KINDS = {
    "pair": _("A name from one network"),
    "ip": _("Everybody from one network"),
    "user": _("A name from anywhere"),
    "otp": _("The second factor of a person"),
}


class LoginsPage(Page):
    """Who is shut out now, the oldest first."""

    action: ClassVar = Action.USER_READ
    template = "console/logins.html"
    title = _("Locked logins")

    def context(self, **kwargs: Any) -> dict[str, Any]:
        """Read the locks."""
        at = now()
        rows = [(lock, KINDS.get(lock.kind, lock.kind)) for lock in locked.every(at=at)]
        _note(self.person, "", [lock for lock, _ in rows])
        return {"rows": rows, "at": at, "may_unlock": self.may(Action.LOGIN_UNLOCK)}


class UnlockPage(Act):
    """Let a name, or a network, try again."""

    action: ClassVar = Action.LOGIN_UNLOCK

    def plan(self, **kwargs: Any) -> Plan:
        """Show what is locked."""
        lock = locked.one(kwargs["bucket"], at=now())
        if lock is None:
            raise NotLocked("It is not locked any more: it ran out, or somebody opened it.")
        _note(self.person, lock.bucket, [lock])
        return Plan(
            title=gettext("Unlock %(name)s") % {"name": lock.username or lock.ip or gettext("a login")},
            version=f"{lock.failures}.{lock.until.isoformat()}",
            button=gettext("Unlock"),
            facts=(
                (gettext("What"), KINDS.get(lock.kind, lock.kind)),
                (gettext("Name"), lock.username or "–"),
                (gettext("Address"), lock.ip or "–"),
                (gettext("Attempts"), lock.failures),
                (gettext("Locked until"), f"{stamp(lock.until)} UTC"),
            ),
            before=gettext("Locked."),
            after=gettext("May try again at once, from everywhere.")
            if lock.username
            else gettext("May try again at once."),
            consequences=(
                gettext("Make sure by another way that it is this person: whoever guesses may try again too."),
            ),
            back=reverse("admin:console_logins"),
            barred=self._barred(lock),
        )

    def _barred(self, lock: locked.Lock) -> str:
        if not lock.can_open:
            return gettext("Nobody kept its name. It opens by itself, or by `manage.py unlock_login`.")
        is_own = people.user_by_email(lock.username) == self.person if lock.username else False
        return gettext("This is you. Nobody changes himself; another operator does.") if is_own else ""

    def act(self, words: dict[str, Any], plan: Plan, **kwargs: Any) -> Done:
        """Unlock it, if it still is locked."""
        lock = locked.one(kwargs["bucket"], at=now())
        if lock is None or not lock.can_open:
            raise NotLocked("It is not locked any more: it ran out, or somebody opened it.")
        lockout.unlock_one(
            email=lock.username, ip=lock.ip, reason=words["reason"], actor=Actor.user(self.person.public_id), at=now()
        )
        return Done(gettext("Unlocked: %(name)s.") % {"name": lock.username or lock.ip}, plan.back)


def _note(person: Principal, bucket: str, locks: Sequence[Lock]) -> None:
    """Keep who was shown whose names and addresses."""
    shown = [lock.bucket for lock in locks if lock.username or lock.ip]
    if shown:
        disclosures.note(by=person, target=Target("login_lock", bucket), fields=("username", "ip"), ids=shown)
