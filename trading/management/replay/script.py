"""The orders of a replay: a CSV file, read whole and checked before anything runs.

time,do,name,symbol,action,quantity,type,price,stop_loss,take_profit
2020-01-01T22:05:00Z,order,first,EURUSD,BUY,0.1,MARKET,,1.11500,1.13000
2020-01-01T23:00:00Z,close,first,,,0.04,,,,
2020-01-01T23:30:00Z,order,wait,EURUSD,SELL,0.1,LIMIT,1.12300,1.13000,
2020-01-02T00:00:00Z,cancel,wait,,,,,,,
"""

import csv
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal, InvalidOperation
from enum import StrEnum
from pathlib import Path

from trading.states import OrderType, Side, TimeInForce
from trading.types import OrderIntent

HEADER = ["time", "do", "name", "symbol", "action", "quantity", "type", "price", "stop_loss", "take_profit"]


class BadScript(Exception):
    """The file cannot be played; the message names the line."""


class Do(StrEnum):
    """What a line does."""

    ORDER = "order"
    CLOSE = "close"
    CANCEL = "cancel"


@dataclass(frozen=True, slots=True)
class Step:
    """One line: at this time, place the order `name`, close its position (`quantity` of it), or cancel it."""

    at: datetime
    do: Do
    name: str
    intent: OrderIntent | None = None
    quantity: Decimal | None = None


def read(path: Path) -> list[Step]:
    """Return the steps in the order of time. Raises: BadScript."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = csv.reader(file)
            if next(rows, None) != HEADER:
                raise BadScript(f"{path.name}: the first line must be {','.join(HEADER)}")
            steps = [_step(path, rows.line_num, row) for row in rows if row]
    except OSError as exc:
        raise BadScript(f"{path} cannot be read ({exc.strerror})") from exc
    if not steps:
        raise BadScript(f"{path.name}: holds no order")
    known: set[str] = set()
    for step in sorted(steps, key=lambda each: each.at):
        if step.do is Do.ORDER and step.name in known:
            raise BadScript(f"{path.name}: two orders are called {step.name!r}")
        if step.do is not Do.ORDER and step.name not in known:
            raise BadScript(f"{path.name}: {step.do} of {step.name!r}, which is no earlier order")
        known.add(step.name)
    return sorted(steps, key=lambda each: each.at)


def _step(path: Path, number: int, row: list[str]) -> Step:
    try:
        cells = dict(zip(HEADER, row, strict=True))
        at, do, name = datetime.fromisoformat(cells["time"]), Do(cells["do"]), cells["name"]
        if at.tzinfo is None or not name:
            raise ValueError("a time needs its zone (Z for UTC), and a line a name")
        quantity = _number(cells["quantity"])
        if do is Do.ORDER:
            return Step(at, do, name, _intent(cells))
        return Step(at, do, name, quantity=quantity)
    except (ValueError, KeyError, InvalidOperation) as exc:
        raise BadScript(f"{path.name}, line {number}: {exc} in {','.join(row)!r}") from exc


def _intent(cells: dict[str, str]) -> OrderIntent:
    kind, quantity, price = OrderType(cells["type"]), _number(cells["quantity"]), _number(cells["price"])
    if kind is OrderType.STOP_LIMIT:
        raise ValueError("STOP_LIMIT orders are not replayed")
    if quantity is None or not cells["symbol"]:
        raise ValueError("an order needs a symbol and a quantity")
    if kind is not OrderType.MARKET and price is None:
        raise ValueError(f"a {kind} order needs a price")
    return OrderIntent(
        symbol=cells["symbol"],
        side=Side(cells["action"]),
        quantity=quantity,
        order_type=kind,
        entry_price=price if kind is OrderType.MARKET else None,
        limit_price=price if kind is OrderType.LIMIT else None,
        stop_price=price if kind is OrderType.STOP else None,
        stop_loss=_number(cells["stop_loss"]),
        take_profit=_number(cells["take_profit"]),
        time_in_force=None if kind is OrderType.MARKET else TimeInForce.GTC,
    )


def _number(text: str) -> Decimal | None:
    number = Decimal(text) if text else None
    if number is not None and (not number.is_finite() or number <= 0):
        raise ValueError(f"{text} is not above zero")
    return number
