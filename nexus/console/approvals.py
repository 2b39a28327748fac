"""What waits for a second person: seen by all staff, decided by another operator than who asked."""

import contextlib
import uuid
from typing import Any, ClassVar
from urllib.parse import urlencode

from django.urls import reverse
from django.utils.timezone import now
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from accounts import selectors as people
from accounts.rules import Action
from accounts.services import approvals, links
from accounts.services.approvals import Request
from accounts.states import ApprovalState
from accounts.types import Principal
from nexus.console import limits
from nexus.console.acts import Act, Done, Plan
from nexus.console.pages import Page
from nexus.console.words import stamp
from nexus.core.errors import NotFound
from reconciliation.services import decisions as review_decisions
from risk.services import changes, releases
from risk.states import LimitScope
from trading.services import change_decisions

SHOWN = 100
WORDS = {
    "USER_CREATE": _("Create a user"),
    "USER_ROLE": _("Give a user another role"),
    "USER_DEACTIVATE": _("Deactivate a user"),
    "USER_ACTIVATE": _("Activate a user again"),
    "SECOND_FACTOR_RESET": _("Remove a second factor that is lost"),
    "PASSWORD_RESET": _("Give a link for a lost password"),
    "LIMIT_RAISE": _("Raise a limit"),
    "CONTROL_RELEASE": _("Ease a stop"),
    "ORDER_DECISION": _("Say how an unknown order has ended"),
    "CHANGE_DECISION": _("Say what became of a lost change"),
    "ACCOUNT_PUT_ASIDE": _("Put an account aside"),
    "ACCOUNT_TAKE_UP": _("Take an account up again"),
    "REVIEW_DECISION": _("Decide a large difference"),
}


class ApprovalsPage(Page):
    """What waits, the oldest first."""

    action: ClassVar = Action.APPROVAL_READ
    template = "console/approvals.html"
    title = _("Approvals")

    def context(self, **kwargs: Any) -> dict[str, Any]:
        """Read the queue."""
        rows = people.approvals_pending(at=now(), limit=SHOWN)
        shown = [(row, words(row), row.requested_by_id == self.person.pk) for row in rows]
        on_their_way = [(link, link.request.requested_by_id == self.person.pk) for link in links.on_their_way(at=now())]
        return {"rows": shown, "links": on_their_way, "at": now(), "may_decide": self.may(Action.APPROVAL_DECIDE)}


class ApprovalPage(Page):
    """One request: who asks for exactly what, why, and who has said what."""

    action: ClassVar = Action.APPROVAL_READ
    template = "console/approval.html"

    def context(self, **kwargs: Any) -> dict[str, Any]:
        """Read the request."""
        row = people.approval(kwargs["approval_id"])
        return {
            "title": words(row),
            "row": row,
            "link": links.delivery(row.public_id),
            "at": now(),
            "facts": facts(row, by=self.person),
            "url": place_of(row),
            "is_open": row.state == ApprovalState.PENDING and row.expires_at > now(),
            "is_mine": row.requested_by_id == self.person.pk,
            "has_spoken": any(each.decided_by_id == self.person.pk for each in row.decisions.all()),
            "may_decide": self.may(Action.APPROVAL_DECIDE),
        }


class _Decide(Act):
    """What approving, rejecting and taking back share."""

    action: ClassVar = Action.APPROVAL_DECIDE

    def _plan(self, public_id: uuid.UUID, *, is_mine: bool = False, **words_of: Any) -> Plan:
        row = people.approval(public_id)
        return Plan(
            version=f"{bytes(row.payload_sha256).hex()}.{row.state}",
            facts=(
                (gettext("What"), words(row)),
                (gettext("Asked for by"), f"{row.requested_by.full_name} ({row.requested_by.email})"),
                (gettext("Because"), row.reason),
                (gettext("Ends"), f"{stamp(row.expires_at)} UTC"),
                (gettext("State"), row.state),
                *facts(row, by=self.person),
            ),
            back=reverse("admin:console_approval", args=[public_id]),
            barred=self._barred(row, is_mine=is_mine),
            **words_of,
        )

    def _barred(self, row: Request, *, is_mine: bool) -> str:
        if row.state != ApprovalState.PENDING or row.expires_at <= now():
            return gettext("This request is no longer open.")
        if (row.requested_by_id == self.person.pk) is not is_mine:
            return (
                gettext("Only who asked for it takes it back.")
                if is_mine
                else gettext("You asked for this. Another operator decides it.")
            )
        return ""


class ApprovePage(_Decide):
    """Agree to exactly this. The last yes that is needed does it, at once."""

    def plan(self, **kwargs: Any) -> Plan:
        """Show what would be done."""
        return self._plan(
            kwargs["approval_id"],
            title=gettext("Approve"),
            button=gettext("Approve"),
            before=gettext("Nothing of it is done yet."),
            after=gettext("It is done as soon as you confirm, exactly as it stands here, and once."),
            consequences=(
                gettext("If what it is about has changed since it was asked for, nothing is done and it is void."),
            ),
            is_grave=True,
        )

    def act(self, words: dict[str, Any], plan: Plan, **kwargs: Any) -> Done:
        """Approve it. What is shown once, such as the first half of a link, is shown now and never again."""
        decided = approvals.decide(
            public_id=kwargs["approval_id"], approve=True, by=self.person, reason=words["reason"], at=now()
        )
        shown = dict(decided.executed.shown) if decided.executed else {}
        done = (
            gettext("Approved, and done.") if decided.executed else gettext("Approved: somebody else has to agree too.")
        )
        url = reverse("admin:console_approvals")
        if "sent_to" in shown:
            going = gettext("The link goes to %s.") % shown["sent_to"]
            return Done(f"{done} {going}", url)
        if "first_half" in shown:
            half = {gettext("First half"): shown["first_half"]}
            return Done(done, url, shown_once=half, advice=gettext(
                "This is shown once. Hand it to its owner yourself; who asked hands over the second half."
            ))  # fmt: skip
        return Done(done, url, shown_once=shown)


class RejectPage(_Decide):
    """Say no: nothing is done."""

    def plan(self, **kwargs: Any) -> Plan:
        """Show what is rejected."""
        return self._plan(
            kwargs["approval_id"],
            title=gettext("Reject"),
            button=gettext("Reject"),
            before=gettext("It waits."),
            after=gettext("Nothing of it is done."),
        )

    def act(self, words: dict[str, Any], plan: Plan, **kwargs: Any) -> Done:
        """Reject it."""
        approvals.decide(
            public_id=kwargs["approval_id"], approve=False, by=self.person, reason=words["reason"], at=now()
        )
        return Done(gettext("Rejected: nothing of it is done."), reverse("admin:console_approvals"))


class TakeBackPage(_Decide):
    """Take back what one asked for."""

    def plan(self, **kwargs: Any) -> Plan:
        """Show what is taken back."""
        return self._plan(
            kwargs["approval_id"], is_mine=True, title=gettext("Take back"), button=gettext("Take back"),
            before=gettext("It waits."),
            after=gettext("Nothing of it is done."),
        )  # fmt: skip

    def act(self, words: dict[str, Any], plan: Plan, **kwargs: Any) -> Done:
        """Cancel it."""
        approvals.cancel(public_id=kwargs["approval_id"], by=self.person, reason=words["reason"], at=now())
        return Done(gettext("Taken back."), reverse("admin:console_approvals"))


def words(row: Request) -> str:
    """Say what a request asks for."""
    return str(WORDS.get(row.kind, row.kind))


def facts(row: Request, *, by: Principal) -> list[tuple[str, object]]:
    """Return what would be done, as it will be compared before it is done, and whose limit a key names."""
    named: list[tuple[str, object]] = []
    if row.kind == changes.KIND:
        with contextlib.suppress(NotFound):
            owner = limits.owner_of(LimitScope(row.payload["scope"]), row.payload["key"], by=by)
            named = [("Whose limit", owner.words)]
    return named + [(str(name).replace("_", " "), _plain(value)) for name, value in row.payload.items()]


def place_of(row: Request) -> str:
    """Return the page of what a request is about, where there is one."""
    if row.kind == releases.KIND:
        release = releases.newest_of(int(row.object_id))
        return reverse("admin:console_one_stop", args=[release.control_id]) if release else ""
    if row.kind == review_decisions.KIND:
        return reverse("admin:console_review", args=[row.object_id])
    if row.kind == changes.KIND:
        of = row.payload
        url = reverse("admin:console_limit", args=[of["scope"], of["kind"]])
        return f"{url}?{urlencode({'key': of['key']})}" if of["key"] else url
    if row.object_type == "user":
        return reverse("admin:console_user", args=[row.object_id])
    if row.object_type == "trading_account":
        return reverse("admin:console_account", args=[row.object_id])
    if row.kind == change_decisions.KIND:
        return reverse("admin:console_decide_change", args=[row.payload["change"]])
    order = row.payload.get("order") if row.kind == "ORDER_DECISION" else None
    return reverse("admin:console_order", args=[order]) if order else ""


def _plain(value: object) -> object:
    if isinstance(value, dict):
        return ", ".join(f"{name.replace('_', ' ')} {each}" for name, each in value.items() if each not in (None, ""))
    return "–" if value in (None, "") else value
