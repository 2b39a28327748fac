"""List what is over: deals of all kinds and finished orders, by window, ticket or position."""

from collections.abc import Callable
from typing import Any, TypeVar

from trading.brokers.mt5.emulator import arguments, structures, views
from trading.brokers.mt5.emulator.calls.base import Calls, answering
from trading.brokers.mt5.emulator.calls.market import in_group
from trading.brokers.mt5.emulator.failures import INVALID_ARGUMENTS, INVALID_COUNT, invalid
from trading.brokers.mt5.emulator.records import Deal, Order

R = TypeVar("R", Deal, Order)
Test = Callable[[Deal | Order], bool]


class HistoryCalls(Calls):
    """The functions about finished orders and deals."""

    @answering()
    def history_deals_total(self, *args: Any, **named: Any) -> int:
        """Return how many deals a window holds."""
        since, until = arguments.positional(args, named, object, object)
        window = self._window(since, until, "*")
        login = self._enter("history_deals_total")
        with self._broker.lock:
            return sum(map(window, self._visible(self._broker.books[login].deals)))

    @answering()
    def history_orders_total(self, *args: Any, **named: Any) -> int:
        """Return how many finished orders a window holds."""
        since, until = arguments.positional(args, named, object, object)
        window = self._window(since, until, "*")
        login = self._enter("history_orders_total")
        with self._broker.lock:
            return sum(map(window, self._visible(self._broker.books[login].orders)))

    @answering()
    def history_deals_get(self, *args: Any, **named: Any) -> tuple[structures.TradeDeal, ...]:
        """Return deals, oldest first."""
        test = self._test(args, named)
        login = self._enter("history_deals_get")
        with self._broker.lock:
            rows = self._visible(self._broker.books[login].deals)
            return tuple(views.deal(self._broker, row) for row in rows if test(row))

    @answering()
    def history_orders_get(self, *args: Any, **named: Any) -> tuple[structures.TradeOrder, ...]:
        """Return finished orders, oldest first."""
        test = self._test(args, named)
        login = self._enter("history_orders_get")
        with self._broker.lock:
            rows = self._visible(self._broker.books[login].orders)
            return tuple(views.order(self._broker, row) for row in rows if test(row))

    def _visible(self, rows: list[R]) -> list[R]:
        """Leave out what has not yet arrived in the terminal's history; a fault may list rows again."""
        if self._broker.now_us < self._terminal.history_from_us:
            return []
        found = [row for row in rows if row.visible_us <= self._seen_us]
        if self._fault is None or self._fault.name != "repeat_history":
            return found
        again: int = self._fault.params["old"] or len(found)
        return found + found[:again]

    def _test(self, args: tuple[Any, ...], named: dict[str, Any]) -> Test:
        """Read the arguments: two dates and perhaps a group, or an order's ticket, or a position."""
        if args:
            given = arguments.keywords((), named, group=str)
            if len(args) != 2:
                raise invalid(INVALID_COUNT)
            return self._window(args[0], args[1], given.get("group", "*"))
        given = arguments.keywords((), named, ticket=int, position=int)
        if "ticket" in given:
            # Of deals it is the order's, as the package's own page says: an order may have had several.
            return lambda row: (row.order_ticket if isinstance(row, Deal) else row.ticket) == given["ticket"]
        if "position" in given:
            return lambda row: row.position_id == given["position"]
        raise invalid(INVALID_ARGUMENTS)

    def _window(self, since: object, until: object, group: str) -> Test:
        """Return the test of a window of server time, both ends included."""
        first, last = self._dates.read(since, 0), self._dates.read(until, 1)

        def test(row: Deal | Order) -> bool:
            at = views.server_s(self._broker, row.time_us if isinstance(row, Deal) else row.done_us)
            return first <= at <= last and (group == "*" or in_group(row.symbol, group))

        return test
