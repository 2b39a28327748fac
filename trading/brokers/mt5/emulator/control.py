"""Move the emulated world: time, quotes, money, other people's trades and faults. Never reachable through a facade."""

from dataclasses import asdict, replace
from decimal import Decimal
from typing import Any

from trading.brokers.mt5.emulator import amounts
from trading.brokers.mt5.emulator import faults as fault_kinds
from trading.brokers.mt5.emulator.controls.base import plain
from trading.brokers.mt5.emulator.controls.events import Events
from trading.brokers.mt5.emulator.controls.people import People
from trading.brokers.mt5.emulator.controls.showing import Showing
from trading.brokers.mt5.emulator.controls.snapshots import Snapshots
from trading.brokers.mt5.emulator.core import SECOND_US
from trading.brokers.mt5.emulator.records import Position, Tick, WorkingOrder
from trading.brokers.mt5.emulator.terminal import Terminal


class Control(People, Events, Showing, Snapshots):
    """Hold the strings of one broker, for tests and for the operation of paper accounts."""

    def advance(self, seconds: float) -> None:
        """Let virtual time pass; every tick on the way does what it does."""
        if self._broker.clock.flows:
            raise ValueError("time flows by itself here")
        self._broker.pause(seconds)

    def step(self, ticks: int = 1) -> int:
        """Go to the next moments of a replay that bring a tick; return how many there were."""
        broker, tape = self._broker, self._broker.tape
        if tape is None or broker.clock.flows:
            raise ValueError("only a replay without a speed goes step by step")
        with broker.lock:
            for done in range(ticks):
                upcoming = tape.next_ms(broker.now_ms)
                if upcoming is None:
                    return done
                broker.run_to(upcoming * 1_000)
        return ticks

    def tick(self, symbol: str, bid: str, ask: str, *, bid_vol: str = "0", ask_vol: str = "0", levels: int = 1) -> Tick:
        """Quote a symbol now.

        Takes: prices and lots as decimal texts; each of `levels` price levels offers so many lots, 0 without limit.
        """
        broker = self._broker
        instrument = broker.instruments[symbol]
        points = [amounts.scaled(Decimal(text), instrument.digits) for text in (bid, ask)]
        good = [each for each in points if each is not None and each > 0 and each % instrument.tick_size == 0]
        if len(good) != len(points) or good[0] > good[1]:
            raise ValueError(f"{bid} / {ask} is no quote of {symbol}")
        with broker.lock:
            broker.sync()
            before = broker.quotes.last_scripted(symbol)
            row = Tick(symbol, before.number + 1 if before else 1, broker.now_ms, *good)
            row = replace(row, bid_vol=amounts.units(bid_vol), ask_vol=amounts.units(ask_vol), levels=levels)
            broker.script(row)
        return row

    def inject(
        self,
        name: str,
        *,
        function: str | None = None,
        nth: int = 1,
        times: int | None = 1,
        probability: float | None = None,
        seed: int = 1,
        after_s: float = 0,
        for_s: float = 0,
        **params: object,
    ) -> int:
        """Plan a fault for the nth matching call and the following, `times` in all (None: for ever); return its id.

        Takes: `function`: one of the package, or `*` for any; `probability` with its own `seed`; a window that begins
        in `after_s` seconds and lasts `for_s` (0: for ever); `login`, `symbol`, `magic` to match; and the fault's own
        parameters (`faults.KINDS`).
        """
        with self._broker.lock:
            fault_id = max(self._broker.faults.faults, default=0) + 1
            self._check_names(name, params)
            begin_us = self._broker.now_us + round(after_s * SECOND_US)
            window = (begin_us if after_s else 0, begin_us + round(for_s * SECOND_US) if for_s else 0)
            fault = fault_kinds.plan(
                fault_id, name, function=function, nth=nth, times=times, probability=probability, seed=seed,
                window_us=window, **params,
            )  # fmt: skip
            self._broker.plan_fault(fault)
        return fault_id

    def _check_names(self, name: str, params: dict[str, Any]) -> None:
        """Refuse accounts and symbols that are not here; the other account may be left out when there is but one."""
        if name.startswith("bridge_") and not self._broker.has_wire:
            raise ValueError(f"{name} breaks the wire, which is not here: put a proxy between gateway and client")
        known = self._broker.books
        if name in ("wrong_terminal", "relogin") and not params.get("account"):
            params["account"] = max(known) if len(known) > 1 else 0
        for key in ("account", "login"):
            if params.get(key) not in (None, 0, *known):
                raise ValueError(f"no account {params[key]}")
        for key in ("target", "symbol"):
            if params.get(key) not in (None, "", *self._broker.instruments):
                raise ValueError(f"no symbol {params[key]}; there are {', '.join(self._broker.instruments)}")

    def wire_fault(self, call: str) -> dict[str, Any] | None:
        """Return the fault that hits a request to the gateway, if the plan holds one. Takes: one of `faults.WIRE`."""
        if call not in fault_kinds.WIRE:
            raise ValueError(f"no request goes by the name {call!r}")
        fault = self._broker.call_fault(call, 0)
        return None if fault is None else {"name": fault.name, "params": dict(fault.params)}

    def lift(self, fault_id: int) -> None:
        """Let a fault fire no more. What it has done to terminal, market or clock already stays; see `calm`."""
        with self._broker.lock:
            fault = self._broker.faults.faults.get(fault_id)
            if fault is None:
                raise ValueError(f"no fault {fault_id} is planned")
            self._broker.plan_fault(replace(fault, times=fault.fired))

    def calm(self) -> int:
        """Lift every fault and undo what they have done to terminals, market and clock; return how many were planned.

        Trades, books and lost answers stay as they are.
        """
        broker = self._broker
        with broker.lock:
            broker.sync()
            planned = [each for each in broker.faults.faults.values() if not each.is_spent]
            for each in planned:
                self.lift(each.id)
            broker.moods.until.clear()
            broker.moods.clock_shift_s = 0
            broker.save_moods()
            broker.calm_terminals()
        return len(planned)

    def faults(self) -> list[dict[str, Any]]:
        """Return the faults that are planned, with their counters."""
        with self._broker.lock:
            return [plain(each) for each in self._broker.faults.faults.values() if not each.is_spent]

    def fault_log(self) -> list[dict[str, Any]]:
        """Return every fault that fired, with the request that it hit."""
        with self._broker.lock:
            return self._broker.store.fault_log()

    def terminal(self, path: str) -> Terminal:
        """Return a terminal, whose switches may be turned and whose pipe may be cut."""
        return self._broker.terminal(path)

    def verify(self) -> None:
        """Compare the books with their deals. Raises: BooksDifferError."""
        self._broker.verify()

    def truth(self, login: int) -> dict[str, Any]:
        """Return the broker's real books of an account as plain data, in the broker's own integer units."""
        broker = self._broker
        with broker.lock:
            broker.sync()
            books, sums = broker.books[login], broker.figures(login)
            return {
                "now_us": broker.now_us, "next_order": broker.next_order, "next_deal": broker.next_deal,
                "balance": books.balance, "equity": sums.equity, "margin": sums.margin,
                "deals": [asdict(row) for row in books.deals], "canceled": sorted(books.canceled),
                "orders": [asdict(row) for row in books.orders],
                "positions": [asdict(row) for row in books.positions.values()],
                "working": [asdict(row) for row in books.working.values()],
                "requests": [row[1:] for row in broker.store.requests() if row[0] == login],
            }  # fmt: skip

    def accounts(self) -> list[dict[str, Any]]:
        """Return who has an account here."""
        names = ("login", "name", "server", "currency", "leverage", "margin_mode")
        return [{name: getattr(books.profile, name) for name in names} for books in self._broker.books.values()]

    def statement(self, login: int) -> dict[str, Any]:
        """Return an account's figures, positions and working orders for people: decimal texts, broker's names."""
        broker = self._broker
        with broker.lock:
            broker.sync()
            books, sums = broker.books[login], broker.figures(login)
            return {
                "figures": {
                    name: amounts.as_text(getattr(sums, name) // 10**6, 2)
                    for name in ("balance", "credit", "profit", "equity", "margin", "free")
                },
                "positions": [self._line(row) for row in books.positions.values()],
                "orders": [self._line(row) for row in books.working.values()],
                "deals": len(books.deals),
            }

    def _line(self, row: Position | WorkingOrder) -> dict[str, Any]:
        digits = self._broker.instruments[row.symbol].digits
        if isinstance(row, WorkingOrder):
            volume, price = row.volume_current, amounts.as_text(row.price, digits)
        else:
            volume, price = row.volume, str(amounts.as_float(row.price_open, amounts.AVERAGE_DIGITS))
        stops = {name: amounts.as_text(getattr(row, name), digits) for name in ("sl", "tp")}
        names = ("ticket", "symbol", "type", "magic", "comment")
        common = {name: getattr(row, name) for name in names} | stops
        return common | {"volume": amounts.as_text(volume // 10**6, 2), "price": price}
