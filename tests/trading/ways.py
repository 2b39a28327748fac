"""What a broker says of an order, the ways in which it becomes known, and all that comes of it."""

import json
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db.models import F
from django.utils.timezone import now

from accounts.states import Role
from nexus.alerts.models import Alert
from nexus.core.errors import OutcomeUnknown, Refused, Unreachable
from nexus.idempotency.models import IdempotencyRecord
from nexus.idempotency.services.records import RequestKey
from risk.models import RiskAdjustment, TradingControl
from risk.states import StopLevel
from tests.factories.accounts import UserFactory
from tests.trading.conftest import brief
from tests.trading.test_lifecycle import fill
from trading.brokers.mt5.adapter import Mt5Broker
from trading.models import BrokerPosition, Fill, TradeLedger
from trading.services import (
    accounts,
    decisions,
    dispatch,
    facts,
    fills,
    orders,
    resolution,
    usage,
    watch,
)
from trading.states import (
    Delivery,
    OrderStatus,
    VenueState,
)
from trading.types import FillReport, OrderReport

D = Decimal
R, REST = D("58.30"), D("34.98")  # of 0.1 lots, and of the 0.06 that are left


@dataclass(frozen=True)
class Said:
    """What a broker says of an order: where it stands, and what has filled."""

    state: VenueState
    parts: tuple[tuple[str, str], ...] = ()
    code: str = ""
    halts: bool = False
    lacks_stops: bool = False
    position: str = "77"

    @property
    def is_over(self) -> bool:
        return self.state is not VenueState.WORKING

    def fills(self, order: Any) -> tuple[FillReport, ...]:
        return tuple(
            fill(
                order, number, *part, venue_fill_id=f"{self.position}-{number}", venue_position_id=self.position,
                filled_at=now(),
            )
            for number, part in enumerate(self.parts)
        )  # fmt: skip

    def report(self, order: Any) -> OrderReport:
        ticket = "" if self.state is VenueState.REJECTED else "77"
        return OrderReport(
            order.client_order_id, self.state, venue_order_id=ticket, fills=self.fills(order), code=self.code,
            halts=self.halts, stops_missing=self.lacks_stops,
        )  # fmt: skip

    def answer(self, request: Any) -> OrderReport:
        """Answer whoever sends it: a refusal is an error there."""
        if self.state is VenueState.REJECTED:
            raise Refused("No money.", code=self.code, halts=self.halts)
        return self.report(request)


class Desk:
    """Whoever places the order and hears of it."""

    def __init__(self, execute: Any, account: Any, trader: Any, patch: pytest.MonkeyPatch) -> None:
        self.execute, self.account, self.trader, self.patch = execute, account, trader, patch
        self.intent = brief(take_profit=None)
        self.looks: list[str] = []
        patch.setattr(fills, "enqueue", lambda name, **_: self.looks.append(name))

    def answers(self, submit: Callable[[Any], OrderReport]) -> None:
        self.patch.setattr(Mt5Broker, "submit", lambda _, request: submit(request))

    def place(self, submit: Callable[[Any], OrderReport]) -> TradeLedger:
        self.answers(submit)
        order: TradeLedger = self.execute(self.intent)
        return order

    def accept(self) -> TradeLedger:
        key = RequestKey(str(self.trader.public_id), str(self.account.public_id), uuid.uuid4().hex, b"accepted")
        return orders.accept(user=self.trader, account=self.account, intent=self.intent, key=key, at=now()).order

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
        desk.search_in_vain(TradeLedger.objects.latest("pk"))
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
    order = TradeLedger.objects.latest("pk")
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
    decide(order, said)
    return order


def decide(order: TradeLedger, said: Said) -> None:
    first, second = (UserFactory.create(role=Role.OPERATOR) for _ in range(2))
    decision = decisions.propose(
        order_id=order.pk, to=OrderStatus(said.state), evidence="The dealer says so.", by=first, at=now()
    )
    decisions.decide(decision_id=decision.pk, approve=True, by=second, at=now())


Way = Callable[[Desk, Said], TradeLedger]
ASKED: list[Way] = [by_answer, by_dispatch, by_late_answer, by_search, by_search_after_a_crash]
HEARD: list[Way] = [by_history, by_history_before_the_answer, by_reconciliation, by_history_of_what_waits_here]

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
    "rejected for good": Said(VenueState.REJECTED, code="10017", halts=True),
    "filled without its stop": Said(VenueState.FILLED, (WHOLE,), lacks_stops=True),
}
ENDS = (VenueState.CANCELED, VenueState.EXPIRED, VenueState.REJECTED)


def ways(said: Said) -> list[Way]:
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
        "alerts": alerts(),
        "looks": desk.looks,
        "stops awaited": any(BrokerPosition.objects.values_list("stops_unseen", flat=True)),
        "stopped": list(TradingControl.objects.exclude(scope="SYSTEM").values_list("scope", "level")),
        "given back": (counted.undone_quantity, counted.undone_value),
        "failures": counted.failures,
    }


def alerts() -> list[str]:
    return sorted(Alert.objects.filter(closed_at=None).values_list("kind", flat=True))


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
        "refused": ("BROKER", f"BROKER_{said.code}") if is_refused else ("", ""),
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
        "alerts": sorted(
            ["HIGH_SLIPPAGE"] * len(slipped)
            + ["OVERFILL"] * (filled > D("0.1"))
            + ["ACCOUNT_REFUSED", "TRADING_STOPPED"] * said.halts
            + ["STOPS_MISSING"] * said.lacks_stops
        ),
        "looks": ["trading.watch_account"] * len(slipped),
        "stops awaited": False,
        "stopped": [("ACCOUNT", StopLevel.REDUCE_ONLY)] * said.halts,
        "given back": (undone, D("10852.20") * undone / D("0.1")),
        "failures": int(is_refused),
    }


# Where one way has other consequences, and why.
BUT: dict[Way, Callable[[Said], dict[str, Any]]] = {
    # It is their word and no broker's: no code, and no ticket where no fill has told one.
    by_operators: lambda said: {
        "refused": ("BROKER" if said.state is VenueState.REJECTED else "", "DECIDED_BY_OPERATORS"),
        "ticket": "77" if said.parts else "",
        "alerts": [],
        "stopped": [],
        "stops awaited": bool(said.parts),
    },
    # A history shows no positions: the first list of them tells whether they have their stops.
    **dict.fromkeys(HEARD, lambda said: {"stops awaited": True} | ({"alerts": []} if said.lacks_stops else {})),
}
