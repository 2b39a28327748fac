"""Changes and cancels whose answer was lost: what an operator proposes that became of one, where the broker is gone."""

from typing import Any, ClassVar

from django import forms
from django.urls import reverse
from django.utils.timezone import now
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from accounts import selectors as people
from accounts.rules import Action
from nexus.console.acts import Act, ActForm, Done, Plan
from nexus.console.words import stamp
from nexus.core import figures, sentences
from trading import selectors
from trading.services import change_decisions
from trading.states import ChangeKind, ChangeState

OUTCOMES = {
    ChangeState.DONE.value: _("DONE: the new ones hold"),
    ChangeState.REFUSED.value: _("REFUSED: the old ones hold"),
}
PRICES = {
    "limit_price": _("Limit price"), "stop_price": _("Trigger price"), "stop_loss": _("Stop-loss"),
    "take_profit": _("Target"),
}  # fmt: skip
GIVEN_UP = _("REFUSED: it is given up, and the order works on")


class OutcomeForm(ActForm):
    """What became of the change, and what shows it."""

    outcome = forms.ChoiceField(label=_("What became of it"), choices=list(OUTCOMES.items()), widget=forms.RadioSelect)
    field_order = ("outcome", "reason", "otp")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["reason"].label = gettext("What shows it")


class DecidePage(Act):
    """Propose what became of a lost change. That an order has ended is never decided by its cancel."""

    action: ClassVar = Action.APPROVAL_DECIDE
    form_class: ClassVar = OutcomeForm

    def plan(self, **kwargs: Any) -> Plan:
        """Show the change as it was asked for."""
        change = selectors.change_of(self.person, public_id=kwargs["change_id"])
        of = change_decisions.of(change)
        is_cancel = change.kind == ChangeKind.CANCEL
        proposal = change_decisions.proposal(change)
        barred = change_decisions.obstacle(change)
        said = [(gettext("Proposed"), f"{proposal.to}: {proposal.evidence}")] if proposal else []
        asked = people.names([change.requested_by]).get(change.requested_by, change.requested_by)
        return Plan(
            title=gettext("Propose what became of it: %(kind)s of %(what)s") % {"kind": change.kind, "what": of},
            version=change.state,
            button=gettext("Propose"),
            facts=(
                (gettext("What"), f"{change.kind}: {of}"),
                (gettext("Account"), of.account),
                (gettext("Sent at"), f"{stamp(change.sent_at)} UTC"),
                (gettext("Asked for by"), asked),
                (gettext("Because"), change.reason or "–"),
                (gettext("As it was"), _written(change.before)),
                (gettext("As it was asked for"), _written(change.after)),
                *said,
            ),
            before=str(change.state),
            after=gettext("A proposal waits for another operator; the change stays as it is until then."),
            consequences=(
                gettext("Once another operator agrees, the cancel is given up: the order counts as working.")
                if is_cancel
                else gettext("Once another operator agrees, what then holds is what the limits count."),
                gettext("If the broker says otherwise after all, its word counts."),
            ),
            back=reverse("admin:console_unknown"),
            is_grave=True,
            barred=sentences.said(barred) or barred,
            more={"is_cancel": is_cancel},
        )

    def form(self, plan: Plan, *, data: Any = None, initial: dict[str, Any] | None = None) -> ActForm:
        """Offer of a cancel nothing but that it is given up."""
        form = super().form(plan, data=data, initial=initial)
        if plan.more["is_cancel"]:
            field: Any = form.fields["outcome"]
            field.choices = [(ChangeState.REFUSED.value, GIVEN_UP)]
        return form

    def act(self, words: dict[str, Any], plan: Plan, **kwargs: Any) -> Done:
        """Propose it."""
        change = selectors.change_of(self.person, public_id=kwargs["change_id"])
        change_decisions.propose(
            change_id=change.pk, to=ChangeState(words["outcome"]), evidence=words["reason"], by=self.person, at=now()
        )
        return Done(gettext("Proposed: another operator has to agree."), plan.back)


def _written(terms: dict[str, Any]) -> str:
    """Write the prices of stops or terms. Of a cancel there are none."""
    named = [f"{label} {figures.exact(terms[name])}" for name, label in PRICES.items() if name in terms]
    return ", ".join(named) or figures.NOTHING
