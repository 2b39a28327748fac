"""What the protocol promises of an account that is only looked at: nothing here sends, changes or cancels anything.

Played against the emulator on every run, and against a gateway beside a real demo terminal on demand
(`make demo`; docs/brokers.md). What holds here and fails there is a defect of the emulator.
"""

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from nexus.core.errors import Refused, Unreachable
from nexus.core.money import is_multiple
from trading.brokers import ids
from trading.brokers.base import Broker, Instrument, Link, MarginQuestion, ProfitQuestion, Quote, Side, VenueState
from trading.brokers.mt5.adapter import Mt5Broker

APART_MAX = Decimal("0.02")  # of two figures of one loss: rates and rounding explain no more
PAST = timedelta(days=30)
AGE_MAX = timedelta(minutes=2)  # of a price, while the market is open
NUMBERS_LEFT = 10**6  # no installation gets so far: an id of the last million is nobody's


@dataclass(frozen=True, slots=True)
class Place:
    """An account behind a gateway, and a symbol whose market is open."""

    link: Link
    symbol: str

    @property
    def broker(self) -> Broker:
        """Return a new broker of this link. The caller closes it."""
        return Mt5Broker(self.link)


def _quote(broker: Broker, symbol: str) -> Quote:
    return broker.snapshot(symbols=[symbol]).quotes[symbol]


def the_account_is_read_as_one_unit(broker: Broker, place: Place) -> None:
    """Figures, positions, orders and prices."""
    shown = broker.snapshot(symbols=[place.symbol])

    assert len(shown.currency) == 3
    assert shown.leverage > 0
    assert all(each.is_finite() for each in (shown.balance, shown.equity, shown.margin_used, shown.margin_free))
    # The terminal's own arithmetic: what is free is what there is, less what is bound.
    assert abs(shown.equity - shown.margin_used - shown.margin_free) <= Decimal("0.02")
    assert len({each.venue_position_id for each in shown.positions}) == len(shown.positions)
    assert all(each.quantity > 0 and each.price_open > 0 for each in (*shown.positions,))


def prices_are_of_now_and_on_the_ticks(broker: Broker, place: Place) -> None:
    """The server's clock is known, or its prices would be hours away."""
    instrument, quote = broker.instrument(symbol=place.symbol), _quote(broker, place.symbol)

    assert 0 < quote.bid <= quote.ask
    assert is_multiple(quote.bid, instrument.tick_size)
    assert is_multiple(quote.ask, instrument.tick_size)
    assert abs(datetime.now(UTC) - quote.at) < AGE_MAX


def an_instrument_is_described_whole(broker: Broker, place: Place) -> None:
    """Steps, sizes and currencies."""
    it: Instrument = broker.instrument(symbol=place.symbol)

    assert it.symbol == place.symbol
    assert 0 < it.quantity_step <= it.quantity_min <= it.quantity_max
    assert is_multiple(it.quantity_min, it.quantity_step)
    assert it.contract_size > 0
    assert it.tick_size > 0
    assert it.order_types
    assert it.times_in_force
    assert it.one_way_max is None or it.one_way_max >= it.quantity_min


def an_unknown_symbol_is_refused(broker: Broker, place: Place) -> None:
    """And no other is taken for it: names are never guessed."""
    for name in ("NO-SUCH-THING", place.symbol.swapcase()):
        with pytest.raises(Refused):
            broker.instrument(symbol=name)


def a_loss_is_what_the_contract_size_says(broker: Broker, place: Place) -> None:
    """In the profit currency's own account; elsewhere a loss is negative, and a sell the mirror of a buy."""
    it, quote = broker.instrument(symbol=place.symbol), _quote(broker, place.symbol)
    lower = quote.bid - quote.bid % it.tick_size - 1000 * it.tick_size
    terms: dict[str, Any] = {"symbol": place.symbol, "quantity": it.quantity_max}

    lost = broker.profit(**terms, side=Side.BUY, price_open=quote.bid, price_close=lower)
    won = broker.profit(**terms, side=Side.SELL, price_open=quote.bid, price_close=lower)

    assert lost < 0 < won
    if broker.snapshot(symbols=[]).currency == it.profit_currency:
        ours = (quote.bid - lower) * it.contract_size * it.quantity_max
        assert abs(-lost - ours) <= APART_MAX * ours
        assert abs(won + lost) <= APART_MAX * ours


def margin_and_loss_are_told_in_the_reading_itself(broker: Broker, place: Place) -> None:
    """The same figures as by themselves, at the price of that moment."""
    it = broker.instrument(symbol=place.symbol)
    stop = _quote(broker, place.symbol).bid // it.tick_size * it.tick_size - 1000 * it.tick_size
    margin = MarginQuestion(place.symbol, Side.BUY, it.quantity_max)
    profit = ProfitQuestion(place.symbol, Side.BUY, it.quantity_max, None, stop)

    shown = broker.snapshot(symbols=[place.symbol], margin=margin, profit=profit)

    ask = shown.quotes[place.symbol].ask
    alone = broker.margin(symbol=place.symbol, side=Side.BUY, quantity=it.quantity_max, price=ask)
    lost = broker.profit(symbol=place.symbol, side=Side.BUY, quantity=it.quantity_max, price_open=ask, price_close=stop)
    assert shown.margin_asked is not None
    assert shown.profit_asked is not None
    assert abs(shown.margin_asked - alone) <= APART_MAX * alone
    assert abs(shown.profit_asked - lost) <= APART_MAX * -lost


def history_repeats_itself(broker: Broker, place: Place) -> None:
    """What was told once is told again, unchanged and under the same id."""
    since = datetime.now(UTC) - PAST
    fills, moves = ({each.venue_fill_id: each for each in broker.fills_since(since)} for _ in range(2))
    cash = [{each.venue_cash_id: each for each in broker.cash_since(since)} for _ in range(2)]

    assert fills.items() <= moves.items()
    assert cash[0].items() <= cash[1].items()
    assert all(each.quantity > 0 and each.price > 0 for each in fills.values())


def news_tells_each_thing_once(broker: Broker, place: Place) -> None:
    """From the beginning, and then from the mark, at a gateway whose books were read since it started its worker."""
    since = datetime.now(UTC) - PAST
    broker.snapshot(symbols=[])
    broker.fills_since(since)
    whole = broker.news(symbols=[place.symbol], since=since)
    later = broker.news(symbols=[place.symbol], since=since, mark=whole.mark)

    assert whole.is_whole
    assert not {each.venue_fill_id for each in whole.fills} & {each.venue_fill_id for each in later.fills}
    assert not {each.venue_cash_id for each in whole.cash} & {each.venue_cash_id for each in later.cash}


def an_order_that_never_was_is_never_found(broker: Broker, place: Place) -> None:
    """The gateway swears to it, or says that its journal is too young to; the id is nobody's, and refused for ever."""
    number = ids.NUMBER_MAX - secrets.randbelow(NUMBERS_LEFT)
    name = ids.client_order_id(tag=int(place.link.settings["tag"]), number=number)

    report = broker.order_report(client_order_id=name, symbol=place.symbol, sent_at=datetime.now(UTC))

    assert report.state in {VenueState.NEVER_SENT, VenueState.NO_TRACE}
    assert not report.fills


def another_account_is_not_taken_for_ours(broker: Broker, place: Place) -> None:
    """Identity is checked in each answer."""
    settings = place.link.settings | {"login": str(int(place.link.settings["login"]) + 1)}
    stranger = Mt5Broker(Link(place.link.venue, place.link.account, settings))
    try:
        with pytest.raises(Unreachable, match="another account"):
            stranger.snapshot(symbols=[])
    finally:
        stranger.close()


LOOKS: tuple[Callable[[Broker, Place], None], ...] = (
    the_account_is_read_as_one_unit, prices_are_of_now_and_on_the_ticks, an_instrument_is_described_whole,
    an_unknown_symbol_is_refused, a_loss_is_what_the_contract_size_says, margin_and_loss_are_told_in_the_reading_itself,
    history_repeats_itself, news_tells_each_thing_once, an_order_that_never_was_is_never_found,
    another_account_is_not_taken_for_ours,
)  # fmt: skip


def from_environment(given: Mapping[str, str]) -> Place | None:
    """Return the demo account that the environment names, or None when it names none. Raises: KeyError."""
    if not given.get("DEMO_GATEWAY_URL"):
        return None
    settings = {
        "url": given["DEMO_GATEWAY_URL"], "token": given["DEMO_GATEWAY_TOKEN"], "login": given["DEMO_LOGIN"],
        "server": given["DEMO_SERVER"], "tag": given.get("DEMO_TAG") or str(ids.TAG_MAX),
        "mode": "paper", "demo_servers": given["DEMO_SERVER"],
    }  # fmt: skip
    files = {name: given.get(f"DEMO_{name.upper()}") for name in ("ca", "cert", "key")}
    settings |= {name: path for name, path in files.items() if path}
    return Place(Link("mt5", settings["login"], settings), given.get("DEMO_SYMBOL") or "EURUSD")
