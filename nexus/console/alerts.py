"""Alerts and messages that reached nobody: seen by all staff, taken in hand by an operator."""

from typing import Any, ClassVar

from django.urls import reverse
from django.utils.timezone import now
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from accounts import selectors as people
from accounts.rules import Action
from nexus.alerts import selectors
from nexus.alerts.services import telling
from nexus.console.acts import Act, Done, Plan
from nexus.console.pages import Page
from nexus.console.words import stamp
from nexus.core.errors import NotFound
from nexus.core.sentences import said_on_a_page
from risk.services import clearances
from trading.services import notices
from trading.services.notices import AlertTaken

SHOWN = 100


class AlertsPage(Page):
    """Open alerts, and messages that were given up."""

    action: ClassVar = Action.ALERT_READ
    template = "console/alerts.html"
    title = _("Alerts")

    def context(self, **kwargs: Any) -> dict[str, Any]:
        """Read both queues."""
        alerts = selectors.loudest(limit=SHOWN)
        names = people.names([row.acknowledged_by for row in alerts])
        return {
            "alerts": [
                (row, names.get(row.acknowledged_by, row.acknowledged_by), notices.clearable(row)) for row in alerts
            ],
            "dead": selectors.given_up(limit=SHOWN),
            "telling": telling.state(),
            "at": now(),
            "may_take": self.may(Action.ALERT_ACKNOWLEDGE),
            "may_clear": self.may(Action.SUSPICION_CLEAR),
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
            title=gettext("Take in hand: %(kind)s") % {"kind": row.kind},
            version=row.acknowledged_by,
            button=gettext("Take in hand"),
            facts=(
                (gettext("Severity"), row.severity),
                (gettext("What"), said_on_a_page(row.text)),
                (gettext("What to do"), row.runbook),
                (
                    gettext("Since"),
                    gettext("%(at)s UTC, seen %(count)s times") % {"at": stamp(row.opened_at), "count": row.seen_count},
                ),
                (gettext("Closed"), f"{stamp(row.closed_at)} UTC" if row.closed_at else gettext("no: it holds still")),
            ),
            before=gettext("%(holder)s has it in hand: %(note)s") % {"holder": holder, "note": row.note}
            if holder
            else gettext("Nobody has it in hand."),
            after=gettext(
                "You have it in hand, with what you write below. It closes with that: it tells of what has happened."
            )
            if row.is_over_when_taken
            else gettext("You have it in hand, with what you write below. It stays open until its cause is gone."),
            back=reverse("admin:console_alerts"),
            barred=gettext("%(holder)s has it in hand already.") % {"holder": holder} if holder else "",
        )

    def act(self, words: dict[str, Any], plan: Plan, **kwargs: Any) -> Done:
        """Take it, if nobody was faster."""
        at = now()
        row = notices.acknowledge(alert_id=kwargs["alert_id"], by=self.person, note=words["reason"], at=at)
        if row.acknowledged_at != at:
            raise AlertTaken("Somebody has taken it in hand meanwhile; see below.")
        return Done(gettext("You have %(kind)s in hand.") % {"kind": row.kind}, plan.back)


class ClearPage(Act):
    """Let orders of a trader pass that look suspicious, for an hour: they were refused until a person has looked."""

    action: ClassVar = Action.SUSPICION_CLEAR

    def plan(self, **kwargs: Any) -> Plan:
        """Show the alert, and what would pass."""
        row = selectors.alert(kwargs["alert_id"])
        if row is None:
            raise NotFound("There is no such alert.")
        suspicion, trader = notices.held_back(row)
        return Plan(
            title=gettext("Let pass: %(kind)s of %(trader)s") % {"kind": suspicion, "trader": trader.email},
            version=row.acknowledged_by,
            button=gettext("Let such orders pass"),
            facts=(
                (gettext("Trader"), trader.email),
                (gettext("What"), said_on_a_page(row.text)),
                (gettext("What to do"), row.runbook),
                (
                    gettext("Since"),
                    gettext("%(at)s UTC, seen %(count)s times") % {"at": stamp(row.opened_at), "count": row.seen_count},
                ),
            ),
            before=gettext("Such orders of this trader are refused until a person has looked."),
            after=gettext("Such orders of this trader pass for %(minutes)s minutes. Every limit holds as before.")
            % {"minutes": int(clearances.CLEARED_FOR.total_seconds() // 60)},
            consequences=(
                gettext("You have the alert in hand. The next such order opens another, also while they pass."),
                gettext("Before it runs out, only a stop of the trader takes it back."),
            ),
            back=reverse("admin:console_alerts"),
            barred=gettext("Somebody has it in hand already. The next such order opens another.")
            if row.acknowledged_at
            else "",
        )

    def act(self, words: dict[str, Any], plan: Plan, **kwargs: Any) -> Done:
        """Let them pass."""
        _, until = notices.clear(alert_id=kwargs["alert_id"], by=self.person, note=words["reason"], at=now())
        return Done(gettext("Such orders pass until %(until)s UTC.") % {"until": f"{until:%H:%M}"}, plan.back)
