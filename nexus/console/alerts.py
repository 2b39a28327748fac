"""Alerts and messages that reached nobody: seen by all staff, taken in hand by an operator."""

from typing import Any, ClassVar

from django.urls import reverse
from django.utils.timezone import now

from accounts import selectors as people
from accounts.rules import Action
from nexus.alerts import selectors
from nexus.alerts.services import telling
from nexus.console.acts import Act, Done, Plan
from nexus.console.pages import Page
from nexus.core.errors import Conflict, NotFound
from trading.services import notices

SHOWN = 100


class TakenAlready(Conflict):
    """Somebody else was faster: the first one stays."""

    code = "alert_taken"
    title = "Somebody has it in hand already"


class AlertsPage(Page):
    """Open alerts, and messages that were given up."""

    action: ClassVar = Action.ALERT_READ
    template = "console/alerts.html"
    title = "Alerts"

    def context(self, **kwargs: Any) -> dict[str, Any]:
        """Read both queues."""
        alerts = selectors.loudest(limit=SHOWN)
        names = people.names([row.acknowledged_by for row in alerts])
        return {
            "alerts": [(row, names.get(row.acknowledged_by, row.acknowledged_by)) for row in alerts],
            "dead": selectors.given_up(limit=SHOWN),
            "telling": telling.state(),
            "at": now(),
            "may_take": self.may(Action.ALERT_ACKNOWLEDGE),
        }


class TakePage(Act):
    """Take an alert in hand: it is not escalated any more, and its dead messages leave the queue."""

    action: ClassVar = Action.ALERT_ACKNOWLEDGE

    def plan(self, **kwargs: Any) -> Plan:
        """Show the alert."""
        row = selectors.alert(kwargs["alert_id"])
        if row is None:
            raise NotFound("There is no such alert.")
        holder = people.names([row.acknowledged_by]).get(row.acknowledged_by, row.acknowledged_by)
        return Plan(
            title=f"Take in hand: {row.kind}",
            version=row.acknowledged_by,
            button="Take in hand",
            facts=(
                ("Severity", row.severity),
                ("What", row.text),
                ("What to do", row.runbook),
                ("Since", f"{row.opened_at:%Y-%m-%d %H:%M:%S} UTC, seen {row.seen_count} times"),
                ("Closed", f"{row.closed_at:%Y-%m-%d %H:%M:%S} UTC" if row.closed_at else "no: it holds still"),
            ),
            before=f"{holder} has it in hand: {row.note}" if holder else "Nobody has it in hand.",
            after="You have it in hand, with what you write below. It stays open until its cause is gone.",
            back=reverse("admin:console_alerts"),
            barred=f"{holder} has it in hand already." if holder else "",
        )

    def act(self, words: dict[str, Any], plan: Plan, **kwargs: Any) -> Done:
        """Take it, if nobody was faster."""
        at = now()
        row = notices.acknowledge(alert_id=kwargs["alert_id"], by=self.person, note=words["reason"], at=at)
        if row.acknowledged_at != at:
            raise TakenAlready("Somebody has taken it in hand meanwhile; see below.")
        return Done(f"You have {row.kind} in hand.", plan.back)
