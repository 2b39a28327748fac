"""The arithmetic of orders, by the reference's own examples and by properties."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from trading import rules
from trading.states import (
    ACKED,
    CANCELED,
    EXPIRED,
    FILLED,
    PARTIAL,
    REJECTED,
    SENDING,
    TRANSITIONS,
    UNKNOWN,
    Side,
    VenueState,
)
from trading.types import Conversion, Holding, Instrument, OrderIntent, Quote

NOON = datetime(2026, 1, 5, 12, tzinfo=UTC)
EURUSD = Instrument(
    symbol="EURUSD", base_currency="EUR", profit_currency="USD", margin_currency="EUR",
    contract_size=Decimal(100_000), tick_size=Decimal("0.00001"), digits=5, quantity_min=Decimal("0.01"),
    quantity_max=Decimal(100), quantity_step=Decimal("0.01"), stops_distance_min=Decimal(0), is_tradable=True,
)  # fmt: skip


def quote(bid: str = "1.09990", ask: str = "1.10000", *, at: datetime = NOON) -> Quote:
    return Quote("EURUSD", Decimal(bid), Decimal(ask), at)


def reserve(intent: OrderIntent, **changes: Any) -> Any:
    usual: dict[str, Any] = {
        "instrument": EURUSD, "quote": quote(), "usd": Decimal(1), "deviation": Decimal("0.00020"),
        "gap": Decimal("0.0005"), "unstopped_move": None, "commission_per_lot": Decimal(7),
    }  # fmt: skip
    return rules.reserve(intent, **(usual | changes))


def test_the_worked_example_of_the_reference():
    """Buy 1 lot, ask 1.10000, deviation 0.00020, S 1.09500, g 0.0005, c 7: R = 581.75."""
    found = reserve(OrderIntent("EURUSD", Side.BUY, Decimal(1), stop_loss=Decimal("1.09500")))

    assert found.risk == Decimal("581.75")


def test_the_partial_fills_of_the_reference():
    """Fills 0.37, 0.41, 0.22 take the reservation from 581.75 over 366.51 and 127.99 to exactly 0."""
    left = [Decimal(1), Decimal("0.63"), Decimal("0.22"), Decimal(0)]

    reserved = [rules.reserved_for(Decimal("581.75"), leaves=each, quantity=Decimal(1)) for each in left]

    assert reserved == [Decimal("581.75"), Decimal("366.51"), Decimal("127.99"), Decimal(0)]


def test_a_sell_is_the_mirror_of_a_buy():
    """Sell at bid 1.09990: worst entry 1.09970, worst exit 1.1050·1.0005 = 1.1055525."""
    found = reserve(OrderIntent("EURUSD", Side.SELL, Decimal(1), stop_loss=Decimal("1.10500")))

    assert found.risk == Decimal("592.25")  # 585.25 + 7
    assert found.value == Decimal(110_000)  # priced at the ask, as a buy would be


def test_without_a_stop_the_loss_is_not_bounded_unless_a_move_is_configured():
    naked = OrderIntent("EURUSD", Side.BUY, Decimal(1))

    assert reserve(naked) is None
    assert reserve(naked, unstopped_move=Decimal("0.05")).risk == Decimal(5508)  # 0.05·110020 + 7


@pytest.mark.parametrize(
    ("given_quote", "fault"),
    [
        (None, "QUOTE_MISSING"),
        (quote("0", "1.1"), "QUOTE_NOT_POSITIVE"),
        (quote("-1", "1.1"), "QUOTE_NOT_POSITIVE"),
        (quote("NaN", "1.1"), "QUOTE_NOT_POSITIVE"),
        (quote("1.1", "Infinity"), "QUOTE_NOT_POSITIVE"),
        (replace(quote(), size_least=Decimal(0)), "QUOTE_NOT_POSITIVE"),
        (replace(quote(), size_least=Decimal("0.01")), ""),
        (quote("1.10001", "1.10000"), "QUOTE_CROSSED"),
        (quote(at=NOON - timedelta(seconds=10)), ""),
        (quote(at=NOON - timedelta(seconds=10, milliseconds=1)), "QUOTE_STALE"),
        (quote(at=NOON + timedelta(seconds=2)), ""),
        (quote(at=NOON + timedelta(seconds=2, milliseconds=1)), "QUOTE_IN_THE_FUTURE"),
        (quote("1.09450", "1.10000"), "SPREAD_EXCEEDS_LIMIT"),
        (quote("1.09460", "1.10000"), ""),
        (quote("1.099905", "1.10000"), "QUOTE_OFF_TICK"),
        (quote("1.10000", "1.10000"), ""),
    ],
)
def test_quotes_that_cannot_be_trusted(given_quote, fault):
    found = rules.quote_fault(
        given_quote, at=NOON, tick_size=EURUSD.tick_size, age_max=timedelta(seconds=10), spread_max=Decimal("0.005")
    )

    assert found == fault


@pytest.mark.parametrize(
    ("conversion", "owed", "rate"),
    [
        (Conversion("", usd_is_base=False), True, "1"),
        (Conversion("GBPUSD", usd_is_base=False), True, "1.3001"),
        (Conversion("GBPUSD", usd_is_base=False), False, "1.3000"),
        (Conversion("USDJPY", usd_is_base=True), True, "0.0080"),
        (Conversion("USDJPY", usd_is_base=True), False, "0.005"),
    ],
)
def test_converts_at_the_side_that_costs_us_more(conversion, owed, rate):
    rates = {
        "GBPUSD": Quote("GBPUSD", Decimal("1.3000"), Decimal("1.3001"), NOON),
        "USDJPY": Quote("USDJPY", Decimal(125), Decimal(200), NOON),
    }

    assert rules.usd_rate(conversion, rates, owed=owed) == Decimal(rate)


def test_no_quote_is_no_rate():
    assert rules.usd_rate(Conversion("GBPUSD", usd_is_base=False), {}, owed=True) is None


lots = st.decimals("0.01", "50", places=2)
prices = st.decimals("0.5", "2", places=5)


@given(st.lists(st.tuples(st.sampled_from(Side), lots, prices), min_size=1, max_size=12))
def test_a_holding_is_the_sum_of_its_fills(fills):
    holding = Holding(Decimal(0), Decimal(0))
    for side, quantity, price in fills:
        holding = rules.apply_fill(holding, signed_quantity=side.direction * quantity, price=price)

    assert holding.quantity == sum(side.direction * quantity for side, quantity, _ in fills)
    assert min(price for *_, price in fills) <= holding.price <= max(price for *_, price in fills)


@given(lots, st.lists(lots, max_size=6), st.decimals("0.01", "100000", places=2))
def test_what_is_reserved_never_grows_and_ends_at_zero(quantity, fills, risk):
    reserved, filled = [risk], Decimal(0)
    for each in fills:
        filled += each
        reserved.append(rules.reserved_for(risk, leaves=max(Decimal(0), quantity - filled), quantity=quantity))

    assert reserved == sorted(reserved, reverse=True)
    assert (reserved[-1] == 0) == (filled >= quantity and bool(fills))


@pytest.mark.parametrize(
    ("state", "reported", "filled", "is_new", "to"),
    [
        (SENDING, VenueState.WORKING, "0", False, ACKED),  # 5
        (SENDING, VenueState.REJECTED, "0", False, REJECTED),  # 6
        (UNKNOWN, VenueState.WORKING, "0", False, ACKED),  # 8
        (UNKNOWN, VenueState.NEVER_SENT, "0", False, REJECTED),  # 9
        (SENDING, VenueState.WORKING, "0.4", True, PARTIAL),  # 11
        (UNKNOWN, VenueState.FILLED, "1", True, FILLED),  # 12
        (PARTIAL, VenueState.WORKING, "1.2", True, FILLED),  # 12, overfill
        (FILLED, VenueState.FILLED, "1.2", True, FILLED),  # 12, overfill after the end
        (ACKED, VenueState.CANCELED, "0", False, CANCELED),  # 13
        (PARTIAL, VenueState.EXPIRED, "0.4", False, EXPIRED),  # 13
        (REJECTED, VenueState.WORKING, "0.4", True, CANCELED),  # 14
        (CANCELED, VenueState.WORKING, "1", True, FILLED),  # 14
        (ACKED, VenueState.WORKING, "0", False, None),  # 16
        (FILLED, VenueState.WORKING, "1", False, None),  # 16
        (FILLED, VenueState.REJECTED, "1", False, None),  # 16
        (CANCELED, VenueState.CANCELED, "0", False, None),  # 16
        (SENDING, VenueState.FILLED, "0", False, ACKED),  # said filled, shows no fill: wait for it
    ],
)
def test_where_a_report_takes_an_order(state, reported, filled, is_new, to):
    found = rules.next_state(state, reported=reported, filled=Decimal(filled), quantity=Decimal(1), is_new_fill=is_new)

    assert found == to
    assert to is None or to in TRANSITIONS[state]


@given(st.sampled_from(list(TRANSITIONS)), st.sampled_from(VenueState), st.decimals("0", "2", places=2), st.booleans())
def test_no_report_ever_asks_for_a_move_that_is_not_in_the_table(state, reported, filled, is_new):
    assume(filled > 0 or not (is_new or state == PARTIAL))
    assume(filled >= 1 or state != FILLED)
    to = rules.next_state(state, reported=reported, filled=filled, quantity=Decimal(1), is_new_fill=is_new)

    assert to is None or to in TRANSITIONS[state]
