"""The front page: how the system does, read anew every ten seconds by the page's own script."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, ClassVar

from django.conf import settings
from django.utils.timezone import now
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from accounts import selectors as people
from accounts.rules import Action
from accounts.services import locked
from nexus.alerts import selectors as alerts
from nexus.alerts.services import telling
from nexus.audit import selectors as log
from nexus.audit.services import looking
from nexus.console import audit
from nexus.console.pages import Page
from reconciliation import selectors as reconciliation
from trading.services import lost, overview, signals

ALERTS_SHOWN, DENIED_SHOWN = 10, 8


@dataclass(frozen=True, slots=True)
class Queue:
    """One queue: how many wait, since when the oldest does, and how that is (`ok`, `soon`, `late`)."""

    words: str
    url: str
    count: int
    oldest_at: datetime | None
    soon: timedelta
    late: timedelta
    at: datetime

    @property
    def age(self) -> timedelta:
        """Return how old the oldest is."""
        return self.at - self.oldest_at if self.oldest_at else timedelta(0)

    @property
    def service(self) -> str:
        """Say how the oldest does: colour is never the only sign of it."""
        if not self.count:
            return "ok"
        return "late" if self.age > self.late else "soon" if self.age > self.soon else "ok"

    @property
    def words_of_service(self) -> str:
        """Return the same in words."""
        calm = gettext("in time") if self.count else gettext("empty")
        return {"ok": calm, "soon": gettext("due"), "late": gettext("LATE")}[self.service]


class HomePage(Page):
    """State, stops, queues, alerts, reconciliation, venues and refusals on one page."""

    action: ClassVar = Action.STATUS_READ
    template = "console/home.html"
    title = _("Home")

    def context(self, **kwargs: Any) -> dict[str, Any]:
        """Read everything once."""
        at = now()
        refused = looking.denied(since=at.replace(hour=0, minute=0, second=0, microsecond=0), limit=DENIED_SHOWN)
        who = people.names([event.actor_id for event in refused.newest])
        fresh = at - timedelta(seconds=settings.RECONCILIATION_AGE_MAX_S)
        return {
            "at": at,
            "stops": overview.standing(),
            "queues": queues(at=at),
            "alerts": alerts.loudest(limit=ALERTS_SHOWN),
            "telling": telling.state(),
            "totals": reconciliation.totals(since=fresh, at=at),
            "venues": overview.venues(at=at),
            "lost_today": overview.lost_today(at=at),
            "may_audit": self.may(Action.AUDIT_READ),
            "log": audit.standing(at=at, last=log.last_verification()),
            "denied": refused,
            "refusals": [(event, who.get(event.actor_id, event.actor_id)) for event in refused.newest],
        }


class LivePart(HomePage):
    """The part of the front page that its script replaces. It counts as no act of the person's."""

    template = "console/live.html"
    is_act: ClassVar = False


def queues(*, at: datetime) -> Sequence[Queue]:
    """Return every queue with its size and the age of its oldest, and from when on that is late."""
    minute, hour = timedelta(minutes=1), timedelta(hours=1)
    outbox = signals.outbox()
    oldest_sent = at - timedelta(seconds=float(outbox.oldest_s)) if outbox.orders else None
    rows: list[tuple[str, str, tuple[int, datetime | None], timedelta, timedelta]] = [
        (gettext("Unknown orders"), "admin:console_unknown", overview.unknown_orders(), minute, 5 * minute),
        (gettext("Lost changes"), "admin:console_unknown", lost.waiting(), 5 * minute, hour),
        (
            gettext("Reconciliation reviews"),
            "admin:console_reviews",
            reconciliation.queue_size(),
            15 * minute,
            hour,
        ),
        (
            gettext("Approvals"),
            "admin:console_approvals",
            people.approvals_waiting(at=at),
            30 * minute,
            4 * hour,
        ),
        (gettext("Alerts nobody has taken"), "admin:console_alerts", alerts.waiting(), 5 * minute, 15 * minute),
        (gettext("Alerts that did not reach people"), "admin:console_alerts", alerts.dead(), minute, 15 * minute),
        (gettext("Locked logins"), "admin:console_logins", locked.size(at=at), 15 * minute, hour),
        (gettext("Accepted orders not sent yet"), "", (outbox.orders, oldest_sent), timedelta(seconds=5), minute),
    ]
    return [Queue(words, url, count, oldest, soon, late, at) for words, url, (count, oldest), soon, late in rows]
