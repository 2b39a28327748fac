"""The broker that `make bench` fills orders with can be linked and traded with, as the bench does it."""

from decimal import Decimal
from pathlib import Path

import pytest
from django.utils.timezone import now

from risk.services import sights
from tests.bench import nowire
from tests.trading.conftest import TESTER, brief
from trading.brokers import registry
from trading.models import TradingAccount
from trading.services import accounts

SPEAKS_FOR_THE_BROKER = True  # which has no wire that its books could be read over


@pytest.fixture
def account(floor: None, trader, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> TradingAccount:
    """An account at that broker, instead of the paper gateway's."""
    monkeypatch.setenv("BENCH_BOOKS", str(tmp_path))
    monkeypatch.setattr(registry, "BROKERS", dict(registry.BROKERS))
    monkeypatch.setattr(accounts, "VENUES", dict(accounts.VENUES))
    nowire.install()
    row = accounts.link(
        user_id=trader.pk, name="bench", venue=nowire.VENUE, venue_account="direct-0", server="", is_live=False,
        actor=TESTER, at=now(),
    )  # fmt: skip
    sights.note(account_id=row.pk)
    return row


def test_the_bench_s_broker_fills_and_shows_what_it_filled(execute, account):
    order = execute(brief(quantity=Decimal("0.01"), entry_price=nowire.ASK))

    assert (order.status, order.reason) == ("FILLED", "")
    (held,) = accounts.broker_of(account).snapshot(symbols=["EURUSD"]).positions
    assert (held.side, held.quantity) == ("BUY", Decimal("0.01"))
