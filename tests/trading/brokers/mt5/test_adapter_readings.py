"""Balances, positions, quotes and instruments in our words; an account that is not the right one is not believed."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from nexus.core.errors import Refused, Unreachable
from tests.trading.brokers.mt5.gateway_in_thread import link
from trading.brokers.base import FillKind, PositionMode, Side
from trading.brokers.mt5 import history
from trading.brokers.mt5.adapter import Mt5Broker
from trading.brokers.mt5.gateway.worker import Urgency, Worker
from trading.brokers.mt5.terms import Filling


def test_reads_the_account_as_one_unit(broker, terminal, order):
    wanted = order(stop_loss=None)
    broker.submit(wanted)

    snapshot = broker.snapshot(symbols=["EURUSD", "USDJPY"])

    assert (snapshot.account, snapshot.currency, snapshot.mode) == ("5001", "USD", PositionMode.HEDGING)
    assert (snapshot.is_live, snapshot.leverage) == (False, 100)
    amounts = (snapshot.balance, snapshot.equity, snapshot.margin_used, snapshot.margin_free)
    assert [str(amount) for amount in amounts] == ["10000.00", "10000.10", "0.30", "9999.80"]
    (position,) = snapshot.positions
    assert (position.side, position.quantity, position.price_open) == (Side.BUY, Decimal("0.1"), Decimal("1.10012"))
    assert (position.stop_loss, position.take_profit) == (None, Decimal("1.105"))
    assert (position.profit, position.swap) == (Decimal("-1.7"), Decimal("-0.5"))
    assert position.client_order_id == wanted.client_order_id
    assert position.venue_position_id == str(terminal.positions[0].identifier)
    assert {symbol: (quote.bid, quote.ask) for symbol, quote in snapshot.quotes.items()} == {
        symbol: (Decimal("1.1"), Decimal("1.10012")) for symbol in ("EURUSD", "USDJPY")
    }


def test_an_order_that_fills_while_the_account_is_read_is_seen_as_working_as_held_or_as_both(broker, terminal, resting):
    """The terminal answers one call after the other, and goes on in between."""
    broker.submit(resting())
    asked = []

    def listing(name):
        real = getattr(terminal, name)

        def answer(**which):
            listed = real(**which)
            asked.append(name)
            if len(asked) == 1:
                (order,) = terminal.working
                request = {"volume": order.volume_initial, "price": order.price_open, "type": 0, "sl": 0.0, "tp": 0.0}
                terminal.working.clear()
                terminal.fill(request | {"magic": order.magic, "comment": order.comment, "symbol": order.symbol})
            return listed

        return answer

    for name in ("positions_get", "orders_get"):
        setattr(terminal, name, listing(name))

    snapshot = broker.snapshot(symbols=[])

    assert sorted(asked) == ["orders_get", "positions_get"]
    assert snapshot.orders or snapshot.positions


def test_gives_quotes_their_own_time_in_utc(broker):
    quote = broker.snapshot(symbols=["EURUSD"]).quotes["EURUSD"]

    assert timedelta(0) <= datetime.now(UTC) - quote.at < timedelta(seconds=2)


def test_does_not_call_a_quote_fresh_that_stands_still(broker, terminal):
    still = terminal.symbol_select("EURUSD") and terminal.symbol_info_tick("EURUSD")
    terminal.symbol_info_tick = lambda _: still

    quote = broker.snapshot(symbols=["EURUSD"]).quotes["EURUSD"]

    assert datetime.now(UTC) - quote.at > timedelta(hours=5)


def test_waits_for_quotes_that_stand_still_once_and_not_at_every_reading(broker, terminal):
    still = terminal.symbol_select("EURUSD") and terminal.symbol_info_tick("EURUSD")
    asked = []

    def look(symbol):
        asked.append(symbol)
        return still

    terminal.symbol_info_tick = look
    broker.snapshot(symbols=["EURUSD"])
    at_first = len(asked)

    broker.snapshot(symbols=["EURUSD"])

    assert at_first > 2
    assert len(asked) == at_first + 1


def test_learns_the_clock_as_soon_as_the_terminal_is_there(broker, terminal):
    terminal.connected, terminal.none_from = False, {"account_info"}
    with pytest.raises(Unreachable):
        broker.snapshot(symbols=["EURUSD"])
    terminal.connected, terminal.none_from = True, set()

    quote = broker.snapshot(symbols=["EURUSD"]).quotes["EURUSD"]

    assert datetime.now(UTC) - quote.at < timedelta(seconds=2)


def test_reads_an_account_without_asking_for_quotes(broker):
    assert broker.snapshot(symbols=[]).quotes == {}


def test_reads_an_instrument(broker, terminal):
    terminal.symbols["EURUSD"]["trade_tick_size"] = 0.0

    instrument = broker.instrument(symbol="EURUSD")

    assert (instrument.symbol, instrument.digits, instrument.contract_size) == ("EURUSD", 5, Decimal(100000))
    assert (instrument.tick_size, instrument.stops_distance_min) == (Decimal("0.00001"), Decimal("0.0001"))
    assert (instrument.quantity_min, instrument.quantity_max) == (Decimal("0.01"), Decimal(100))
    assert instrument.quantity_step == Decimal("0.01")
    assert (instrument.base_currency, instrument.profit_currency) == ("EUR", "USD")
    assert instrument.is_tradable


@pytest.mark.parametrize(
    ("changes", "is_tradable"),
    [({"trade_mode": 0}, False), ({"trade_mode": 3}, False), ({"trade_mode": 1}, True), ({"order_mode": 126}, False)],
)
def test_says_whether_an_instrument_can_be_traded(broker, terminal, changes, is_tradable):
    terminal.symbols["EURUSD"] |= changes

    assert broker.instrument(symbol="EURUSD").is_tradable is is_tradable


def test_refuses_symbols_that_the_venue_does_not_know(broker):
    with pytest.raises(Refused):
        broker.instrument(symbol="NONSENSE")


def test_a_symbol_without_a_price_hides_nothing_else(broker, terminal):
    assert set(broker.snapshot(symbols=["EURUSD", "eurusd"]).quotes) == {"EURUSD"}

    priced = terminal.symbol_info_tick
    terminal.symbol_info_tick = lambda symbol: priced(symbol if symbol == "EURUSD" else "NOT SELECTED")
    assert set(broker.snapshot(symbols=["USDJPY", "EURUSD"]).quotes) == {"EURUSD"}


@pytest.mark.parametrize(
    "function", ["account_info", "terminal_info", "positions_get", "symbol_info_tick", "symbol_select"]
)
def test_takes_no_failure_for_an_empty_account(broker, terminal, function):
    terminal.none_from.add(function)

    with pytest.raises(Unreachable):
        broker.snapshot(symbols=["EURUSD"])


@pytest.mark.parametrize("trouble", [{"login_now": 5002}, {"server_now": "Paper-Other"}, {"connected": False}])
def test_believes_only_the_right_account_with_its_broker_there(broker, terminal, trouble):
    for name, value in trouble.items():
        setattr(terminal, name, value)

    with pytest.raises(Unreachable):
        broker.snapshot(symbols=["EURUSD"])


def test_selects_a_symbol_again_that_the_terminal_has_forgotten(broker, terminal):
    broker.snapshot(symbols=["EURUSD"])
    terminal.selected.clear()

    assert broker.snapshot(symbols=["EURUSD"]).quotes["EURUSD"].bid == Decimal("1.1")


@pytest.mark.parametrize(("bid", "ask"), [(0.0, 0.0), (1.2, 1.1), (float("nan"), 1.1), (-1.0, 1.0), (0.0, 1.1)])
def test_takes_no_price_that_cannot_be_and_lets_it_hide_no_other(broker, terminal, bid, ask):
    real = terminal.symbol_info_tick
    terminal.symbol_info_tick = lambda name: real(name)._replace(bid=bid, ask=ask) if name == "EURUSD" else real(name)

    assert {*broker.snapshot(symbols=["EURUSD", "USDJPY"]).quotes} == {"USDJPY"}


def test_a_paper_link_refuses_real_money_wherever_it_meets_it(broker, terminal):
    account = terminal.account_info()
    terminal.account_info = lambda: account._replace(trade_mode=2)

    with pytest.raises(Refused) as refused:
        broker.snapshot(symbols=[])
    assert refused.value.code == "PAPER_AND_LIVE_MIXED"


@pytest.mark.parametrize(
    ("settings", "code"),
    [
        ({"server": "Broker-Live"}, "PAPER_AND_LIVE_MIXED"),
        ({"mode": "live"}, "PAPER_AND_LIVE_MIXED"),
        ({"mode": "demo"}, "LINK_MISCONFIGURED"),
        ({"login": "five"}, "LINK_MISCONFIGURED"),
        ({"tag": "0"}, "LINK_MISCONFIGURED"),
        ({"tag": "2048"}, "LINK_MISCONFIGURED"),
        ({"fillings": "ANY"}, "LINK_MISCONFIGURED"),
        ({"url": "ftp://x:1"}, "LINK_MISCONFIGURED"),
        ({"deadline_s": "soon"}, "LINK_MISCONFIGURED"),
        ({"deadline_s": "nan"}, "LINK_MISCONFIGURED"),
        ({"deadline_s": "0"}, "LINK_MISCONFIGURED"),
        ({"deadline_s": "61"}, "LINK_MISCONFIGURED"),
    ],
)
def test_refuses_a_link_that_is_incomplete_or_mixes_paper_and_live(settings, code):
    with pytest.raises(Refused) as refused:
        Mt5Broker(link("http://127.0.0.1:1", **settings))
    assert refused.value.code == code


def test_takes_a_live_link_to_a_live_server():
    broker = Mt5Broker(link("http://127.0.0.1:1", mode="live", server="Broker-Live", fillings="FOK, IOC"))

    assert broker._profile.fillings == (Filling.FOK, Filling.IOC)
    assert not broker._profile.is_paper


def test_news_wait_behind_everything_else_that_the_terminal_is_asked(broker, sent_at, monkeypatch):
    """A reading of the history would stand before prices; news do not, and so never hold up an order or a proof."""
    real, seen = Worker.run, []

    def run(self, unit, payload, **how):
        seen.append(how["urgency"])
        return real(self, unit, payload, **how)

    monkeypatch.setattr(Worker, "run", run)

    mark = broker.news(symbols=["EURUSD"], since=sent_at).mark
    broker.news(symbols=["EURUSD"], since=sent_at, mark=mark)
    assert set(seen) == {Urgency.QUOTE}
    seen.clear()
    broker.fills_since(sent_at)
    assert Urgency.RECONCILE in seen


def test_news_are_read_though_one_symbol_has_no_price(broker, terminal, order, sent_at):
    mark = broker.news(symbols=["EURUSD"], since=sent_at).mark
    broker.submit(order())

    news = broker.news(symbols=["NOSUCH", "EURUSD"], since=sent_at, mark=mark)

    assert (len(news.fills), set(news.quotes)) == (1, {"EURUSD"})
    terminal.connected = False
    with pytest.raises(Unreachable):
        broker.news(symbols=[], since=sent_at, mark=mark)


def test_a_busy_history_is_read_in_pieces_and_an_order_goes_between_them(broker, terminal, order, sent_at, monkeypatch):
    """Ten thousand deals in one listing would hold the terminal for a second: no piece is longer than its most."""
    monkeypatch.setattr(history, "PIECE", 50)
    broker.submit(order())
    (one,) = terminal.deals
    at = [one.time - 7 * number for number in range(499)] + [one.time - 40_000] * 200  # a second may hold more
    terminal.deals = [
        one._replace(ticket=number + 1, time=time, time_msc=1000 * time, type=2 * (number % 2))
        for number, time in enumerate(at)
    ]
    real, sizes = terminal.history_deals_get, []

    def listed(*window):
        sizes.append(len(real(*window)))
        return real(*window)

    terminal.history_deals_get = listed
    since = sent_at - timedelta(hours=12)

    fills, cash = broker.fills_since(since), broker.cash_since(since)
    news = broker.news(symbols=["EURUSD"], since=since)

    assert (len(fills), len(cash)) == (350, 349)
    assert ({each.venue_fill_id for each in fills}, len(news.fills)) == (
        {each.venue_fill_id for each in news.fills},
        350,
    )
    assert sorted({size for size in sizes if size > 50}) == [200]
    assert set(news.quotes) == {"EURUSD"}


def take_back(terminal, **changes):
    """Cancel the newest deal, as the documentation says that a broker does."""
    deal = terminal.deals[-1]
    terminal.deals[-1] = deal._replace(type=13 + deal.type, profit=0.0, **changes)


@pytest.mark.parametrize("side", list(Side))
def test_a_deal_that_was_taken_back_is_told_as_it_was_and_as_its_reversal(broker, terminal, order, sent_at, side):
    stops = {"stop_loss": None, "take_profit": None}
    wanted = (
        order(side=side, **stops) if side is Side.BUY else order(side=side, reference_price=Decimal("1.1"), **stops)
    )
    before = broker.submit(wanted).fills
    mark = broker.news(symbols=[], since=sent_at).mark
    take_back(terminal)

    executed, reversal = broker.fills_since(sent_at)

    assert (executed,) == before
    assert reversal == replace(
        executed, venue_fill_id=f"{executed.venue_fill_id}~canceled", kind=FillKind.BUST,
        reverses=executed.venue_fill_id, side=Side.SELL if side is Side.BUY else Side.BUY, commission=Decimal(0),
    )  # fmt: skip
    assert broker.cash_since(sent_at) == []  # its commission was paid once
    news = broker.news(symbols=[], since=sent_at, mark=mark)
    assert (news.fills, news.cash) == ((executed, reversal), ())
    assert broker.news(symbols=[], since=sent_at, mark=news.mark).fills == ()


def test_a_stop_that_was_taken_back_is_nobody_s_order(broker, terminal, order, sent_at):
    broker.submit(order())
    take_back(terminal, reason=4)

    executed, reversal = broker.fills_since(sent_at)

    assert (executed.kind, executed.client_order_id) == (FillKind.STOP_LOSS, "")
    assert (reversal.kind, reversal.client_order_id, reversal.reverses) == (FillKind.BUST, "", executed.venue_fill_id)
