"""The worst that an account can lose, reckoned plainly from its broker's own books and their own stops.

Source: execution reference §4, without anything that makes it more: no commission, no deviation, no rounding.
"""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, NamedTuple

BUY = 0
ZERO, ONE = Decimal(0), Decimal(1)


class Rules(NamedTuple):
    """How a loss is bounded: how far beyond its price a stop may fill, and the move that is assumed without one."""

    gap: Decimal
    move: Decimal


class Piece(NamedTuple):
    """Lots that are held, at the price now, or that wait at theirs. Units: `usd` for a lot and each unit of price."""

    way: int
    lots: Decimal
    price: Decimal
    stop: Decimal | None
    usd: Decimal

    def loss(self, stop: Decimal | None, rules: Rules) -> Decimal:
        """Return what they lose from here to a stop; below nothing where they win."""
        fall = rules.move * self.price
        if stop is not None:
            fall = self.way * (self.price - stop * (1 - self.way * rules.gap))
        return fall * self.lots * self.usd


class Sight(NamedTuple):
    """An instrument: its price now, its digits, and USD for a lot and each unit of price, of what is held and of what
    waits.
    """

    bid: Decimal
    ask: Decimal
    digits: int
    usd: Decimal
    usd_waiting: Decimal


def worst(
    truth: Mapping[str, Any],
    *,
    start: Decimal,
    sights: Mapping[str, Sight],
    is_netting: bool,
    rules: Rules,
    usd: Decimal = ONE,
) -> tuple[Decimal, Decimal]:
    """Return the USD that are lost since `start` with what is held and what waits may lose beside that: as the limit
    counts them, to which a profit gives no room; and as the day would end. Takes: `usd` for a unit of the account's
    currency.
    """
    lost = (start - Decimal(truth["equity"]).scaleb(-8)) * usd
    risk = sum(
        (_risk(truth, symbol, sight, is_netting=is_netting, rules=rules) for symbol, sight in sights.items()), ZERO
    )
    return max(ZERO, lost) + risk, max(ZERO, lost + risk)


def _risk(truth: Mapping[str, Any], symbol: str, sight: Sight, *, is_netting: bool, rules: Rules) -> Decimal:
    """Return what stands of one instrument may lose."""
    digits, marks = sight.digits, (sight.bid, sight.ask)
    held = [
        _piece(row, price=marks[row["type"]], lots="volume", digits=digits, usd=sight.usd)
        for row in truth["positions"]
        if row["symbol"] == symbol
    ]
    waiting = [
        _piece(
            row, price=_price(row["stoplimit"] or row["price"], digits), lots="volume_current", digits=digits,
            usd=sight.usd_waiting,
        )
        for row in truth["working"]
        if row["symbol"] == symbol
    ]  # fmt: skip
    waiting = [each for each in waiting if each.price]  # a market order that is being executed waits at none
    if is_netting:
        return sum((_netted(held, waiting, way=way, rules=rules) for way in (1, -1)), start=ZERO)
    return sum((max(ZERO, each.loss(each.stop, rules)) for each in (*held, *waiting)), start=ZERO)


def _netted(held: Sequence[Piece], waiting: Sequence[Piece], *, way: int, rules: Rules) -> Decimal:
    """Return the worst of one side, whichever order fills last and brings its stop to the whole."""
    pieces, stands = [each for each in waiting if each.way == way], [each for each in held if each.way == way]
    ends = [sum((max(ZERO, each.loss(each.stop, rules)) for each in stands), start=ZERO)]
    for last in pieces:
        filled = [each for each in pieces if each is last or each.loss(last.stop, rules) > 0]
        ends.append(sum((each.loss(last.stop, rules) for each in (*stands, *filled)), start=ZERO))
    return max(ends)


def _piece(row: Mapping[str, Any], *, price: Decimal, lots: str, digits: int, usd: Decimal) -> Piece:
    way = 1 if row["type"] % 2 == BUY else -1
    return Piece(way, Decimal(row[lots]).scaleb(-8), price, _price(row["sl"], digits) or None, usd)


def _price(points: int, digits: int) -> Decimal:
    return Decimal(points).scaleb(-digits)
