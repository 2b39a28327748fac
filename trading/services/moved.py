"""Stops and prices that somebody has moved at the terminal: kept as they stand there, with what that did to the risk.

The gate counts what stands, whoever has set it (`standing.py`). Here it is written down for people: what it was, what
it is, and an alert where more may be lost than before.
"""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from decimal import Decimal

from django.conf import settings
from django.db import transaction
from django.db.models import Q

from nexus.alerts.services import alerts
from nexus.alerts.states import Severity
from nexus.audit.services import trail
from nexus.audit.types import Actor, Target
from nexus.core import money
from nexus.core.money import CENT
from risk.services import adjustments
from risk.states import AdjustmentKind
from trading import rules
from trading.models import BrokerPosition, ChangeRequest, Fill, TradableInstrument, TradeLedger, TradingAccount
from trading.services import fills, protection, settlements, standing, terms
from trading.services.changes import listed_late, stops_of
from trading.states import IN_FLIGHT, ChangeKind, ChangeState, Delivery
from trading.types import AccountSnapshot, Quote, VenueOrder, VenuePosition

TERMINAL, BROKER = Actor.system("terminal"), Actor.system("broker")
KIND = "TERMS_MOVED"
AGAIN = Decimal("1.1")  # an order without its stop is kept anew when it may cost so much more: rates move all the time

Met = Mapping[str, tuple[TradableInstrument, Decimal]]  # by symbol, with USD for one unit of its profit currency


def note(account: TradingAccount, snapshot: AccountSnapshot, *, read_at: datetime, at: datetime) -> None:
    """Keep what a look shows of stops and prices where our books say otherwise. Safe to repeat.

    What is being changed by a request of ours is left to that. Takes: `read_at`, the database's clock before the look.
    """
    shown = {each.venue_position_id: each for each in snapshot.positions if each.price_current > 0}
    held = BrokerPosition.objects.filter(account=account, closed_at__isnull=True, venue_position_id__in=shown)
    positions = [row for row in held if row.stops_unseen or _differs(row, shown[row.venue_position_id])]
    listed = {each.client_order_id: each for each in snapshot.orders if each.client_order_id}
    working = TradeLedger.objects.filter(
        account=account, delivery=Delivery.ACKED, client_order_id__in=listed, venue_position_id=""
    )
    orders = list(working) if listed else []
    if not positions and not orders:
        return
    symbols = {row.symbol for row in positions} | {order.symbol for order in orders}
    met = _met(account, symbols, quotes=snapshot.quotes)
    for row in positions:
        _keep_position(row.pk, shown[row.venue_position_id], account=account, met=met, read_at=read_at, at=at)
    for order in (each for each in orders if each.symbol in met):
        if _is_moved(order, listed[order.client_order_id], known=met[order.symbol][0]):
            _keep_order(order.pk, listed[order.client_order_id], account=account, met=met, read_at=read_at, at=at)


def _met(account: TradingAccount, symbols: set[str], *, quotes: Mapping[str, Quote]) -> Met:
    """Return what can be valued: the others are looked at again."""
    known = TradableInstrument.objects.filter(account=account, symbol__in=symbols, takes_stops=True)
    rates = {each.symbol: (each, rules.usd_rate(each.conversion, quotes, owed=True)) for each in known}
    return {symbol: (each, usd) for symbol, (each, usd) in rates.items() if usd is not None}


def _differs(row: BrokerPosition, held: VenuePosition) -> bool:
    return (row.stop_loss, row.take_profit) != (held.stop_loss, held.take_profit)


@transaction.atomic(durable=True)
def _keep_position(
    position_id: int, held: VenuePosition, *, account: TradingAccount, met: Met, read_at: datetime, at: datetime
) -> None:
    position = BrokerPosition.objects.select_for_update(no_key=True).get(pk=position_id)
    fresh = Q(state__in=IN_FLIGHT) | Q(settled_at__gte=read_at)
    name = position.venue_position_id
    has_traded = Fill.objects.filter(account=account, venue_position_id=name, booked_at__gte=read_at)
    if (
        not (position.stops_unseen or _differs(position, held))
        or has_traded.exists()
        or position.changes.filter(fresh).exists()
    ):
        return
    done = listed_late(position.changes, kind=ChangeKind.STOPS, asked_at=read_at)
    if any(change.before == stops_of(held) for change in done):
        return  # the list is from before our change
    asked = TradeLedger.objects.filter(account=account, fills__venue_position_id=name, venue_position_id="")
    ours = list(asked.distinct())
    if position.stops_unseen:
        BrokerPosition.objects.filter(pk=position.pk).update(stops_unseen=False)
        # Of a netted position its stops are those of the newest order that has added to it.
        newest = asked.filter(side=held.side).order_by("-fills__pk").first()
        if newest is not None and _is_bare(position, held, order=newest):
            fills.tell(newest, kind=protection.KIND, severity=Severity.CRITICAL, words=fills.BARE, at=at)
    is_bare = {str(order.public_id) for order in ours} & set(alerts.open_about(kind=protection.KIND))
    if is_bare or position.symbol not in met or not _differs(position, held):
        return  # made without its stops, and being given them: nobody has moved it; or not to be valued yet
    known, usd = met[position.symbol]
    was, now = (
        money.ceil_to(_open_risk(held, stop, known=known, usd=usd), CENT)
        for stop in (position.stop_loss, held.stop_loss)
    )
    before = {"stop_loss": position.stop_loss, "take_profit": position.take_profit}
    after = {"stop_loss": held.stop_loss, "take_profit": held.take_profit}
    BrokerPosition.objects.filter(pk=position.pk).update(**after)
    target = Target("position", str(position.public_id))
    detail = {"before": before, "after": after}
    if now <= was and _is_of_an_order(held, ours):
        trail.record(action="position.stops_shown", actor=BROKER, target=target, detail=detail, occurred_at=at)
        return
    trail.record(action="position.stops_moved", actor=TERMINAL, target=target, detail=detail, occurred_at=at)
    is_strange = position.stop_loss is None and not ours  # somebody else's, seen for the first time
    if position.stop_loss == held.stop_loss or is_strange:
        return
    words = f"position {position.public_id}: stop-loss {_text(position.stop_loss)} → {_text(held.stop_loss)}"
    adjustments.record(
        kind=AdjustmentKind.EXTERNAL, account_id=account.pk, order_id=None, before=was, after=now, reason=words, at=at
    )
    last = position.changes.filter(kind=ChangeKind.STOPS, state=ChangeState.DONE).order_by("pk").last()
    added = asked if last is None else asked.filter(fills__booked_at__gt=last.settled_at)
    if now > was and not added.filter(stop_loss=held.stop_loss).exists():  # an order that added has brought its own
        _tell(account, f"the position {position}", target=target, before=was, after=now, at=at)


def _is_bare(position: BrokerPosition, held: VenuePosition, *, order: TradeLedger) -> bool:
    """Tell whether a position lacks what its order asked for and nobody here has taken away since."""
    kept = {"stop_loss": position.stop_loss, "take_profit": position.take_profit}
    return any(kept[name] is not None for name in protection.missing(order, held))


def _is_of_an_order(held: VenuePosition, orders: list[TradeLedger]) -> bool:
    """Tell whether a position stands with the stops of an order whose new terms were lost: our books took the worse of
    the old and the new when it filled, and it shows now which it had.
    """
    stops = stops_of(held).items()
    asked = ChangeRequest.objects.filter(order__in=orders, kind=ChangeKind.TERMS)
    return any(stops <= terms.items() for each in asked for terms in (each.before, each.after))


def _open_risk(held: VenuePosition, stop: Decimal | None, *, known: TradableInstrument, usd: Decimal) -> Decimal:
    """Return what a position can lose to a stop; by all of its notional where nothing bounds it."""
    found = rules.open_risk(
        replace(held, stop_loss=stop), contract_size=known.contract_size, usd=usd, gap=settings.GAP_ALLOWANCE,
        unstopped_move=settings.UNSTOPPED_MOVE or rules.ONE,
    )  # fmt: skip
    assert found is not None
    return found


def _is_moved(order: TradeLedger, shown: VenueOrder, *, known: TradableInstrument) -> bool:
    is_other_target = shown.take_profit not in (None, order.take_profit)
    return is_other_target or standing.is_moved(order, shown, known=known)


@transaction.atomic(durable=True)
def _keep_order(
    order_id: int, shown: VenueOrder, *, account: TradingAccount, met: Met, read_at: datetime, at: datetime
) -> None:
    """Keep the new terms, and the worse of both reserved. A stop that an order asked for and lacks is still wanted."""
    order = TradeLedger.objects.locked().get(pk=order_id)
    known, usd = met[order.symbol]
    fresh = Q(state__in=IN_FLIGHT) | Q(settled_at__gte=read_at)
    done = listed_late(order.changes, kind=ChangeKind.TERMS, asked_at=read_at)
    is_ours = order.changes.filter(fresh, kind=ChangeKind.TERMS).exists() or terms.is_before(done, shown)
    if is_ours or order.delivery != Delivery.ACKED or not _is_moved(order, shown, known=known):
        return
    asked = standing.as_shown(order, shown, known=known)
    now = standing.resting(asked, known=known, usd=usd)
    prices = {
        "limit_price": asked.limit_price, "stop_price": asked.stop_price,
        "stop_loss": order.stop_loss if asked.stop_loss is None else asked.stop_loss,
        "take_profit": order.take_profit if asked.take_profit is None else asked.take_profit,
    }  # fmt: skip
    before = {name: getattr(order, name) for name in prices}
    risk = max(order.risk, now.risk + order.restopped)
    if prices == before and risk < order.risk * AGAIN:
        return  # its stop is gone, and that is kept
    settlements.reserve(order, risk=risk, restopped=order.restopped, value=max(order.value, now.value), **prices)
    target = Target("order", str(order.public_id))
    stands = {"limit_price": asked.limit_price, "stop_price": asked.stop_price, "stop_loss": asked.stop_loss}
    detail = {"before": before, "after": stands | {"take_profit": asked.take_profit}, "risk": risk}
    trail.record(action="order.terms_moved", actor=TERMINAL, target=target, detail=detail, occurred_at=at)
    if risk == order.risk:
        return
    words = ", ".join(f"{name} {_text(before[name])} → {_text(price)}" for name, price in stands.items())
    adjustments.record(
        kind=AdjustmentKind.EXTERNAL, account_id=account.pk, order_id=order.pk, before=order.risk, after=risk,
        reason=words, at=at,
    )  # fmt: skip
    _tell(account, f"the order {order}", target=target, before=order.risk, after=risk, at=at)


def _tell(account: TradingAccount, what: str, *, target: Target, before: Decimal, after: Decimal, at: datetime) -> None:
    alerts.open_alert(
        severity=Severity.WARNING,
        kind=KIND,
        dedupe_key=f"terms-moved:{target.id}:{money.as_text(after)}",
        is_alone=True,  # each time that it is worse is told by itself
        text=f"{account}: somebody has moved {what} at the terminal. It may lose {money.as_text(after)} USD from here;"
        f" as it stood, {money.as_text(before)}.",
        object_type=target.type,
        object_id=target.id,
        at=at,
    )


def _text(price: Decimal | None) -> str:
    return "none" if price is None else money.as_text(price)
