"""Pure rules beside the gate: which limit is in force, what an order may look like, what reduces."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from risk.rules import amounts, limits, shape
from risk.states import LimitKind, LimitScope
from risk.types import Limit, Reduction

D = Decimal
values = st.decimals("0.01", "1000000", places=2)


@given(st.lists(st.tuples(st.sampled_from(LimitScope), values), min_size=1), st.sampled_from(LimitKind))
def test_the_tightest_of_all_scopes_is_in_force(rows, kind):
    found = limits.tightest(Limit(kind, value, scope) for scope, value in rows)[kind]

    tightest = max if kind is LimitKind.TRADE_VALUE_MIN else min
    assert found.value == tightest(value for _, value in rows)


@pytest.mark.parametrize(
    ("symbol", "fault"),
    [("EURUSD", ""), ("BTC/USD", ""), ("US500.cash", ""), ("", "SYMBOL_MALFORMED"), ("EUR USD", "SYMBOL_MALFORMED"),
     ("EURUSD\n", "SYMBOL_MALFORMED"), ("F", ""), ("x" * 21, "SYMBOL_MALFORMED")],
)  # fmt: skip
def test_what_a_symbol_looks_like(symbol, fault):
    assert shape.symbol_fault(symbol) == fault


@pytest.mark.parametrize(
    ("quantity", "fault"),
    [("0.01", ""), ("100", ""), ("0", "QUANTITY_NOT_POSITIVE"), ("-1", "QUANTITY_NOT_POSITIVE"),
     ("NaN", "QUANTITY_NOT_POSITIVE"), ("Infinity", "QUANTITY_NOT_POSITIVE"), ("0.009", "QUANTITY_BELOW_MINIMUM"),
     ("100.01", "QUANTITY_ABOVE_MAXIMUM"), ("0.015", "QUANTITY_OFF_STEP")],
)  # fmt: skip
def test_what_a_quantity_may_be(quantity, fault):
    assert shape.quantity_fault(D(quantity), least=D("0.01"), most=D(100), step=D("0.01")) == fault


@pytest.mark.parametrize(
    ("prices", "fault"),
    [((None, "1.08500"), ""), ((None, None), ""), (("0",), "PRICE_NOT_POSITIVE"), (("-1",), "PRICE_NOT_POSITIVE"),
     (("NaN",), "PRICE_NOT_POSITIVE"), (("1.1", "Infinity"), "PRICE_NOT_POSITIVE"), (("1.085001",), "PRICE_OFF_TICK")],
)  # fmt: skip
def test_what_a_price_may_be(prices, fault):
    given_prices = [None if price is None else D(price) for price in prices]

    assert shape.price_fault(given_prices, tick=D("0.00001")) == fault


@pytest.mark.parametrize(
    ("volume", "pending", "quantity", "fault"),
    [("1", "0.4", "0.6", ""), ("1", "0.4", "0.61", "QUANTITY_EXCEEDS_POSITION"),
     ("1", "1.5", "0.01", "QUANTITY_EXCEEDS_POSITION"), ("0", "0", "0.01", "QUANTITY_EXCEEDS_POSITION")],
)  # fmt: skip
def test_what_verifiably_reduces(volume, pending, quantity, fault):
    assert amounts.reduction_fault(Reduction(D(volume), D(pending)), quantity=D(quantity)) == fault


def test_what_cannot_be_reduced_now_says_why():
    gone = Reduction(D(1), D(0), fault="POSITION_NOT_FOUND")

    assert amounts.reduction_fault(gone, quantity=D("0.01")) == "POSITION_NOT_FOUND"
