"""Show the broker's own books to people: decimal texts, times in UTC, the broker's names."""

from datetime import UTC, datetime
from typing import Any

from trading.brokers.mt5.emulator import amounts, valuation
from trading.brokers.mt5.emulator.controls.base import Strings
from trading.brokers.mt5.emulator.records import Deal, Position, WorkingOrder

SIDES = ("BUY", "SELL")
ORDER_TYPES = ("BUY", "SELL", "BUY LIMIT", "SELL LIMIT", "BUY STOP", "SELL STOP", "BUY STOP LIMIT", "SELL STOP LIMIT")
DEAL_TYPES = (
    *SIDES, "BALANCE", "CREDIT", "CHARGE", "CORRECTION", "BONUS", "COMMISSION", "COMMISSION DAILY",
    "COMMISSION MONTHLY", "AGENT DAILY", "AGENT MONTHLY", "INTEREST", "BUY CANCELED", "SELL CANCELED", "DIVIDEND",
    "DIVIDEND FRANKED", "TAX",
)  # fmt: skip
ENTRIES = ("IN", "OUT", "INOUT", "OUT BY")
REASONS = (
    "person", "mobile", "web", "program", "stop loss", "take profit", "stop out", "rollover", "margin", "split",
)  # fmt: skip
MONEY_DIGITS = 2


class Showing(Strings):
    """The books of one account, for people."""

    def books(self, login: int, deals: int = 20) -> dict[str, Any]:
        """Return an account's figures, positions, working orders and its last so many deals, newest last."""
        broker = self._broker
        with broker.lock:
            broker.sync()
            held, sums = broker.books[login], broker.figures(login)
            names = ("balance", "credit", "profit", "equity", "margin", "free")
            figures = {name: _money(getattr(sums, name)) for name in names}
            shown = held.deals[len(held.deals) - min(deals, len(held.deals)) :]
            return {
                "account": {
                    "login": login, "name": held.profile.name, "server": held.profile.server,
                    "currency": held.profile.currency, "leverage": held.profile.leverage,
                    "kind": "hedging" if held.profile.is_hedging else "netting", "time": _time(broker.now_us),
                } | figures | {"level": f"{sums.level:.2f}"},
                "positions": [self._position(row) for row in held.positions.values()],
                "orders": [self._order(row) for row in held.working.values()],
                "deals": [self._deal(row) for row in shown],
                "deals_in_all": len(held.deals),
            }  # fmt: skip

    def quotes(self) -> list[dict[str, str]]:
        """Return the price of every symbol that has one, and when it was made."""
        broker = self._broker
        with broker.lock:
            broker.sync()
            found = {name: broker.quotes.at(name, broker.now_ms) for name in sorted(broker.instruments)}
            return [
                {
                    "symbol": name, "bid": broker.instruments[name].price_text(tick.bid),
                    "ask": broker.instruments[name].price_text(tick.ask), "at": _time(tick.time_ms * 1_000),
                    "market": "open" if broker.is_open(broker.instruments[name]) else "closed",
                }
                for name, tick in found.items() if tick is not None
            ]  # fmt: skip

    def _position(self, row: Position) -> dict[str, Any]:
        broker, instrument = self._broker, self._broker.instruments[row.symbol]
        floating = valuation.floating(broker.books[row.login].profile, row, broker.market)
        return {
            "ticket": row.ticket, "symbol": row.symbol, "side": SIDES[row.type], "lots": _lots(row.volume),
            "opened at": _average(row.price_open), "now": instrument.price_text(broker.market.exit_price(row)),
            "stop": _level(row.sl, instrument.digits), "target": _level(row.tp, instrument.digits),
            "swap": _money(row.swap), "profit": _money(floating), "by": REASONS[row.reason], "magic": row.magic,
            "comment": row.comment, "time": _time(row.time_us),
        }  # fmt: skip

    def _order(self, row: WorkingOrder) -> dict[str, Any]:
        digits = self._broker.instruments[row.symbol].digits
        return {
            "ticket": row.ticket, "symbol": row.symbol, "type": ORDER_TYPES[row.type],
            "lots": _lots(row.volume_current), "price": _level(row.price, digits),
            "limit": _level(row.stoplimit, digits), "stop": _level(row.sl, digits), "target": _level(row.tp, digits),
            "expires": _time(row.expires_us) if row.expires_us else "", "by": REASONS[row.reason],
            "magic": row.magic, "comment": row.comment,
        }  # fmt: skip

    def _deal(self, row: Deal) -> dict[str, Any]:
        row = self._broker.books[row.login].shown(row)
        is_trade = bool(row.symbol)
        digits = self._broker.instruments[row.symbol].digits if row.symbol in self._broker.instruments else 0
        return {
            "deal": row.ticket, "time": _time(row.time_us), "type": DEAL_TYPES[row.type],
            "entry": ENTRIES[row.entry] if is_trade else "", "symbol": row.symbol,
            "lots": _lots(row.volume) if is_trade else "", "price": _level(row.price, digits),
            "position": row.position_id or "", "profit": _money(row.profit), "swap": _money(row.swap),
            "commission": _money(row.commission + row.fee), "by": REASONS[row.reason], "magic": row.magic,
            "comment": row.comment,
        }  # fmt: skip


def _money(units: int) -> str:
    return amounts.as_text(units // 10**6, MONEY_DIGITS)


def _lots(units: int) -> str:
    text = amounts.as_text(units, 8).rstrip("0")
    whole, _, rest = text.partition(".")
    return f"{whole}.{rest.ljust(2, '0')}"


def _level(points: int, digits: int) -> str:
    return amounts.as_text(points, digits) if points else ""


def _average(price: int) -> str:
    return amounts.as_text(price, amounts.AVERAGE_DIGITS).rstrip("0").rstrip(".")


def _time(us: int) -> str:
    return datetime.fromtimestamp(us // 1_000_000, UTC).strftime("%Y-%m-%d %H:%M:%S")
