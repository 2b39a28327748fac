"""The web process is killed on the way: no order is sent twice, none is lost, nothing stays reserved."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from django.db import connection
from django.utils.timezone import now

from tests.fakes.paper import TOKEN
from trading.brokers.mt5 import adapter
from trading.models import TradeLedger
from trading.services import resolution
from trading.states import Delivery, OrderStatus

ROOT = Path(__file__).resolve().parents[2]


def run_child(point: str, email: str, url: str) -> int:
    """Run the process that dies, on this test's own database and broker."""
    settings = connection.settings_dict
    address = f"postgresql://{settings['USER']}:{settings['PASSWORD']}@/{settings['NAME']}?host={settings['HOST']}"
    address += f"&port={settings['PORT']}" if settings["PORT"] else ""
    environment = os.environ | {
        "DATABASE_URL": address,
        "MT5_GATEWAY_URL": url,
        "GATEWAY_TOKEN": TOKEN,
        "DJANGO_SETTINGS_MODULE": "nexus.settings",
        "PYTHONPATH": str(ROOT),
    }
    command = [sys.executable, str(Path(__file__).with_name("crash_child.py")), point, email]
    return subprocess.run(command, env=environment, cwd=ROOT, check=False, timeout=60).returncode


@pytest.mark.parametrize(
    ("point", "left", "ends", "deals"),
    [
        ("before_send", Delivery.SENDING, OrderStatus.REJECTED, 0),
        ("after_send", Delivery.SENDING, OrderStatus.FILLED, 1),
        ("after_settle", Delivery.DONE, OrderStatus.FILLED, 1),
    ],
)
def test_killed(trader, execute, paper, settings, monkeypatch, point, left, ends, deals):
    settings.SENDING_LEASE_S = 0
    monkeypatch.setattr(adapter, "JOURNAL_AGE_MIN_S", 0)  # this journal is as young as the test
    with paper.ticking():
        assert run_child(point, trader.email, paper.url) == -signal.SIGKILL
    order = TradeLedger.objects.get()
    assert order.delivery == left

    for order_id in resolution.due():
        resolution.resolve(order_id=order_id, at=now())

    order.refresh_from_db()
    assert (order.status, order.delivery, order.reserved) == (ends, Delivery.DONE, 0)
    assert len(paper.deals()) == deals
    replayed = execute(key="a-key-that-crashes")
    assert replayed.pk == order.pk
    assert len(paper.deals()) == deals
