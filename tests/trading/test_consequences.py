"""What has become of an order has the same consequences, by whatever way it becomes known: a matrix of both."""

import json
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import transaction
from django.db.models import F
from django.utils.timezone import now

from accounts.states import Role
from nexus.alerts.models import Alert
from nexus.core.errors import OutcomeUnknown, Refused, Unreachable
from nexus.idempotency.models import IdempotencyRecord
from nexus.idempotency.services.records import RequestKey
from risk.models import RiskAdjustment
from tests.factories.accounts import UserFactory
from tests.trading.conftest import TESTER, brief
from tests.trading.test_lifecycle import fill
from trading.brokers.mt5.adapter import Mt5Broker
from trading.models import BrokerPosition, Fill, TradeLedger, TradingAccount
from trading.services import (
    accounts,
    cancels,
    corrections,
    decisions,
    dispatch,
    facts,
    fills,
    orders,
    resolution,
    usage,
    watch,
)
from trading.services.corrections import Origin
from trading.states import (
    CANCELED,
    CancelState,
    CorrectionKind,
    Delivery,
    FillKind,
    OrderStatus,
    PositionMode,
    Side,
    VenueState,
)
from trading.types import Difference, FillReport, OrderReport

SPEAKS_FOR_THE_BROKER = True  # its reports are made up: the paper broker has never heard of them
D = Decimal
R, REST = D("58.30"), D("34.98")  # of 0.1 lots, and of the 0.06 that are left


@dataclass(frozen=True)
class Said:
    """What a broker says of an order: where it stands, and what has filled."""

    state: VenueState
    parts: tuple[tuple[str, str], ...] = ()
    code: str = ""

    @property
    def is_over(self) -> bool:
        return self.state is not VenueState.WORKING

    def fills(self, order: Any) -> tuple[FillReport, ...]:
        return tuple(fill(order, number, *part, filled_at=now()) for number, part in enumerate(self.parts, 1))

    def report(self, order: Any) -> OrderReport:
        ticket = "" if self.state is VenueState.REJECTED else "77"
        return OrderReport(
            order.client_order_id, self.state, venue_order_id=ticket, fills=self.fills(order), code=self.code
        )

    def answer(self, request: Any) -> OrderReport:
        """Answer whoever sends it: a refusal is an error there."""
        if self.state is VenueState.REJECTED:
            raise Refused("No money.", code=self.code)
        return self.report(request)


class Desk:
    """Whoever places the order and hears of it."""

    def __init__(self, execute: Any, account: Any, trader: Any, patch: pytest.MonkeyPatch) -> None:
        self.execute, self.account, self.trader, self.patch = execute, account, trader, patch
        self.looks: list[str] = []
        patch.setattr(fills, "enqueue", lambda name, **_: self.looks.append(name))

    def answers(self, submit: Callable[[Any], OrderReport]) -> None:
        self.patch.setattr(Mt5Broker, "submit", lambda _, request: submit(request))

    def place(self, submit: Callable[[Any], OrderReport]) -> TradeLedger:
        self.answers(submit)
        order: TradeLedger = self.execute(brief(take_profit=None))
        return order

    def accept(self) -> TradeLedger:
        key = RequestKey(str(self.trader.public_id), str(self.account.public_id), uuid.uuid4().hex, b"accepted")
        return orders.accept(
            user=self.trader, account=self.account, intent=brief(take_profit=None), key=key, at=now()
        ).order

    def search(self, order: TradeLedger, said: Said) -> None:
        self.patch.setattr(Mt5Broker, "order_report", lambda *_, **__: said.report(order))
        resolution.resolve(order_id=order.pk, at=now())

    def search_in_vain(self, order: TradeLedger) -> None:
        """Let searches show nothing of it for a while, until people are told."""
        ago, rows = timedelta(seconds=100), TradeLedger.objects.filter(pk=order.pk)
        rows.update(sent_at=F("sent_at") - ago)
        self.patch.setattr(Mt5Broker, "order_report", unreachable)
        resolution.resolve(order_id=order.pk, at=now())
        rows.update(absent_since=now() - ago * 0.9, absent_at=now() - ago / 10)


def lost(_: Any) -> OrderReport:
    raise OutcomeUnknown("No answer.")


def unreachable(*_: Any, **__: Any) -> OrderReport:
    raise Unreachable("Nobody is there.")


# --- Ways --------------------------------------------------------------------------------------------------------
def by_answer(desk: Desk, said: Said) -> TradeLedger:
    return desk.place(said.answer)


def by_dispatch(desk: Desk, said: Said) -> TradeLedger:
    order = desk.accept()
    desk.answers(said.answer)
    dispatch.dispatch(order_id=order.pk, at=now())
    return order


def by_late_answer(desk: Desk, said: Said) -> TradeLedger:
    """The answer comes when others have held the order for lost already, and have searched for it in vain."""

    def submit(request: Any) -> OrderReport:
        desk.search_in_vain(TradeLedger.objects.get())
        assert Alert.objects.filter(kind="ORDER_UNKNOWN", closed_at=None).exists()
        return said.answer(request)

    return desk.place(submit)


def by_search(desk: Desk, said: Said) -> TradeLedger:
    order = desk.place(lost)
    desk.search(order, said)
    return order


def by_search_after_a_crash(desk: Desk, said: Said) -> TradeLedger:
    def die(_: Any) -> OrderReport:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        desk.place(die)
    order = TradeLedger.objects.get()
    assert order.delivery == Delivery.SENDING
    desk.search(order, said)
    return order


def by_history(desk: Desk, said: Said) -> TradeLedger:
    """What history lists are fills: of the end the order is asked for by its name."""
    order = desk.place(lost)
    desk.search_in_vain(order)
    fills.ingest(account=desk.account, reports=said.fills(order), at=now())
    if said.is_over:
        desk.search(order, said)
    return order


def by_history_before_the_answer(desk: Desk, said: Said) -> TradeLedger:
    def submit(request: Any) -> OrderReport:
        fills.ingest(account=desk.account, reports=said.fills(request), at=now())
        return said.answer(request)

    return desk.place(submit)


def by_reconciliation(desk: Desk, said: Said) -> TradeLedger:
    order = desk.place(lost)
    read_at = facts.database_clock()
    shown = accounts.broker_of(desk.account).snapshot(symbols=[])
    watch.book(desk.account, shown, reports=said.fills(order), moved=[], read_at=read_at, at=now())
    if said.is_over:
        desk.search(order, said)
    return order


def by_history_of_what_waits_here(desk: Desk, said: Said) -> TradeLedger:
    """A database that was put back to an earlier moment has forgotten that the order was sent."""
    order = desk.accept()
    fills.ingest(account=desk.account, reports=said.fills(order), at=now())
    if said.is_over:
        desk.search(order, said)
    return order


def by_operators(desk: Desk, said: Said) -> TradeLedger:
    """They decide an end, and never a fill."""
    order = desk.place(lost)
    if said.parts:
        fills.ingest(account=desk.account, reports=said.fills(order), at=now())
        desk.search_in_vain(order)
    first, second = (UserFactory.create(role=Role.OPERATOR) for _ in range(2))
    decision = decisions.propose(
        order_id=order.pk, to=OrderStatus(said.state), evidence="The dealer says so.", by=first, at=now()
    )
    decisions.decide(decision_id=decision.pk, approve=True, by=second, at=now())
    return order


ASKED = [by_answer, by_dispatch, by_late_answer, by_search, by_search_after_a_crash]
HEARD = [by_history, by_history_before_the_answer, by_reconciliation, by_history_of_what_waits_here]

# --- Outcomes ----------------------------------------------------------------------------------------------------
PART, WHOLE = ("0.04", "1.08500"), ("0.10", "1.08500")
OUTCOMES = {
    "filled": Said(VenueState.FILLED, (WHOLE,)),
    "filled in two": Said(VenueState.FILLED, (PART, ("0.06", "1.08520"))),
    "filled too dear": Said(VenueState.FILLED, (("0.10", "1.09050"),)),
    "filled for too much": Said(VenueState.FILLED, (WHOLE, ("0.02", "1.08500"))),
    "working": Said(VenueState.WORKING),
    "working, a part filled": Said(VenueState.WORKING, (PART,)),
    "a part filled too dear": Said(VenueState.WORKING, (("0.04", "1.09050"),)),
    "canceled": Said(VenueState.CANCELED),
    "canceled, a part filled": Said(VenueState.CANCELED, (PART,)),
    "expired": Said(VenueState.EXPIRED),
    "expired, a part filled": Said(VenueState.EXPIRED, (PART,)),
    "rejected": Said(VenueState.REJECTED, code="10019"),
}
ENDS = (VenueState.CANCELED, VenueState.EXPIRED, VenueState.REJECTED)


def ways(said: Said) -> list[Callable[[Desk, Said], TradeLedger]]:
    return ASKED + (HEARD if said.parts else []) + ([by_operators] if said.state in ENDS else [])


MATRIX = [pytest.param(name, way, id=f"{name}-{way.__name__}") for name, said in OUTCOMES.items() for way in ways(said)]


def told(order: TradeLedger, desk: Desk, events: list[Any]) -> dict[str, Any]:
    """Return all that has come of it."""
    order.refresh_from_db()
    counted = usage.count(
        user_id=order.user_id, account_id=order.account_id, account_ids=[order.account_id], intent=None, at=now()
    )
    details = [json.loads(each.canonical)["detail"] for each in events if each.object_id == str(order.public_id)]
    return {
        "state": str(order.state),
        "cancel": order.cancel,
        "filled": (order.filled_quantity, order.average_price, order.overfill_quantity, order.late_fill),
        "reserved": order.reserved,
        "refused": (order.rejected_by, order.reason),
        "sent": (order.attempts, order.sent_at is not None, order.closed_at is not None),
        "ticket": order.venue_order_id,
        "is_unfound": order.is_unfound,
        "is_asked_for": order.pk in resolution.due(),
        "fills": sorted(Fill.objects.filter(order=order).values_list("quantity", "price", "slippage", "profit")),
        "positions": list(BrokerPosition.objects.values_list("quantity", "price_open", "stop_loss", "closed_at")),
        "adjustments": list(RiskAdjustment.objects.order_by("pk").values_list("kind", "before")),
        "key expires": IdempotencyRecord.objects.get(object_id=str(order.public_id)).expires_at is not None,
        "moves in the audit": sum("before" in each and each.get("after") == str(order.state) for each in details),
        "alerts": sorted(Alert.objects.filter(closed_at=None).values_list("kind", flat=True)),
        "looks": desk.looks,
        "given back": (counted.undone_quantity, counted.undone_value),
        "failures": counted.failures,
    }


def expected(said: Said) -> dict[str, Any]:
    """Return what comes of an order for 0.1 lots at 1.08500, of a value of 10852.20, whoever tells."""
    parts = [(D(quantity), D(price)) for quantity, price in said.parts]
    filled = sum((quantity for quantity, _ in parts), start=D(0))
    average = (sum(quantity * price for quantity, price in parts) / filled).quantize(D("1E-10")) if filled else None
    is_over, is_part = said.is_over, 0 < filled < D("0.1")
    slipped = [price for _, price in parts if price > D("1.09")]
    status = "PARTIALLY_FILLED" if is_part else "PENDING"
    undone = D("0.1") - filled if is_over else D(0)
    is_refused = said.state is VenueState.REJECTED
    return {
        "state": f"{said.state}/DONE" if is_over else f"{status}/ACKED",
        "cancel": "NONE",
        "filled": (filled, average, max(D(0), filled - D("0.1")), False),
        "reserved": D(0) if is_over else REST if is_part else R,
        "refused": ("BROKER", "BROKER_10019") if is_refused else ("", ""),
        "sent": (1, True, is_over),
        "ticket": "" if is_refused else "77",
        "is_unfound": False,
        "is_asked_for": not is_over,
        "fills": sorted(
            (quantity, price, ((price - D("1.085")) / D("1.085")).quantize(D("1E-10")), D(0))
            for quantity, price in parts
        ),
        "positions": [(filled, average, D("1.08"), None)] if filled else [],
        "adjustments": [("PARTIAL_FILL", R)] * is_part + [("SLIPPAGE", R)] * len(slipped),
        "key expires": is_over,
        "moves in the audit": 1,
        "alerts": ["HIGH_SLIPPAGE"] * len(slipped) + ["OVERFILL"] * (filled > D("0.1")),
        "looks": ["trading.watch_account"] * len(slipped),
        "given back": (undone, D("10852.20") * undone / D("0.1")),
        "failures": int(is_refused),
    }


# Where one way has other consequences, and why.
BUT: dict[Callable[[Desk, Said], TradeLedger], Callable[[Said], dict[str, Any]]] = {
    # It is their word and no broker's: no code, and no ticket where no fill has told one.
    by_operators: lambda said: {
        "refused": ("BROKER" if said.state is VenueState.REJECTED else "", "DECIDED_BY_OPERATORS"),
        "ticket": "77" if said.parts else "",
    },
}


@pytest.fixture
def desk(execute: Any, account: Any, trader: Any, monkeypatch: pytest.MonkeyPatch) -> Desk:
    return Desk(execute, account, trader, monkeypatch)


@pytest.mark.parametrize(("name", "way"), MATRIX)
def test_an_outcome_has_its_consequences_by_every_way(desk, new_events, name, way):
    said = OUTCOMES[name]

    order = way(desk, said)

    assert told(order, desk, new_events()) == expected(said) | BUT.get(way, lambda _: {})(said)


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
    assert [each.kind for each in Alert.objects.filter(closed_at=None)] == ["FILL_TAKEN_BACK"]


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
