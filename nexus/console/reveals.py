"""The personal data of one event, shown once to compliance, and never without an event that says so."""

from typing import Any, ClassVar

from django.urls import reverse
from django.utils.translation import gettext as _

from accounts.rules import Action
from nexus.audit import selectors
from nexus.audit.services import revealing, searching
from nexus.audit.types import Actor
from nexus.console.acts import Act, Done, Plan, version_of
from nexus.console.audit import lines, named


class RevealPage(Act):
    """Have it shown. Each look is an act of its own: a form that is sent again shows nothing."""

    action: ClassVar = Action.PII_REVEAL

    def plan(self, **kwargs: Any) -> Plan:
        """Say of which event, and what the log will say."""
        event_id = kwargs["event_id"]
        whole = searching.whole(event_id)
        ((event, who),) = named([whole.event])
        return Plan(
            title=_("Show the personal data of event %(id)s") % {"id": event_id},
            version=version_of(event=event_id, last=selectors.last_reveal(event_id)),
            button=_("Show it once"),
            facts=(
                (_("Action"), event.action),
                (_("Recorded at"), f"{event.recorded_at:%Y-%m-%d %H:%M:%S} UTC"),
                (_("Who"), who or "–"),
                (_("On"), f"{event.object_type} {event.object_id}"),
            ),
            before=_("It is kept apart, and nobody at the console sees it."),
            after=_("The answer shows it to you, once. The log says that you looked, and why."),
            consequences=(_("The event of your look is kept for good, also when the data is erased later."),),
            back=reverse("admin:console_event", args=[event_id]),
            barred=self._barred(event_id, whole.document.get("pii_sha256")),
        )

    def act(self, words: dict[str, Any], plan: Plan, **kwargs: Any) -> Done:
        """Have it recorded, and show it."""
        by = Actor.user(self.person.public_id)
        data = revealing.reveal(event_id=kwargs["event_id"], by=by, reason=words["reason"])
        return Done(
            _("Personal data of event %(id)s") % {"id": kwargs["event_id"]},
            plan.back,
            shown_once=dict(lines(data)),
            advice=_("This is shown once, and the log says that you have seen it. Use it for nothing but your reason."),
        )

    @staticmethod
    def _barred(event_id: int, commitment: str | None) -> str:
        if commitment is None:
            return _("The event has no personal data.")
        return _("Its personal data was erased.") if selectors.is_erased(event_id) else ""
