"""Positions that stand without the stops their order asked for: they are given them, or closed where that fails.

Source: MetaTrader reference §7. The open alert is the queue: what is not protected yet is looked at every few seconds.
"""

from datetime import datetime, timedelta
from decimal import Decimal

import structlog
from django.db import connection
from django.db.models import Count, Max, Q, Sum

from nexus.alerts.services import alerts
from nexus.audit.types import Actor
from nexus.core.errors import NexusError, OutsideError
from nexus.idempotency.services import records
from nexus.idempotency.services.records import RequestKey
from risk.states import ControlScope, Trigger
from risk.types import Context
from trading.models import BrokerPosition, ChangeRequest, TradeLedger
from trading.rules import ZERO
from trading.services import accounts, changes, closes, facts, resolution, settlements, triggers
from trading.states import ChangeKind, ChangeState, OrderStatus
from trading.types import VenuePosition

log = structlog.get_logger(__name__)

KIND = "STOPS_MISSING"
TRIES = 2  # refusals by the broker before a position is closed instead
PAUSE_S, PAUSE_S_MAX = 5, 600  # after one refusal to close, and at most
PROTECTION = Actor.system("protection")
BY_PROTECTION = Context(process=PROTECTION.id)


def due() -> list[int]:
    """Return the orders whose positions are said to stand without their stops; where no broker answers, in its turn."""
    clock = facts.database_clock()
    silent = set(resolution.silent(clock))
    orders = TradeLedger.objects.filter(public_id__in=alerts.open_about(kind=KIND)).order_by("pk")
    return [
        pk
        for pk, account_id in orders.values_list("pk", "account_id")
        if account_id not in silent or resolution.has_turn(account_id, clock=clock)
    ]


def protect(*, order_id: int, at: datetime) -> None:
    """Set what is missing as the broker shows it now; close what refuses its stops. Network: no transaction is open.

    The alert ends when nothing is missing any more. What can neither be protected nor closed stays, and so does it;
    and so it does while our books hold a position that the broker does not show: a list may be late, or of an error.
    """
    assert not connection.in_atomic_block
    order = TradeLedger.objects.select_related("account__user").get(pk=order_id)
    try:
        shown = accounts.broker_of(order.account).snapshot(symbols=[])
    except OutsideError as exc:
        log.warning("trading.order.not_protected", order_id=str(order.public_id), error=str(exc))
        return
    if shown.pause_s:
        return  # the broker has asked for fewer requests: nothing would be sent now
    held = shown.positions
    names = set(order.fills.values_list("venue_position_id", flat=True))
    bare = [each for each in held if each.venue_position_id in names and missing(order, each)]
    if not bare:
        unshown = BrokerPosition.objects.filter(
            account=order.account, venue_position_id__in=names - {each.venue_position_id for each in held},
            closed_at__isnull=True,
        )  # fmt: skip
        if not unshown.exists():
            alerts.close_alert(dedupe_key=f"{KIND.lower()}:{order.public_id}", at=at)
        return
    for position in bare:
        try:
            _mend(order, position, at=at)
        except NexusError as exc:
            log.warning("trading.order.not_protected", order_id=str(order.public_id), error=exc.detail)


def _mend(order: TradeLedger, held: VenuePosition, *, at: datetime) -> None:
    """Set what is missing, or close what was not given it twice.

    A try whose answer was lost counts too, once the list shows, minutes later, that nothing was set: the position has
    no bound for as long, whoever is to blame, and people are told of it all that time. But only a refusal that the
    broker is heard to say stops its instrument.
    """
    ours = BrokerPosition.objects.get(account=order.account, venue_position_id=held.venue_position_id)
    refused = ChangeRequest.objects.filter(
        position=ours, kind=ChangeKind.STOPS, state=ChangeState.REFUSED, requested_by=PROTECTION.id,
        requested_at__gte=order.created_at,
    ).exclude(answer__startswith=changes.UNSENT).exclude(answer__startswith=changes.PASSING).count()  # fmt: skip
    if refused >= TRIES:
        _close(order, ours, at=at)
        return
    stops = missing(order, held)
    change = changes.change_stops(
        position_id=ours.pk, stops=stops, actor=PROTECTION, at=at,
        reason=f"Order {order.client_order_id} asked for them.",
    )  # fmt: skip
    is_answer = not change.answer.startswith((changes.UNSENT, changes.PASSING, *settlements.UNHEARD))
    if "stop_loss" in stops and change.state == ChangeState.REFUSED and is_answer:
        words = f"The broker refused the stop-loss of a position in {order.symbol} on {order.account}: {change.answer}."
        triggers.pull(
            Trigger.STOP_LOSS_REFUSED, scope=ControlScope.INSTRUMENT, key=order.symbol, reason=words, at=at
        )  # execution reference §10: nothing more is opened where stops do not hold


def _close(order: TradeLedger, position: BrokerPosition, *, at: datetime) -> None:
    """Close what an order has made of a position, less what was closed since; a refusal is tried again, ever later.

    A position may hold more than the order has made: others may have added to it. What was closed is counted by the
    orders that did it: their keys are forgotten after a day.
    """
    earlier = TradeLedger.objects.filter(
        account=order.account, venue_position_id=position.venue_position_id, created_at__gte=order.created_at
    )
    if earlier.open().exists():
        return  # on its way, or nobody knows
    made = earlier.aggregate(
        count=Count("pk"), closed=Sum("filled_quantity"),
        refused=Count("pk", filter=Q(status=OrderStatus.REJECTED)),
        refused_at=Max("closed_at", filter=Q(status=OrderStatus.REJECTED)),
    )  # fmt: skip
    if made["refused"] and at - made["refused_at"] < _pause(made["refused"]):
        return
    quantity = min(abs(position.quantity), order.filled_quantity - (made["closed"] or ZERO))
    if quantity <= 0:
        return
    key = RequestKey(
        principal="protection",
        account=str(order.account.public_id),
        key=f"{order.public_id}-{position.venue_position_id}-{made['count']}",
        fingerprint=records.fingerprint(method="PROTECT", path=position.venue_position_id, body={}),
    )
    closing = closes.close(
        user=order.account.user, position=position, quantity=quantity, key=key, at=at, context=BY_PROTECTION
    )
    if not closing.is_replay:
        log.warning(
            "trading.order.closed_unprotected", order_id=str(order.public_id), close=str(closing.order.public_id),
            status=closing.order.status, reason=closing.order.reason,
        )  # fmt: skip


def _pause(refusals: int) -> timedelta:
    """Return how long to wait after so many refusals in a row: a market that is closed is not asked all weekend."""
    return timedelta(seconds=min(PAUSE_S * 2 ** min(refusals - 1, 10), PAUSE_S_MAX))


def missing(order: TradeLedger, held: VenuePosition) -> dict[str, Decimal | None]:
    """Return the stops that an order asked for and its position lacks; of one on the other side it has made nothing."""
    if held.side != order.side:
        return {}
    asked = {"stop_loss": (order.stop_loss, held.stop_loss), "take_profit": (order.take_profit, held.take_profit)}
    return {name: wanted for name, (wanted, stands) in asked.items() if wanted is not None and stands is None}
