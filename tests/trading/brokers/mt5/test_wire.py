"""Numbers arrive exactly, wide integers whole, and what is malformed is never taken for an answer."""

import json
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.trading.brokers.mt5.fake_terminal import structure
from trading.brokers.base import Side
from trading.brokers.mt5 import wire
from trading.brokers.mt5.gateway import plain


def across(value):
    """Carry a value from the terminal's side to ours, as the gateway does."""
    return json.loads(json.dumps(plain.of_value(value), allow_nan=False), parse_float=Decimal)


@given(st.decimals(-(10**6), 10**6, places=8))
def test_decimals_survive_the_terminal_s_floats(value):
    assert wire.number(across(float(value))) == value


@pytest.mark.parametrize(
    ("value", "text"),
    [(1.1, "1.1"), (0.1 + 0.2, "0.3"), (100.0, "100"), (1e15, "1000000000000000"), (1e-05, "0.00001"), (0.0, "0"),
     (-0.35, "-0.35"), (5, "5")],
)  # fmt: skip
def test_numbers_read_as_people_write_them(value, text):
    assert str(wire.number(across(value))) == text


@pytest.mark.parametrize("value", [None, True, "1.1", [], 1e300, float("nan"), float("inf")])
def test_takes_nothing_else_for_a_number(value):
    with pytest.raises(wire.BadAnswer):
        wire.number(across(value))


@given(st.integers(-(2**63), 2**64 - 1))
def test_integers_survive_whole(value):
    assert wire.integer(across(value)) == value


@pytest.mark.parametrize(
    ("value", "is_text"), [(2**53, False), (2**53 + 1, True), (-(2**53), False), (-(2**53) - 1, True)]
)
def test_only_wide_integers_travel_as_text(value, is_text):
    assert isinstance(plain.of_value(value), str) is is_text


@pytest.mark.parametrize("value", [None, True, 1.5, "x", "", [], "1.0"])
def test_takes_nothing_else_for_an_integer(value):
    with pytest.raises(wire.BadAnswer):
        wire.integer(across(value))


def test_structures_travel_as_objects_one_inside_the_other():
    inner = structure("Inner", order=2**60, volume=0.1)
    outer = structure("Outer", retcode=10009, request=inner, flag=True, nothing=None, rows=(inner,))

    assert plain.of_value(outer) == {
        "retcode": 10009,
        "request": {"order": str(2**60), "volume": 0.1},
        "flag": True,
        "nothing": None,
        "rows": [{"order": str(2**60), "volume": 0.1}],
    }


def test_what_has_no_plain_form_is_an_error_and_no_guess():
    with pytest.raises(TypeError):
        plain.of_value(object())


def test_wide_integers_come_back_to_the_keys_that_hold_them():
    given_back = plain.arguments({"ticket": "9007199254740993", "symbol": "123", "position": 5, "comment": "7"})

    assert given_back == {"ticket": 2**53 + 1, "symbol": "123", "position": 5, "comment": "7"}


def test_zero_means_no_stop():
    assert wire.level(across(0.0)) is None
    assert wire.level(across(1.05)) == Decimal("1.05")


def test_knows_two_sides_only():
    assert [wire.side(0), wire.side(1)] == [Side.BUY, Side.SELL]
    with pytest.raises(wire.BadAnswer):
        wire.side(2)


@pytest.mark.parametrize("problem", [KeyError("x"), TypeError(), AttributeError(), IndexError(), ArithmeticError()])
def test_every_malformed_answer_is_a_bad_answer(problem):
    with pytest.raises(wire.BadAnswer), wire.understanding():
        raise problem
