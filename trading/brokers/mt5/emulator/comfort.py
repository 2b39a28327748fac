"""Tell quickly that an account is far from its stop-out: every tick asks, and almost always the answer is yes.

The bound is safe: it takes each position's rounding against the account. Only when it does not suffice is everything
valued exactly. It is known for accounts whose positions all earn the account's own currency; others are always valued.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import ROUND_CEILING, Decimal

from trading.brokers.mt5.emulator import amounts, valuation
from trading.brokers.mt5.emulator import constants as mt5
from trading.brokers.mt5.emulator.books import AccountBooks
from trading.brokers.mt5.emulator.instruments import Instrument
from trading.brokers.mt5.emulator.quotes import Quotes
from trading.brokers.mt5.emulator.records import BUY, Position, WorkingOrder
from trading.brokers.mt5.emulator.valuation import Market


@dataclass(slots=True)
class Side:
    """What is bought and sold of one symbol: lots, and lots times opening price, both already times the contract."""

    bought: int = 0
    sold: int = 0
    opened: int = 0


@dataclass(frozen=True, slots=True)
class Comfort:
    """An account's books as one sum: what it is worth at prices, and the equity that it needs."""

    positions: Mapping[int, Position]
    working: Mapping[int, WorkingOrder]
    leverage: int
    sides: Mapping[str, Side]
    fixed: int  # what no price changes, roundings taken against the account
    needed: int | None  # the equity above which no stop-out is due; None when this cannot be told

    def is_of(self, books: AccountBooks) -> bool:
        """Say whether the books are still those that were summed up."""
        is_same = self.positions is books.positions and self.working is books.working
        return is_same and self.leverage == books.profile.leverage


def is_far(books: AccountBooks, known: Comfort, market: Market) -> bool:
    """Say whether the equity is certainly above what is needed, at the prices of now."""
    if known.needed is None:
        return False
    worth = 0
    for symbol, side in known.sides.items():
        tick = market.quotes.at(symbol, market.time_ms)
        if tick is None:
            return False
        scale = 10 ** (amounts.AVERAGE_DIGITS - market.instruments[symbol].digits)
        worth += scale * (side.bought * tick.bid - side.sold * tick.ask) - side.opened
    equity_least: int = books.balance + books.credit + known.fixed + worth // amounts.AVERAGE_UNIT
    return equity_least > known.needed


def of(books: AccountBooks, instruments: Mapping[str, Instrument], quotes: Quotes, now_ms: int) -> Comfort:
    """Sum an account's books up."""
    profile, held = books.profile, list(books.positions.values())
    sides: dict[str, Side] = {}
    for each in held:
        side, lots = sides.setdefault(each.symbol, Side()), each.volume * instruments[each.symbol].contract_size
        if each.type == BUY:
            side.bought, side.opened = side.bought + lots, side.opened + lots * each.price_open
        else:
            side.sold, side.opened = side.sold + lots, side.opened - lots * each.price_open
    step = amounts.UNIT // int(10**profile.currency_digits)
    fixed = sum(each.swap for each in held) - (len(held) + 1) * step
    needed = None
    if all(_is_plain(instruments[each.symbol], profile.currency) for each in held) and not any(
        instruments[each.symbol].orders_hold_margin for each in books.working.values()
    ):
        needed = _needed(books, valuation.total_margin(profile, held, Market(instruments, quotes, now_ms)))
    return Comfort(books.positions, books.working, profile.leverage, sides, fixed, needed)


def _is_plain(instrument: Instrument, currency: str) -> bool:
    """Say whether a position's worth is linear in its own price, and its margin depends on no price at all."""
    return not instrument.is_futures and instrument.profit == currency


def _needed(books: AccountBooks, margin: int) -> int:
    level = Decimal(books.profile.stop_out)
    if not margin:
        return -(2**200)  # nothing is bound, so nothing is closed
    if books.profile.stop_out_mode == mt5.ACCOUNT_STOPOUT_MODE_MONEY:
        return margin + int((level * amounts.UNIT).to_integral_value(ROUND_CEILING))
    return int((level * margin / 100).to_integral_value(ROUND_CEILING))
