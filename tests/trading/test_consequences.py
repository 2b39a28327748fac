"""What has become of an order has the same consequences, by whatever way it becomes known: a matrix of both."""

import contextlib
from datetime import timedelta
from typing import Any

import pytest
from django.db import transaction
from django.db.models import F
from django.utils.timezone import now

from risk.models import RiskAdjustment
from risk.states import ControlScope
from tests.trading.conftest import TESTER, brief
from tests.trading.test_lifecycle import fill
from tests.trading.ways import (
    BUT,
    ENDS,
    MATRIX,
    OUTCOMES,
    PART,
    REST,
    WHOLE,
    D,
    Desk,
    R,
    Said,
    alerts,
    by_answer,
    by_operators,
    by_search,
    decide,
    expected,
    lost,
    told,
    ways,
)
from trading.brokers.mt5.adapter import Mt5Broker
from trading.models import BrokerPosition, ChangeRequest, TradeLedger, TradingAccount
from trading.services import (
    cancels,
    corrections,
    coverage,
    dispatch,
    fills,
)
from trading.services import lost as lost_changes
from trading.services.corrections import Origin
from trading.states import (
    CANCELED,
    CancelState,
    CorrectionKind,
    Delivery,
    FillKind,
    PositionMode,
    Side,
    VenueState,
)
from trading.types import Difference, FillReport, OrderIntent, OrderReport

SPEAKS_FOR_THE_BROKER = True  # its reports are made up: the paper broker has never heard of them


@pytest.fixture
def desk(execute: Any, account: Any, trader: Any, monkeypatch: pytest.MonkeyPatch) -> Desk:
    return Desk(execute, account, trader, monkeypatch)


@pytest.mark.parametrize(("name", "way"), MATRIX)
def test_an_outcome_has_its_consequences_by_every_way(desk, new_events, name, way):
    said = OUTCOMES[name]

    order = way(desk, said)

    assert told(order, desk, new_events()) == expected(said) | BUT.get(way, lambda _: {})(said)


def broken(_: Any) -> OrderReport:
    raise ZeroDivisionError("a defect of ours")


def under_another_s_ticket(request: Any) -> OrderReport:
    return OUTCOMES["filled"].report(request)


def died(_: Any) -> OrderReport:
    raise KeyboardInterrupt


@pytest.mark.parametrize("is_queued", [False, True], ids=["sent at once", "dispatched"])
@pytest.mark.parametrize("submit", [lost, broken, under_another_s_ticket, died])
def test_whatever_has_lost_an_answer_the_order_is_unknown_and_told(desk, new_events, submit, is_queued):
    by_answer(desk, OUTCOMES["canceled"])  # it has the ticket
    with contextlib.suppress(KeyboardInterrupt):
        if is_queued:
            order = desk.accept()
            desk.answers(submit)
            dispatch.dispatch(order_id=order.pk, at=now())
        else:
            desk.place(submit)
    order = TradeLedger.objects.latest("pk")
    assert [each["order"] for each in coverage.in_flight(ControlScope.SYSTEM, "")] == [str(order.public_id)]
    desk.search_in_vain(order)

    found = told(order, desk, new_events())
    is_strange = submit is under_another_s_ticket  # the deal is somebody else's
    assert bool(found.pop("positions")) == is_strange
    found.pop("given back")
    nothing = {"filled": (0, None, 0, False), "fills": [], "ticket": "", "stops awaited": False, "stopped": []}
    assert found == nothing | {
        "state": "PENDING/UNKNOWN", "cancel": "NONE", "reserved": R, "refused": ("", ""), "sent": (1, True, False),
        "is_unfound": True, "is_asked_for": True, "adjustments": [], "key expires": False, "moves in the audit": 1,
        "alerts": ["EXTERNAL_FILL"] * is_strange + ["ORDER_UNKNOWN"], "looks": [], "failures": 0,
    }  # fmt: skip
    assert order.events.latest("pk").reason == "OUTCOME_UNKNOWN"


CLOSES = {
    "closed": (VenueState.FILLED, (WHOLE,)),
    "a part closed": (VenueState.CANCELED, (PART,)),
    "not closed": (VenueState.REJECTED, ()),
}


@pytest.mark.parametrize(
    ("name", "way"), [(name, way) for name, (state, parts) in CLOSES.items() for way in ways(Said(state, parts))]
)
def test_a_close_has_its_consequences_by_every_way(desk, new_events, name, way):
    """It reserves nothing, gives nothing back, and no failure of it counts against what is new."""
    opening = desk.execute(desk.intent)
    held = BrokerPosition.objects.get()
    desk.intent = OrderIntent("EURUSD", Side.SELL, D("0.1"), venue_position_id=held.venue_position_id)
    state, parts = CLOSES[name]
    said = Said(state, parts, position=held.venue_position_id, code="10019" if not parts else "")

    order = way(desk, said)

    left = D("0.1") - sum((D(quantity) for quantity, _ in parts), start=D(0))
    wanted = expected(said) | BUT.get(way, lambda _: {})(said)
    found = told(order, desk, new_events())
    (position,) = found.pop("positions")
    assert (opening.status, position[:3]) == ("FILLED", (left, held.price_open, held.stop_loss))
    assert (position[3] is None) == bool(left)
    slipped = [(*each[:2], (D("1.0849") - each[1]) / D("1.0849"), each[3]) for each in wanted["fills"]]
    wanted["fills"] = [(*each[:2], each[2].quantize(D("1E-10")), each[3]) for each in slipped]
    nothing = {"adjustments": [], "given back": (0, 0), "failures": 0, "stops awaited": False}
    assert found | {"positions": []} == wanted | nothing | {"positions": []}


# --- What is over, and fills all the same -------------------------------------------------------------------------
def refused(desk: Desk) -> TradeLedger:
    return by_answer(desk, OUTCOMES["rejected"])


def absent(desk: Desk) -> TradeLedger:
    order = desk.place(lost)
    fills.record(order_id=order.pk, report=OrderReport(order.client_order_id, VenueState.NEVER_SENT), at=now())
    return order


def decided(desk: Desk) -> TradeLedger:
    return by_operators(desk, OUTCOMES["rejected"])


def expired(desk: Desk) -> TradeLedger:
    return by_search(desk, OUTCOMES["expired"])


def canceled_by_us(desk: Desk) -> TradeLedger:
    order = by_answer(desk, OUTCOMES["working"])
    desk.patch.setattr(Mt5Broker, "cancel", lambda *_, **__: None)
    desk.patch.setattr(Mt5Broker, "order_report", lambda *_, **__: OUTCOMES["canceled"].report(order))
    return cancels.request(order_id=order.pk, actor=TESTER, reason="A test.", at=now())


def canceled_before_it_was_sent(desk: Desk) -> TradeLedger:
    return cancels.request(order_id=desk.accept().pk, actor=TESTER, reason="A test.", at=now())


def too_old(desk: Desk) -> TradeLedger:
    order = desk.accept()
    TradeLedger.objects.update(created_at=F("created_at") - timedelta(hours=1))
    dispatch.dispatch(order_id=order.pk, at=now())
    return order


ENDED = [refused, absent, decided, expired, canceled_by_us, canceled_before_it_was_sent, too_old]
LATE = {"whole": (WHOLE,), "a part": (PART,), "two parts": (PART, ("0.06", "1.08500"))}


def reports(order: TradeLedger, *parts: tuple[str, str]) -> tuple[FillReport, ...]:
    return Said(VenueState.WORKING, parts).fills(order)


@pytest.mark.parametrize("is_history", [True, False], ids=["history", "answer"])
@pytest.mark.parametrize("late", LATE)
@pytest.mark.parametrize("end", ENDED)
def test_whatever_has_ended_it_a_late_fill_is_booked_and_told(desk, new_events, end, late, is_history):
    order = end(desk)
    order.refresh_from_db()
    assert (order.delivery, order.reserved) == (Delivery.DONE, 0)
    cancel = order.cancel

    if is_history:
        fills.ingest(account=desk.account, reports=reports(order, *LATE[late]), at=now())
    else:
        fills.record(order_id=order.pk, report=Said(VenueState.WORKING, LATE[late]).report(order), at=now())

    is_part = late == "a part"
    filled = D("0.04") if is_part else D("0.1")
    wanted = expected(Said(VenueState.CANCELED if is_part else VenueState.FILLED, ((str(filled), "1.08500"),)))
    changed = {
        "cancel": CancelState.REFUSED if cancel == CancelState.DONE and not is_part else cancel,
        "filled": (filled, D("1.085"), 0, True),
        "refused": ("", "LATE_FILL"),
        "fills": sorted((D(quantity), D(price), 0, 0) for quantity, price in LATE[late]),
        "adjustments": [],  # it reserved nothing any more
        "alerts": ["LATE_FILL"],
        "stops awaited": is_history,  # which shows no positions
    }
    found = told(order, desk, new_events())
    moves = found.pop("moves in the audit"), wanted.pop("moves in the audit")  # an end may be told again
    assert moves[0] >= moves[1]
    assert found == wanted | changed


@pytest.mark.parametrize("end", ENDED)
def test_whatever_has_ended_it_what_was_taken_back_before_it_was_told_leaves_nothing(desk, end):
    """One that breaks holds up every later look at its account."""
    order = end(desk)
    part = fill(order, 1, *PART, filled_at=now())
    bust = fill(order, 2, *PART, side=Side.SELL, kind=FillKind.BUST, reverses="1", filled_at=now())

    fills.ingest(account=desk.account, reports=[part, bust], at=now())

    order.refresh_from_db()
    assert (order.state, order.filled_quantity, order.reserved) == (CANCELED, 0, 0)
    assert (order.rejected_by, order.late_fill) == ("", False)
    assert [(each.quantity, each.closed_at is None) for each in BrokerPosition.objects.all()] == [(0, False)]
    assert alerts() == ["FILL_TAKEN_BACK"]


# --- What is told out of turn ---------------------------------------------------------------------------------------
@pytest.mark.parametrize("is_first", [True, False], ids=["older", "newer"])
@pytest.mark.parametrize("tell", ["search", "history", "one history"])
def test_a_fill_of_ours_told_after_a_later_one_makes_the_average_that_the_broker_shows(desk, settings, tell, is_first):
    """0.1 lots at 1.085 and 0.1 at 1.087 are 0.2 at 1.086, of which 0.1 are sold: whoever is told first.

    Takes: `is_first` where the order that buys more is the older one.
    """
    settings.MAX_POSITION_SIZE = D(10**6)
    by_answer(desk, OUTCOMES["filled"])
    at, sell = now(), brief(side=Side.SELL, stop_loss=D("1.09"), take_profit=None)
    desk.answers(lambda request: OrderReport(request.client_order_id, VenueState.WORKING))
    more, less = (desk.execute(each) for each in ((brief(), sell) if is_first else (sell, brief())))
    more, less = (more, less) if is_first else (less, more)
    earlier = fill(more, 2, "0.10", "1.08700", venue_order_id="78", filled_at=at)
    later = fill(less, 3, "0.10", "1.08600", venue_order_id="79", filled_at=at + timedelta(seconds=1))

    if tell == "one history":
        fills.ingest(account=desk.account, reports=[earlier, later], at=now())
    else:
        fills.ingest(account=desk.account, reports=[later], at=now())
        if tell == "history":
            fills.ingest(account=desk.account, reports=[earlier], at=now())
        else:
            found = OrderReport(more.client_order_id, VenueState.FILLED, venue_order_id="78", fills=(earlier,))
            fills.record(order_id=more.pk, report=found, at=now())

    held = BrokerPosition.objects.get()
    assert (held.quantity, held.price_open, held.closed_at) == (D("0.1"), D("1.086"), None)


@pytest.mark.parametrize("is_unseen", [False, True], ids=["seen", "unlisted"])
def test_an_answer_heard_after_a_later_order_s_makes_the_average_that_the_broker_shows(desk, settings, is_unseen):
    """The same of two orders that are on their way at once: what was executed last is answered first."""
    settings.MAX_POSITION_SIZE = D(10**6)
    by_answer(desk, OUTCOMES["filled"])
    at, sell = now(), brief(side=Side.SELL, stop_loss=D("1.09"), take_profit=None)

    def submit(request: Any) -> OrderReport:
        is_more = request.side is Side.BUY
        if is_more:
            assert desk.execute(sell).status == "FILLED"
        price, later = ("1.08700", timedelta(0)) if is_more else ("1.08600", timedelta(seconds=1))
        ticket = "78" if is_more else "79"
        deal = fill(request, int(ticket), "0.10", price, venue_order_id=ticket, filled_at=at + later)
        return OrderReport(
            request.client_order_id, VenueState.FILLED, venue_order_id=ticket, fills=(deal,), stops_unseen=is_unseen
        )

    desk.answers(submit)
    desk.execute(brief())

    held = BrokerPosition.objects.get()
    assert (held.quantity, held.price_open, held.closed_at) == (D("0.1"), D("1.086"), None)
    assert held.stops_unseen is is_unseen


def by_deal(account: Any, held: BrokerPosition) -> None:
    order = TradeLedger.objects.get()
    deal = fill(order, 9, "0.30", "1.09", side=Side.SELL, venue_order_id="99", client_order_id="", filled_at=now())
    fills.ingest(account=account, reports=[deal], at=now())


def by_correction(account: Any, held: BrokerPosition) -> None:
    TradingAccount.objects.update(mode=PositionMode.NETTING)
    account.refresh_from_db()
    difference = Difference(
        "EURUSD", "EURUSD", held.venue_position_id, quantity=held.quantity, price=held.price_open,
        venue_quantity=D("-0.2"), venue_price=D("1.09"),
    )  # fmt: skip
    origin = Origin(CorrectionKind.AUTOMATIC, "No deal explains it.", TESTER, as_of="9")
    with transaction.atomic():
        corrections.restate(account, difference, origin=origin, at=now())


@pytest.mark.parametrize("turn", [by_deal, by_correction])
def test_a_position_that_somebody_has_turned_around_has_no_stops_that_we_know_of(desk, turn):
    """Those of a long position would hide what a short one can lose."""
    by_answer(desk, OUTCOMES["filled"])

    turn(desk.account, BrokerPosition.objects.get())

    held = BrokerPosition.objects.get()
    assert (held.quantity, held.price_open) == (D("-0.2"), D("1.09"))
    assert (held.stop_loss, held.take_profit) == (None, None)


def test_what_a_working_order_reserves_again_is_kept_as_a_change_of_risk(desk):
    """A part that is filled, half of it taken back, and then the rest."""
    order = by_answer(desk, OUTCOMES["working"])
    parts = [fill(order, number, "0.02", filled_at=now()) for number in (1, 2)]
    busts = [
        fill(order, number + 2, "0.02", side=Side.SELL, kind=FillKind.BUST, reverses=str(number), filled_at=now())
        for number in (1, 2)
    ]

    for told_next in (parts, busts[:1], busts[1:]):
        fills.ingest(account=desk.account, reports=told_next, at=now())

    kept = RiskAdjustment.objects.order_by("pk").values_list("before", "after", "reason")
    assert list(kept) == [
        (R, REST, "0.04 lots are filled"),
        (REST, D("46.64"), "0.02 lots are filled"),
        (D("46.64"), R, "0 lots are filled"),
    ]


# --- A cancel whose answer was lost ---------------------------------------------------------------------------------
def search(desk: Desk, order: TradeLedger, said: Said) -> None:
    desk.search(order, said)


def history(desk: Desk, order: TradeLedger, said: Said) -> None:
    fills.ingest(account=desk.account, reports=said.fills(order), at=now())
    if said.is_over:
        desk.search(order, said)


def operators(desk: Desk, order: TradeLedger, said: Said) -> None:
    fills.ingest(account=desk.account, reports=said.fills(order), at=now())
    desk.search_in_vain(order)
    decide(order, said)


TELL = [
    (name, tell)
    for name in ("filled", "working, a part filled", "canceled", "canceled, a part filled", "expired, a part filled")
    for tell in (search, history, operators)
    if tell is not operators or OUTCOMES[name].state in ENDS
]


@pytest.mark.parametrize(("name", "tell"), TELL)
def test_a_cancel_whose_answer_was_lost_ends_with_its_order_by_every_way(desk, name, tell):
    order = by_answer(desk, OUTCOMES["working"])
    desk.patch.setattr(Mt5Broker, "cancel", lambda *_, **__: lost(None))
    desk.patch.setattr(Mt5Broker, "order_report", lambda *_, **__: OUTCOMES["working"].report(order))
    order = cancels.request(order_id=order.pk, actor=TESTER, reason="A test.", at=now())
    ChangeRequest.objects.update(sent_at=F("sent_at") - timedelta(seconds=70))
    lost_changes.tell(at=now())
    assert (order.cancel, alerts()) == (CancelState.UNKNOWN, ["CHANGE_UNKNOWN"])

    tell(desk, order, OUTCOMES[name])

    order.refresh_from_db()
    lost_changes.tell(at=now())
    ended = {"FILLED": CancelState.REFUSED, "PARTIALLY_FILLED": CancelState.UNKNOWN}
    assert order.cancel == ended.get(order.status, CancelState.DONE)
    assert alerts() == ([] if order.delivery == Delivery.DONE else ["CHANGE_UNKNOWN"])
    assert coverage.changes_under(ControlScope.SYSTEM, "").exists() == (order.delivery != Delivery.DONE)
