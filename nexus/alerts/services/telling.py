"""Whether people hear of what happens: a channel that fails is itself something to see."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import Count, Max, Min, Q

from nexus.alerts.models import Alert, Delivery
from nexus.alerts.services import channels
from nexus.alerts.states import DeliveryState, Severity


@dataclass(frozen=True, slots=True)
class ChannelView:
    """How well one channel takes messages. `waiting` and `given_up` are messages; `fault` is the newest one's."""

    name: str
    is_set: bool
    waiting: int
    given_up: int
    last_sent_at: datetime | None
    failing_since: datetime | None
    fault: str


@dataclass(frozen=True, slots=True)
class Telling:
    """Whether people hear of what happens. `is_heard`: a critical alert has a channel that is not known to fail."""

    open_critical: int
    unacknowledged: int
    is_heard: bool
    channels: tuple[ChannelView, ...]


def state() -> Telling:
    """Return how alerts stand and how their channels do: those that are set, and others that still hold messages."""
    is_set = [channel.name for channel in channels.every()]
    waiting, failed = Q(state=DeliveryState.WAITING), Q(state=DeliveryState.WAITING) & ~Q(fault="")
    rows = {
        row["channel"]: row
        for row in Delivery.objects.filter(waiting | Q(state=DeliveryState.FAILED) | Q(channel__in=is_set))
        .values("channel")
        .annotate(
            waiting=Count("pk", filter=waiting),
            given_up=Count("pk", filter=Q(state=DeliveryState.FAILED)),
            last_sent_at=Max("sent_at"),
            failing_since=Min("alert__opened_at", filter=failed),
            fault=Max("fault", filter=failed),
        )
    }
    views = tuple(_view(name, rows.get(name), is_set=name in is_set) for name in dict.fromkeys([*is_set, *rows]))
    loud = Alert.objects.filter(severity=Severity.CRITICAL, closed_at__isnull=True).aggregate(
        standing=Count("pk"), untaken=Count("pk", filter=Q(acknowledged_at__isnull=True))
    )
    return Telling(
        open_critical=loud["standing"],
        unacknowledged=loud["untaken"],
        is_heard=any(view.is_set and view.failing_since is None for view in views),
        channels=views,
    )


def _view(name: str, row: Mapping[str, Any] | None, *, is_set: bool) -> ChannelView:
    found = row or {"waiting": 0, "given_up": 0, "last_sent_at": None, "failing_since": None, "fault": ""}
    return ChannelView(
        name=name,
        is_set=is_set,
        waiting=found["waiting"],
        given_up=found["given_up"],
        last_sent_at=found["last_sent_at"],
        failing_since=found["failing_since"],
        fault=found["fault"] or "",
    )
