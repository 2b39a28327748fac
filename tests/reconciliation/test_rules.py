"""What differences are worth and what is done about them, at every edge."""

from decimal import Decimal
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reconciliation import rules
from reconciliation.states import Action, Impact
from reconciliation.types import Finding, Policy
from trading import rules as trading_rules
from trading.types import Difference, Holding

POLICY = Policy(review_from=Decimal(100), stop_above=Decimal(500), synced_max=Decimal(100))


def finding(value: str | None, *, key: str = "1", sightings: int = 2, **facts: bool) -> Finding:
    """Return a finding that is worth so much."""
    worth = None if value is None else Decimal(value)
    return Finding(key, "EURUSD", None, Decimal(1), worth, sightings, **facts)


@pytest.mark.parametrize(
    ("value", "action", "impact"),
    [
        ("0.01", Action.BROKER_SYNCED, Impact.LOW),
        ("99.99", Action.BROKER_SYNCED, Impact.LOW),
        ("100.00", Action.REVIEW, Impact.MEDIUM),
        ("500.00", Action.REVIEW, Impact.MEDIUM),
        ("500.01", Action.TRADING_STOPPED, Impact.HIGH),
        (None, Action.TRADING_STOPPED, Impact.HIGH),
    ],
)
def test_the_bands_and_their_edges(value, action, impact):
    verdict = rules.judge([finding(value)], synced=Decimal(0), policy=POLICY)

    assert verdict.actions == (action,)
    assert verdict.stops is (action is Action.TRADING_STOPPED)
    assert rules.impact(None if value is None else Decimal(value), policy=POLICY) == impact


def test_opposite_differences_never_cancel():
    verdict = rules.judge([finding("300"), finding("300", key="2")], synced=Decimal(0), policy=POLICY)

    assert (verdict.total, verdict.stops) == (Decimal(600), True)
    assert verdict.actions == (Action.TRADING_STOPPED,) * 2


def test_what_was_seen_once_is_only_observed_and_still_stops():
    assert rules.judge([finding("99", sightings=1)], synced=Decimal(0), policy=POLICY).actions == (Action.OBSERVED,)
    assert rules.judge([finding("501", sightings=1)], synced=Decimal(0), policy=POLICY).stops


def test_four_times_thirty_in_a_day_is_for_a_person():
    four = [finding("30", key=str(number)) for number in range(3)]

    verdict = rules.judge(four, synced=Decimal(30), policy=POLICY)

    assert verdict.actions == (Action.BROKER_SYNCED, Action.BROKER_SYNCED, Action.REVIEW)
    assert rules.judge([finding("30")], synced=Decimal(70), policy=POLICY).actions == (Action.BROKER_SYNCED,)
    assert rules.judge([finding("30")], synced=Decimal("70.01"), policy=POLICY).actions == (Action.REVIEW,)


def test_what_is_left_out_or_kept_counts_for_nothing():
    out = [finding("9999", is_excluded=True), finding("9999", key="2", is_kept=True), finding("5", key="3")]

    verdict = rules.judge(out, synced=Decimal(0), policy=POLICY)

    assert (verdict.total, verdict.actions) == (Decimal(5), (Action.EXCLUDED, Action.KEPT, Action.BROKER_SYNCED))


def test_a_busy_key_sits_out_three_runs_in_a_row():
    busy = [
        rules.sighted(finding("5"), seen="", sightings=0, excluded=excluded, kept="", is_busy=True).is_excluded
        for excluded in range(5)
    ]

    assert busy == [True, True, True, False, False]


@pytest.mark.parametrize(("seen", "is_left_out"), [("", False), ("-1", True), ("1", False)])
def test_what_was_left_out_often_enough_counts_until_it_is_another_difference(seen, is_left_out):
    found = rules.sighted(finding("5"), seen=seen, sightings=1, excluded=rules.EXCLUDED_MAX, kept="", is_busy=True)

    assert finding("5").signature == "1"
    assert found.is_excluded is is_left_out


def position(
    quantity: str, price: str | None, venue_quantity: str, venue_price: str | None, **facts: str
) -> Difference:
    """Return a difference of EURUSD."""

    def figure(text: str | None) -> Decimal | None:
        return None if text is None else Decimal(text)

    return Difference(
        key="7", symbol="EURUSD", venue_position_id="7" if Decimal(venue_quantity) else "",
        quantity=Decimal(quantity), price=figure(price), venue_quantity=Decimal(venue_quantity),
        venue_price=figure(venue_price), mark=Decimal(facts.get("mark", "1.1")), contract_size=Decimal(100_000),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("found", "worth"),
    [
        (position("0", None, "0.01", "1.09"), "1100"),  # 0.01 lots at the mark
        (position("0.01", "1.09", "0", None), "1100"),
        (position("0.1", "1.1", "0.1", "1.101"), "10"),  # the average alone: 0.001 on 10,000
        (position("0.1", "1.1", "0.2", "1.101"), "11010"),  # both, the average on what both sides hold
        (position("0.1", "1.1", "-0.1", "1.2"), "22000"),  # through zero: nothing is held alike
    ],
)
def test_what_a_difference_is_worth(found, worth):
    assert rules.value(found, mark=found.mark, usd=Decimal(1)) == Decimal(worth)
    assert rules.value(found, mark=found.mark, usd=Decimal("1.25")) == Decimal(worth) * Decimal("1.25")
    assert rules.value(found, mark=found.mark, usd=None) is None


def test_what_has_no_mark_cannot_be_valued_and_an_average_needs_none():
    assert rules.value(position("0", None, "1", "1.1"), mark=None, usd=Decimal(1)) is None
    assert rules.value(position("1", "1.2", "1", "1.1"), mark=None, usd=Decimal(1)) == 10_000


def test_equity_is_compared_at_the_same_marks():
    found = [Finding("7", "EURUSD", position("0.1", "1.05", "0.2", "1.08"), Decimal(0), None)]

    # The broker's 0.2 have earned 0.02 each, ours 0.1 have earned 0.05: 0.004 − 0.005 lots·price.
    assert rules.equity_missing(found) == Decimal(-100)


def test_the_signature_forgets_the_market():
    one, two = position("0.1", "1.1", "0.2", "1.101"), position("0.1", "1.1", "0.2", "1.101", mark="2")

    first, second = (Finding("7", "EURUSD", each, Decimal(0), None).signature for each in (one, two))
    assert first == second
    assert first != Finding("7", "EURUSD", position("0.1", "1.1", "0.3", "1.101"), Decimal(0), None).signature


lots = st.integers(-50, 50).map(lambda number: Decimal(number) / 100)
prices = st.integers(1, 200_000).map(lambda number: Decimal(number) / 100_000)


@given(
    ours=st.lists(st.tuples(lots.filter(bool), prices), max_size=3), target=lots, price=prices, is_known=st.booleans()
)
@settings(max_examples=300, deadline=None)
def test_the_entries_of_a_correction_lead_from_ours_to_the_brokers(ours, target, price, is_known):
    """Whatever stood, the sum of the entries is what was missing, and no entry has a price that cannot be."""
    held = {str(number): Holding(*each) for number, each in enumerate(ours)}
    name = "0" if is_known else "new"
    found = Difference(
        key="EURUSD", symbol="EURUSD", venue_position_id=name if target else "", quantity=Decimal(0), price=None,
        venue_quantity=target, venue_price=price if target else None,
    )  # fmt: skip

    legs = trading_rules.correction_legs(found, held=held)

    if legs is None:
        return
    after = {key: Holding(each.quantity, each.price) for key, each in held.items()}
    for leg in legs:
        before = after.get(leg.venue_position_id, Holding(Decimal(0), leg.price))
        assert leg.price > 0
        if leg.quantity == 0:
            after[leg.venue_position_id] = Holding(before.quantity, leg.price)
            continue
        value = before.quantity * before.price + leg.quantity * leg.price
        quantity = before.quantity + leg.quantity
        after[leg.venue_position_id] = Holding(quantity, value / quantity if quantity else before.price)
    left = {key: each for key, each in after.items() if each.quantity}
    assert {key: each.quantity for key, each in left.items()} == ({name: target} if target else {})
    if target:
        assert abs(left[name].price - price) < Decimal("1E-20")
    flips = [leg for one, leg in pairwise(legs) if one.venue_position_id == leg.venue_position_id]
    assert all(leg.price == price for leg in flips)  # through zero, what is opened is opened at the broker's price


def test_a_correction_that_no_price_explains_is_none():
    held = {"7": Holding(Decimal(1), Decimal("1.1"))}
    found = position("1", "1.1", "1.01", "1.0")  # (1.01·1.0 − 1·1.1) / 0.01 = −9

    assert trading_rules.correction_legs(found, held=held) is None
