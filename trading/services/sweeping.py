"""One round of a sweep: cancel what works, close what is held, and believe nothing but the broker's own view.

Source: execution reference §7. A round that finds nothing to do, with nothing of ours on its way before and after a
complete look at the broker, is the proof. All it knows is in rows and at the broker: a round that was killed anywhere
is done again from its beginning.
"""

import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import structlog
from django.conf import settings
from django.db import connection, transaction
from django.db.models import F

from nexus.core import money, statements
from nexus.core.errors import NexusError, OutsideError
from nexus.core.logs import correlated
from nexus.idempotency.services import records
from nexus.idempotency.services.records import RequestKey
from risk.states import Sweep
from risk.types import Context
from trading.brokers.base import Broker
from trading.models import BrokerPosition, OrderQuerySet, SweepRun, TradableInstrument, TradeLedger
from trading.rules import ZERO
from trading.services import (
    accounts,
    cancels,
    coverage,
    facts,
    instruments,
    orders,
    reduction,
    resolution,
    sweeps,
    unlisted,
    watch,
)  # fmt: skip
from trading.services.cancels import NotCancelable
from trading.states import CancelState, ChangeState, Delivery, Side, SweepState
from trading.types import AccountSnapshot, OrderIntent, VenueOrder, VenuePosition

log = structlog.get_logger(__name__)

SWEEP_LOCK = 0x53574550  # the space of advisory locks whose second number is an account
ROUNDS_AT_ONCE = 4
PART_S_MAX = 8.0  # of each part of a round: then what is left waits for the next, so that others have their turn
BY_SWEEP = Context(is_sweep=True, process="sweep")
# Refusals for going too fast. By our own limit, the next round goes on; by the broker, each position is tried once.
PACED = ("ORDERS_PER_SECOND",)
PAUSED = ("BROKER_10024", "BROKER_ACCOUNT_PAUSED", "BROKER_42910000", "BROKER_429")
PAUSE_MAX = timedelta(seconds=60)


class Round:
    """What one round finds, does and leaves."""

    def __init__(self, sweep: SweepRun, *, at: datetime) -> None:
        self.sweep = sweep
        self._at, self._began = at, time.monotonic()
        self._part_began = self._began
        self.done: list[str] = []
        self.faults: list[str] = []
        self.left: dict[str, Any] = {}

    @property
    def at(self) -> datetime:
        """Return the time now, by the clock that the round was given."""
        return self._at + timedelta(seconds=time.monotonic() - self._began)

    def begin(self) -> None:
        """Begin a part of the round, with time of its own: what hangs in one takes none from the others."""
        self._part_began = time.monotonic()

    @property
    def is_over(self) -> bool:
        """Tell whether the part has had its time."""
        return time.monotonic() - self._part_began > PART_S_MAX


def run(*, sweep_id: int, at: datetime) -> SweepRun | None:
    """Sweep one account until nothing moves it on for now. None when somebody else is at it.

    Whatever fails is kept in the row, told to people when it lasts, and tried again. A gateway that was silent a moment
    ago, to whatever was asked there, is asked all the same.
    """
    assert not connection.in_atomic_block
    sweep = SweepRun.objects.select_related("account__user").get(pk=sweep_id)
    with statements.alone(SWEEP_LOCK, sweep.account_id) as is_mine, correlated(), accounts.patience():
        if not is_mine:
            return None
        for _ in range(ROUNDS_AT_ONCE):
            sweep.refresh_from_db()
            if sweep.state != SweepState.RUNNING or not _round(sweep, at=at):
                break
    return sweep


def _round(sweep: SweepRun, *, at: datetime) -> bool:
    """Do one round, keep what came of it, and tell whether another may get on at once."""
    this = Round(sweep, at=at)
    is_proven = False
    try:
        proof = _sweep(this)
        is_proven = proof is not None and sweeps.prove(sweep, proof=proof, at=this.at)
    except OutsideError as exc:
        this.faults.insert(0, f"The broker cannot be asked: {exc}")
    except Exception as exc:
        log.exception("trading.sweep.failed", sweep_id=sweep.pk)
        sweeps.note_round(
            sweep, done=this.done, left=this.left or sweep.left, detail=f"Failed: {type(exc).__name__}: {exc}",
            got_on=False, at=this.at,
        )  # fmt: skip
        raise
    if is_proven:
        log.info("trading.sweep.proven", sweep_id=sweep.pk, rounds=sweep.rounds)
        return False
    got_on = bool(this.done)
    sweeps.note_round(
        sweep, done=this.done, left=this.left or sweep.left, detail=" ".join(this.faults) or _waiting(this.left),
        got_on=got_on, at=this.at,
    )  # fmt: skip
    return got_on and not this.faults


def _sweep(this: Round) -> dict[str, Any] | None:
    """Cancel the queue and what works, ask about what is on its way, look at the broker, close; or return the proof."""
    broker = accounts.broker_of(this.sweep.account)
    _cancel_queue(this)
    unsettled = _unsettled(this)
    snapshot = broker.snapshot(symbols=[])
    working, held = _covered(this.sweep, snapshot)
    this.left = _named(working, held, on_the_way=unsettled, unshown=[])
    if working or unsettled:
        asked = _cancel_all(this, broker, working)
        _resolve(this, resting={each.venue_order_id for each in working} - asked)
        unsettled = _unsettled(this)
        snapshot = broker.snapshot(symbols=[])
        working, held = _covered(this.sweep, snapshot)
    unshown = _unshown(this, held)
    this.left = _named(working, held, on_the_way=unsettled, unshown=unshown)
    is_empty = not working and not held and not unshown and not unsettled and not _unsettled(this)
    if is_empty and snapshot.hides_something:
        this.faults.append(facts.HIDES)
    elif is_empty:
        return {
            "read_at": facts.database_clock().isoformat(),
            "orders": len(snapshot.orders),
            "positions": len(snapshot.positions),
            "balance": money.as_text(snapshot.balance),
            "equity": money.as_text(snapshot.equity),
        } | ({"symbol": this.sweep.symbol} if this.sweep.symbol else {})
    if held:
        _close_all(this, broker, held)
    return None


def _named(working: list[VenueOrder], held: list[VenuePosition], **beside: list[str]) -> dict[str, Any]:
    return {"orders": [*map(_word, working)], "positions": [*map(_word, held)], **beside}


def _open(sweep: SweepRun) -> OrderQuerySet:
    rows = TradeLedger.objects.open().filter(account=sweep.account).order_by("pk")
    return rows.filter(symbol=sweep.symbol) if sweep.symbol else rows


def _unsettled(this: Round) -> list[str]:
    """Name our own orders that are not over: while there is one, nothing is proven."""
    return [f"{order} ({order.delivery})" for order in _open(this.sweep)[:100]]


def _covered(sweep: SweepRun, snapshot: AccountSnapshot) -> tuple[list[VenueOrder], list[VenuePosition]]:
    return coverage.left(snapshot, kind=Sweep(sweep.kind), symbol=sweep.symbol)


def _unshown(this: Round, held: list[VenuePosition]) -> list[str]:
    """Name the positions that our books hold and the broker does not show, to a sweep that flattens.

    A list that lags behind is no proof; where the position has gone, its deal says so, and is looked for here.
    """
    if this.sweep.kind != Sweep.FLATTEN or not (missing := _missing(this.sweep, held)):
        return []
    with _going_on(this, ", ".join(missing)):
        watch.look(account_id=this.sweep.account_id, at=this.at)
    return _missing(this.sweep, held)


def _missing(sweep: SweepRun, held: list[VenuePosition]) -> list[str]:
    rows = BrokerPosition.objects.filter(account=sweep.account, closed_at__isnull=True).exclude(
        venue_position_id__in=[position.venue_position_id for position in held]
    )
    rows = rows.filter(symbol=sweep.symbol) if sweep.symbol else rows
    return [f"position {row.venue_position_id} of {row.symbol}" for row in rows.order_by("pk")[:100]]


def _cancel_queue(this: Round) -> None:
    """Cancel what has not left us."""
    for order in _open(this.sweep).filter(delivery=Delivery.QUEUED):
        with _going_on(this, str(order)), _skipping(NotCancelable):
            cancels.request(order_id=order.pk, actor=sweeps.SWEEPER, reason=this.sweep.reason, at=this.at)
            this.done.append(f"canceled {order} before it was sent")


def _cancel_all(this: Round, broker: Broker, working: list[VenueOrder]) -> set[str]:
    """Cancel what works; return the numbers of what was asked for. Each round begins elsewhere, as one may hang."""
    this.begin()
    first = this.sweep.rounds % len(working) if working else 0
    asked = set()
    for order in working[first:] + working[:first]:
        if not this.is_over:
            asked.add(order.venue_order_id)
            with _going_on(this, _word(order)):
                _cancel(this, broker, order)
    return asked


def _resolve(this: Round, *, resting: Collection[str]) -> None:
    """Ask what has become of what was sent, the longest unasked first, when every cancel is out: a history may hang.
    Not asked about is what another process is sending just now, and what is `resting` by its number at the broker.
    """
    this.begin()
    lease = facts.database_clock() - timedelta(seconds=settings.SENDING_LEASE_S)
    sent = _open(this.sweep).exclude(delivery=Delivery.QUEUED)
    for order in sent.order_by(F("asked_at").asc(nulls_first=True), "pk"):
        is_fresh = order.delivery == Delivery.SENDING and order.sent_at is not None and order.sent_at > lease
        rests = order.delivery == Delivery.ACKED and order.venue_order_id in resting
        if is_fresh or rests or this.is_over:
            continue
        before = order.state
        with _going_on(this, str(order)):
            found = resolution.resolve(order_id=order.pk, at=this.at)
            if found.state != before:
                this.done.append(f"found {order}: {found.state}")


def _cancel(this: Round, broker: Broker, working: VenueOrder) -> None:
    """Ask to cancel what works at the broker: ours by its own protocol, what is not ours or got stuck by a request of
    ours. The next look shows what became of it.
    """
    ours = _open(this.sweep).filter(venue_order_id=working.venue_order_id).first()
    if ours is not None and ours.cancel in (CancelState.NONE, CancelState.REFUSED):
        with _skipping(NotCancelable):
            asked = cancels.ask(order_id=ours.pk, actor=sweeps.SWEEPER, reason=this.sweep.reason, at=this.at)
            if asked is None or asked.state == ChangeState.DONE:
                this.done.append(f"asked to cancel {ours}")
            else:
                this.faults.append(f"{ours} still works; its cancel is {asked.state}. {asked.answer}".rstrip())
        return
    cancel_id = f"sweep-{this.sweep.pk}-{this.sweep.rounds}-{working.venue_order_id}"[:64]
    _note(this, "sweep.cancel_sent", {"cancel_id": cancel_id, "order": _word(working)})
    answer = "accepted"
    try:
        broker.cancel(cancel_id=cancel_id, venue_order_id=working.venue_order_id)
        this.done.append(f"asked to cancel {_word(working)}")
    except OutsideError as exc:
        answer = str(exc)
        this.faults.append(f"{_word(working)} is not canceled: {answer}")
    _note(this, "sweep.cancel_answered", {"cancel_id": cancel_id, "answer": answer})


def _close_all(this: Round, broker: Broker, held: list[VenuePosition]) -> None:
    """Close each position by an order of its own, once: never again while one is on its way or unknown."""
    known = {name: _instrument(this, broker, name) for name in sorted({position.symbol for position in held})}
    asked_at = facts.database_clock()
    shown = broker.snapshot(symbols=[name for name, found in known.items() if isinstance(found, TradableInstrument)])
    this.begin()
    for position in _left(this, held, shown, asked_at=asked_at):
        if this.is_over:
            this.faults.append("The rest waits for the next round.")
            return
        if _open(this.sweep).filter(venue_position_id=position.venue_position_id).exists():
            this.faults.append(f"{_word(position)} is being closed.")
            continue
        instrument = known[position.symbol]
        if isinstance(instrument, str):
            fault = instrument
        elif shown.pause_s and _was_tried(this, position):
            fault = "the broker has asked for fewer requests"
        else:
            # so that no order is made only to be refused
            fault = instruments.quote_fault(shown.quotes.get(position.symbol), instrument=instrument, at=this.at)
        if fault:
            this.faults.append(f"{_word(position)} cannot be closed now: {fault}.")
        elif isinstance(instrument, TradableInstrument):
            with _going_on(this, _word(position)):
                if not _close(this, position, instrument=instrument):
                    return


def _left(
    this: Round, held: list[VenuePosition], shown: AccountSnapshot, *, asked_at: datetime
) -> Iterator[VenuePosition]:
    """Return what is left of positions: a list may be late, and to close what is closed would turn a netted one around.

    Takes: `shown`, a later list, and the database's clock before it.
    """
    late = unlisted.closed_unseen(this.sweep.account, shown, asked_at=asked_at, within=facts.LISTED_WITHIN)
    listed = {each.venue_position_id: each.quantity for each in shown.positions}
    for position in held:
        name = position.venue_position_id
        left = min(position.quantity, listed.get(name, ZERO) - late.get(name, ZERO))
        if left <= 0:
            this.faults.append(f"{_word(position)} is listed as before it was closed.")
            continue
        side = position.side.opposite
        left -= reduction.on_its_way(
            this.sweep.account, shown, symbol=position.symbol, side=side, asked_at=asked_at, is_sweep=True
        )
        if left > 0:
            yield replace(position, quantity=left)
        else:
            this.faults.append(f"{_word(position)} may be closed by what is on its way.")


def _instrument(this: Round, broker: Broker, symbol: str) -> TradableInstrument | str:
    """Read one instrument, or say why it cannot be: it must not keep the positions in others open."""
    try:
        return instruments.get(account=this.sweep.account, broker=broker, symbol=symbol, at=this.at, reduces=True)
    except NexusError as exc:
        return exc.detail.rstrip(".")


def _was_tried(this: Round, position: VenuePosition) -> bool:
    """Tell whether the broker was asked a moment ago to close this position, and wants fewer requests."""
    rows = TradeLedger.objects.filter(account=this.sweep.account, venue_position_id=position.venue_position_id)
    return rows.filter(reason__in=PAUSED, created_at__gt=facts.database_clock() - PAUSE_MAX).exists()


def _close(this: Round, position: VenuePosition, *, instrument: TradableInstrument) -> bool:
    """Close one position, as much of it as one order may. False when the round should pause."""
    account = this.sweep.account
    most: Decimal = instrument.quantity_max - instrument.quantity_max % instrument.quantity_step
    intent = OrderIntent(
        symbol=position.symbol,
        side=Side.SELL if position.side is Side.BUY else Side.BUY,
        quantity=min(position.quantity, most),
        venue_position_id=position.venue_position_id,
    )
    key = RequestKey(
        principal=f"sweep:{this.sweep.pk}",
        account=str(account.public_id),
        key=f"{this.sweep.rounds}-{position.venue_position_id}",
        fingerprint=records.fingerprint(method="SWEEP", path=position.venue_position_id, body={}),
    )
    try:
        order = orders.execute(
            user=account.user, account=account, intent=intent, key=key, at=this.at, context=BY_SWEEP
        ).order
    except NexusError as exc:
        this.faults.append(f"{_word(position)} is not closed: {exc.detail}")
        return True
    if order.delivery == Delivery.DONE and not order.filled_quantity:
        this.faults.append(f"{_word(position)} is not closed: {order.reason} {order.reason_detail}".rstrip() + ".")
        return not order.reason.startswith(PACED)
    this.done.append(f"closing {_word(position)}: {order.public_status}")
    return True


@transaction.atomic(durable=True)
def _note(this: Round, action: str, detail: dict[str, Any]) -> None:
    sweeps.tell(this.sweep, action, detail, at=this.at)


def _waiting(left: dict[str, Any]) -> str:
    named = (("on_the_way", "On the way"), ("unshown", "In our books, and not shown by the broker"))
    return " ".join(f"{words}: {', '.join(left[name])}." for name, words in named if left.get(name))


def _word(what: VenueOrder | VenuePosition) -> str:
    number = what.venue_order_id if isinstance(what, VenueOrder) else what.venue_position_id
    kind = "order" if isinstance(what, VenueOrder) else "position"
    return f"{kind} {number} {what.side} {what.quantity.normalize():f} {what.symbol}"


@contextmanager
def _going_on(this: Round, what: str) -> Iterator[None]:
    """Note what failed about one order or position, and go on with the others: it must not keep them open."""
    try:
        yield
    except OutsideError as exc:
        this.faults.append(f"{what}: {exc}")
    except Exception as exc:
        connection.close_if_unusable_or_obsolete()
        log.exception("trading.sweep.stumbled", sweep_id=this.sweep.pk)
        this.faults.append(f"{what} failed: {type(exc).__name__}: {exc}.")


@contextmanager
def _skipping(*kinds: type[NexusError]) -> Iterator[None]:
    """Leave out what another was faster at: the next look shows what became of it."""
    try:
        yield
    except kinds as exc:
        log.info("trading.sweep.overtaken", detail=str(exc))
