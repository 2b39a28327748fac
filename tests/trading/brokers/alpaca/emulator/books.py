"""The broker's own books: cash, positions, orders and executions, all in exact decimals under one lock."""

import threading
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any

LIVE = frozenset({"new", "accepted", "partially_filled", "pending_new", "pending_cancel", "pending_replace", "held"})
FRACTION = Decimal("0.000000001")  # the finest part of a share
CENT = Decimal("0.01")
MULTIPLIER = 2


class Rejection(Exception):
    """The API refuses: its status, code and words."""

    def __init__(self, status: int, code: int, message: str) -> None:
        super().__init__(message)
        self.status, self.body = status, {"code": code, "message": message}


def plain(number: Decimal) -> str:
    """Write a number as the API does: plainly, without trailing zeros."""
    text = f"{number:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def stamp(at: datetime) -> str:
    return at.strftime("%Y-%m-%dT%H:%M:%S.%f") + "123Z"  # nanoseconds, as the real one has them


@dataclass
class Asset:
    symbol: str
    bid: Decimal
    ask: Decimal
    fractionable: bool = True
    tradable: bool = True
    marginable: bool = True
    asset_class: str = "us_equity"
    halted: bool = False
    id: str = field(default_factory=lambda: str(uuid.uuid4()))

    def describe(self) -> dict[str, Any]:
        return {
            "id": self.id, "class": self.asset_class, "exchange": "NASDAQ", "symbol": self.symbol, "name": self.symbol,
            "status": "active" if self.tradable else "inactive", "tradable": self.tradable,
            "marginable": self.marginable, "maintenance_margin_requirement": 30, "shortable": True,
            "easy_to_borrow": True, "fractionable": self.fractionable, "attributes": [],
        }  # fmt: skip


class Books:
    """One account. Prices stand still until a test moves them."""

    def __init__(self, *, number: str = "PA3NEXUS0001", cash: str = "10000") -> None:
        self.lock = threading.RLock()
        self.number = number
        self.cash = Decimal(cash)
        self.positions: dict[str, tuple[Decimal, Decimal]] = {}  # symbol → signed shares, average price
        self.orders: list[dict[str, Any]] = []
        self.activities: list[dict[str, Any]] = []
        self.assets: dict[str, Asset] = {}
        self.is_open = True
        self.blocked = False
        self.fills_in_parts: list[Decimal] = []  # how much of the next orders fills at first
        self.part_only = False  # and the rest does not follow
        self.carries_fills = False  # whether a replacement tells the executions before it as its own
        self.list_asset("AAPL", "99.99", "100.01")
        self.list_asset("MSFT", "399.98", "400.02")
        self.list_asset("BRK.A", "600000", "600010", fractionable=False)

    def list_asset(self, symbol: str, bid: str, ask: str, **facts: Any) -> Asset:
        asset = self.assets[symbol] = Asset(symbol, Decimal(bid), Decimal(ask), **facts)
        return asset

    def move(self, symbol: str, bid: str, ask: str) -> None:
        """Quote a symbol anew, and fill what that fills."""
        with self.lock:
            asset = self.assets[symbol]
            asset.bid, asset.ask = Decimal(bid), Decimal(ask)
            self.match()

    def place(self, request: dict[str, Any], *, fill: bool = True) -> dict[str, Any]:
        """Take an order in, or refuse it. Returns it as the answer shows it: not filled yet."""
        with self.lock:
            self._validate(request)
            order = self._new(request)
            self.orders.append(order)
            answer = dict(order, status="pending_new")
            if fill:
                self.match()
            return answer

    def cancel(self, order: dict[str, Any]) -> None:
        with self.lock:
            if order["status"] not in LIVE:
                raise Rejection(422, 42210000, f'order is already in "{order["status"]}" state')
            self.end(order, "canceled")

    def replace(self, old: dict[str, Any], request: dict[str, Any]) -> dict[str, Any]:
        """Put a new order in the place of an old one."""
        with self.lock:
            if old["status"] not in LIVE:
                raise Rejection(422, 42210000, f'cannot replace order in "{old["status"]}" state')
            changes = {
                name: request[name] for name in ("limit_price", "stop_price", "time_in_force") if name in request
            }
            if all(old[name] == value for name, value in changes.items()):
                raise Rejection(422, 42210000, "order parameters are not changed")
            merged = {
                name: old[name] for name in ("symbol", "side", "type", "limit_price", "stop_price", "time_in_force")
            }
            merged |= changes | {
                "qty": old["qty"],
                "client_order_id": request.get("client_order_id", str(uuid.uuid4())),
            }
            self._validate(merged, replacing=old)
            new = self._new({name: value for name, value in merged.items() if value is not None})
            new["replaces"] = old["id"]
            if self.carries_fills:
                new["filled_qty"] = old["filled_qty"]
            else:
                new["qty"] = plain(Decimal(old["qty"]) - Decimal(old["filled_qty"]))
            self.end(old, "replaced")
            old["replaced_by"] = new["id"]
            self.orders.append(new)
            answer = dict(new, status="pending_new")
            self.match()
            return answer

    def end(self, order: dict[str, Any], status: str) -> None:
        order["status"] = status
        order[
            {"replaced": "replaced_at", "canceled": "canceled_at", "expired": "expired_at"}.get(status, "failed_at")
        ] = stamp(datetime.now(UTC))

    def match(self) -> None:
        """Fill whatever the quotes of now fill."""
        with self.lock:
            for order in list(self.orders):
                if order["status"] in LIVE and not self.assets[order["symbol"]].halted:
                    self._match(order)

    def trade(self, order: dict[str, Any], quantity: Decimal, price: Decimal) -> None:
        """Execute a part of an order: cash, position, the order's own figures, the activity."""
        with self.lock:
            signed = quantity if order["side"] == "buy" else -quantity
            self._hold(order["symbol"], signed, price)
            self.cash -= signed * price
            filled = Decimal(order["filled_qty"]) + quantity
            left = Decimal(order["qty"]) - filled
            at = datetime.now(UTC)
            before = Decimal(order["filled_avg_price"] or 0) * Decimal(order["filled_qty"])
            average = ((before + quantity * price) / filled).quantize(Decimal("0.000001"))
            order |= {"filled_qty": plain(filled), "filled_avg_price": plain(average), "filled_at": stamp(at)}
            order["status"] = "partially_filled" if left else "filled"
            self.activities.append({
                "id": f"{at:%Y%m%d%H%M%S}{at.microsecond // 1000:03d}::{uuid.uuid4()}", "activity_type": "FILL",
                "transaction_time": stamp(at), "type": "partial_fill" if left else "fill", "price": plain(price),
                "qty": plain(quantity), "side": order["side"], "symbol": order["symbol"], "leaves_qty": plain(left),
                "order_id": order["id"], "cum_qty": plain(filled), "order_status": order["status"],
            })  # fmt: skip

    def pay(self, kind: str, amount: str, **facts: Any) -> None:
        """Move money without a trade."""
        with self.lock:
            self.cash += Decimal(amount)
            day = datetime.now(UTC)
            self.activities.append({
                "id": f"{day:%Y%m%d}000000000::{uuid.uuid4()}", "activity_type": kind, "date": f"{day:%Y-%m-%d}",
                "net_amount": amount, "description": "", "status": "executed", **facts,
            })  # fmt: skip

    def mark(self, symbol: str, quantity: Decimal) -> Decimal:
        asset = self.assets[symbol]
        return quantity * (asset.bid if quantity > 0 else asset.ask)

    def account(self) -> dict[str, Any]:
        with self.lock:
            worth = sum((self.mark(symbol, held[0]) for symbol, held in self.positions.items()), Decimal(0))
            gross = sum((abs(self.mark(symbol, held[0])) for symbol, held in self.positions.items()), Decimal(0))
            equity, margin = self.cash + worth, gross / MULTIPLIER
            free = max(Decimal(0), equity - margin) * MULTIPLIER - self._reserved()
            return {
                "id": str(uuid.uuid5(uuid.NAMESPACE_DNS, self.number)), "account_number": self.number,
                "status": "ACTIVE", "currency": "USD", "cash": plain(self.cash), "equity": f"{equity:.2f}0000000001",
                "buying_power": plain(max(Decimal(0), free)), "initial_margin": plain(margin),
                "multiplier": str(MULTIPLIER),
                "trading_blocked": self.blocked, "account_blocked": False, "trade_suspended_by_user": False,
                "shorting_enabled": True, "pattern_day_trader": False, "last_equity": plain(equity),
            }  # fmt: skip

    def position(self, symbol: str) -> dict[str, Any]:
        with self.lock:
            quantity, average = self.positions[symbol]
            asset = self.assets[symbol]
            value = self.mark(symbol, quantity)
            return {
                "asset_id": asset.id, "symbol": symbol, "exchange": "NASDAQ", "asset_class": asset.asset_class,
                "avg_entry_price": plain(average), "qty": plain(quantity), "qty_available": plain(quantity),
                "side": "long" if quantity > 0 else "short", "market_value": plain(value),
                "cost_basis": plain(quantity * average), "unrealized_pl": plain(value - quantity * average),
                "current_price": plain(value / quantity),
            }  # fmt: skip

    def _match(self, order: dict[str, Any]) -> None:
        asset, is_buy = self.assets[order["symbol"]], order["side"] == "buy"
        price = asset.ask if is_buy else asset.bid
        limit, stop = (None if order[name] is None else Decimal(order[name]) for name in ("limit_price", "stop_price"))
        way = 1 if is_buy else -1
        if stop is not None and not order["_triggered"]:
            order["_triggered"] = way * (price - stop) >= 0
            if not order["_triggered"]:
                order["status"] = "new" if order["status"] == "pending_new" else order["status"]
                return
        is_marketable = limit is None or way * (limit - price) >= 0
        left = Decimal(order["qty"]) - Decimal(order["filled_qty"])
        first = self.fills_in_parts.pop(0) if self.fills_in_parts and is_marketable else left
        if is_marketable and not (order["time_in_force"] == "fok" and first < left):
            self.trade(order, min(first, left), price)
            if first < left and not self.part_only:
                self.trade(order, left - first, price)
        if order["status"] in LIVE and order["time_in_force"] in {"ioc", "fok"}:
            self.end(order, "canceled")
        elif order["status"] == "pending_new":
            order["status"] = "new"

    def _hold(self, symbol: str, signed: Decimal, price: Decimal) -> None:
        quantity, average = self.positions.get(symbol, (Decimal(0), Decimal(0)))
        after = quantity + signed
        if after == 0:
            del self.positions[symbol]
            return
        if quantity * signed >= 0:
            average = (abs(quantity) * average + abs(signed) * price) / abs(after)
            average = average.quantize(Decimal("1e-12"), rounding=ROUND_HALF_EVEN)
        elif after * quantity < 0:
            average = price
        self.positions[symbol] = (after, average)

    def _reserved(self) -> Decimal:
        """What live buys hold of the buying power."""
        return sum(
            (
                (Decimal(order["qty"] or 0) - Decimal(order["filled_qty"]))
                * Decimal(order["limit_price"] or order["stop_price"] or self.assets[order["symbol"]].ask)
                for order in self.orders
                if order["status"] in LIVE and order["side"] == "buy"
            ),
            Decimal(0),
        )

    def _new(self, request: dict[str, Any]) -> dict[str, Any]:
        now = stamp(datetime.now(UTC))
        blank = dict.fromkeys((
            "filled_at", "expired_at", "canceled_at", "failed_at", "replaced_at", "replaced_by", "replaces", "notional",
            "filled_avg_price", "limit_price", "stop_price", "legs", "trail_percent", "trail_price", "hwm",
        ))  # fmt: skip
        asset = self.assets[request["symbol"]]
        return blank | {
            "id": str(uuid.uuid4()), "client_order_id": request.get("client_order_id") or str(uuid.uuid4()),
            "created_at": now, "updated_at": now, "submitted_at": now, "asset_id": asset.id, "symbol": asset.symbol,
            "asset_class": asset.asset_class, "qty": request["qty"], "filled_qty": "0", "order_class": "",
            "order_type": request["type"], "type": request["type"], "side": request["side"],
            "time_in_force": request["time_in_force"], "limit_price": request.get("limit_price"),
            "stop_price": request.get("stop_price"), "status": "pending_new", "extended_hours": False,
            "_triggered": False,
        }  # fmt: skip

    def _validate(self, request: dict[str, Any], *, replacing: dict[str, Any] | None = None) -> None:
        """Refuse what the reference refuses, in its words."""
        for name in ("qty", "limit_price", "stop_price"):
            if request.get(name) is not None and not isinstance(request[name], str):
                raise AssertionError(f"{name} came as {request[name]!r}: a number of ours has been a float")
        asset = self.assets.get(request.get("symbol", ""))
        if asset is None:
            raise Rejection(422, 42210000, f'asset "{request.get("symbol")}" not found')
        if self.blocked:
            raise Rejection(403, 40310000, "account is restricted from trading")
        if not asset.tradable:
            raise Rejection(422, 42210000, f'asset "{asset.symbol}" is not active')
        if any(order["client_order_id"] == request.get("client_order_id") for order in self.orders):
            raise Rejection(422, 40010001, "client_order_id must be unique")
        self._check_shares(asset, request, is_change=replacing is not None)
        for name in ("limit_price", "stop_price"):
            price = Decimal(request[name]) if request.get(name) is not None else None
            if price is not None and price % (CENT if price >= 1 else Decimal("0.0001")):
                words = "sub-penny increment does not fulfill minimum pricing criteria"
                raise Rejection(422, 42210000, f"invalid {name} {price}. {words}")
        self._check_power(asset, request, Decimal(request["qty"]), replacing)

    def _check_shares(self, asset: Asset, request: dict[str, Any], *, is_change: bool) -> None:
        quantity = Decimal(request["qty"])
        if quantity <= 0:
            raise Rejection(422, 40010001, "qty must be > 0")
        if quantity % FRACTION:
            raise Rejection(422, 42210000, "qty increment must be 0.000000001")
        if quantity % 1:
            if not asset.fractionable:
                raise Rejection(403, 40310000, f'asset "{asset.symbol}" is not fractionable')
            if request["time_in_force"] != "day":
                raise Rejection(422, 42210000, "fractional orders must be DAY orders")
            if is_change:
                raise Rejection(422, 42210000, "fractional orders cannot be replaced")

    def _check_power(self, asset: Asset, request: dict[str, Any], quantity: Decimal, replacing: Any) -> None:
        held = self.positions.get(asset.symbol, (Decimal(0), Decimal(0)))[0]
        price = Decimal(request.get("limit_price") or request.get("stop_price") or asset.ask)
        if request["side"] == "sell" and held > 0:
            if quantity > held:
                words = f"insufficient qty available for order (requested: {plain(quantity)}, available: {plain(held)})"
                raise Rejection(403, 40310000, words)
            return
        if request["side"] == "buy" and held < 0:
            return
        if request["side"] == "sell" and quantity % 1:
            raise Rejection(422, 42210000, "fractional orders cannot be sold short")
        if quantity * price < 1:
            raise Rejection(403, 40310000, "cost basis must be >= minimal amount of order 1")
        back = (
            Decimal(replacing["qty"]) * Decimal(replacing["limit_price"] or replacing["stop_price"]) if replacing else 0
        )
        if quantity * price > Decimal(self.account()["buying_power"]) + back:
            raise Rejection(403, 40310000, "insufficient buying power")
