"""What positions can still lose to their stops, and what orders that add to a netted position do to its stop.

Where positions are netted, whichever order fills last sets the stop of the whole: of what is held, and of what the
others on their way have made of it by then. So the worst of all those stops is counted (execution reference §4, §10),
those too that working orders bring which are somebody else's, or over in our books.
"""

from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from typing import NamedTuple

from django.conf import settings

from nexus.core import money
from nexus.core.money import CENT
from risk.types import Figure, Unknown
from trading import rules
from trading.models import TradableInstrument, TradeLedger, TradingAccount
from trading.rules import ZERO
from trading.services.facts import AccountFacts, Facts
from trading.states import OrderType, PositionMode, Side
from trading.types import OrderIntent, Quote, Reservation, VenueOrder, VenuePosition


class Piece(NamedTuple):
    """An order that may become part of a netted position, ours or somebody else's.

    Units: USD; `own` is what it risks at its own stop, `counted` what is counted for it elsewhere, `value` what it is
    worth where it opens at its worst price; `fees` are in `own`, and owed whatever its stop is.
    """

    quantity: Decimal
    stop: Decimal | None
    own: Decimal
    value: Decimal
    counted: Decimal
    fees: Decimal = ZERO


def to_stops(each: AccountFacts, positions: Sequence[VenuePosition], *, facts: Facts) -> Figure:
    """Return what positions of an account can lose from their mark to their stops, in USD."""
    total = ZERO
    for held in positions:
        known = facts.instruments.get((each.account.pk, held.symbol))
        if known is None:
            return Unknown("INSTRUMENT_UNKNOWN", held.symbol)
        usd = rules.usd_rate(known.conversion, facts.quotes, owed=True)
        if usd is None:
            return Unknown("CONVERSION_UNAVAILABLE")
        stands = rules.open_risk(
            held,
            contract_size=known.contract_size,
            usd=usd,
            gap=settings.GAP_ALLOWANCE,
            unstopped_move=settings.UNSTOPPED_MOVE,
        )
        if stands is None:
            return Unknown("OPEN_RISK_NOT_BOUNDED", held.symbol)
        total += stands
    return total


def restopped(
    facts: Facts,
    *,
    account: TradingAccount,
    intent: OrderIntent,
    reservation: Reservation,
    beside: Sequence[TradeLedger],
    changed_id: int | None = None,
) -> Decimal:
    """Return what an order adds to the risk of what it is netted with, beyond its own, in USD.

    Takes: `beside`, the user's orders that may fill; of them the one whose new terms these are, if any. What has no
    bound counts nothing here: the order has none either, or what stands has none, and both are refused.
    """
    mine = next((each for each in facts.accounts if each.account.pk == account.pk), None)
    if mine is None or mine.snapshot.mode is PositionMode.HEDGING or intent.is_reducing:
        return ZERO
    others = _adding(beside, mine, symbol=intent.symbol, side=intent.side, facts=facts, besides=changed_id)
    known = facts.instruments.get((account.pk, intent.symbol))
    own, stop = reservation.risk, intent.stop_loss
    value = _opened(own, reservation.value, stop=stop, side=intent.side, lots=intent.quantity, known=known)
    new = Piece(intent.quantity, stop, own, value, own, _fees(intent.quantity, known))
    before = _worst(mine, others, symbol=intent.symbol, side=intent.side, facts=facts)
    after = _worst(mine, [*others, new], symbol=intent.symbol, side=intent.side, facts=facts)
    if isinstance(before, Unknown) or isinstance(after, Unknown):
        return ZERO
    return money.ceil_to(max(ZERO, after - before - new.own), CENT)


def moved_at_venue(each: AccountFacts, in_doubt: Sequence[TradeLedger], *, facts: Facts) -> Figure:
    """Return what working orders can cost beyond what is counted for them: somebody has moved them at the terminal."""
    total = ZERO
    mine = {order.client_order_id: order for order in in_doubt if order.account_id == each.account.pk}
    for shown in each.snapshot.orders:
        order = mine.get(shown.client_order_id)
        known = None if order is None else facts.instruments.get((each.account.pk, order.symbol))
        if order is None or known is None or order.venue_position_id or not is_moved(order, shown, known=known):
            continue
        asked = as_shown(order, shown, known=known)
        if asked.stop_loss is None and settings.UNSTOPPED_MOVE is None:
            return Unknown("OPEN_RISK_NOT_BOUNDED", order.symbol)
        usd = rules.usd_rate(known.conversion, facts.quotes, owed=True)
        if usd is None:
            return Unknown("CONVERSION_UNAVAILABLE")
        now = resting(asked, known=known, usd=usd).risk
        total += max(ZERO, now - (order.risk - order.restopped)) * shown.quantity_left / order.quantity
    return money.ceil_to(total, CENT)


def is_moved(order: TradeLedger, shown: VenueOrder, *, known: TradableInstrument) -> bool:
    """Tell whether a working order waits at another price, or with another stop-loss, than we know."""
    if order.limit_price is None and order.stop_price is None:
        return False  # it waits at no price: a market order on its way
    asked = as_shown(order, shown, known=known)
    ours = (order.limit_price, order.stop_price, order.stop_loss)
    return (asked.limit_price, asked.stop_price, asked.stop_loss) != ours


def as_shown(order: TradeLedger, shown: VenueOrder, *, known: TradableInstrument) -> OrderIntent:
    """Return a working order with the terms that it has at the venue, the whole of it.

    A stop limit whose trigger was touched is a limit order there.
    """
    is_triggered = order.stop_price is not None and shown.order_type is OrderType.LIMIT
    stop, limit = shown.price, shown.limit_price
    if order.stop_price is None or is_triggered:
        stop, limit = order.stop_price, shown.price
    return OrderIntent(
        symbol=order.symbol, side=Side(order.side), quantity=order.quantity, order_type=shown.order_type,
        limit_price=limit, stop_price=stop, take_profit=shown.take_profit if known.takes_stops else None,
        stop_loss=shown.stop_loss if known.takes_stops else order.stop_loss,
    )  # fmt: skip


def resting(asked: OrderIntent, *, known: TradableInstrument, usd: Decimal) -> Reservation:
    """Return the worst that an order which waits can cost, reckoned as when it was accepted; by all of its notional
    where nothing bounds it.
    """
    waits = asked.resting_price
    assert waits is not None
    found = rules.reserve(
        asked, instrument=known.as_instrument(), quote=Quote(asked.symbol, waits, waits, known.read_at),
        usd=usd, gap=settings.GAP_ALLOWANCE, deviation=money.ceil_to(waits * settings.PRICE_DEVIATION, known.tick_size),
        unstopped_move=settings.UNSTOPPED_MOVE or rules.ONE,
        commission_per_lot=known.commission(settings.COMMISSION_PER_LOT),
    )  # fmt: skip
    assert found is not None
    return found


def beyond_counted(each: AccountFacts, in_doubt: Sequence[TradeLedger], *, facts: Facts) -> Decimal:
    """Return what the netted positions of an account can lose beyond their own risk and what orders in doubt count.

    An order counts what it does to stops for as long as it is in doubt itself: once it has filled, those that are still
    on their way may move the stop of what it made.
    """
    if each.snapshot.mode is PositionMode.HEDGING:
        return ZERO
    adding = [order for order in in_doubt if order.account_id == each.account.pk and not order.venue_position_id]
    keys = {(order.symbol, Side(order.side)) for order in adding}
    keys |= {(order.symbol, order.side) for order in _unknown(in_doubt, each)}
    total = ZERO
    for symbol, side in sorted(keys):
        pieces = _adding(in_doubt, each, symbol=symbol, side=side, facts=facts)
        now = to_stops(each, _held(each, symbol=symbol, side=side), facts=facts)
        worst = _worst(each, pieces, symbol=symbol, side=side, facts=facts)
        if isinstance(now, Unknown) or isinstance(worst, Unknown):
            continue  # what is held has no bound: that is refused by itself
        total += max(ZERO, worst - now - sum((piece.counted for piece in pieces), start=ZERO))
    return money.ceil_to(total, CENT)


def moved_along(
    each: AccountFacts, in_doubt: Sequence[TradeLedger], *, live: VenuePosition, held: VenuePosition, facts: Facts
) -> Decimal:
    """Return what orders that may add to a netted position lose more at its new stop than at their own, in USD, less
    what the position loses less at it.

    One that fills before that stop is set has brought its own by then, which is overwritten. A stop that is nearer is
    held up by none that only waits. Takes: the position as it is and as it is to be; what cannot be valued counts
    nothing here: it is refused by itself, and any bound is less than none.
    """
    known = facts.instruments.get((each.account.pk, held.symbol))
    usd = None if known is None else rules.usd_rate(known.conversion, facts.quotes, owed=True)
    if each.snapshot.mode is PositionMode.HEDGING or known is None or usd is None:
        return ZERO
    before, after = (to_stops(each, [position], facts=facts) for position in (live, held))
    if isinstance(before, Unknown) or isinstance(after, Unknown):
        return ZERO
    pieces = _adding(in_doubt, each, symbol=held.symbol, side=held.side, facts=facts)
    if after < before:
        waiting = {order.client_order_id for order in each.snapshot.orders}
        sent = [order for order in in_doubt if order.client_order_id not in waiting]
        pieces = _ours(sent, each, symbol=held.symbol, side=held.side, facts=facts)
    moved = (_moved(piece, held.stop_loss, side=held.side, usd_a_lot=known.contract_size * usd) for piece in pieces)
    return money.ceil_to(max(ZERO, sum(moved, start=ZERO) - max(ZERO, before - after)), CENT)


def restop(
    each: AccountFacts, in_doubt: Sequence[TradeLedger], *, name: str, stop: Decimal | None, facts: Facts
) -> Decimal:
    """Return what a position, and orders that are netted with it, lose more at a stop than at the one that is counted,
    in USD at the price now. What has no bound is refused by itself.
    """
    total, parts = ZERO, [p for p in each.positions if p.venue_position_id == name]
    for held in parts:
        before, after = (to_stops(each, [part], facts=facts) for part in (held, replace(held, stop_loss=stop)))
        if isinstance(before, Decimal) and isinstance(after, Decimal):
            total += max(ZERO, after - before)
    for held in parts[:1]:
        total += moved_along(each, in_doubt, live=held, held=replace(held, stop_loss=stop), facts=facts)
    return money.ceil_to(total, CENT)


def _held(each: AccountFacts, *, symbol: str, side: Side) -> list[VenuePosition]:
    return [p for p in each.positions if (p.symbol, p.side) == (symbol, side)]


def _adding(
    in_doubt: Sequence[TradeLedger],
    each: AccountFacts,
    *,
    symbol: str,
    side: Side,
    facts: Facts,
    besides: int | None = None,
) -> list[Piece]:
    ours = [order for order in in_doubt if order.pk != besides]
    strange = [order for order in _unknown(in_doubt, each) if (order.symbol, order.side) == (symbol, side)]
    pieces = _ours(ours, each, symbol=symbol, side=side, facts=facts)
    return pieces + _strange(strange, each, symbol=symbol, facts=facts)


def _unknown(in_doubt: Sequence[TradeLedger], each: AccountFacts) -> list[VenueOrder]:
    """Return the working orders that are none of ours, or that are over in our books: nobody counts them by name."""
    names = {order.client_order_id for order in in_doubt}
    return [order for order in each.snapshot.orders if order.client_order_id not in names]


def _ours(orders: Sequence[TradeLedger], each: AccountFacts, *, symbol: str, side: Side, facts: Facts) -> list[Piece]:
    known = facts.instruments.get((each.account.pk, symbol))
    shown = {} if known is None or not known.takes_stops else {o.client_order_id: o for o in each.snapshot.orders}
    pieces = []
    for order in orders:
        if (order.account_id, order.symbol, order.side) != (each.account.pk, symbol, side) or order.venue_position_id:
            continue
        own, at_venue = order.risk - order.restopped, shown.get(order.client_order_id)
        value = _opened(own, order.value, stop=order.stop_loss, side=side, lots=order.quantity, known=known)
        stop = order.stop_loss if at_venue is None else _further(order, at_venue)
        pieces.append(Piece(order.quantity, stop, own, value, order.risk, _fees(order.quantity, known)))
    return pieces


def _opened(
    own: Decimal, value: Decimal, *, stop: Decimal | None, side: Side, lots: Decimal, known: TradableInstrument | None
) -> Decimal:
    """Return what an order is worth at the worst price that it may open at, in USD.

    Limits price both sides at the ask. A sell that opens lower loses more at a stop above; of one without a stop the
    risk is a part of its notional there, beside its fees.
    """
    if side is Side.BUY or stop is not None or known is None or settings.UNSTOPPED_MOVE is None:
        return value
    return min(value, (own - _fees(lots, known)) / settings.UNSTOPPED_MOVE)


def _fees(lots: Decimal, known: TradableInstrument | None) -> Decimal:
    return ZERO if known is None else known.commission(settings.COMMISSION_PER_LOT) * lots


def _further(order: TradeLedger, shown: VenueOrder) -> Decimal | None:
    """Return the stop of a working order that is further away, as we know it or as it is shown: a list may be late."""
    return rules.further_stop(Side(order.side), (order.stop_loss, shown.stop_loss))


def _strange(orders: Sequence[VenueOrder], each: AccountFacts, *, symbol: str, facts: Facts) -> list[Piece]:
    """Return what such working orders may add to a netted position; what is unbounded is refused."""
    known = facts.instruments.get((each.account.pk, symbol))
    usd = None if known is None else rules.usd_rate(known.conversion, facts.quotes, owed=True)
    if known is None or usd is None:
        return []
    usd_a_lot, found = known.contract_size * usd, []
    for order in orders:
        own = to_stops(each, [as_filled(order)], facts=facts)
        if isinstance(own, Decimal):
            value = order.quantity_left * as_filled(order).price_open * usd_a_lot
            found.append(Piece(order.quantity_left, order.stop_loss, own, value, own))
    return found


def as_filled(order: VenueOrder) -> VenuePosition:
    """Return a working order as the position that it may become: of a stop limit, at its limit or better."""
    price = order.price if order.limit_price is None else order.limit_price
    return VenuePosition(
        venue_position_id=order.venue_order_id,
        symbol=order.symbol,
        side=order.side,
        quantity=order.quantity_left,
        price_open=price,
        price_current=price,
        stop_loss=order.stop_loss,
        take_profit=order.take_profit,
        profit=ZERO,
        swap=ZERO,
        client_order_id=order.client_order_id,
        opened_at=order.placed_at,
    )


def as_floating(order: TradeLedger, *, lots: Decimal, quote: Quote) -> VenuePosition:
    """Return so many lots of an order as a position at the price now."""
    side = Side(order.side)
    price = quote.bid if side is Side.BUY else quote.ask
    return VenuePosition(
        venue_position_id="", symbol=order.symbol, side=side, quantity=lots, price_open=price, price_current=price,
        stop_loss=order.stop_loss, take_profit=None, profit=ZERO, swap=ZERO, client_order_id=order.client_order_id,
        opened_at=quote.at,
    )  # fmt: skip


def _worst(each: AccountFacts, pieces: Sequence[Piece], *, symbol: str, side: Side, facts: Facts) -> Figure:
    """Return the most that what is held and these orders can lose together, whichever of their stops holds at last."""
    held = _held(each, symbol=symbol, side=side)
    now = to_stops(each, held, facts=facts)
    if isinstance(now, Unknown) or not pieces:
        return now
    known = facts.instruments.get((each.account.pk, symbol))
    usd = None if known is None else rules.usd_rate(known.conversion, facts.quotes, owed=True)
    if known is None or usd is None:
        return Unknown("CONVERSION_UNAVAILABLE")
    own = sum((piece.own for piece in pieces), start=ZERO)
    worst = now + own
    for stop in {piece.stop for piece in pieces}:
        then = to_stops(each, [replace(p, stop_loss=stop) for p in held], facts=facts)
        moved = [_moved(piece, stop, side=side, usd_a_lot=known.contract_size * usd) for piece in pieces]
        if isinstance(then, Unknown):
            return then
        worst = max(worst, then + own + sum(moved, start=ZERO))
    return worst


def _moved(piece: Piece, stop: Decimal | None, *, side: Side, usd_a_lot: Decimal) -> Decimal:
    """Return how much more an order can lose at another stop than at its own, in USD; never less than nothing."""
    if stop == piece.stop:
        return ZERO
    if stop is None:
        return max(ZERO, (settings.UNSTOPPED_MOVE or rules.ONE) * piece.value + piece.fees - piece.own)
    exit_then = rules.worst_exit(stop, side=side, gap=settings.GAP_ALLOWANCE)
    usd = piece.quantity * usd_a_lot
    if piece.stop is None:
        return max(ZERO, side.direction * (piece.value - exit_then * usd) + piece.fees - piece.own)
    exit_now = rules.worst_exit(piece.stop, side=side, gap=settings.GAP_ALLOWANCE)
    return max(ZERO, side.direction * (exit_now - exit_then)) * usd
