"""`GET /metrics`: what processes have counted, and what the database knows at this moment, as Prometheus reads it.

The figures of the database are read once a scrape; a database that does not answer makes the scrape fail, which is what
Prometheus should see.
"""

import ipaddress
import os
from collections.abc import Iterable, Iterator
from datetime import timedelta

from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse
from django.utils.crypto import constant_time_compare
from django.utils.timezone import now
from django.views.decorators.http import require_GET
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, generate_latest, multiprocess
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from nexus import watch
from nexus.alerts.services import telling
from nexus.audit import selectors as audit
from reconciliation import selectors as reconciliation
from risk.services import control
from risk.states import StopLevel
from trading import selectors as trading
from trading.services import signals


@require_GET
def metrics(request: HttpRequest) -> HttpResponse:
    """Answer a scrape: with METRICS_TOKEN as a bearer; without one set nowhere in production, and elsewhere from this
    machine only. Raises: Http404.
    """
    if not _may_read(request):
        raise Http404
    registry = REGISTRY
    if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
        registry = CollectorRegistry()
        multiprocess.MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    known = CollectorRegistry()
    known.register(Known())
    return HttpResponse(generate_latest(registry) + generate_latest(known), content_type=CONTENT_TYPE_LATEST)


def _may_read(request: HttpRequest) -> bool:
    if settings.METRICS_TOKEN:
        return constant_time_compare(request.headers.get("Authorization", ""), f"Bearer {settings.METRICS_TOKEN}")
    if settings.NEXUS_ENV == "production":
        return False  # a proxy on this machine that adds no header would open it to everybody
    came_from = request.META.get("REMOTE_ADDR", "")
    try:  # behind a proxy everybody comes from this machine
        return ipaddress.ip_address(came_from).is_loopback and "X-Forwarded-For" not in request.headers
    except ValueError:
        return False


class Known(Collector):
    """What the database knows."""

    def collect(self) -> Iterable[Metric]:
        """Read everything once."""
        yield from _accounts()
        yield from _queues()
        yield from _stops()
        yield from _alerts()
        yield from _audit()
        yield from _database()


def _accounts() -> Iterator[Metric]:
    at = now()
    gauge = _Family(["account"])
    for each in reconciliation.states(trading.active_accounts(), since=at - timedelta(hours=1), at=at):
        name = str(each.account.public_id)
        gauge.add("reconciliation_age_seconds", "since the last complete comparison with the broker", name, each.age_s)
        gauge.add("reconciliation_failures", "failed comparisons in a row", name, each.failures_in_row)
        gauge.add("discrepancy_usd", "what our books and the broker's differ by", name, each.discrepancy_usd)
        gauge.add("discrepancy_unvalued", "1 where nobody can value the difference", name, each.is_unvalued)
        gauge.add("corrected_usd_24h", "corrected without a person in 24 h", name, each.corrected_24h_usd)
        gauge.add("reviews_open", "differences that wait for a person", name, each.reviews_open)
    for row in signals.accounts():
        gauge.add("account_age_seconds", "since the account was last read", row.account, row.age_s)
        gauge.add("account_loss_today_usd", "lost today, by equity", row.account, row.loss_today)
        gauge.add(
            "account_open_risk_usd", "what open positions may still lose to their stops", row.account, row.open_risk
        )
        gauge.add("orders_unknown", "orders of which nobody knows whether they arrived", row.account, row.unknown)
        gauge.add("orders_unknown_oldest_seconds", "age of the oldest of them", row.account, row.unknown_age_s)
        gauge.add(
            "orders_sending_late", "orders marked as sending for longer than a send may take", row.account, row.late
        )
    yield from gauge.families.values()
    room = GaugeMetricFamily(
        "nexus_limit_headroom", "What is left of a limit today, in its unit.", labels=["account", "limit"]
    )
    for account, limit, left in signals.headroom(at=at):
        room.add_metric([account, limit], float(left))
    yield room


def _queues() -> Iterator[Metric]:
    waiting = signals.outbox()
    yield GaugeMetricFamily("nexus_outbox_orders", "Accepted orders that wait to be sent.", value=waiting.orders)
    yield GaugeMetricFamily(
        "nexus_outbox_oldest_seconds", "Age of the oldest of them, 0 for none.", value=float(waiting.oldest_s)
    )


def _stops() -> Iterator[Metric]:
    level = GaugeMetricFamily("nexus_stop_level", "0 active, 1 reduce only, 2 halted.", labels=["scope", "set_by"])
    since = GaugeMetricFamily("nexus_stop_set_timestamp_seconds", "When it was set.", labels=["scope", "set_by"])
    stops = control.stops()
    for row in stops:
        labels = [f"{row.scope} {row.key}".strip(), row.set_by]
        level.add_metric(labels, float(row.level))
        since.add_metric(labels, row.set_at.timestamp())
    if not any(row.scope == "SYSTEM" for row in stops):
        level.add_metric(["SYSTEM", ""], float(StopLevel.ACTIVE))
    yield level
    yield since


def _alerts() -> Iterator[Metric]:
    state = telling.state()
    yield GaugeMetricFamily("nexus_alerts_critical_open", "Critical alerts that hold now.", value=state.open_critical)
    yield GaugeMetricFamily(
        "nexus_alerts_unacknowledged", "Of them, those that nobody has taken in hand.", value=state.unacknowledged
    )
    waiting = GaugeMetricFamily(
        "nexus_alert_messages", "Messages to people, by how they stand.", labels=["channel", "state"]
    )
    for channel in state.channels:
        waiting.add_metric([channel.name, "waiting"], channel.waiting)
        waiting.add_metric([channel.name, "failed"], channel.given_up)
    yield waiting


def _audit() -> Iterator[Metric]:
    lag_s = audit.seal_lag(at=now()).total_seconds()
    yield GaugeMetricFamily("nexus_audit_seal_lag_seconds", "Age of the oldest event without a seal.", value=lag_s)
    head = audit.head()
    if head is not None:
        sealed = head.first_index + head.leaf_count
        yield GaugeMetricFamily("nexus_audit_events_sealed", "Events that are sealed.", value=sealed)
    behind = GaugeMetricFamily(
        "nexus_audit_anchor_lag_seconds", "Age of the oldest seal that an anchor lacks.", labels=["anchor"]
    )
    for each in audit.anchor_lags(at=now()):
        behind.add_metric([each.name], each.lag.total_seconds())
    yield behind


def _database() -> Iterator[Metric]:
    found = watch.connections()
    yield GaugeMetricFamily(
        "nexus_database_connections_max", "Connections that our role may have with all others.", value=found.room
    )
    yield GaugeMetricFamily("nexus_database_connections_left", "Of them, those that nobody has.", value=found.left)


class _Family:
    """Gauges that share their labels, each begun when it is first added to. What nobody knows is left out."""

    def __init__(self, labels: list[str]) -> None:
        self.families: dict[str, GaugeMetricFamily] = {}
        self._labels = labels

    def add(self, name: str, words: str, label: str, value: object) -> None:
        """Add one value."""
        if name not in self.families:
            self.families[name] = GaugeMetricFamily(f"nexus_{name}", words.capitalize() + ".", labels=self._labels)
        if value is not None:
            self.families[name].add_metric([label], float(value))  # type: ignore[arg-type]
