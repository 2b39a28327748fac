"""A terminal small enough to read: the functions that the gateway calls, and a way to make the next send go wrong."""

import threading
import time
from collections import namedtuple
from collections.abc import Callable
from functools import cache
from typing import Any

LOGIN, SERVER = 5001, "Paper-Nexus"
SERVER_OFFSET_S = 10_800
FIRST_TICKET = 2**53 + 11  # a reader that goes through floats loses it
SUCCESS = (1, "Success")

INSIDE = {"fill_always", "ticket", "fill", "play", "answer", "rest", "close", "last_error"}
BID, ASK = 1.10000, 1.10012
SYMBOL = {
    "name": "EURUSD", "digits": 5, "point": 0.00001, "trade_tick_size": 0.00001, "trade_contract_size": 100000.0,
    "volume_min": 0.01, "volume_max": 100.0, "volume_step": 0.01, "volume_limit": 0.0, "trade_stops_level": 10,
    "trade_mode": 4, "order_mode": 127, "filling_mode": 3, "trade_exemode": 2, "currency_base": "EUR",
    "currency_profit": "USD", "currency_margin": "EUR", "trade_freeze_level": 5, "expiration_mode": 15,
    "order_gtc_mode": 0, "bid": BID,
}  # fmt: skip


def structure(kind: str, /, **fields: Any) -> Any:
    return _shape(kind, tuple(fields))(**fields)


@cache
def _shape(kind: str, names: tuple[str, ...]) -> Any:
    return namedtuple(kind, names)


class FakeTerminal:
    """Stands where the package's module stands. Everything it is told to do wrong, it does once."""

    def __init__(self) -> None:
        self.login_now, self.server_now, self.connected, self.trade_allowed = LOGIN, SERVER, True, True
        self.symbols = {"EURUSD": dict(SYMBOL), "USDJPY": dict(SYMBOL, name="USDJPY", filling_mode=2)}
        self.selected: set[str] = set()
        self.server_offset_s = SERVER_OFFSET_S
        self.error: tuple[int, str] = SUCCESS
        self.working: list[Any] = []
        self.closed: list[Any] = []
        self.deals: list[Any] = []
        self.positions: list[Any] = []
        self.sent: list[dict[str, Any]] = []
        self.inside = 0
        self.overlaps = 0
        self.initialized = 0
        self.next_send: Callable[[dict[str, Any]], Any] | None = None
        self.fill_always: Callable[[dict[str, Any]], Any] | None = None
        self.check_retcode, self.check_comment = 0, "Done"
        self.none_from: set[str] = set()
        self.hang = threading.Event()
        self.hang.set()
        self.ticked_at: float | None = None  # None: a price just now, whenever it is asked for
        self._ticket = FIRST_TICKET

    def __getattribute__(self, name: str) -> Any:
        value = super().__getattribute__(name)
        if name.startswith("_") or name in INSIDE or not callable(value) or name == "next_send":
            return value

        def call(*args: Any, **kwargs: Any) -> Any:
            self.inside += 1
            self.overlaps += self.inside > 1
            try:
                self.error = SUCCESS
                if name in self.none_from:
                    self.error = (-10002, "IPC recv failed")
                    return None
                return value(*args, **kwargs)
            finally:
                self.inside -= 1

        return call

    def last_error(self) -> tuple[int, str]:
        return self.error

    def initialize(self, **kwargs: Any) -> bool:
        self.initialized += 1
        return True

    def shutdown(self) -> bool:
        return True

    def version(self) -> tuple[int, int, str]:
        return (500, 6231, "fake")

    def account_info(self) -> Any:
        return structure(
            "AccountInfo", login=self.login_now, trade_mode=0, leverage=100, margin_mode=2, currency_digits=2,
            balance=10000.0, credit=0.0, equity=10000.1, margin=0.30000000000000004, margin_free=9999.8,
            server=self.server_now, currency="USD", trade_allowed=self.trade_allowed, trade_expert=True,
        )  # fmt: skip

    def terminal_info(self) -> Any:
        return structure("TerminalInfo", connected=self.connected, trade_allowed=True, tradeapi_disabled=False)

    def symbol_select(self, symbol: str, enable: bool = True) -> bool:
        if symbol not in self.symbols:
            self.error = (-4, "Terminal: Not found")
            return False
        self.selected.add(symbol)
        return True

    def symbol_info(self, symbol: str) -> Any:
        if symbol not in self.symbols:
            self.error = (-4, "Terminal: Not found")
            return None
        return structure("SymbolInfo", **self.symbols[symbol])

    def symbol_info_tick(self, symbol: str) -> Any:
        if symbol not in self.selected:
            self.error = (-4, "Terminal: Not found")
            return None
        at = int(((self.ticked_at or time.time()) + self.server_offset_s) * 1000)
        return structure("Tick", time=at // 1000, bid=BID, ask=ASK, last=0.0, time_msc=at, flags=6)

    def orders_get(self, *, ticket: int = 0) -> Any:
        return tuple(order for order in self.working if ticket in {0, order.ticket})

    def positions_get(self, *, ticket: int = 0) -> Any:
        return tuple(position for position in self.positions if ticket in {0, position.ticket})

    def order_calc_margin(self, action: int, symbol: str, volume: float, price: float) -> Any:
        return volume * 100000 * price / 100 if self.symbols[symbol] else None

    def order_calc_profit(self, action: int, symbol: str, volume: float, opened: float, closed: float) -> Any:
        return (1 - 2 * action) * (closed - opened) * 100000 * volume

    def history_orders_get(self, since: int, until: int) -> Any:
        return tuple(order for order in self.closed if since <= order.time_done <= until)

    def history_deals_get(self, since: int, until: int) -> Any:
        return tuple(deal for deal in self.deals if since <= deal.time <= until)

    def history_deals_total(self, since: int, until: int) -> Any:
        return sum(since <= deal.time <= until for deal in self.deals)

    def order_check(self, request: dict[str, Any]) -> Any:
        return structure("OrderCheckResult", retcode=self.check_retcode, comment=self.check_comment)

    def order_send(self, request: dict[str, Any]) -> Any:
        self.sent.append(request)
        self.hang.wait(30)
        if self.next_send is not None:
            play, self.next_send = self.next_send, None
            return play(request)
        return self.fill_always(request) if self.fill_always else self.play(request)

    def play(self, request: dict[str, Any]) -> Any:
        """Do what the request asks for, as a good broker would."""
        match request["action"]:
            case 1:
                return self.close(request) if request.get("position") else self.fill(request)
            case 5:
                return self.rest(request)
            case 8:
                (order,) = self.orders_get(ticket=request["order"])
                self.working.remove(order)
                self.closed.append(order._replace(state=2))
            case 7:
                names = {"price": "price_open", "stoplimit": "price_stoplimit", "expiration": "time_expiration"}
                changes = {names.get(name, name): value for name, value in request.items()}
                self.working = [
                    order._replace(**{name: value for name, value in changes.items() if name in order._fields})
                    if order.ticket == request["order"] else order
                    for order in self.working
                ]  # fmt: skip
            case 6:
                self.positions = [
                    position._replace(sl=request["sl"], tp=request["tp"])
                    if position.ticket == request["position"] else position
                    for position in self.positions
                ]  # fmt: skip
            case 10:
                return self.close(request, entry=3)
        return self.answer(10009, order=request.get("order", 0))

    def ticket(self) -> int:
        self._ticket += 1
        return self._ticket

    def rest(self, request: dict[str, Any]) -> Any:
        """Let a pending order rest and answer as the terminal does."""
        order, now = self.ticket(), int(time.time() + SERVER_OFFSET_S)
        self.working.append(_order(
            request, order, now, state=1, volume_current=request["volume"], reason=3,
            price_stoplimit=request["stoplimit"], time_expiration=request["expiration"],
        ))  # fmt: skip
        return self.answer(10009, order=order)

    def fill(self, request: dict[str, Any], *, parts: tuple[float, ...] = (), rest: float = 0.0) -> Any:
        """Execute the request in parts, leaving a rest that is canceled, and answer as the terminal does."""
        order, now = self.ticket(), int(time.time() + SERVER_OFFSET_S)
        volumes = parts or (request["volume"],)
        common = {"magic": request["magic"], "comment": request["comment"], "symbol": request["symbol"], "reason": 3}
        self.deals += [
            _deal(request, self.ticket(), order, now, volume=volume, position_id=order) for volume in volumes
        ]
        self.closed.append(_order(request, order, now, state=2 if rest else 4, volume_current=rest, reason=3))
        self.positions.append(structure(
            "TradePosition", ticket=order, identifier=order, time=now, time_msc=now * 1000, type=request["type"],
            volume=sum(volumes), price_open=request["price"], price_current=BID, sl=request["sl"], tp=request["tp"],
            swap=-0.5, profit=-1.2, **common,
        ))  # fmt: skip
        return self.answer(10010 if rest else 10009, order=order, deal=self._ticket)

    def close(self, request: dict[str, Any], *, entry: int = 1) -> Any:
        """Take the volume out of the position, and out of the other one too when one closes another."""
        order, now = self.ticket(), int(time.time() + SERVER_OFFSET_S)
        tickets = [request["position"], *([request["position_by"]] if "position_by" in request else [])]
        held = [position for position in self.positions if position.ticket in tickets]
        volume = request.get("volume") or min(position.volume for position in held)
        whole = {"symbol": held[0].symbol, "price": BID, "type": 8, "volume": volume, **request}
        for position in held:
            taken = dict(whole, type=1 - position.type)
            self.deals.append(
                _deal(taken, self.ticket(), order, now, volume=volume, position_id=position.identifier, entry=entry)
            )
            self.positions.remove(position)
            if left := round(position.volume - volume, 8):
                self.positions.append(position._replace(volume=left))
        self.closed.append(_order(whole, order, now, state=4, volume_current=0.0, reason=3))
        return self.answer(10009, order=order, deal=self._ticket)

    def answer(self, retcode: int, *, order: int = 0, deal: int = 0, comment: str = "") -> Any:
        """Return what `order_send` returns."""
        return structure(
            "OrderSendResult", retcode=retcode, deal=deal, order=order, volume=0.0, price=0.0, bid=BID, ask=ASK,
            comment=comment or f"Code {retcode}", request_id=1, retcode_external=0,
        )  # fmt: skip


def _order(request: dict[str, Any], ticket: int, now: int, **changes: Any) -> Any:
    usual = {
        "ticket": ticket, "time_setup": now, "time_setup_msc": now * 1000, "time_done": now, "time_expiration": 0,
        "type": request["type"], "type_time": request.get("type_time", 0), "volume_initial": request["volume"],
        "price_open": request["price"], "price_stoplimit": 0.0, "sl": request.get("sl", 0.0),
        "tp": request.get("tp", 0.0), "position_id": request.get("position", 0), "magic": request["magic"],
        "comment": request["comment"], "symbol": request["symbol"],
    }  # fmt: skip
    return structure("TradeOrder", **(usual | changes))


def _deal(request: dict[str, Any], ticket: int, order: int, now: int, **changes: Any) -> Any:
    usual = {
        "ticket": ticket, "order": order, "time": now, "time_msc": now * 1000, "type": request["type"], "entry": 0,
        "price": request["price"], "commission": -0.35, "swap": 0.0, "profit": 0.0, "fee": 0.0, "reason": 3,
        "magic": request["magic"], "comment": request["comment"], "symbol": request["symbol"],
    }  # fmt: skip
    return structure("TradeDeal", **(usual | changes))
