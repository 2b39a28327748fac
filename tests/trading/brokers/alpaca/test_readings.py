"""Reading Alpaca: exact, whole or not at all, and of the right account."""

import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from nexus.core.errors import Refused, Unreachable
from tests.trading.brokers.alpaca import world
from tests.trading.brokers.alpaca.emulator import KEY, SECRET, Books, Fault
from tests.trading.brokers.alpaca.world import buy
from trading.brokers import base, waits
from trading.brokers.alpaca import listings, session
from trading.brokers.alpaca.adapter import AlpacaBroker
from trading.brokers.base import CashKind, OrderType, PositionMode, Side, TimeInForce, VenueState

ROOT = Path(__file__).parents[4]
LIVE_HOST, PAPER_HOST = "api.alpaca.markets", "paper-api.alpaca.markets"


def test_quotes_are_the_digits_that_were_sent(broker, emulator):
    emulator.books.list_asset("TINY", "0.1001", "0.1003")
    emulator.books.list_asset("LARGE", "600000.11", "600000.12")

    quotes = broker.snapshot(symbols=["TINY", "LARGE", "NOBODY"]).quotes

    assert {symbol: (str(quote.bid), str(quote.ask)) for symbol, quote in quotes.items()} == {
        "TINY": ("0.1001", "0.1003"),
        "LARGE": ("600000.11", "600000.12"),
    }


@pytest.mark.parametrize(
    ("sizes", "least"), [({}, 2), ({"bs": 0}, 0), ({"as": 0}, 0), ({"as": None}, 2), ({"as": None, "bs": None}, None)]
)
def test_a_quote_says_how_little_is_offered(broker, emulator, monkeypatch, sizes, least):
    emulator.books.list_asset("THIN", "99.98", "100.00")
    told = emulator.quotes
    monkeypatch.setattr(emulator, "quotes", lambda query: {
        "quotes": {name: entry | sizes for name, entry in told(query)["quotes"].items()}
    })  # fmt: skip

    quote = broker.snapshot(symbols=["THIN"]).quotes["THIN"]

    assert (quote.bid, quote.ask, quote.size_least) == (Decimal("99.98"), 100, least)


def test_the_account_adds_up(broker, emulator):
    broker.submit(buy(quantity=Decimal("0.37")))
    broker.submit(buy(quantity=Decimal(2)))
    broker.submit(buy(symbol="MSFT", side=Side.SELL, quantity=Decimal(3), reference_price=Decimal("399.98")))
    emulator.books.move("AAPL", "110.00", "110.02")

    snapshot = broker.snapshot(symbols=[])

    assert (snapshot.currency, snapshot.mode, snapshot.is_live) == ("USD", PositionMode.NETTING, False)
    assert snapshot.balance == Decimal("10000.00")  # nothing has been realized
    floating = sum(position.profit for position in snapshot.positions)
    assert abs(snapshot.balance + floating - snapshot.equity) <= Decimal("0.01")
    assert {(p.symbol, p.side, p.quantity) for p in snapshot.positions} == {
        ("AAPL", Side.BUY, Decimal("2.37")),
        ("MSFT", Side.SELL, Decimal(3)),
    }


def test_the_balance_moves_with_what_is_realized(broker, emulator):
    broker.submit(buy(quantity=Decimal(2)))
    emulator.books.move("AAPL", "110.00", "110.02")
    sale = {"side": Side.SELL, "quantity": Decimal(1), "reference_price": Decimal(110), "venue_position_id": "AAPL"}
    broker.submit(buy(**sale))

    assert broker.snapshot(symbols=[]).balance == Decimal("10000.00") + Decimal("110.00") - Decimal("100.01")


def test_what_fills_while_it_is_read_is_never_seen_nowhere(broker, emulator, monkeypatch):
    order = buy(order_type=OrderType.LIMIT, limit_price=Decimal(90), time_in_force=TimeInForce.GTC)
    broker.submit(order)
    told = emulator.get_orders

    def fill_after(query):
        listed = told(query)
        emulator.books.move("AAPL", "89.00", "89.50")
        return listed

    monkeypatch.setattr(emulator, "get_orders", fill_after)

    snapshot = broker.snapshot(symbols=[])

    assert [each.client_order_id for each in snapshot.orders] == [order.client_order_id]
    assert [position.quantity for position in snapshot.positions] == [1]


def test_working_orders_of_others_are_listed_and_are_not_ours(broker, emulator):
    for request in (
        {"symbol": "AAPL", "side": "buy", "type": "limit", "time_in_force": "gtc", "qty": "1", "limit_price": "90",
         "client_order_id": "a person's"},
        {"symbol": "AAPL", "side": "buy", "type": "stop_limit", "time_in_force": "day", "qty": "1",
         "limit_price": "111", "stop_price": "110"},
    ):  # fmt: skip
        emulator.books.place(request)
    emulator.books.orders[0] |= {"notional": "180", "qty": None}

    limit, stop = broker.snapshot(symbols=[]).orders

    assert (limit.client_order_id, stop.client_order_id) == ("", "")
    assert (limit.quantity, limit.time_in_force) == (2, TimeInForce.GTC)  # 180 dollars at 90
    assert (stop.order_type, stop.price, stop.limit_price) == (OrderType.STOP_LIMIT, 110, 111)


def test_fills_of_others_and_of_another_installation_are_not_ours(broker, emulator):
    foreign = AlpacaBroker(world.link(emulator, tag="8"))
    order = buy()
    foreign_view = foreign.submit(order)
    emulator.books.place({"symbol": "AAPL", "side": "buy", "type": "market", "time_in_force": "day", "qty": "1"})

    fills = AlpacaBroker(world.link(emulator, tag="8")).fills_since(datetime.now(UTC) - timedelta(minutes=1))
    assert [fill.client_order_id for fill in fills] == ["", ""]  # the id carries tag 7
    fills = broker.fills_since(datetime.now(UTC) - timedelta(minutes=1))
    assert [fill.client_order_id for fill in fills] == [order.client_order_id, ""]
    assert foreign_view.state is VenueState.FILLED
    foreign.close()


def test_every_page_of_fills_is_read_and_each_fill_once(broker, emulator):
    emulator.books.cash = Decimal(1_000_000)
    order = buy(
        order_type=OrderType.LIMIT, limit_price=Decimal(90), time_in_force=TimeInForce.DAY, quantity=Decimal(250)
    )
    broker.submit(order)
    for _ in range(250):
        emulator.books.trade(emulator.books.orders[0], Decimal(1), Decimal(90))
    emulator.faults.plan(Fault("duplicate_fills"))

    fills = broker.fills_since(datetime.now(UTC) - timedelta(minutes=1))
    report = broker.order_report(client_order_id=order.client_order_id, symbol=order.symbol, sent_at=datetime.now(UTC))

    assert len({fill.venue_fill_id for fill in fills}) == len(fills) == 250
    assert (report.state, len(report.fills)) == (VenueState.FILLED, 250)


def test_every_page_of_orders_is_read(broker, emulator):
    emulator.books.cash = Decimal(10_000_000)
    for number in range(520):
        emulator.books.place(
            {"symbol": "AAPL", "side": "buy", "type": "limit", "time_in_force": "gtc", "qty": "1", "limit_price": "90",
             "client_order_id": f"theirs-{number}"}
        )  # fmt: skip

    assert len(broker.snapshot(symbols=[]).orders) == 520


def test_a_listing_that_is_cut_off_is_no_listing(broker, emulator, monkeypatch):
    monkeypatch.setattr(listings, "PAGES_MAX", 1)
    monkeypatch.setattr(listings, "ORDERS_A_PAGE", 1)
    monkeypatch.setattr(listings, "ACTIVITIES_A_PAGE", 1)
    for _ in range(2):
        broker.submit(buy())
    order, sent_at = buy(), datetime.now(UTC)

    with pytest.raises(Unreachable):
        broker.order_report(client_order_id=order.client_order_id, symbol=order.symbol, sent_at=sent_at)
    with pytest.raises(Unreachable):
        broker.fills_since(sent_at - timedelta(minutes=1))


@pytest.mark.parametrize(
    "fault",
    [
        Fault("refuse", {"status": 500}, method="GET"), Fault("refuse", {"status": 401}, method="GET"),
        Fault("answer", {"status": 404, "body": "<html>"}, method="GET"), Fault("drop", method="GET"),
        Fault("answer", {"status": 200, "body": ""}, method="GET"),
        Fault("answer", {"status": 200, "body": "<html>"}, method="GET"),
        Fault("answer", {"status": 200, "body": "{}"}, method="GET"),
    ],
    ids=lambda fault: f"{fault.name} {fault.params}",
)  # fmt: skip
def test_a_search_that_failed_is_not_an_absence(broker, emulator, fault):
    broker.snapshot(symbols=[])
    emulator.faults.plan(fault)

    with pytest.raises(Unreachable):
        broker.order_report(client_order_id=world.new_id(), symbol="AAPL", sent_at=datetime.now(UTC))


def test_a_search_in_another_account_finds_nothing_and_proves_nothing(emulator):
    link = world.link(emulator)
    other = replace(link, account="PA3NEXUS0002", settings=link.settings | {"keys": f"PA3NEXUS0002:{KEY}:{SECRET}"})
    broker = AlpacaBroker(other)

    with pytest.raises(Unreachable, match="another account"):
        broker.order_report(client_order_id=world.new_id(), symbol="AAPL", sent_at=datetime.now(UTC))
    with pytest.raises(Unreachable, match="another account"):
        broker.submit(buy())
    assert emulator.sends() == 0
    broker.close()


def test_money_that_moved_without_a_trade(broker, emulator):
    for kind, amount in (("CSD", "500"), ("DIV", "1.02"), ("FEE", "-0.01"), ("DIVNRA", "-0.15"), ("SPIN", "0.42")):
        emulator.books.pay(kind, amount)
    emulator.books.pay("SPLIT", "0", qty="10")
    broker.submit(buy())

    moved = broker.cash_since(datetime.now(UTC) - timedelta(hours=26))

    assert [(each.kind, each.amount) for each in moved] == [
        (CashKind.TRANSFER, Decimal(500)), (CashKind.DIVIDEND, Decimal("1.02")), (CashKind.CHARGE, Decimal("-0.01")),
        (CashKind.TAX, Decimal("-0.15")), (CashKind.CORRECTION, Decimal("0.42")),
    ]  # fmt: skip
    assert {each.moved_at.utcoffset() for each in moved} == {timedelta(0)}


def test_money_that_was_taken_back_comes_to_nothing_whenever_that_is_heard(broker, emulator):
    """A withdrawal that never happened would hide a loss of the day."""
    since = datetime.now(UTC) - timedelta(hours=1)
    emulator.books.pay("CSW", "-500")
    first = broker.news(symbols=[], since=since)
    emulator.books.activities[-1]["status"] = "canceled"
    second = broker.news(symbols=[], since=since, mark=first.mark)
    third = broker.news(symbols=[], since=since, mark=second.mark)

    by_id = {each.venue_cash_id: each.amount for news in (first, second, third) for each in news.cash}

    assert ([each.amount for each in first.cash], sum(by_id.values()), third.cash) == ([Decimal(-500)], 0, ())
    assert {each.venue_cash_id: each.amount for each in broker.cash_since(since)} == by_id
    assert {each.kind for each in second.cash} == {CashKind.TRANSFER}
    assert max(map(len, by_id)) <= 64


def test_instruments_as_they_are(broker, emulator):
    emulator.books.list_asset("PENNY", "0.5001", "0.5003")
    emulator.books.list_asset("GONE", "1", "2", tradable=False)
    emulator.books.list_asset("BTCUSD", "1", "2", asset_class="crypto")

    whole, part = broker.instrument(symbol="BRK.A"), broker.instrument(symbol="AAPL")

    assert (whole.quantity_min, whole.quantity_step, whole.contract_size) == (1, 1, 1)
    assert (part.quantity_step, part.tick_size, part.takes_stops) == (Decimal("0.00000001"), Decimal("0.01"), False)
    assert broker.instrument(symbol="PENNY").tick_size == Decimal("0.0001")
    assert not broker.instrument(symbol="GONE").is_tradable
    with pytest.raises(Refused):
        broker.instrument(symbol="BTCUSD")


def test_margin_by_alpaca_s_own_terms(broker, emulator):
    emulator.books.list_asset("CASHY", "10", "10.02", marginable=False)
    order = {"quantity": Decimal(3), "price": Decimal("100.01")}

    assert broker.margin(symbol="AAPL", side=Side.BUY, **order) == Decimal("150.02")
    assert broker.margin(symbol="AAPL", side=Side.SELL, **order) == Decimal("154.52")  # at 3 % above
    assert broker.margin(symbol="CASHY", side=Side.BUY, **order) == Decimal("300.03")


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"server": LIVE_HOST}, "PAPER_AND_LIVE_MIXED"),
        ({"server": PAPER_HOST, "mode": "live"}, "PAPER_AND_LIVE_MIXED"),
        ({"server": LIVE_HOST, "mode": "live"}, "PAPER_AND_LIVE_MIXED"),  # the number is a paper account's
        ({"server": "evil.example"}, "LINK_MISCONFIGURED"),
        ({"server": "127.0.0.1.evil.example:80"}, "LINK_MISCONFIGURED"),
        ({"keys": "PA3NEXUS0002:a:b"}, "LINK_MISCONFIGURED"), ({"keys": ""}, "LINK_MISCONFIGURED"),
        ({"feed": "guess"}, "LINK_MISCONFIGURED"), ({"tag": "0"}, "LINK_MISCONFIGURED"),
        ({"deadline_s": "0"}, "LINK_MISCONFIGURED"), ({"mode": "demo"}, "LINK_MISCONFIGURED"),
    ],
    ids=str,
)  # fmt: skip
def test_a_link_that_is_not_what_it_says_is_refused_and_its_secrets_are_not_told(emulator, changes, code):
    with pytest.raises(Refused) as refused:
        AlpacaBroker(world.link(emulator, **changes))
    assert refused.value.code == code
    assert SECRET not in str(refused.value)


def test_secrets_are_not_shown(broker):
    assert SECRET not in repr(broker._profile)
    assert KEY not in repr(broker._profile)


def test_another_key_is_unreachable_and_not_another_account(emulator):
    broker = AlpacaBroker(world.link(emulator, keys=f"{emulator.books.number}:{KEY}:wrong"))

    with pytest.raises(Unreachable, match="40110000"):
        broker.snapshot(symbols=[])
    broker.close()


def test_without_the_package_it_says_what_to_install(emulator, monkeypatch):
    monkeypatch.setattr(session, "MISSING", "alpaca")

    with pytest.raises(Refused, match=r"requirements-alpaca\.txt") as refused:
        AlpacaBroker(world.link(emulator))
    assert refused.value.code == "PACKAGE_MISSING"


def test_nexus_runs_without_the_package():
    code = (
        "import sys; sys.modules['alpaca'] = None; import trading.brokers.alpaca.adapter; "
        "from trading.brokers.alpaca import session; print(session.MISSING)"
    )
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)

    assert ran.stdout.strip().startswith("alpaca")


def test_an_emulator_with_another_number_is_another_account():
    with world.brokers(Books(number="PA3OTHER0001")) as (broker, _):
        assert broker.snapshot(symbols=[]).account == "PA3OTHER0001"


def test_requests_that_wait_for_brokers_that_hang_are_counted_here_too(broker, emulator, monkeypatch):
    """A close has one place more."""
    monkeypatch.setattr(waits, "_began", {-1: 0.0})  # one has waited for ever

    with base.answering(within_s=5, at_once=1):
        with pytest.raises(Unreachable, match="too many requests wait"):
            broker.snapshot(symbols=[])
        with base.patiently(within_s=5):
            assert broker.submit(buy()).state == VenueState.FILLED
    broker.snapshot(symbols=[])
