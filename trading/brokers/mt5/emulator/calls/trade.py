"""Check and send trade requests, and list what is open."""

from collections.abc import Sequence
from typing import Any, TypeVar

from trading.brokers.mt5.emulator import amounts, arguments, sending, structures, valuation, views
from trading.brokers.mt5.emulator import constants as mt5
from trading.brokers.mt5.emulator.calls.base import Calls, answering
from trading.brokers.mt5.emulator.calls.market import in_group
from trading.brokers.mt5.emulator.failures import CallError
from trading.brokers.mt5.emulator.rates import NoRateError
from trading.brokers.mt5.emulator.records import BUY, SELL, Position, WorkingOrder

NUMBER = (float, int)
R = TypeVar("R", Position, WorkingOrder)


class TradeCalls(Calls):
    """The functions that trade, that calculate, and that list positions and working orders."""

    @answering()
    def order_send(self, *args: Any, **named: Any) -> structures.OrderSendResult:
        """Send a request to the broker and return its answer; None means only that the answer is missing."""
        request = arguments.request(args, named)
        self._require_pipe()
        login = self._terminal.login
        if login is None:
            raise CallError(mt5.RES_E_FAIL)
        answer = sending.send(self._broker, self._terminal, login, request)
        return views.sent(answer, request, self._terminal.requests)

    @answering()
    def order_check(self, *args: Any, **named: Any) -> structures.OrderCheckResult:
        """Judge a request without sending it; good is retcode 0."""
        request = arguments.request(args, named)
        login = self._enter("order_check")
        return views.checked(self._broker.check(login, request, self._terminal.desk), request)

    @answering()
    def order_calc_margin(self, *args: Any, **named: Any) -> float:
        """Return what an order alone would bind, in the account's currency."""
        action, symbol, volume, price = arguments.positional(args, named, int, str, NUMBER, NUMBER)
        login = self._enter("order_calc_margin")
        instrument, lots, (opened,) = self._instrument(symbol), *_figures(action, volume, price)
        with self._broker.lock:
            try:
                return amounts.as_float(
                    valuation.margin(self._profile(login), instrument, lots, opened, self._broker.market.rates)
                )
            except NoRateError as exc:
                raise CallError(mt5.RES_E_FAIL) from exc

    @answering()
    def order_calc_profit(self, *args: Any, **named: Any) -> float:
        """Return what a trade between two prices would earn, in the account's currency."""
        kinds = (int, str, NUMBER, NUMBER, NUMBER)
        action, symbol, volume, price_open, price_close = arguments.positional(args, named, *kinds)
        login = self._enter("order_calc_profit")
        instrument, lots, (opened, closed) = (
            self._instrument(symbol),
            *_figures(action, volume, price_open, price_close),
        )
        with self._broker.lock:
            rates = self._broker.market.rates
            try:
                gained = valuation.profit(self._profile(login), instrument, action, lots, opened, closed, rates)
            except NoRateError as exc:
                raise CallError(mt5.RES_E_FAIL) from exc
            return amounts.as_float(gained)

    @answering()
    def positions_total(self) -> int:
        """Return how many positions are open."""
        return len(self._positions(self._enter("positions_total")))

    @answering()
    def positions_get(self, *args: Any, **named: Any) -> tuple[structures.TradePosition, ...]:
        """Return open positions: all, or by ticket, else by symbol, else by group."""
        given = arguments.keywords(args, named, ticket=int, symbol=str, group=str)
        login = self._enter("positions_get")
        with self._broker.lock:
            rows = chosen(self._positions(login), given)
            return tuple(views.position(self._broker, row) for row in rows)

    @answering()
    def orders_total(self) -> int:
        """Return how many orders are working."""
        return len(self._working(self._enter("orders_total")))

    @answering()
    def orders_get(self, *args: Any, **named: Any) -> tuple[structures.TradeOrder, ...]:
        """Return working orders: all, or by ticket, else by symbol, else by group."""
        given = arguments.keywords(args, named, ticket=int, symbol=str, group=str)
        login = self._enter("orders_get")
        with self._broker.lock:
            rows = chosen(self._working(login), given)
            return tuple(views.order(self._broker, row) for row in rows)

    def _positions(self, login: int) -> list[Position]:
        """Return the positions that have arrived in the terminal."""
        return list(self._broker.books[login].seen_positions.at(self._seen_us).values())

    def _working(self, login: int) -> list[WorkingOrder]:
        """Return the working orders that have arrived in the terminal."""
        return list(self._broker.books[login].seen_working.at(self._seen_us).values())


def chosen(rows: Sequence[R], given: dict[str, Any]) -> list[R]:
    """Return the rows that the first of `ticket`, `symbol`, `group` names, or all."""
    if "ticket" in given:
        return [row for row in rows if row.ticket == given["ticket"]]
    if "symbol" in given:
        return [row for row in rows if row.symbol == given["symbol"]]
    return [row for row in rows if in_group(row.symbol, given.get("group", "*"))]


def _figures(action: int, volume: float, *prices: float) -> tuple[int, list[int]]:
    """Return lots and average prices of a calculation, or fail for what cannot be calculated."""
    lots = amounts.scaled(amounts.exact(volume), 8)
    levels = [amounts.scaled(amounts.exact(price), amounts.AVERAGE_DIGITS) for price in prices]
    if action not in (BUY, SELL) or not lots or lots < 0:
        raise CallError(mt5.RES_E_INVALID_PARAMS)
    good = [level for level in levels if level is not None and level > 0]
    if len(good) != len(levels):
        raise CallError(mt5.RES_E_INVALID_PARAMS)
    return lots, good
