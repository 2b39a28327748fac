"""Refuse a request as the trade server does: the first failed check answers. Order and codes: specification, part 6.

Margin and unchanged levels are judged last, by the broker, because they need the outcome.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from trading.brokers.mt5.emulator import amounts
from trading.brokers.mt5.emulator import constants as mt5
from trading.brokers.mt5.emulator.books import AccountBooks
from trading.brokers.mt5.emulator.instruments import FILL_FOK, FILL_IOC, Instrument
from trading.brokers.mt5.emulator.profiles import AccountProfile
from trading.brokers.mt5.emulator.records import BUY, SELL, Position, Tick
from trading.brokers.mt5.emulator.requests import HEDGE_PROHIBITED, Request

T = TypeVar("T")
PRICE_IS_ASKED = (mt5.SYMBOL_TRADE_EXECUTION_REQUEST, mt5.SYMBOL_TRADE_EXECUTION_INSTANT)
FILLING_BITS = {mt5.ORDER_FILLING_FOK: FILL_FOK, mt5.ORDER_FILLING_IOC: FILL_IOC}


@dataclass(frozen=True, slots=True)
class Desk:
    """Where a request comes from: what its terminal and its login allow. `selected` None means every symbol."""

    connected: bool = True
    algo_trading: bool = True
    is_investor: bool = False
    by_program: bool = True
    selected: frozenset[str] | None = None


@dataclass(frozen=True, slots=True)
class Case:
    """A request and everything it is judged by."""

    request: Request
    desk: Desk
    books: AccountBooks
    recent: int
    instrument: Instrument | None
    is_open: bool
    tick: Tick | None

    @property
    def profile(self) -> AccountProfile:
        """Return the profile of the account."""
        return self.books.profile

    @property
    def is_deal(self) -> bool:
        """Say whether it is a market order, otherwise it moves stops."""
        return self.request.action == mt5.TRADE_ACTION_DEAL

    @property
    def symbol(self) -> Instrument:
        """Return the instrument, once its check has passed."""
        return _present(self.instrument)

    @property
    def quote(self) -> Tick:
        """Return the tick in force, once its check has passed."""
        return _present(self.tick)

    @property
    def position(self) -> Position | None:
        """Return the position that is meant: the named one, or on a netting account the one of the symbol."""
        if self.request.position:
            return self.books.positions.get(self.request.position)
        if self.profile.is_hedging:
            return None
        return next(iter(self.books.of_symbol(self.request.symbol)), None)

    @property
    def target(self) -> Position:
        """Return the position that is meant, once its check has passed."""
        return _present(self.position)

    @property
    def volume(self) -> int:
        """Return the volume in 10^-8 lots, once its check has passed."""
        return _present(amounts.scaled(self.request.volume, 8))

    @property
    def stops(self) -> tuple[int, int]:
        """Return stop loss and take profit in points, once their check has passed."""
        digits = self.symbol.digits
        return _present(amounts.scaled(self.request.sl, digits)), _present(amounts.scaled(self.request.tp, digits))

    @property
    def is_closing(self) -> bool:
        """Say whether a market order only reduces or closes."""
        held = self.position
        if self.profile.is_hedging:
            return self.request.position != 0
        return held is not None and held.type != self.request.type and self.volume <= held.volume


def first_refusal(case: Case) -> int | None:
    """Return the code of the first check that fails, or None."""
    return next((code for check in CHECKS if (code := check(case)) is not None), None)


def _connection(case: Case) -> int | None:
    return None if case.desk.connected else mt5.TRADE_RETCODE_CONNECTION


def _permissions(case: Case) -> int | None:
    if case.desk.by_program and not case.desk.algo_trading:
        return mt5.TRADE_RETCODE_CLIENT_DISABLES_AT
    if case.desk.by_program and not case.profile.trade_expert:
        return mt5.TRADE_RETCODE_SERVER_DISABLES_AT
    if case.desk.is_investor or not case.profile.trade_allowed:
        return mt5.TRADE_RETCODE_TRADE_DISABLED
    return None


def _rate(case: Case) -> int | None:
    limited = case.desk.by_program and case.recent >= case.profile.requests_per_second
    return mt5.TRADE_RETCODE_TOO_MANY_REQUESTS if limited else None


def _kind(case: Case) -> int | None:
    """Refuse what this broker does not do. There are no pending orders here, so none can be changed or removed."""
    request = case.request
    if request.action in (mt5.TRADE_ACTION_MODIFY, mt5.TRADE_ACTION_REMOVE):
        return mt5.TRADE_RETCODE_INVALID_ORDER
    if request.action == mt5.TRADE_ACTION_SLTP:
        return None
    if request.action == mt5.TRADE_ACTION_DEAL and request.type in (BUY, SELL):
        return None
    return mt5.TRADE_RETCODE_INVALID


def _symbol(case: Case) -> int | None:
    instrument, selected = case.instrument, case.desk.selected
    if instrument is None or (selected is not None and instrument.name not in selected):
        return mt5.TRADE_RETCODE_INVALID
    if instrument.trade_mode == mt5.SYMBOL_TRADE_MODE_DISABLED:
        return mt5.TRADE_RETCODE_TRADE_DISABLED
    if case.is_deal and not _only_closes(case):
        forbidden = {
            (mt5.SYMBOL_TRADE_MODE_LONGONLY, SELL): mt5.TRADE_RETCODE_LONG_ONLY,
            (mt5.SYMBOL_TRADE_MODE_SHORTONLY, BUY): mt5.TRADE_RETCODE_SHORT_ONLY,
            (mt5.SYMBOL_TRADE_MODE_CLOSEONLY, BUY): mt5.TRADE_RETCODE_CLOSE_ONLY,
            (mt5.SYMBOL_TRADE_MODE_CLOSEONLY, SELL): mt5.TRADE_RETCODE_CLOSE_ONLY,
        }.get((instrument.trade_mode, case.request.type))
        if forbidden is not None:
            return forbidden
    return None if case.is_open else mt5.TRADE_RETCODE_MARKET_CLOSED


def _only_closes(case: Case) -> bool:
    """Say whether the order closes, before its volume has been checked."""
    return amounts.scaled(case.request.volume, 8) is not None and case.is_closing


def _volume(case: Case) -> int | None:
    if not case.is_deal:
        return None
    volume, symbol = amounts.scaled(case.request.volume, 8), case.symbol
    if volume is None or volume % symbol.volume_step or not symbol.volume_min <= volume <= symbol.volume_max:
        return mt5.TRADE_RETCODE_INVALID_VOLUME
    if symbol.volume_limit and not case.is_closing:
        held = case.books.of_symbol(symbol.name)
        signed = sum(each.volume if each.type == case.request.type else 0 for each in held)
        against = case.position
        if against is not None and against.type != case.request.type:
            signed -= against.volume  # a reversal opens only what exceeds the old position
        if signed + volume > symbol.volume_limit:
            return mt5.TRADE_RETCODE_LIMIT_VOLUME
    return None


def _filling(case: Case) -> int | None:
    if not case.is_deal:
        return None
    filling, symbol = case.request.type_filling, case.symbol
    has_bit = bool(symbol.filling_bits & FILLING_BITS.get(filling, 0))
    if symbol.exemode in PRICE_IS_ASKED:
        fits = has_bit or filling in (mt5.ORDER_FILLING_FOK, mt5.ORDER_FILLING_RETURN)
    elif symbol.exemode == mt5.SYMBOL_TRADE_EXECUTION_EXCHANGE:
        fits = has_bit or filling == mt5.ORDER_FILLING_RETURN
    else:
        fits = has_bit
    if not fits:
        return mt5.TRADE_RETCODE_INVALID_FILL
    known = mt5.ORDER_TIME_GTC <= case.request.type_time <= mt5.ORDER_TIME_SPECIFIED_DAY
    return None if known else mt5.TRADE_RETCODE_INVALID_EXPIRATION


def _price(case: Case) -> int | None:
    if case.tick is None:
        return mt5.TRADE_RETCODE_PRICE_OFF
    if not case.is_deal or case.symbol.exemode not in PRICE_IS_ASKED:
        return None
    price = amounts.scaled(case.request.price, case.symbol.digits)
    if price is None or price <= 0 or price % case.symbol.tick_size:
        return mt5.TRADE_RETCODE_INVALID_PRICE
    moved = abs(case.quote.entry_price(case.request.type) - price) > case.request.deviation
    return mt5.TRADE_RETCODE_REQUOTE if moved else None


def _stops(case: Case) -> int | None:
    """Check the stops against the price that would trigger them. Closing orders carry none that count."""
    held = case.position
    if case.is_deal and case.is_closing:
        return None
    side = case.request.type if case.is_deal else held.type if held else None
    levels = [amounts.scaled(each, case.symbol.digits) for each in (case.request.sl, case.request.tp)]
    if side is None:
        return None
    for level, direction in zip(levels, (-1, 1) if side == BUY else (1, -1), strict=True):
        if level is None or level < 0 or level % case.symbol.tick_size:
            return mt5.TRADE_RETCODE_INVALID_STOPS
        distance = (level - case.quote.exit_price(side)) * direction
        if level and distance < max(case.symbol.stops_level, 1):
            return mt5.TRADE_RETCODE_INVALID_STOPS
    return None


def _frozen(case: Case) -> int | None:
    """Refuse to move or close a position whose stop the market has nearly reached."""
    held, freeze = case.position, case.symbol.freeze_level
    if held is None or not freeze or (case.is_deal and not case.is_closing):
        return None
    price = case.quote.exit_price(held.type)
    near = any(level and abs(level - price) <= freeze for level in (held.sl, held.tp))
    return mt5.TRADE_RETCODE_FROZEN if near else None


def _position(case: Case) -> int | None:
    request, held = case.request, case.position
    if held is None:
        missing = request.position or not case.is_deal
        return mt5.TRADE_RETCODE_POSITION_CLOSED if missing else _hedge(case)
    if held.symbol != request.symbol:
        return mt5.TRADE_RETCODE_INVALID
    if case.profile.is_hedging and case.is_deal:
        if held.type == request.type:
            return mt5.TRADE_RETCODE_INVALID
        if case.volume > held.volume:
            return mt5.TRADE_RETCODE_INVALID_CLOSE_VOLUME
        older = min(case.books.of_symbol(held.symbol), key=lambda each: each.ticket)
        if case.profile.fifo_close and older.ticket != held.ticket:
            return mt5.TRADE_RETCODE_FIFO_CLOSE
    return None


def _hedge(case: Case) -> int | None:
    opposite = any(each.type != case.request.type for each in case.books.of_symbol(case.request.symbol))
    return HEDGE_PROHIBITED if opposite and not case.profile.hedge_allowed else None


def _limits(case: Case) -> int | None:
    limit, opens = case.profile.limit_positions, case.is_deal and case.position is None
    return mt5.TRADE_RETCODE_LIMIT_POSITIONS if limit and opens and len(case.books.positions) >= limit else None


def _present(value: T | None) -> T:
    """Return what an earlier check has made sure of."""
    if value is None:
        raise AssertionError("read before it was checked")
    return value


CHECKS: tuple[Callable[[Case], int | None], ...] = (
    _connection, _permissions, _rate, _kind, _symbol, _volume, _filling, _price, _stops, _frozen, _position, _limits,
)  # fmt: skip
