"""What a user stands to lose, and what one order adds to it: the broker's facts and the orders that they may not show.

Source: execution reference §4; docs/adr/0004 on orders in doubt. An order in doubt counts its whole worst case; the
position it may already have made is taken out of the facts, so that it is not counted twice. Where that position can
cost more than was reserved for it, the rest is added. On a netting account a
position cannot be told apart, and it is: too much, never too little.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from nexus.core import money
from nexus.core.money import CENT
from risk.rules.limits import plus
from risk.services import stats
from risk.types import Figure, Unknown
from trading import rules
from trading.models import TradableInstrument, TradeLedger, TradingAccount
from trading.rules import ZERO
from trading.services import instruments
from trading.services.facts import HIDES, LISTED_WITHIN, UNTOLD, AccountFacts, Facts, Missing
from trading.services.standing import as_filled, as_floating, beyond_counted, moved_at_venue, to_stops
from trading.states import Delivery, PositionMode, Side
from trading.types import Quote, Reservation, VenuePosition

UNCONVERTED = Unknown("CONVERSION_UNAVAILABLE")


@dataclass(frozen=True, slots=True)
class Standing:
    """What stands without the new order, over all accounts of the user.

    Units: USD; `positions` counted, working orders too.
    """

    loss_today: Figure
    open_risk: Figure
    reserved: Decimal
    positions: Figure


@dataclass(frozen=True, slots=True)
class Margin:
    """Units: USD, of one account."""

    required: Figure
    working: Figure
    free: Figure


def standing(
    facts: Facts | Missing, *, in_doubt: list[TradeLedger], starts: Mapping[int, Decimal], at: datetime
) -> Standing:
    """Add up what the user has lost today and may still lose. Keeps the day's first equity of each account.

    Takes: `starts` as `Books` has it.
    """
    reserved = sum((order.risk for order in in_doubt), start=ZERO)
    if isinstance(facts, Missing):
        unknown = Unknown(facts.reason, facts.detail)
        return Standing(unknown, unknown, reserved, unknown)
    doubtful = {order.client_order_id: order for order in in_doubt}
    adding = [order for order in in_doubt if not order.venue_position_id]
    loss: Figure = ZERO
    risk: Figure = ZERO
    positions = Decimal(len(adding))
    starts = _starts(facts, known=starts, at=at)
    for each in facts.accounts:
        own, counted = _split(each, doubtful)
        loss = plus(loss, _loss_today(each, own=own, equity_start=starts[each.account.pk], facts=facts))
        if each.snapshot.hides_something and not any(order.account_id == each.account.pk for order in in_doubt):
            risk = plus(risk, Unknown("BROKER_UNAVAILABLE", HIDES))
        risk = plus(
            risk, _open_risk(each, counted, facts=facts), _beyond_reserved(each, own, doubtful=doubtful, facts=facts)
        )
        risk = plus(risk, beyond_counted(each, in_doubt, facts=facts), moved_at_venue(each, adding, facts=facts))
        risk = plus(risk, _beyond_floating(each, own, adding=adding, facts=facts))
        positions += len(counted)
    return Standing(loss, risk, reserved, positions)


def position(facts: Facts | Missing, *, in_doubt: list[TradeLedger], symbol: str, side: Side) -> Figure:
    """Return the base units held on one side of an instrument, working orders counted as filled; never netted.

    An order that only reduces takes nothing off before the broker shows that it did, and never adds.
    """
    if isinstance(facts, Missing):
        return Unknown(facts.reason, facts.detail)
    doubtful = {order.client_order_id: order for order in in_doubt}
    held: Figure = ZERO
    seen = {each.account.pk for each in facts.accounts}  # what stands on others is counted by itself: `aside`
    for each in facts.accounts:
        _, counted = _split(each, doubtful)
        same = sum((p.quantity for p in counted if p.symbol == symbol and p.side is side), start=ZERO)
        held = plus(held, _units(facts, each.account.pk, symbol, same))
    for order in in_doubt:
        if (order.symbol, order.side) == (symbol, side) and not order.venue_position_id and order.account_id in seen:
            held = plus(held, _units(facts, order.account_id, symbol, order.quantity))
    return held


def one_way(
    facts: Facts | Missing, *, account: TradingAccount, in_doubt: list[TradeLedger], symbol: str, side: Side
) -> Figure:
    """Return the lots held and waiting on one side of an instrument at one account, as `position`.

    Where positions are netted, an order first closes what is held on the other side: that is taken off.
    """
    if isinstance(facts, Missing):
        return Unknown(facts.reason, facts.detail)
    mine = next((each for each in facts.accounts if each.account.pk == account.pk), None)
    if mine is None:
        return Unknown("ACCOUNT_NOT_USABLE")
    doubtful = {order.client_order_id: order for order in in_doubt}
    _, counted = _split(mine, doubtful)
    same = [p.quantity for p in counted if p.symbol == symbol and p.side is side]
    same += [
        order.quantity
        for order in in_doubt
        if (order.account_id, order.symbol, order.side) == (account.pk, symbol, side) and not order.venue_position_id
    ]
    if mine.snapshot.mode is PositionMode.HEDGING:
        return sum(same, start=ZERO)
    against = (p.quantity for p in mine.snapshot.positions if p.symbol == symbol and p.side is not side)
    return sum(same, start=ZERO) - sum(against, start=ZERO)


def unfit_conversion(
    facts: Facts | Missing, *, instrument: TradableInstrument, beside: Iterable[str] = (), at: datetime
) -> Unknown | None:
    """Return the first pair that this judgement rests on and whose price cannot be trusted, or None (§8).

    Valued by it are the accounts' equity, the order, and all that is held or waits. Takes: names of others `beside`.
    """
    if isinstance(facts, Missing):
        return Unknown(facts.reason, facts.detail)
    names = {instrument.usd_symbol, *beside}
    for each in facts.accounts:
        symbols = {held.symbol for held in each.positions} | {order.symbol for order in each.snapshot.orders}
        met = (facts.instruments.get((each.account.pk, symbol)) for symbol in symbols)
        names |= {each.account.usd_symbol, *(known.usd_symbol for known in met if known is not None)}
    for name in sorted(names - {""}):
        quote = facts.quotes.get(name)
        fault = instruments.quote_fault(quote, instrument=facts.instruments.get((instrument.account_id, name)), at=at)
        fault = fault or ("" if quote is None else instruments.implausible(quote))
        if fault:
            dated = "" if quote is None else f", dated {quote.at:%Y-%m-%d %H:%M:%S} UTC"
            words = f"{name}: {fault}{dated}"
            is_old = fault == "QUOTE_STALE"
            return Unknown("CONVERSION_STALE", words) if is_old else Unknown(UNCONVERTED.reason, words)
    return None


def margin(
    facts: Facts | Missing,
    *,
    account: TradingAccount,
    symbol: str,
    in_doubt: list[TradeLedger],
    reservation: Reservation | Unknown,
    venue_margin: Figure | None,
    changed_id: int | None = None,
) -> Margin:
    """Return the margin that the order needs, that working orders need, and that is free.

    The venue's own figure counts where it was asked for; else notional / leverage, at the worst price. An order in
    doubt counts by its notional, in the order's own instrument by no less than the venue asks for the order: not every
    instrument is bought on the account's leverage. The margin of the position it may have made is given back, at no
    more than that. Takes: the order whose new terms these are, which is asked for anew.
    """
    if isinstance(facts, Missing):
        unknown = Unknown(facts.reason, facts.detail)
        return Margin(unknown, unknown, unknown)
    mine = next((each for each in facts.accounts if each.account.pk == account.pk), None)
    if mine is None:
        unknown = Unknown("ACCOUNT_NOT_USABLE")
        return Margin(unknown, unknown, unknown)
    leverage = Decimal(mine.snapshot.leverage)
    owed = rules.usd_rate(account.conversion, facts.quotes, owed=True)
    counted_on = rules.usd_rate(account.conversion, facts.quotes, owed=False)
    if owed is None or counted_on is None:
        return Margin(UNCONVERTED, UNCONVERTED, UNCONVERTED)
    if leverage <= 0 or not mine.snapshot.margin_free.is_finite():
        unknown = Unknown("MARGIN_UNKNOWN")
        return Margin(unknown, unknown, unknown)
    doubtful = {order.client_order_id: order for order in in_doubt if order.account_id == account.pk}
    own, _ = _split(mine, doubtful)
    required = _required(reservation, venue_margin=venue_margin, leverage=leverage, owed=owed)
    told = ZERO  # of each USD of this instrument, less what rounding to cents has added
    if isinstance(required, Decimal) and isinstance(reservation, Reservation) and reservation.value:
        told = max(ZERO, required - CENT) / reservation.value

    def bound(values: list[tuple[str, Decimal]]) -> Decimal:
        whole = sum((value for _, value in values), start=ZERO)
        same = sum((value for name, value in values if name == symbol), start=ZERO)
        return max(whole / leverage, (whole - same) / leverage + same * told)

    working = bound([(each.symbol, each.value) for each in doubtful.values() if each.pk != changed_id])
    back = bound([(each.symbol, _value(facts, account.pk, each)) for each in own])
    return Margin(
        required=required,
        working=money.ceil_to(working, CENT),
        free=money.floor_to(mine.snapshot.margin_free * counted_on, CENT) + money.floor_to(back, CENT),
    )


def _required(
    reservation: Reservation | Unknown, *, venue_margin: Figure | None, leverage: Decimal, owed: Decimal
) -> Figure:
    if isinstance(reservation, Unknown):
        return reservation
    if isinstance(venue_margin, Unknown):
        return venue_margin
    return money.ceil_to(reservation.value / leverage if venue_margin is None else venue_margin * owed, CENT)


def _value(facts: Facts, account_id: int, held: VenuePosition) -> Decimal:
    """Return what a position was worth when it was opened, in USD; nothing where it cannot be valued."""
    known = facts.instruments.get((account_id, held.symbol))
    usd = None if known is None else rules.usd_rate(known.conversion, facts.quotes, owed=False)
    if known is None or usd is None:
        return ZERO  # nothing is given back that cannot be valued
    worth: Decimal = held.quantity * known.contract_size * held.price_open * usd
    return worth


def _units(facts: Facts, account_id: int, symbol: str, quantity: Decimal) -> Figure:
    if quantity == 0:
        return ZERO
    known = facts.instruments.get((account_id, symbol))
    return Unknown("INSTRUMENT_UNKNOWN", symbol) if known is None else quantity * known.contract_size


def _starts(facts: Facts, *, known: Mapping[int, Decimal], at: datetime) -> Mapping[int, Decimal]:
    """Return each account's first equity of the day, keeping it where this is the first look at it."""
    new = [each for each in facts.accounts if each.account.pk not in known]
    for each in new:
        stats.open_day(
            account_id=each.account.pk,
            trading_date=at.date(),
            currency=each.snapshot.currency,
            equity=each.snapshot.equity,
            read_at=facts.asked_at,
        )
    ids = [each.account.pk for each in facts.accounts]
    return stats.equity_at_start(account_ids=ids, trading_date=at.date()) if new else known


def _split(each: AccountFacts, doubtful: Mapping[str, TradeLedger]) -> tuple[list[VenuePosition], list[VenuePosition]]:
    """Part an account's positions into those that an order in doubt accounts for, and all others.

    A working order that is none of ours, or that we do not know as working, counts as the position it may become.
    """
    strangers = [as_filled(order) for order in each.snapshot.orders if order.client_order_id not in doubtful]
    if each.snapshot.mode is not PositionMode.HEDGING:
        return [], [*each.positions, *strangers]
    own = [p for p in each.snapshot.positions if p.client_order_id and p.client_order_id in doubtful]
    return own, [*(p for p in each.positions if p not in own), *strangers]


def _loss_today(each: AccountFacts, *, own: list[VenuePosition], equity_start: Decimal, facts: Facts) -> Figure:
    """Return what the account has lost since its day began, in USD; a profit gives no room."""
    if not each.snapshot.equity.is_finite() or each.snapshot.equity <= 0:
        return Unknown("EQUITY_NOT_POSITIVE")
    if each.paid_in is None:
        return Unknown("BROKER_UNAVAILABLE", UNTOLD)
    equity = each.snapshot.equity - sum((position.profit for position in own), start=ZERO)
    lost = max(ZERO, equity_start - equity)
    usd = rules.usd_rate(each.account.conversion, facts.quotes, owed=True)
    return UNCONVERTED if usd is None else money.ceil_to(lost * usd, CENT)


def _open_risk(each: AccountFacts, positions: list[VenuePosition], *, facts: Facts) -> Figure:
    """Return what the positions can still lose from their mark to their stops, in USD."""
    total = to_stops(each, positions, facts=facts)
    return total if isinstance(total, Unknown) else money.ceil_to(total, CENT)


def _beyond_reserved(
    each: AccountFacts, own: list[VenuePosition], *, doubtful: Mapping[str, TradeLedger], facts: Facts
) -> Figure:
    """Return what positions of orders in doubt can cost beyond what those orders count, in USD.

    R is what an order could cost when it was accepted. A stop that was widened since, or a loss that floats already,
    may be more: R is the least that counts, and what a position has lost and can still lose beside its order's
    unfilled part counts where it is more.
    """
    total = ZERO
    for name in sorted({position.client_order_id for position in own}):
        order, held = doubtful[name], [position for position in own if position.client_order_id == name]
        shown = to_stops(each, held, facts=facts)
        profit = sum((position.profit for position in held), start=ZERO)
        usd = rules.usd_rate(each.account.conversion, facts.quotes, owed=profit < 0)
        if isinstance(shown, Unknown) or usd is None:
            return shown if isinstance(shown, Unknown) else UNCONVERTED
        whole = order.filled_quantity if order.delivery == Delivery.DONE else order.quantity
        unseen = max(ZERO, whole - sum((position.quantity for position in held), start=ZERO))
        total += max(ZERO, shown - profit * usd + order.risk * unseen / order.quantity - order.risk)
    return money.ceil_to(total, CENT)


def _beyond_floating(
    each: AccountFacts, own: list[VenuePosition], *, adding: list[TradeLedger], facts: Facts
) -> Figure:
    """Return what orders in doubt can lose from the price now beyond what they count, where they may have filled and
    are not listed, in USD: what floats for them is in the equity by then, and may be gone before their stops are hit.

    Of an order that waits at its price that is what has filled of it; and the whole, where it waits no more: also one
    that is listed still, when the market is where it fills. Nobody knows what floats where there is no price.
    """
    total, waiting = ZERO, {order.client_order_id for order in each.snapshot.orders}
    for order in adding:
        known, quote = facts.instruments.get((each.account.pk, order.symbol)), facts.quotes.get(order.symbol)
        if order.account_id != each.account.pk or known is None:
            continue
        is_listed = order.client_order_id in waiting
        if order.symbol in each.unpriced and not is_listed:
            return Unknown("QUOTE_MISSING", order.symbol)
        if quote is None or order.symbol in each.unpriced or (is_listed and not _fills(order, quote)):
            continue
        is_market = order.limit_price is None and order.stop_price is None
        is_whole = order.delivery != Delivery.DONE and (is_market or _waits_no_more(order, quote, facts=facts))
        listed = sum((p.quantity for p in own if p.client_order_id == order.client_order_id), start=ZERO)
        lots = (order.quantity if is_whole else order.filled_quantity) - listed
        stands = to_stops(each, [as_floating(order, lots=lots, quote=quote)], facts=facts) if lots > 0 else ZERO
        if isinstance(stands, Unknown):
            return stands
        total += max(ZERO, stands - (order.risk - order.restopped) * lots / order.quantity)
    return money.ceil_to(total, CENT)


def _waits_no_more(order: TradeLedger, quote: Quote, *, facts: Facts) -> bool:
    """Tell whether an order that the venue has taken and does not list may have filled: the list is not from before it,
    or the market is where it fills.
    """
    if order.delivery != Delivery.ACKED or order.sent_at is None:
        return False
    is_hit = _is_triggered(order, quote) or _fills(order, quote)
    return is_hit or order.sent_at < facts.asked_at - LISTED_WITHIN


def _fills(order: TradeLedger, quote: Quote) -> bool:
    """Tell whether the market is where an order that waits is filled: of a stop limit that is its limit."""
    if order.limit_price is None:
        return _is_triggered(order, quote)
    side = Side(order.side)
    return bool(side.direction * (rules.reference_price(quote, side) - order.limit_price) <= 0)


def _is_triggered(order: TradeLedger, quote: Quote) -> bool:
    side = Side(order.side)
    price = rules.reference_price(quote, side)
    return order.stop_price is not None and side.direction * (price - order.stop_price) >= 0
