"""Gather a request and everything that it is judged by."""

from dataclasses import dataclass
from decimal import Decimal
from typing import TypeVar

from trading.brokers.mt5.emulator import amounts, expiry
from trading.brokers.mt5.emulator import constants as mt5
from trading.brokers.mt5.emulator.books import AccountBooks
from trading.brokers.mt5.emulator.instruments import Instrument
from trading.brokers.mt5.emulator.profiles import AccountProfile
from trading.brokers.mt5.emulator.records import Position, Tick, WorkingOrder
from trading.brokers.mt5.emulator.requests import Request
from trading.brokers.mt5.emulator.zones import ServerZone

T = TypeVar("T")
STOP_LIMITS = (mt5.ORDER_TYPE_BUY_STOP_LIMIT, mt5.ORDER_TYPE_SELL_STOP_LIMIT)
LIMITS = (mt5.ORDER_TYPE_BUY_LIMIT, mt5.ORDER_TYPE_SELL_LIMIT)
STOPS = (mt5.ORDER_TYPE_BUY_STOP, mt5.ORDER_TYPE_SELL_STOP)
PENDING = (*LIMITS, *STOPS, *STOP_LIMITS)


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
    now_us: int
    zone: ServerZone

    @property
    def profile(self) -> AccountProfile:
        """Return the profile of the account."""
        return self.books.profile

    @property
    def is_deal(self) -> bool:
        """Say whether it is a market order."""
        return self.request.action == mt5.TRADE_ACTION_DEAL

    @property
    def is_pending(self) -> bool:
        """Say whether it places a pending order."""
        return self.request.action == mt5.TRADE_ACTION_PENDING

    @property
    def is_about_order(self) -> bool:
        """Say whether it changes or removes a working order."""
        return self.request.action in (mt5.TRADE_ACTION_MODIFY, mt5.TRADE_ACTION_REMOVE)

    @property
    def is_removal(self) -> bool:
        """Say whether it removes a working order."""
        return self.request.action == mt5.TRADE_ACTION_REMOVE

    @property
    def is_close_by(self) -> bool:
        """Say whether it closes two positions against each other."""
        return self.request.action == mt5.TRADE_ACTION_CLOSE_BY

    @property
    def order(self) -> WorkingOrder | None:
        """Return the working order that is meant."""
        return self.books.working.get(self.request.order) if self.is_about_order else None

    @property
    def waiting(self) -> WorkingOrder:
        """Return the working order that is meant, once its check has passed."""
        return present(self.order)

    @property
    def type(self) -> int:
        """Return the type of the order that is placed or changed."""
        return self.order.type if self.order else self.request.type

    @property
    def side(self) -> int:
        """Return whether the order buys or sells."""
        return self.type % 2

    @property
    def symbol(self) -> Instrument:
        """Return the instrument, once its check has passed."""
        return present(self.instrument)

    @property
    def quote(self) -> Tick:
        """Return the tick in force, once its check has passed."""
        return present(self.tick)

    @property
    def position(self) -> Position | None:
        """Return the position that is meant: the named one, or on a netting account the one of the symbol."""
        if self.is_about_order or (self.is_pending and self.profile.is_hedging):
            return None
        if self.request.position and not self.is_pending:
            return self.books.positions.get(self.request.position)
        if self.profile.is_hedging:
            return None
        return next(iter(self.books.of_symbol(self.request.symbol)), None)

    @property
    def target(self) -> Position:
        """Return the position that is meant, once its check has passed."""
        return present(self.position)

    @property
    def counterpart(self) -> Position:
        """Return the position that another one is closed by, once its check has passed."""
        return present(self.books.positions.get(self.request.position_by))

    @property
    def volume(self) -> int:
        """Return the volume in 10^-8 lots, once its check has passed."""
        return present(amounts.scaled(self.request.volume, 8))

    @property
    def price(self) -> int:
        """Return the price in points, once its check has passed."""
        return self._points(self.request.price)

    @property
    def stoplimit(self) -> int:
        """Return the limit price behind a stop price, once its check has passed; 0 for other types."""
        return self._points(self.request.stoplimit) if self.type in STOP_LIMITS else 0

    @property
    def stops(self) -> tuple[int, int]:
        """Return stop loss and take profit in points, once their check has passed."""
        return self._points(self.request.sl), self._points(self.request.tp)

    @property
    def expires_us(self) -> int:
        """Return when a pending order is to expire, 0 for never."""
        is_daily = self.symbol.order_gtc_mode != mt5.SYMBOL_ORDERS_GTC
        wanted = self.request.type_time, self.request.expiration
        return expiry.instant_us(*wanted, self.now_us, self.zone, is_daily=is_daily)

    @property
    def is_closing(self) -> bool:
        """Say whether a market order only reduces or closes."""
        held = self.position
        if self.profile.is_hedging:
            return self.request.position != 0
        return held is not None and held.type != self.request.type and self.volume <= held.volume

    def _points(self, price: Decimal) -> int:
        return present(amounts.scaled(price, self.symbol.digits))


def present(value: T | None) -> T:
    """Return what an earlier check has made sure of."""
    if value is None:
        raise AssertionError("read before it was checked")
    return value
