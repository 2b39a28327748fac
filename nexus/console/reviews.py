"""The queue of differences: both sides beside each other, the effect of each decision, claim, decide, next."""

import uuid
from collections.abc import Sequence
from decimal import Decimal
from typing import Any, ClassVar, NamedTuple

from django.contrib import messages
from django.urls import reverse
from django.utils.timezone import now
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from accounts import selectors as people
from accounts.rules import Action
from nexus.console.acts import Act, Done, Plan
from nexus.console.pages import Page
from nexus.console.words import stamp, usd
from nexus.core.errors import NexusError, NotFound
from reconciliation import selectors
from reconciliation.services import decisions, reviews
from reconciliation.services.reviews import Row
from reconciliation.states import Decision, ReviewState

SHOWN = 50
WORDS = {
    Decision.ACCEPT_BROKER: (_("Accept the broker's"), _("Our books move to what the broker shows.")),
    Decision.KEEP_OURS: (_("Keep ours"), _("Our books stay, and this very difference raises nothing more.")),
    Decision.RUN_AGAIN: (_("Run again"), _("The account is reconciled anew, for fresh figures.")),
}
SIDES = ((_("Lots"), "quantity", "venue_quantity"), (_("Average price"), "price", "venue_price"))


class Side(NamedTuple):
    """One figure of both sides."""

    words: str
    ours: str
    theirs: str

    @property
    def differs(self) -> bool:
        """Tell whether the two are not the same."""
        return self.ours != self.theirs


class Choice(NamedTuple):
    """One decision as it is offered: what it would do now, or why it cannot be taken."""

    decision: str
    words: str
    lines: Sequence[str]
    refused: str


class ReviewsPage(Page):
    """What waits: what nobody can value first, then the most, then the oldest."""

    action: ClassVar = Action.REVIEW_READ
    template = "console/reviews.html"
    title = _("Reconciliation reviews")

    def context(self, **kwargs: Any) -> dict[str, Any]:
        """Read the queue."""
        rows, at = list(selectors.queue()[: SHOWN + 1]), now()
        holders = people.names([row.owner for row in rows])
        shown = [
            (row, holders.get(row.owner, row.owner) if is_held(row) else "", decisions.needs_another(row, at=at))
            for row in rows[:SHOWN]
        ]
        return {"rows": shown, "has_more": len(rows) > SHOWN, "at": at, "me": str(self.person.public_id)}


class ReviewPage(Page):
    """One difference."""

    action: ClassVar = Action.REVIEW_READ
    template = "console/review.html"

    def context(self, **kwargs: Any) -> dict[str, Any]:
        """Read both sides, what each decision would do, who holds it and who has asked for what."""
        row, at = selectors.review(kwargs["review_id"]), now()
        holder = row.owner if is_held(row) else ""
        known = people.names([row.owner, row.decided_by])
        asked = people.approval_about(kind=decisions.KIND, object_id=row.public_id)
        return {
            "title": gettext("Difference: %(what)s of %(account)s") % {"what": named(row), "account": row.account},
            "row": row,
            "at": at,
            "sides": sides(row),
            "choices": [_choice(row, each) for each in Decision] if row.state == ReviewState.OPEN else [],
            "holder": known.get(holder, holder),
            "is_mine": holder == str(self.person.public_id),
            "decided_by": known.get(row.decided_by, row.decided_by),
            "needs_another": decisions.needs_another(row, at=at),
            "asked": asked,
            "may_decide": self.may(Action.REVIEW_DECIDE),
            "next": following(row),
        }


class ClaimPage(Act):
    """Take a difference in hand: others see that somebody is at it."""

    action: ClassVar = Action.REVIEW_CLAIM
    asks_reason: ClassVar = False

    def plan(self, **kwargs: Any) -> Plan:
        """Show what is taken."""
        row = selectors.review(kwargs["review_id"])
        return Plan(
            title=gettext("Claim %(what)s of %(account)s") % {"what": named(row), "account": row.account},
            version=str(row.version),
            button=gettext("Claim"),
            facts=((gettext("Worth"), worth(row)), (gettext("Waits since"), f"{stamp(row.opened_at)} UTC")),
            before=gettext("Held by somebody until %(until)s UTC.") % {"until": f"{row.leased_until:%H:%M}"}
            if is_held(row)
            else gettext("Nobody is at it."),
            after=gettext("You are at it for %(minutes)s minutes.")
            % {"minutes": int(reviews.LEASE.total_seconds() // 60)},
            back=reverse("admin:console_review", args=[row.public_id]),
        )

    def act(self, words: dict[str, Any], plan: Plan, **kwargs: Any) -> Done:
        """Claim it."""
        row = reviews.claim(review_id=kwargs["review_id"], by=self.person, at=now())
        return Done(gettext("It is yours until %(until)s UTC.") % {"until": f"{row.leased_until:%H:%M}"}, plan.back)


class DecidePage(Act):
    """Decide a difference on the figures that were shown."""

    action: ClassVar = Action.REVIEW_DECIDE

    def plan(self, **kwargs: Any) -> Plan:
        """Show what the decision would do now."""
        row, decision = selectors.review(kwargs["review_id"]), _named(kwargs["decision"])
        words, meaning = map(str, WORDS[decision])
        choice = _choice(row, decision)
        is_large = decisions.needs_another(row, at=now()) and decision is not Decision.RUN_AGAIN
        words_of_two = gettext(
            "It is too large for one, nobody can value it, or its broker is gone: another operator has to agree."
        )
        second = (words_of_two,) if is_large else ()
        return Plan(
            title=gettext("%(decision)s: %(what)s of %(account)s")
            % {"decision": words, "what": named(row), "account": row.account},
            version=f"{row.version}",
            button=gettext("Ask for a second operator") if is_large else words,
            facts=(
                (gettext("Account"), row.account),
                (gettext("Worth"), worth(row)),
                *(
                    (
                        side.words,
                        gettext("ours %(ours)s · broker %(theirs)s") % {"ours": side.ours, "theirs": side.theirs},
                    )
                    for side in sides(row)
                ),
                (gettext("Seen at"), f"{stamp(row.seen_at)} UTC"),
            ),
            before=gettext("Our books and the broker differ as above."),
            after=meaning,
            consequences=(*choice.lines, *second),
            back=reverse("admin:console_review", args=[row.public_id]),
            is_grave=decision is Decision.ACCEPT_BROKER,
            barred=choice.refused,
        )

    def act(self, words: dict[str, Any], plan: Plan, **kwargs: Any) -> Done:
        """Decide, and go on to the next item."""
        decided = decisions.decide(
            review_id=kwargs["review_id"], decision=Decision(kwargs["decision"]), version=int(words["version"]),
            reason=words["reason"], by=self.person, at=now(),
        )  # fmt: skip
        if decided.approval is not None:
            return Done(
                gettext("Another operator has to agree: it waits among the approvals."), plan.back, messages.WARNING
            )
        if decided.outcome is not None:
            return Done(
                gettext("The account was reconciled: %(status)s.") % {"status": decided.outcome.status.value}, plan.back
            )
        after = following(decided.review)
        url = reverse("admin:console_review", args=[after]) if after else reverse("admin:console_reviews")
        return Done(
            gettext("Decided: %(key)s is %(state)s.") % {"key": decided.review.key, "state": decided.review.state}, url
        )


def sides(row: Row) -> list[Side]:
    """Return both sides of a difference, figure by figure."""
    found = row.evidence
    if "amount" in found:
        return [
            Side(
                gettext("Balance"),
                gettext("as our books explain it"),
                gettext("%(amount)s %(currency)s more") % {"amount": found["amount"], "currency": row.account.currency},
            )
        ]
    rows = [Side(str(words), found[ours] or "–", found[theirs] or "–") for words, ours, theirs in SIDES]
    return [Side(gettext("Position"), found["venue_position_id"] or "–", found["venue_position_id"] or "–"), *rows]


def named(row: Row) -> str:
    """Say what a difference is about."""
    return (
        row.key
        if row.symbol in ("", row.key)
        else gettext("%(symbol)s position %(key)s") % {"symbol": row.symbol, "key": row.key}
    )


def worth(row: Row) -> str:
    """Say what a difference is worth."""
    return gettext("nobody can value it") if row.value_usd is None else f"{usd(Decimal(row.value_usd))} USD"


def is_held(row: Row) -> bool:
    """Tell whether somebody's claim holds."""
    return bool(row.owner) and row.leased_until is not None and row.leased_until > now()


def following(row: Row) -> uuid.UUID | None:
    """Return the next item of the queue after this one, which nobody holds; the first when this was the last."""
    waiting = [each for each in selectors.queue()[:SHOWN] if each.pk == row.pk or not is_held(each)]
    ids = [each.public_id for each in waiting]
    at = ids.index(row.public_id) + 1 if row.public_id in ids else 0
    return next((each for each in [*ids[at:], *ids[:at]] if each != row.public_id), None)


def _named(text: str) -> Decision:
    if text not in {each.value for each in Decision}:
        raise NotFound("There is no such decision.")
    return Decision(text)


def _choice(row: Row, decision: Decision) -> Choice:
    try:
        effect = decisions.preview(review_id=row.public_id, decision=decision, at=now())
    except NexusError as exc:
        return Choice(decision.value, str(WORDS[decision][0]), (), exc.detail)
    return Choice(decision.value, str(WORDS[decision][0]), effect.lines, "")
