"""Move the emulated world: time, quotes, money, other people's trades and faults. Never reachable through a facade."""

from dataclasses import asdict, replace
from decimal import Decimal
from typing import Any

from trading.brokers.mt5.emulator import amounts, faults
from trading.brokers.mt5.emulator import constants as mt5
from trading.brokers.mt5.emulator.broker import Broker
from trading.brokers.mt5.emulator.case import Desk
from trading.brokers.mt5.emulator.core import SECOND_US
from trading.brokers.mt5.emulator.records import Tick
from trading.brokers.mt5.emulator.requests import NOTHING, Answer, Request
from trading.brokers.mt5.emulator.terminal import Terminal

PERSON = Desk(by_program=False)


class Control:
    """Hold the strings of one broker, for tests and for the operation of paper accounts."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker

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

    def balance(self, login: int, amount: str, kind: int = mt5.DEAL_TYPE_BALANCE, comment: str = "") -> int:
        """Book a deposit, a withdrawal or any other cash movement (deal types 2 to 17); return the deal's ticket."""
        if not mt5.DEAL_TYPE_BALANCE <= kind <= mt5.DEAL_TAX:
            raise ValueError(f"deal type {kind} is not a cash movement")
        with self._broker.lock:
            self._broker.sync()
            return self._broker.pay(login, amounts.units(amount), kind=kind, comment=comment)

    def manual_trade(
        self, login: int, symbol: str, side: int, volume: str, *, position: int = 0, sl: str = "0", tp: str = "0"
    ) -> Answer:
        """Trade as a person at the terminal would: reason 0, magic 0, no faults, no limits for programs."""
        instrument = self._broker.instruments[symbol]
        bits = instrument.filling_bits
        filling = mt5.ORDER_FILLING_FOK if bits & 1 else mt5.ORDER_FILLING_IOC if bits else mt5.ORDER_FILLING_RETURN
        with self._broker.lock:
            self._broker.sync()
            quote = self._broker.quotes.at(symbol, self._broker.now_ms)
            price = Decimal(quote.entry_price(side)).scaleb(-instrument.digits) if quote else NOTHING
            request = Request(
                action=mt5.TRADE_ACTION_DEAL, symbol=symbol, type=side, volume=Decimal(volume), price=price,
                sl=Decimal(sl), tp=Decimal(tp), position=position, type_filling=filling,
            )  # fmt: skip
            return self._broker.send(login, request, PERSON, reason=mt5.ORDER_REASON_CLIENT)

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
            begin_us = self._broker.now_us + round(after_s * SECOND_US)
            window = (begin_us if after_s else 0, begin_us + round(for_s * SECOND_US) if for_s else 0)
            fault = faults.plan(
                fault_id, name, function=function, nth=nth, times=times, probability=probability, seed=seed,
                window_us=window, **params,
            )  # fmt: skip
            self._broker.plan_fault(fault)
        return fault_id

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
                "deals": [asdict(row) for row in books.deals],
                "orders": [asdict(row) for row in books.orders],
                "positions": [asdict(row) for row in books.positions.values()],
                "working": [asdict(row) for row in books.working.values()],
                "requests": [row[1:] for row in broker.store.requests() if row[0] == login],
            }  # fmt: skip

    @property
    def now_us(self) -> int:
        """Return the broker's present in microseconds of UTC."""
        return self._broker.now_us
