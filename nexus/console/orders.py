"""One order from its request to its last correction, and the queue of those that nobody can find."""

from typing import Any, ClassVar

from django import forms
from django.urls import reverse
from django.utils.timezone import now
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from accounts import selectors as people
from accounts.rules import Action
from nexus.console.acts import Act, ActForm, Done, Plan
from nexus.console.pages import Page
from nexus.console.words import stamp, usd
from trading import selectors
from trading.services import change_decisions, decisions, history, lost
from trading.states import OrderStatus

SHOWN = 100


class UnknownPage(Page):
    """Orders that nobody can find, the oldest first, of the same age the largest; and changes whose answer was lost."""

    action: ClassVar = Action.ORDER_READ
    template = "console/unknown.html"
    title = _("Unknown orders")

    def context(self, **kwargs: Any) -> dict[str, Any]:
        """Read the queue, with who has proposed what."""
        rows = selectors.unknown_orders()
        rows.sort(key=lambda order: (order.sent_at or order.created_at, -order.value))
        shown = rows[:SHOWN]
        alike = selectors.look_alikes(shown)
        return {
            "rows": [(order, _proposal(order), alike.get(order.pk, [])) for order in shown],
            "count": len(rows),
            "at": now(),
            "changes": [(row, change_decisions.of(row), change_decisions.proposal(row)) for row in lost.undecided()],
            "may_propose": self.may(Action.APPROVAL_DECIDE),
        }


class OrderPage(Page):
    """One order, on one line of time."""

    action: ClassVar = Action.ORDER_READ
    template = "console/order.html"

    def context(self, **kwargs: Any) -> dict[str, Any]:
        """Read everything that is known of it."""
        order = selectors.order_of(self.person, public_id=kwargs["order_id"])
        proposal = _proposal(order)
        asked = people.approval_about(kind=decisions.KIND, object_id=proposal.pk) if proposal else None
        waiting = [each.public_id for each in selectors.unknown_orders()] if order.is_unfound else []
        after = waiting.index(order.public_id) + 1 if order.public_id in waiting else 0
        return {
            "title": gettext("Order %(order)s") % {"order": order},
            "order": order,
            "history": history.of(order),
            "proposal": proposal,
            "asked": asked,
            "is_unknown": order.is_unfound,
            "may_propose": self.may(Action.APPROVAL_DECIDE),
            "next": (waiting[after:] or waiting[:1])[0] if len(waiting) > 1 else None,
            "at": now(),
        }


class EndForm(ActForm):
    """How the order has ended, and what shows it."""

    to = forms.ChoiceField(
        label=_("It has ended as"),
        choices=[(end.value, end.value) for end in decisions.ENDS],
        widget=forms.RadioSelect,
    )
    field_order = ("to", "reason", "otp")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["reason"].label = gettext("What shows it")


class EndPage(Act):
    """Propose how an unknown order has ended. A fill is never decided, only booked from the broker's own report."""

    action: ClassVar = Action.APPROVAL_DECIDE
    form_class: ClassVar = EndForm

    def plan(self, **kwargs: Any) -> Plan:
        """Show the order as it stands."""
        order = selectors.order_of(self.person, public_id=kwargs["order_id"])
        proposal = _proposal(order)
        return Plan(
            title=gettext("Propose how it has ended: %(order)s") % {"order": order},
            version=str(order.state),
            button=gettext("Propose"),
            facts=(
                (gettext("Order"), order),
                (gettext("Account"), order.account),
                (gettext("Sent at"), f"{stamp(order.sent_at)} UTC" if order.sent_at else "–"),
                (gettext("Still reserved"), f"{usd(order.reserved)} USD"),
            ),
            before=str(order.state),
            after=gettext("A proposal waits for another operator; the order stays as it is until then."),
            consequences=(
                gettext("Once another operator agrees, the order is closed and reserves nothing any more."),
                gettext("If the broker reports a fill after all, it is booked as a late one, and people are told."),
            ),
            back=reverse("admin:console_order", args=[order.public_id]),
            is_grave=True,
            barred=_barred(order, proposal=proposal),
        )

    def act(self, words: dict[str, Any], plan: Plan, **kwargs: Any) -> Done:
        """Propose it."""
        order = selectors.order_of(self.person, public_id=kwargs["order_id"])
        decisions.propose(
            order_id=order.pk, to=OrderStatus(words["to"]), evidence=words["reason"], by=self.person, at=now()
        )
        return Done(gettext("Proposed: another operator has to agree."), plan.back)


def _proposal(order: Any) -> Any:
    return next((each for each in order.decisions.all() if each.state == "PROPOSED"), None)


def _barred(order: Any, *, proposal: Any) -> str:
    if not order.is_unfound:
        return gettext("It is no longer unknown: there is nothing to decide.")
    return gettext("A proposal for this order is open already.") if proposal else ""
