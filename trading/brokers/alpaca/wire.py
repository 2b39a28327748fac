"""From Alpaca's documents to our own words. Whatever is missing or of the wrong kind raises BadAnswer."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, date, datetime, time
from decimal import ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_EVEN, Decimal, InvalidOperation
from typing import Any, TypeAlias
from zoneinfo import ZoneInfo

from nexus.core.errors import Unreachable
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

Plain: TypeAlias = Mapping[str, Any]

CHANGED = "~"  # between our order's id and the id of the change that replaced it, in a replacement's client order id
FINEST = Decimal("0.00000001")  # shares: what our books hold. Alpaca's own go one place further
CENT = Decimal("0.01")
EXCHANGE_ZONE = ZoneInfo("America/New_York")

SIDES = {"buy": Side.BUY, "sell": Side.SELL, "sell_short": Side.SELL}
TYPES = {
    "market": OrderType.MARKET,
    "limit": OrderType.LIMIT,
    "stop": OrderType.STOP,
    "stop_limit": OrderType.STOP_LIMIT,
    "trailing_stop": OrderType.STOP,  # never ours; it stands as the stop that it is now
}
TIMES = {"day": TimeInForce.DAY, "gtc": TimeInForce.GTC, "ioc": TimeInForce.IOC, "fok": TimeInForce.FOK}
# Source: the activity types of the Trading API. What is not named here is a correction, and is shown as one.
TAKEN_BACK = "~void"
_CASH = {
    **dict.fromkeys(("CSD", "CSW", "JNLC", "ACATC", "TRANS"), CashKind.TRANSFER),
    **dict.fromkeys(("FEE", "CFEE", "PTC"), CashKind.CHARGE),
    **dict.fromkeys(("DIV", "DIVCGL", "DIVCGS", "DIVROC", "DIVTXEX", "CIL"), CashKind.DIVIDEND),
    **dict.fromkeys(("DIVNRA", "DIVWH", "DIVFT", "DIVTW", "WH", "INTNRA", "INTTW"), CashKind.TAX),
    **dict.fromkeys(("INT", "SWP"), CashKind.INTEREST),
}


class BadAnswer(ValueError):
    """The answer is not what the API promises; nothing may be concluded from it."""


@contextmanager
def understanding() -> Iterator[None]:
    """Turn every way in which a document can be malformed into BadAnswer."""
    try:
        yield
    except BadAnswer:
        raise
    except (KeyError, TypeError, AttributeError, IndexError, ArithmeticError, OverflowError, ValueError) as exc:
        raise BadAnswer(f"Alpaca's answer is malformed: {type(exc).__name__} {exc}") from exc


@contextmanager
def reading() -> Iterator[None]:
    """Turn an answer that cannot be understood into Unreachable: a reading that failed has changed nothing."""
    try:
        with understanding():
            yield
    except BadAnswer as exc:
        raise Unreachable(str(exc)) from exc


def number(value: object) -> Decimal:
    """Return a number exactly as its text reads. A float can have passed through none of this."""
    if isinstance(value, bool) or not isinstance(value, (str, int, Decimal)):
        raise BadAnswer(f"{value!r} is not a number")
    try:
        exact = Decimal(value)
    except InvalidOperation:
        raise BadAnswer(f"{value!r} is not a number") from None
    if not exact.is_finite():
        raise BadAnswer(f"{value!r} is not a number")
    return exact


def optional(value: object) -> Decimal | None:
    """Return a number, or None where there is none."""
    return None if value is None or value == "" else number(value)


def text(value: object) -> str:
    """Return a text that may not be missing or empty."""
    if not isinstance(value, str) or not value:
        raise BadAnswer(f"{value!r} is not a text")
    return value


def listing(document: object) -> Sequence[Plain]:
    """Return a list of objects."""
    if not isinstance(document, list) or not all(isinstance(entry, dict) for entry in document):
        raise BadAnswer("the answer is not a list of objects")
    return document


def moment(value: object) -> datetime:
    """Return a time in UTC; nanoseconds are cut to microseconds."""
    at = datetime.fromisoformat(text(value))
    if at.tzinfo is None:
        raise BadAnswer(f"{value!r} does not say its zone")
    return at.astimezone(UTC)


def shares(value: Decimal) -> Decimal:
    """Return a quantity as our books hold it, nearer to zero where they cannot hold all of it."""
    return value.quantize(FINEST, rounding=ROUND_FLOOR if value > 0 else ROUND_CEILING)


def owner(client_order_id: str, *, tag: int) -> str:
    """Return the id of the order of ours that this names, itself or as a replacement, or '' for somebody else's."""
    name = client_order_id.partition(CHANGED)[0]
    try:
        return ids.from_magic(ids.magic(name), tag=tag)
    except ids.BadOrderId:
        return ""


def position(entry: Plain) -> VenuePosition:
    """Read one position. It is named by its symbol: an account has one of each. Who opened it is not told."""
    symbol = text(entry["symbol"])
    quantity = number(entry["qty"])
    return VenuePosition(
        venue_position_id=symbol,
        symbol=symbol,
        side=Side.BUY if quantity > 0 else Side.SELL,
        quantity=abs(shares(quantity)),
        price_open=number(entry["avg_entry_price"]),
        price_current=number(entry["current_price"]),
        stop_loss=None,
        take_profit=None,
        profit=number(entry["unrealized_pl"]),
        swap=Decimal(0),
        client_order_id="",
        opened_at=None,
    )


def snapshot(
    account: Plain,
    *,
    positions: Sequence[Plain],
    orders: tuple[VenueOrder, ...],
    quotes: dict[str, Quote],
    is_live: bool,
    pause_s: float = 0,
) -> AccountSnapshot:
    """Put an account together. What it has is rounded down, what it owes up.

    The balance is what it would have at the prices its positions were opened at: cash and their cost. It changes with a
    result that is realized, and not with a price. Buying power is a multiple of the free margin.
    """
    multiplier = int(number(account["multiplier"]))
    cost = sum((number(entry["qty"]) * number(entry["avg_entry_price"]) for entry in positions), Decimal(0))
    return AccountSnapshot(
        account=text(account["account_number"]),
        currency=text(account["currency"]),
        mode=PositionMode.NETTING,
        is_live=is_live,
        balance=(number(account["cash"]) + cost).quantize(CENT, rounding=ROUND_HALF_EVEN),
        equity=number(account["equity"]).quantize(CENT, rounding=ROUND_FLOOR),
        margin_used=number(account["initial_margin"]).quantize(CENT, rounding=ROUND_CEILING),
        margin_free=(number(account["buying_power"]) / max(multiplier, 1)).quantize(CENT, rounding=ROUND_FLOOR),
        leverage=multiplier,
        positions=tuple(map(position, positions)),
        quotes=quotes,
        orders=orders,
        pause_s=pause_s,
    )


def quotes(document: Plain) -> dict[str, Quote]:
    """Read the latest quotes. A side that nobody quotes is zero, as Alpaca says it, and no order passes on it."""
    return {
        symbol: Quote(
            symbol, bid=number(entry["bp"]), ask=number(entry["ap"]), at=moment(entry["t"]), size_least=_size(entry)
        )
        for symbol, entry in document["quotes"].items()
    }


def _size(entry: Plain) -> Decimal | None:
    sizes = [optional(entry.get(name)) for name in ("bs", "as")]
    return min((size for size in sizes if size is not None), default=None)


def working_order(entry: Plain, *, venue_order_id: str, tag: int, market_price: Decimal) -> VenueOrder:
    """Read one order that works. Takes: the id it began with, and the price of now for what has none of its own."""
    stop, limit = optional(entry["stop_price"]), optional(entry["limit_price"])
    price = stop or limit or market_price
    amount = optional(entry.get("notional"))
    # An amount in dollars is never ours; it counts for as many shares as it buys.
    quantity = number(entry["qty"]) if amount is None else (amount / price).quantize(FINEST, rounding=ROUND_CEILING)
    return VenueOrder(
        venue_order_id=venue_order_id,
        client_order_id=owner(text(entry["client_order_id"]), tag=tag),
        symbol=text(entry["symbol"]),
        side=SIDES[entry["side"]],
        order_type=TYPES[entry["type"]],
        quantity=quantity,
        quantity_left=quantity - number(entry["filled_qty"]),
        price=price,
        stop_loss=None,
        take_profit=None,
        placed_at=moment(entry["submitted_at"]),
        limit_price=limit if stop is not None else None,
        time_in_force=TIMES.get(entry["time_in_force"]),
    )


def fill(entry: Plain, *, venue_order_id: str, client_order_id: str) -> FillReport | None:
    """Read one execution. Takes: the id its order began with, and our id or ''.

    Our books hold a place less than Alpaca's: the shares are rounded as they add up, so that the fills of an order come
    to its quantity. None for one that adds less than our books can hold.
    """
    quantity, so_far = number(entry["qty"]), number(entry["cum_qty"])
    booked = shares(so_far) - shares(so_far - quantity)
    if booked <= 0:
        return None
    symbol = text(entry["symbol"])
    return FillReport(
        venue_fill_id=text(entry["id"]),
        venue_order_id=venue_order_id,
        venue_position_id=symbol,
        client_order_id=client_order_id,
        symbol=symbol,
        side=SIDES[entry["side"]],
        quantity=booked,
        price=number(entry["price"]),
        commission=Decimal(0),  # fees are cash movements of their own, days later
        swap=Decimal(0),
        fee=Decimal(0),
        profit=Decimal(0),  # not told: it follows from the fills
        kind=FillKind.ORDER,
        filled_at=moment(entry["transaction_time"]),
    )


def cash(entry: Plain) -> tuple[CashReport, ...]:
    """Read one movement of money, none for what moved no money. Its day is all that is told: the exchange's midnight.

    One that was taken back tells itself and its opposite: whether it was booked before it was taken back or not, the
    sum is nothing.
    """
    if not optional(entry.get("net_amount")):
        return ()
    day = datetime.combine(date.fromisoformat(text(entry["date"])), time(), tzinfo=EXCHANGE_ZONE)
    words = entry.get("description") or f"{entry['activity_type']} {entry.get('symbol') or ''}".strip()
    moved = CashReport(
        venue_cash_id=text(entry["id"]),
        kind=_CASH.get(entry["activity_type"], CashKind.CORRECTION),
        amount=number(entry["net_amount"]),
        words=str(words),
        moved_at=day.astimezone(UTC),
        is_dated_by_day=True,
    )
    if entry.get("status") != "canceled":
        return (moved,)
    return moved, replace(moved, venue_cash_id=cash_key(entry), amount=-moved.amount)


def cash_key(entry: Plain) -> str:
    """Return what makes two tellings of a movement the same: taken back, it is told anew."""
    return text(entry["id"]) + (TAKEN_BACK if entry.get("status") == "canceled" else "")
