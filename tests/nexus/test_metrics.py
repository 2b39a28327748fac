"""What Prometheus reads: every signal, from every process, by whoever may."""

import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import transaction
from django.test import Client
from django.utils.timezone import now
from prometheus_client.parser import text_string_to_metric_families

from nexus.alerts.services import alerts
from nexus.alerts.states import Severity
from risk.states import StopLevel
from tests import stops
from trading.models import AccountFigures, TradeLedger, TradingAccount

ROOT = Path(__file__).resolve().parents[2]
# The signals that people on call were promised.
PROMISED = {
    "nexus_reconciliation_age_seconds", "nexus_reconciliation_failures", "nexus_discrepancy_usd",
    "nexus_corrected_usd_24h",
    "nexus_reviews_open", "nexus_orders_unknown", "nexus_orders_unknown_oldest_seconds", "nexus_orders_sending_late",
    "nexus_outbox_orders", "nexus_outbox_oldest_seconds", "nexus_limit_headroom", "nexus_slippage_ratio",
    "nexus_order_trouble", "nexus_fills", "nexus_stop_level", "nexus_stop_set_timestamp_seconds",
    "nexus_stop_commit_seconds", "nexus_sweep_canceled_seconds", "nexus_sweep_proven_seconds",
    "nexus_alerts_critical_open", "nexus_alert_messages",
}  # fmt: skip


def scrape(**headers: str) -> dict[str, list[tuple[dict[str, str], float]]]:
    answer = Client().get("/metrics", headers=headers)
    assert answer.status_code == 200
    found: dict[str, list[tuple[dict[str, str], float]]] = {}
    for family in text_string_to_metric_families(answer.content.decode()):
        found[family.name] = [(dict(sample.labels), sample.value) for sample in family.samples]
    return found


def test_every_promised_signal_is_shown(user):
    at = now()
    account = TradingAccount.objects.create(
        user=user, name="Paper", venue="mt5", venue_account="1", server="s", currency="USD", created_at=at
    )
    order = TradeLedger.objects.create(
        account=account, user=user, client_order_id="1", symbol="EURUSD", side="BUY", quantity=1, status="PENDING",
        delivery="UNKNOWN", created_at=at, sent_at=at - timedelta(seconds=90), attempts=1,
    )  # fmt: skip

    shown = scrape()

    assert set(shown) >= PROMISED
    name = {"account": str(account.public_id)}
    assert shown["nexus_orders_unknown"] == [(name, 1.0)]
    ((_, age),) = shown["nexus_orders_unknown_oldest_seconds"]
    assert 90 <= age < 120
    assert shown["nexus_discrepancy_usd"] == [(name, 0.0)]
    assert shown["nexus_reconciliation_age_seconds"] == []  # never compared: nobody knows
    assert "DAILY_LOSS" not in room_of(shown)  # never looked at: nobody knows either
    AccountFigures.objects.create(
        account=account, trading_date=at.date(), currency="USD", balance=1000, equity=900, loss_today=100, open_risk=0,
        read_at=at,
    )  # fmt: skip
    assert room_of(scrape())["DAILY_LOSS"] == 900
    order.delete()


def room_of(shown: dict[str, Any]) -> dict[str, float]:
    return {labels["limit"]: left for labels, left in shown["nexus_limit_headroom"]}


def test_requests_are_counted_by_view_and_without_a_person(api, user):
    api.get("/trading/accounts")

    counted = scrape()["nexus_django_http_responses_total_by_status_view_method"]

    assert any(labels["view"].endswith("accounts") and labels["status"] == "200" for labels, _ in counted)
    shown = Client().get("/metrics").content.decode()
    assert user.email not in shown
    assert str(user.public_id) not in shown


def test_a_stop_is_shown_with_who_and_when(db):
    assert scrape()["nexus_stop_level"] == [({"scope": "SYSTEM", "set_by": ""}, 0.0)]

    stops.put(StopLevel.HALTED)

    ((labels, level),) = scrape()["nexus_stop_level"]
    assert (labels["scope"], level) == ("SYSTEM", 2.0)
    assert labels["set_by"]


@pytest.mark.django_db(transaction=True)
def test_open_alerts_are_counted():
    with transaction.atomic():
        alerts.open_alert(
            severity=Severity.CRITICAL, kind="X", dedupe_key="x", text="X.", at=now() - timedelta(hours=1)
        )

    assert scrape()["nexus_alerts_critical_open"] == [({}, 1.0)]


def test_only_this_machine_or_the_bearer_reads_them(db, settings):
    assert Client().get("/metrics", REMOTE_ADDR="10.1.2.3").status_code == 404
    assert Client().get("/metrics", headers={"x-forwarded-for": "10.1.2.3"}).status_code == 404
    assert Client().post("/metrics").status_code == 405
    settings.METRICS_TOKEN = "m" * 40

    assert Client().get("/metrics").status_code == 404
    assert Client().get("/metrics", headers={"authorization": "Bearer wrong"}).status_code == 404
    there = Client().get("/metrics", REMOTE_ADDR="10.1.2.3", headers={"authorization": "Bearer " + "m" * 40})
    assert there.status_code == 200


def test_in_production_nobody_reads_them_without_the_bearer(db, settings):
    """A proxy on this machine that adds no header looks as this machine does."""
    settings.NEXUS_ENV = "production"
    assert Client().get("/metrics").status_code == 404
    settings.METRICS_TOKEN = "m" * 40

    assert Client().get("/metrics", headers={"authorization": "Bearer " + "m" * 40}).status_code == 200


def test_what_other_processes_count_is_added(db, tmp_path):
    """Two processes count into one folder, and end; a third one shows the sum."""
    env = dict(os.environ) | {"PROMETHEUS_MULTIPROC_DIR": str(tmp_path), "PYTHONPATH": str(ROOT)}
    count = "from nexus.core import metrics; metrics.FILLS.labels('ORDER').inc(); metrics.SLIPPAGE.observe(0.01)"
    for _ in range(2):
        subprocess.run([sys.executable, "-c", count], env=env, check=True)
    show = (
        "from prometheus_client import CollectorRegistry, generate_latest, multiprocess; r = CollectorRegistry();"
        " multiprocess.MultiProcessCollector(r); print(generate_latest(r).decode())"
    )
    shown = subprocess.run([sys.executable, "-c", show], env=env, check=True, capture_output=True, text=True).stdout

    assert 'nexus_fills_total{kind="ORDER"} 2.0' in shown
    assert 'nexus_slippage_ratio_bucket{le="0.005"} 0.0' in shown
    assert "nexus_slippage_ratio_count 2.0" in shown
