"""The life of an order by its broker's reports: partial, late, too much, taken back, twice, out of order."""

import uuid
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import permutations
from typing import Any

import pytest
from django.db import IntegrityError
from django.utils.timezone import now

from accounts.states import Role
from nexus.alerts.models import Alert
from risk.models import RiskAdjustment
from risk.states import AdjustmentKind
from tests.factories.accounts import UserFactory
from tests.trading.conftest import brief
from trading.models import BrokerPosition, Fill, OrderDecision, TradeLedger
from trading.services import decisions, fills, usage
from trading.services.decisions import NotUndecided, SamePerson
from trading.states import CancelState, Delivery, FillKind, OrderStatus, Side, VenueState
from trading.types import FillReport, OrderReport

NOON = datetime(2026, 1, 5, 12, tzinfo=UTC)
SPEAKS_FOR_THE_BROKER = True  # its reports are made up: the paper broker has never heard of them


@pytest.fixture
def unknown(execute, paper) -> TradeLedger:
    """An order of 1.00 lots that the broker never saw, so that the test alone speaks for the broker."""
    paper.control.inject("timeout_before_accept")
    order: TradeLedger = execute(brief(quantity=Decimal("0.10")))
    return order


def fill(order: TradeLedger, number: int, quantity: str, price: str = "1.08500", **changes: Any) -> FillReport:
    usual = FillReport(
        venue_fill_id=str(number), venue_order_id="77", venue_position_id="77",
        client_order_id=order.client_order_id, symbol="EURUSD", side=Side(order.side), quantity=Decimal(quantity),
        price=Decimal(price), commission=Decimal(0), swap=Decimal(0), fee=Decimal(0), profit=Decimal(0),
        kind=FillKind.ORDER, filled_at=NOON,
    )  # fmt: skip
    return replace(usual, **changes)


def report(order: TradeLedger, state: VenueState, *reports: FillReport) -> TradeLedger:
    fills.record(
        order_id=order.pk,
        report=OrderReport(order.client_order_id, state, venue_order_id="77", fills=tuple(reports)),
        at=now(),
    )
    order.refresh_from_db()
    return order


def test_fills_in_three_parts_release_pro_rata(unknown):
    risk = unknown.risk
    parts = [fill(unknown, 1, "0.04"), fill(unknown, 2, "0.04", "1.08510"), fill(unknown, 3, "0.02", "1.08530")]

    report(unknown, VenueState.WORKING, parts[0])
    assert (unknown.status, unknown.delivery) == (OrderStatus.PARTIALLY_FILLED, Delivery.ACKED)
    assert unknown.reserved == Decimal("34.98")  # ceil_cent(58.30 · 0.06 / 0.10)
    report(unknown, VenueState.WORKING, *parts[:2])
    assert unknown.reserved == Decimal("11.66")
    report(unknown, VenueState.FILLED, *parts)

    assert (unknown.status, unknown.delivery, unknown.reserved) == (OrderStatus.FILLED, Delivery.DONE, 0)
    assert unknown.average_price == Decimal("1.0851")  # (4·1.08500 + 4·1.08510 + 2·1.08530) / 10
    assert risk == Decimal("58.30")
    assert BrokerPosition.objects.get().quantity == Decimal("0.1")


@pytest.mark.parametrize("order_of_reports", list(permutations(range(3))))
def test_reports_in_any_order_and_twice_end_the_same(unknown, order_of_reports):
    parts = [fill(unknown, number, quantity) for number, quantity in ((1, "0.05"), (2, "0.03"), (3, "0.02"))]

    for number in order_of_reports:
        report(unknown, VenueState.WORKING, parts[number])
        report(unknown, VenueState.WORKING, parts[number])
    report(unknown, VenueState.WORKING)  # an acknowledgment that comes last

    assert (unknown.status, unknown.filled_quantity, unknown.reserved) == (OrderStatus.FILLED, Decimal("0.1"), 0)
    assert Fill.objects.count() == 3


def test_a_canceled_rest_keeps_what_was_filled(unknown):
    report(unknown, VenueState.CANCELED, fill(unknown, 1, "0.04"))

    assert (unknown.status, unknown.delivery) == (OrderStatus.CANCELED, Delivery.DONE)
    assert (unknown.filled_quantity, unknown.reserved) == (Decimal("0.04"), 0)


def test_a_deal_that_takes_back_what_a_lost_order_bought_is_none_of_its_fills(unknown):
    """Programs that manage positions close them under the number of the order that opened them."""
    bought, sold = fill(unknown, 1, "0.06"), fill(unknown, 2, "0.04", side=Side.SELL, venue_order_id="78")

    report(unknown, VenueState.WORKING, bought, sold)

    assert (unknown.status, unknown.filled_quantity) == (OrderStatus.PARTIALLY_FILLED, Decimal("0.06"))
    assert unknown.reserved == Decimal("23.32")  # ceil_cent(58.30 · 0.04 / 0.10): it still works
    assert set(Fill.objects.values_list("quantity", "order_id")) == {
        (Decimal("0.06"), unknown.pk), (Decimal("0.04"), None),
    }  # fmt: skip
    assert BrokerPosition.objects.get().quantity == Decimal("0.02")
    assert Alert.objects.filter(kind="EXTERNAL_FILL").exists()


def test_filled_wins_over_canceled(unknown):
    report(unknown, VenueState.CANCELED, fill(unknown, 1, "0.10"))

    assert unknown.status == OrderStatus.FILLED


@pytest.mark.parametrize("state", [VenueState.CANCELED, VenueState.EXPIRED])
def test_a_cancel_is_done_by_the_end_of_its_order_and_undone_by_a_fill_of_the_whole(unknown, state):
    report(unknown, VenueState.WORKING)
    TradeLedger.objects.update(cancel=CancelState.REQUESTED)
    assert report(unknown, state).cancel == CancelState.DONE
    assert report(unknown, VenueState.WORKING, fill(unknown, 1, "0.04")).cancel == CancelState.DONE

    report(unknown, VenueState.WORKING, fill(unknown, 2, "0.06"))

    assert (unknown.status, unknown.late_fill, unknown.cancel) == (OrderStatus.FILLED, True, CancelState.REFUSED)


@pytest.mark.parametrize(
    ("first", "late", "ends"),
    [
        (VenueState.REJECTED, "0.10", OrderStatus.FILLED),
        (VenueState.REJECTED, "0.04", OrderStatus.CANCELED),
        (VenueState.CANCELED, "0.10", OrderStatus.FILLED),
        (VenueState.EXPIRED, "0.04", OrderStatus.CANCELED),
    ],
)
def test_a_late_fill_is_booked_and_wakes_somebody_up(unknown, first, late, ends):
    report(unknown, first)
    assert unknown.delivery == Delivery.DONE

    report(unknown, VenueState.WORKING, fill(unknown, 1, late))

    assert (unknown.status, unknown.late_fill, unknown.reserved) == (ends, True, 0)
    assert (unknown.filled_quantity, unknown.rejected_by) == (Decimal(late), "")
    alert = Alert.objects.get(kind="LATE_FILL")
    assert (alert.severity, alert.closed_at) == ("CRITICAL", None)
    assert BrokerPosition.objects.get().quantity == Decimal(late)


@pytest.mark.parametrize(
    ("first", "late", "counts"), [((), "0.10", "0.10"), (("0.04",), "0.06", "0.06"), (("0.10",), "0.02", "0.02")]
)
def test_what_fills_after_its_order_was_closed_on_another_day_counts_on_the_day_it_filled(
    unknown, account, first, late, counts
):
    before = [fill(unknown, number, quantity) for number, quantity in enumerate(first, 1)]
    report(unknown, VenueState.FILLED if first == ("0.10",) else VenueState.CANCELED, *before)
    assert unknown.delivery == Delivery.DONE
    days = timedelta(days=2)
    TradeLedger.objects.update(created_at=unknown.created_at - days, closed_at=unknown.closed_at - days)
    unknown.refresh_from_db()

    report(unknown, VenueState.FILLED, *before, fill(unknown, 9, late, filled_at=now()))

    found = usage.count(user_id=account.user_id, account_id=account.pk, account_ids=[account.pk], intent=None, at=now())
    assert found.carried_quantity == Decimal(counts)
    assert found.carried_value == unknown.value * Decimal(counts) / unknown.quantity


def test_an_overfill_is_booked_and_told(unknown):
    report(unknown, VenueState.FILLED, fill(unknown, 1, "0.10"))
    report(unknown, VenueState.FILLED, fill(unknown, 1, "0.10"), fill(unknown, 2, "0.05"))

    assert (unknown.status, unknown.overfill_quantity) == (OrderStatus.FILLED, Decimal("0.05"))
    assert Alert.objects.filter(kind="OVERFILL").exists()
    assert BrokerPosition.objects.get().quantity == Decimal("0.15")


def test_a_bust_takes_a_fill_back_and_deletes_nothing(unknown):
    report(unknown, VenueState.FILLED, fill(unknown, 1, "0.10"))
    bust = fill(unknown, 2, "0.10", side=Side.SELL, kind=FillKind.BUST, reverses="1")

    report(unknown, VenueState.WORKING, bust)
    report(unknown, VenueState.WORKING, bust)

    assert (unknown.status, unknown.filled_quantity, unknown.average_price) == (OrderStatus.CANCELED, 0, None)
    assert unknown.late_fill is False
    assert Fill.objects.count() == 2
    assert BrokerPosition.objects.get().quantity == 0


@pytest.mark.parametrize("order_of_reports", list(permutations(range(3))))
def test_a_fill_and_its_reversal_in_any_order_and_twice_end_the_same(unknown, order_of_reports):
    kept, gone = fill(unknown, 1, "0.06"), fill(unknown, 2, "0.04", "1.08600")
    bust = fill(unknown, 9, "0.04", "1.08600", side=Side.SELL, kind=FillKind.BUST, reverses="2")
    told = [(kept,), (gone,), (kept, gone, bust)]

    for number in order_of_reports:
        for _ in range(2):
            report(unknown, VenueState.WORKING, *told[number])
    report(unknown, VenueState.CANCELED, kept, gone, bust)

    assert (unknown.status, unknown.filled_quantity, unknown.reserved) == (OrderStatus.CANCELED, Decimal("0.06"), 0)
    assert (unknown.average_price, unknown.late_fill) == (Decimal("1.085"), False)
    position = BrokerPosition.objects.get()
    assert (position.quantity, position.price_open) == (Decimal("0.06"), Decimal("1.085"))
    assert Alert.objects.get(kind="FILL_TAKEN_BACK").closed_at is None


def test_a_working_order_reserves_again_for_what_was_taken_back(unknown):
    part = fill(unknown, 1, "0.04")
    report(unknown, VenueState.WORKING, part)
    assert unknown.reserved < unknown.risk

    bust = fill(unknown, 2, "0.04", side=Side.SELL, kind=FillKind.BUST, reverses="1")
    report(unknown, VenueState.WORKING, part, bust)

    assert (unknown.status, unknown.delivery, unknown.reserved) == (OrderStatus.PENDING, Delivery.ACKED, unknown.risk)


def test_an_overfill_that_is_taken_back_is_none(unknown):
    fills_ = [fill(unknown, 1, "0.10"), fill(unknown, 2, "0.05")]
    report(unknown, VenueState.FILLED, *fills_)

    report(unknown, VenueState.FILLED, *fills_, fill(unknown, 3, "0.05", kind=FillKind.BUST, reverses="2"))

    assert (unknown.status, unknown.filled_quantity, unknown.overfill_quantity) == (
        OrderStatus.FILLED,
        Decimal("0.1"),
        0,
    )


def test_a_reversal_of_what_is_not_booked_reverses_nothing_and_is_told(unknown):
    report(unknown, VenueState.FILLED, fill(unknown, 1, "0.10"))
    before = list(Fill.objects.values()), list(BrokerPosition.objects.values())
    bust = fill(unknown, 3, "0.10", side=Side.SELL, kind=FillKind.BUST, reverses="2")

    report(unknown, VenueState.FILLED, bust)
    fills.ingest(account=unknown.account, reports=[bust, replace(bust, client_order_id="")], at=now())

    assert (list(Fill.objects.values()), list(BrokerPosition.objects.values())) == before
    assert (unknown.status, unknown.filled_quantity) == (OrderStatus.FILLED, Decimal("0.1"))
    assert "deal 2 (BUY 0.1 EURUSD), which is not in our books" in Alert.objects.get(kind="FILL_TAKEN_BACK").text


def test_a_reversal_takes_back_what_is_booked_whatever_it_says_of_it(unknown):
    report(unknown, VenueState.FILLED, fill(unknown, 1, "0.10"))
    wrong: dict[str, Any] = {
        "symbol": "USDJPY",
        "venue_position_id": "78",
        "client_order_id": "",
        "kind": FillKind.BUST,
    }

    bust = fill(unknown, 2, "0.03", "150", reverses="1", **wrong)
    fills.ingest(account=unknown.account, reports=[bust, replace(bust, venue_fill_id="3")], at=now())

    unknown.refresh_from_db()
    assert (unknown.status, unknown.filled_quantity) == (OrderStatus.CANCELED, 0)
    position = BrokerPosition.objects.get()
    assert (position.symbol, position.quantity) == ("EURUSD", 0)
    assert Fill.objects.count() == 2  # once, under whichever name


def test_a_fill_with_our_mark_and_another_ticket_is_a_fact_of_its_own(unknown):
    """A broker that executed twice: the second is booked as somebody else's, counted and told, never swallowed."""
    report(unknown, VenueState.FILLED, fill(unknown, 1, "0.10"))

    report(unknown, VenueState.FILLED, fill(unknown, 2, "0.10", venue_order_id="78", venue_position_id="78"))

    assert (unknown.filled_quantity, unknown.overfill_quantity) == (Decimal("0.1"), 0)
    assert Fill.objects.get(venue_fill_id="2").order is None
    assert Alert.objects.filter(kind="EXTERNAL_FILL").exists()


def test_high_slippage_is_told_and_judged_at_once_and_better_prices_are_not(unknown, monkeypatch):
    looks = []
    monkeypatch.setattr(fills, "enqueue", lambda name, **words: looks.append((name, words)))
    report(unknown, VenueState.WORKING, fill(unknown, 1, "0.05", "1.07000"))
    assert not Alert.objects.filter(kind="HIGH_SLIPPAGE").exists()
    assert looks == []

    report(unknown, VenueState.WORKING, fill(unknown, 2, "0.05", "1.09050"))  # 0.51 % above the ask at sending

    assert Alert.objects.filter(kind="HIGH_SLIPPAGE").exists()
    assert looks == [("trading.watch_account", {"account_id": unknown.account_id})]  # its limits are judged at once
    kept = RiskAdjustment.objects.get(kind=AdjustmentKind.SLIPPAGE)
    # half of 10,852.20 USD, 0.00506912 of that worse than it was judged by: 27.51
    assert (kept.order_id, kept.before, kept.after) == (unknown.pk, Decimal("58.30"), Decimal("85.81"))


# --- What two operators may decide ---------------------------------------------------------------------------------
@pytest.fixture
def operators(unknown) -> list[Any]:
    return [UserFactory.create(role=Role.OPERATOR) for _ in range(2)]


def propose(order: TradeLedger, by: Any) -> OrderDecision:
    return decisions.propose(
        order_id=order.pk, to=OrderStatus.REJECTED, evidence="The broker's dealer says so.", by=by, at=now()
    )


def test_two_operators_close_an_order_that_nobody_can_find(unknown, operators, new_events):
    decision = propose(unknown, operators[0])
    decisions.decide(decision_id=decision.pk, approve=True, by=operators[1], at=now())

    unknown.refresh_from_db()
    assert (unknown.status, unknown.reason, unknown.reserved) == (OrderStatus.REJECTED, "DECIDED_BY_OPERATORS", 0)
    told = [event.action for event in new_events() if event.action.startswith("order.decision")]
    assert told == ["order.decision_proposed", "order.decision_applied"]


def test_nobody_decides_alone(unknown, operators):
    decision = propose(unknown, operators[0])

    with pytest.raises(SamePerson):
        decisions.decide(decision_id=decision.pk, approve=True, by=operators[0], at=now())
    with pytest.raises(IntegrityError):
        OrderDecision.objects.filter(pk=decision.pk).update(decided_by=decision.proposed_by)

    unknown.refresh_from_db()
    assert unknown.delivery == Delivery.UNKNOWN


def test_the_broker_may_be_faster_than_the_second_operator(unknown, operators):
    decision = propose(unknown, operators[0])
    report(unknown, VenueState.FILLED, fill(unknown, 1, "0.10"))

    with pytest.raises(NotUndecided):
        decisions.decide(decision_id=decision.pk, approve=True, by=operators[1], at=now())

    unknown.refresh_from_db()
    assert unknown.status == OrderStatus.FILLED
    assert OrderDecision.objects.get().state == "STALE"


def test_a_fill_after_a_decision_is_booked_all_the_same(unknown, operators):
    decisions.decide(decision_id=propose(unknown, operators[0]).pk, approve=True, by=operators[1], at=now())

    report(unknown, VenueState.FILLED, fill(unknown, 1, "0.10"))

    assert (unknown.status, unknown.late_fill) == (OrderStatus.FILLED, True)


def test_an_order_that_is_known_cannot_be_decided(execute, operators):
    order = TradeLedger.objects.get()
    report(order, VenueState.REJECTED)

    with pytest.raises(NotUndecided):
        propose(order, operators[0])
    assert uuid.UUID(str(order.public_id))


@pytest.mark.parametrize(
    ("changes", "kind", "severity"),
    [
        ({"stops_missing": True}, "STOPS_MISSING", "CRITICAL"),
        ({"halts": True}, "ACCOUNT_REFUSED", "CRITICAL"),
        ({"is_defect": True}, "REQUEST_NOT_VALID", "WARNING"),
    ],
)
def test_what_only_a_person_can_mend_wakes_one(unknown, changes, kind, severity):
    state = VenueState.FILLED if kind == "STOPS_MISSING" else VenueState.REJECTED
    reports = (fill(unknown, 1, "0.10"),) if kind == "STOPS_MISSING" else ()

    told = OrderReport(unknown.client_order_id, state, venue_order_id="77", fills=reports, **changes)
    fills.record(order_id=unknown.pk, report=told, at=now())

    assert Alert.objects.get(kind=kind).severity == severity
