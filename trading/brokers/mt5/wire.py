"""From the gateway's plain data to our own words. Whatever is missing or of the wrong kind raises BadAnswer."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any, Protocol, TypeAlias

from trading.brokers import ids
from trading.brokers.base import (
    AccountSnapshot,
    CashKind,
    CashReport,
    FillKind,
    FillReport,
    OrderType,
    PositionMode,
    Quote,
    Side,
    TimeInForce,
    VenueOrder,
    VenuePosition,
)
from trading.brokers.mt5.server_clock import in_utc

Plain: TypeAlias = Mapping[str, Any]

HEDGING = 2  # ACCOUNT_MARGIN_MODE_RETAIL_HEDGING
REAL = 2  # ACCOUNT_TRADE_MODE_REAL
BUY, SELL = 0, 1  # of orders, positions and deals alike
CANCELED = {13: BUY, 14: SELL}  # of a deal that the venue has taken back: by its type, what it was
TAKEN_BACK = "~canceled"  # the ticket stays: this makes the taking back another fill than the deal
CLOSE_BY = 8  # the type of the order with which one position closes another
REASON_STOP_LOSS, REASON_TAKE_PROFIT, REASON_STOP_OUT = 4, 5, 6
REASONS_OF_ORDERS = frozenset({0, 1, 2, 3})  # client, mobile, web, expert

_CASH = {
    2: CashKind.TRANSFER, 3: CashKind.CREDIT, 4: CashKind.CHARGE, 6: CashKind.BONUS, 7: CashKind.COMMISSION,
    8: CashKind.COMMISSION, 9: CashKind.COMMISSION, 10: CashKind.COMMISSION, 11: CashKind.COMMISSION,
    12: CashKind.INTEREST, 15: CashKind.DIVIDEND, 16: CashKind.DIVIDEND, 17: CashKind.TAX,
}  # fmt: skip
_KINDS = {
    REASON_STOP_LOSS: FillKind.STOP_LOSS,
    REASON_TAKE_PROFIT: FillKind.TAKE_PROFIT,
    REASON_STOP_OUT: FillKind.STOP_OUT,
}
# By half of the order's type: even ones buy, odd ones sell.
_ORDER_TYPES = {0: OrderType.MARKET, 1: OrderType.LIMIT, 2: OrderType.STOP, 3: OrderType.STOP_LIMIT}
_TIMES = {0: TimeInForce.GTC, 1: TimeInForce.DAY}
_FINEST = Decimal("1e-10")  # no venue price, lot or amount is finer; what lies below is noise of binary floats
_WIDEST = Decimal("1e17")


class BadAnswer(ValueError):
    """The gateway's answer is not what the protocol promises; nothing may be concluded from it."""


class NoPrice(BadAnswer):
    """The terminal has no price of a symbol yet: a tick of zeros."""


class Zone(Protocol):
    """The server's clock, as far as conversions need it."""

    def utc(self, server_ms: int) -> datetime:
        """Turn a time of the server into UTC."""
        ...

    def offset_of(self, server_ms: int) -> int:
        """Return what `utc` takes off, in seconds."""
        ...


@contextmanager
def understanding() -> Iterator[None]:
    """Turn every way in which plain data can be malformed into BadAnswer."""
    try:
        yield
    except (KeyError, TypeError, AttributeError, IndexError, ArithmeticError, OverflowError) as exc:
        raise BadAnswer(f"the gateway's answer is malformed: {type(exc).__name__} {exc}") from exc


def number(value: object) -> Decimal:
    """Return a price, lot or amount exactly as its shortest decimal text reads, without the noise below 1e-10."""
    if isinstance(value, bool) or not isinstance(value, (int, Decimal)):
        raise BadAnswer(f"{value!r} is not a number")
    exact = Decimal(value)
    if not exact.is_finite() or abs(exact) > _WIDEST:
        raise BadAnswer(f"{value!r} is not a number")
    tidy = exact.quantize(_FINEST, rounding=ROUND_HALF_EVEN).normalize()
    return tidy if tidy.as_tuple().exponent <= 0 else tidy.quantize(Decimal(1))  # type: ignore[operator]


def integer(value: object) -> int:
    """Return an integer; wide ones arrive as text."""
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        raise BadAnswer(f"{value!r} is not an integer")
    try:
        return int(value)
    except ValueError as exc:
        raise BadAnswer(f"{value!r} is not an integer") from exc


def text(value: object) -> str:
    """Return a text."""
    if not isinstance(value, str):
        raise BadAnswer(f"{value!r} is not a text")
    return value


def level(value: object) -> Decimal | None:
    """Return a stop level; the venue writes 0 for none."""
    return number(value) or None


def side(value: object) -> Side:
    """Return which way an order, position or deal looks."""
    match integer(value):
        case 0:
            return Side.BUY
        case 1:
            return Side.SELL
    raise BadAnswer(f"{value!r} is neither a buy nor a sell")


def snapshot(
    account: Plain,
    *,
    positions: tuple[VenuePosition, ...],
    orders: tuple[VenueOrder, ...],
    quotes: dict[str, Quote],
    name: str,
    margin_asked: Decimal | None = None,
    profit_asked: Decimal | None = None,
    pause_s: float = 0,
    remembers: Mapping[str, int],
    sends_nothing: str = "",
) -> AccountSnapshot:
    """Return the account as one unit with its positions, orders and quotes."""
    with understanding():
        cents = Decimal(1).scaleb(-integer(account["currency_digits"]))
        balance, equity, used, free, credit = (
            number(account[key]).quantize(cents, rounding=ROUND_HALF_EVEN)
            for key in ("balance", "equity", "margin", "margin_free", "credit")
        )
        return AccountSnapshot(
            account=name,
            currency=text(account["currency"]),
            mode=PositionMode.HEDGING if account["margin_mode"] == HEDGING else PositionMode.NETTING,
            is_live=account["trade_mode"] == REAL,
            balance=balance,
            equity=equity,
            margin_used=used,
            margin_free=free,
            leverage=integer(account["leverage"]),
            positions=positions,
            quotes=quotes,
            orders=orders,
            margin_asked=margin_asked,
            profit_asked=profit_asked,
            pause_s=pause_s,
            credit=credit,
            remembers=remembers,
            sends_nothing=sends_nothing,
        )


def runs(document: Plain) -> dict[str, int]:
    """Return how far the gateway's journal remembers, by the gateway's runs with it; an older gateway does not say."""
    with understanding():
        return {text(run): integer(beats) for run, beats in document.get("journal_runs", {}).items()}


def position(entry: Plain, *, zone: Zone, tag: int) -> VenuePosition:
    """Return one position. Its identifier is its name for life; the ticket is not."""
    with understanding():
        swap = number(entry["swap"])
        return VenuePosition(
            venue_position_id=str(integer(entry["identifier"])),
            symbol=text(entry["symbol"]),
            side=side(entry["type"]),
            quantity=number(entry["volume"]),
            price_open=number(entry["price_open"]),
            price_current=number(entry["price_current"]),
            stop_loss=level(entry["sl"]),
            take_profit=level(entry["tp"]),
            profit=number(entry["profit"]) + swap,
            swap=swap,
            client_order_id=ids.from_magic(integer(entry["magic"]), tag=tag),
            opened_at=zone.utc(integer(entry["time_msc"])),
        )


def quote(symbol: str, tick: Plain, *, at: datetime) -> Quote:
    """Return one quote. Raises: NoPrice before the first tick of a symbol, BadAnswer for prices that cannot be."""
    with understanding():
        bid, ask = number(tick["bid"]), number(tick["ask"])
    if bid == ask == 0:
        raise NoPrice(f"{symbol} has no price yet")
    if not 0 < bid <= ask:
        raise BadAnswer(f"{symbol} is quoted {bid} / {ask}")
    return Quote(symbol=symbol, bid=bid, ask=ask, at=at)


def working_order(entry: Plain, *, zone: Zone, tag: int) -> VenueOrder | None:
    """Return one order that works at the venue, or None for the venue's own business of closing one by another."""
    with understanding():
        kind = integer(entry["type"])
        if kind == CLOSE_BY:
            return None
        price, limit = number(entry["price_open"]), level(entry["price_stoplimit"])
        ends = integer(entry["time_expiration"])
        position_id = integer(entry["position_id"])
        return VenueOrder(
            venue_order_id=str(integer(entry["ticket"])),
            client_order_id=ids.from_magic(integer(entry["magic"]), tag=tag),
            symbol=text(entry["symbol"]),
            side=side(kind % 2),
            order_type=_ORDER_TYPES[kind // 2],
            quantity=number(entry["volume_initial"]),
            quantity_left=number(entry["volume_current"]),
            price=price,
            stop_loss=level(entry["sl"]),
            take_profit=level(entry["tp"]),
            placed_at=zone.utc(integer(entry["time_setup_msc"])),
            limit_price=limit,
            time_in_force=_TIMES.get(integer(entry["type_time"]), TimeInForce.GTD),
            expires_at=zone.utc(1000 * ends) if ends else None,
            venue_position_id=str(position_id) if position_id else "",
        )


def is_trade(deal: Plain) -> bool:
    """Tell whether a deal is a buy or a sell, also one that was taken back, and not a movement of money."""
    with understanding():
        return integer(deal["type"]) in {BUY, SELL, *CANCELED}


def deal_key(deal: Plain) -> str:
    """Return what makes two tellings of a deal the same: taken back, it is told anew."""
    with understanding():
        return str(integer(deal["ticket"])) + (TAKEN_BACK if integer(deal["type"]) in CANCELED else "")


def cash(deal: Plain, *, zone: Zone) -> CashReport:
    """Return a deal that is no trade as a movement of money."""
    with understanding():
        parts = (number(deal[name]) for name in ("profit", "swap", "commission", "fee"))
        moved_ms = integer(deal["time_msc"])
        offset_s = zone.offset_of(moved_ms)
        return CashReport(
            venue_cash_id=str(integer(deal["ticket"])),
            kind=_CASH.get(integer(deal["type"]), CashKind.CORRECTION),
            amount=sum(parts, start=Decimal(0)),
            words=text(deal["comment"]),
            moved_at=in_utc(moved_ms, offset_s),
            venue_time_ms=moved_ms,
            venue_offset_s=offset_s,
        )


def fills(deal: Plain, *, zone: Zone, client_order_id: str) -> tuple[FillReport, ...]:
    """Return one deal as a fill of the order `client_order_id`, or of nobody we know when that is empty.

    One that was taken back is told as it was executed and as its reversal: whether it was booked before or not, the
    sum is nothing. The reversal bears no money: the venue pays a result back by a movement of its own.
    """
    executed = _fill(deal, zone=zone, client_order_id=client_order_id)
    key = deal_key(deal)
    if key == executed.venue_fill_id:
        return (executed,)
    nothing = Decimal(0)
    reversal = replace(
        executed, venue_fill_id=key, kind=FillKind.BUST, reverses=executed.venue_fill_id, side=executed.side.opposite,
        commission=nothing, swap=nothing, fee=nothing, profit=nothing,
    )  # fmt: skip
    return executed, reversal


def _fill(deal: Plain, *, zone: Zone, client_order_id: str) -> FillReport:
    with understanding():
        reason = integer(deal["reason"])
        kind = FillKind.ORDER if reason in REASONS_OF_ORDERS else _KINDS.get(reason, FillKind.OTHER)
        filled_ms = integer(deal["time_msc"])
        offset_s = zone.offset_of(filled_ms)
        return FillReport(
            venue_fill_id=str(integer(deal["ticket"])),
            venue_order_id=str(integer(deal["order"])),
            venue_position_id=str(integer(deal["position_id"])),
            client_order_id=client_order_id,
            symbol=text(deal["symbol"]),
            side=side(CANCELED.get(integer(deal["type"]), deal["type"])),
            quantity=number(deal["volume"]),
            price=number(deal["price"]),
            commission=number(deal["commission"]),
            swap=number(deal["swap"]),
            fee=number(deal["fee"]),
            profit=number(deal["profit"]),
            kind=kind,
            filled_at=in_utc(filled_ms, offset_s),
            venue_time_ms=filled_ms,
            venue_offset_s=offset_s,
            is_nameless=integer(deal["magic"]) == 0,
        )


def owner(entry: Plain, *, tag: int) -> str:
    """Return the client order id of the order that made this deal or order, or '' when none of ours did.

    A stop that closes a position may carry the number of the order that opened it: it is not a fill of that order.
    """
    with understanding():
        if integer(entry["reason"]) not in REASONS_OF_ORDERS:
            return ""
        return ids.from_magic(integer(entry["magic"]), tag=tag)
