"""The ledger: filters, pages without gaps, the file."""

import csv
import io
import re
import uuid
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils.timezone import now

from accounts.models import User
from tests.factories.accounts import UserFactory
from tests.pages.conftest import Browser
from trading.models import TradeLedger, TradingAccount
from trading.selectors import ledger
from trading.states import Delivery, OrderStatus

IDS = re.compile(r'href="/orders/([0-9a-f-]{36})"')


pytestmark = pytest.mark.django_db  # orders without a broker: the invariants of the floor are not theirs


@pytest.fixture
def owner() -> User:
    return UserFactory.create()


def order(owner: User, **changes: Any) -> TradeLedger:
    account, _ = TradingAccount.objects.get_or_create(
        user=owner,
        defaults={"name": "Books", "venue": "mt5", "venue_account": str(owner.pk), "server": "x", "currency": "USD",
                  "mode": "HEDGING", "created_at": now()},
    )  # fmt: skip
    usual: dict[str, Any] = {
        "account": account, "user": owner, "client_order_id": uuid.uuid4().hex[:20], "symbol": "EURUSD", "side": "BUY",
        "quantity": Decimal("0.10"), "status": OrderStatus.REJECTED, "delivery": Delivery.DONE,
        "rejected_by": "LOCAL", "reason": "TRADING_HALTED", "created_at": now(), "closed_at": now(),
    }  # fmt: skip
    return TradeLedger.objects.create(**(usual | changes))


def test_pages_show_every_order_once_the_newest_first(owner):
    made = [str(order(owner).public_id) for _ in range(120)]
    browser, seen, path = Browser().login(owner), [], "/ledger"

    while path:
        text = browser.get(path).content.decode()
        seen += IDS.findall(text)
        link = re.search(r'rel="next" href="([^"]+)"', text)
        path = link[1].replace("&amp;", "&") if link else ""

    assert seen == made[::-1]


def test_what_is_rare_is_looked_for_a_stretch_at_a_time_and_never_missed(owner, monkeypatch):
    monkeypatch.setattr(ledger, "SIFTED", 5)
    wanted = []
    for number in range(23):
        made = order(owner, symbol="GBPUSD" if number % 9 == 0 else "EURUSD")
        wanted += [str(made.public_id)] if made.symbol == "GBPUSD" else []
    browser, seen, path, pages = Browser().login(owner), [], "/ledger?symbol=GBPUSD", []

    while path:
        with CaptureQueriesContext(connection) as asked:
            text = browser.get(path).content.decode()
        assert len(asked) <= 10
        seen += IDS.findall(text)
        pages.append("So far a page looks" in text)
        link = re.search(r'rel="next" href="([^"]+)"', text)
        path = link[1].replace("&amp;", "&") if link else ""

    assert seen == wanted[::-1]
    assert len(pages) == 4
    assert any(pages)
    sheet = b"".join(browser.get("/ledger.csv?symbol=GBPUSD")).decode()
    assert all(each in sheet for each in wanted)


def test_filters_narrow_and_stay_on_the_next_page(owner):
    for _ in range(60):
        order(owner, symbol="GBPUSD")
        order(owner)
    browser = Browser().login(owner)

    text = browser.get("/ledger?symbol=GBPUSD&status=REJECTED").content.decode()
    link = re.search(r'rel="next" href="([^"]+)"', text)

    assert len(IDS.findall(text)) == 50
    assert link is not None
    rest = browser.get(link[1].replace("&amp;", "&")).content.decode()
    assert len(IDS.findall(rest)) == 10
    assert "EURUSD</a>" not in text + rest
    nothing = browser.get("/ledger?status=FILLED").content.decode()
    assert "No order fits these filters." in nothing
    assert browser.get("/ledger?since=yesterday").status_code == 400


def test_a_day_is_a_day_of_the_readers_zone(owner):
    tokyo = ZoneInfo("Asia/Tokyo")
    early = order(owner, created_at=datetime(2026, 11, 10, 0, 30, tzinfo=tokyo))
    late = order(owner, created_at=datetime(2026, 11, 10, 23, 30, tzinfo=tokyo))
    order(owner, created_at=datetime(2026, 11, 11, 0, 0, tzinfo=tokyo))
    order(owner, created_at=datetime(2026, 11, 9, 23, 59, tzinfo=tokyo))

    text = Browser(zone="Asia/Tokyo").login(owner).get("/ledger?since=2026-11-10&until=2026-11-10").content.decode()

    assert IDS.findall(text) == [str(late.public_id), str(early.public_id)]


@pytest.mark.threat(24)
def test_the_file_has_every_order_exactly_and_nothing_to_execute(owner, monkeypatch):
    monkeypatch.setattr(ledger, "EXPORTED", 2)
    made = [order(owner, quantity=Decimal("0.12345678"), created_at=now() - timedelta(minutes=n)) for n in range(5)]
    order(owner, symbol="GBPUSD")
    TradeLedger.objects.filter(pk=made[0].pk).update(reason_detail='=HYPERLINK("http://x","y")')

    answer = Browser(language="fr", zone="Asia/Tokyo").login(owner).get("/ledger.csv?symbol=EURUSD")
    rows = list(csv.DictReader(io.StringIO(b"".join(answer.streaming_content).decode())))

    assert answer["Content-Type"].startswith("text/csv")
    assert "attachment" in answer["Content-Disposition"]
    assert answer["Content-Security-Policy"]
    assert [row["id"] for row in rows] == [str(each.public_id) for each in reversed(made)]
    assert rows[-1]["reason_detail"].startswith("'=")
    assert rows[-1]["quantity"] == "0.12345678"
    assert datetime.fromisoformat(rows[-1]["created_at"]) == made[0].created_at
    assert rows[-1]["created_at"].endswith("+00:00")


@pytest.mark.threat(21)
def test_somebody_elses_orders_are_neither_shown_nor_handed_out(owner):
    order(owner)
    stranger = Browser().login(UserFactory.create())

    assert not IDS.findall(stranger.get("/ledger").content.decode())
    assert len(b"".join(stranger.get("/ledger.csv").streaming_content).splitlines()) == 1
