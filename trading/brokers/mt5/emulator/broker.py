"""Be the broker: keep time, judge requests, execute them, and answer only what is committed.

Everything runs under one lock per broker. A commit that fails, or books that contradict their deals, stop it for good.
"""

import heapq
import json
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace

from trading.brokers.mt5.emulator import checks, ledger, matching, triggers, valuation
from trading.brokers.mt5.emulator import constants as mt5
from trading.brokers.mt5.emulator.books import AccountBooks, Plan
from trading.brokers.mt5.emulator.clock import Clock
from trading.brokers.mt5.emulator.faults import Fault, FaultPlan
from trading.brokers.mt5.emulator.instruments import Instrument
from trading.brokers.mt5.emulator.profiles import BrokerProfile
from trading.brokers.mt5.emulator.rates import NoRateError
from trading.brokers.mt5.emulator.recordings import RecordedQuotes
from trading.brokers.mt5.emulator.records import Tick
from trading.brokers.mt5.emulator.requests import Answer, CheckAnswer, Request
from trading.brokers.mt5.emulator.scripted import ScriptedQuotes
from trading.brokers.mt5.emulator.store import Changes, Store
from trading.brokers.mt5.emulator.terminal import Terminal

SECOND_US = 1_000_000


class BrokerStoppedError(RuntimeError):
    """Say that the broker has stopped itself and answers nothing any more."""


class Broker:
    """One broker with all its accounts. Make one with `open_broker`."""

    def __init__(
        self,
        *,
        profile: BrokerProfile,
        instruments: Mapping[str, Instrument],
        books: Mapping[int, AccountBooks],
        quotes: ScriptedQuotes,
        clock: Clock,
        store: Store,
        tape: RecordedQuotes | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Take over loaded books and check them against their deals. Raises: BooksDifferError."""
        self.profile, self.instruments, self.books = profile, dict(instruments), dict(books)
        self.quotes, self.store, self.clock, self.tape = quotes, store, clock, tape
        self.lock = threading.RLock()
        self.faults = FaultPlan(store.faults())
        meta = store.meta()
        self.now_us = int(meta["now_us"])
        self._next_order, self._next_deal = int(meta["next_order"]), int(meta["next_deal"])
        self._sleep = sleep
        self._stopped = ""
        self._terminals: dict[str, Terminal] = {}
        self._sent = [(login, at) for login, at, _, _ in store.requests(self.now_us - SECOND_US)]
        clock.target_us(self.now_us)  # a paced clock begins to flow here
        self.verify()

    # time

    @property
    def now_ms(self) -> int:
        """Return the present in milliseconds of UTC."""
        return self.now_us // 1_000

    @property
    def market(self) -> valuation.Market:
        """Return all prices of the present."""
        return valuation.Market(self.instruments, self.quotes, self.now_ms)

    def sync(self) -> None:
        """Live up to what the clock says."""
        self._require_running()
        self.run_to(self.clock.target_us(self.now_us))

    def run_to(self, target_us: int) -> None:
        """Live up to an instant: every tick that concerns a position is seen, oldest first.

        After a long sleep the ticks of generated quotes are thinned out to `catch_up_ticks` per symbol.
        """
        if target_us <= self.now_us:
            return
        held = sorted({each.symbol for books in self.books.values() for each in books.positions.values()})
        limit, until_ms = self.profile.catch_up_ticks, target_us // 1_000
        streams = [self.quotes.between(symbol, self.now_ms, until_ms, limit) for symbol in held]
        seen = False
        for tick in heapq.merge(*streams, key=lambda each: (each.time_ms, each.symbol)):
            seen = True
            self.now_us = max(self.now_us, tick.time_ms * 1_000)
            self._fire(tick)
        self.now_us = target_us
        if seen or not self.clock.flows:
            self._commit(Changes(self.now_us))

    def pause(self, seconds: float) -> None:
        """Let time pass: virtual time jumps, flowing time is waited for."""
        if self.clock.flows:
            self._sleep(seconds)
            return
        with self.lock:
            self.run_to(self.now_us + round(seconds * SECOND_US))

    def script(self, tick: Tick) -> None:
        """Quote one tick now and let it trigger what it triggers."""
        self._commit(Changes(self.now_us, rows=[tick]))
        self.quotes.add(tick)
        self._fire(tick)

    def _fire(self, tick: Tick) -> None:
        """Close every position whose stop the tick reached, if its market is open."""
        instrument = self.instruments[tick.symbol]
        if not self.is_open(instrument):
            return
        for books in self.books.values():
            for intent in triggers.reached(books.of_symbol(tick.symbol), tick, instrument):
                self.carry_out(books, self.execution(books, instrument, tick).plan(intent))

    # requests

    def send(
        self, login: int, request: Request, desk: checks.Desk, *, fault: Fault | None = None, reason: int | None = None
    ) -> Answer:
        """Judge a request, execute it, commit it with its answer, and only then answer."""
        with self.lock:
            self.sync()
            books = self.books[login]
            delay_us = round(fault.params["seconds"] * SECOND_US) if fault and fault.name == "history_delay" else 0
            case = self._case(books, request, desk)
            code, plan = self._judge(case, delay_us, mt5.ORDER_REASON_EXPERT if reason is None else reason)
            answer = self._answer(code, plan, case)
            logged = json.dumps(request.plain(), sort_keys=True)
            entry = (login, self.now_us, logged, json.dumps([answer.retcode, answer.deal, answer.order]))
            self.carry_out(books, plan, request=entry)
            self._sent = [sent for sent in self._sent if sent[1] > self.now_us - SECOND_US] + [(login, self.now_us)]
            return answer

    def check(self, login: int, request: Request, desk: checks.Desk) -> CheckAnswer:
        """Judge a request without any trace: 0 and the figures after the trade, or the code of the refusal."""
        with self.lock:
            self.sync()
            books = self.books[login]
            case = self._case(books, request, desk)
            code, plan = self._judge(case, 0, mt5.ORDER_REASON_EXPERT)
            if code != mt5.TRADE_RETCODE_DONE:
                return CheckAnswer(code)
            after = plan.positions_after(books.positions.values())
            sums = valuation.figures(books.profile, books.balance + plan.total, after, self.market)
            return CheckAnswer(0, sums.balance, sums.equity, sums.profit, sums.margin, sums.free, sums.level)

    def execution(
        self, books: AccountBooks, instrument: Instrument, tick: Tick, history_delay_us: int = 0
    ) -> matching.Execution:
        """Return what an execution at this instant needs."""
        return matching.Execution(
            profile=books.profile, instrument=instrument, market=self.market, tick=tick, now_us=self.now_us,
            next_order=self._next_order, next_deal=self._next_deal, history_delay_us=history_delay_us,
        )  # fmt: skip

    def figures(self, login: int) -> valuation.Figures:
        """Return the sums of an account at this instant."""
        books = self.books[login]
        return valuation.figures(books.profile, books.balance, books.positions.values(), self.market)

    def is_open(self, instrument: Instrument) -> bool:
        """Say whether a symbol's market is open now."""
        return instrument.sessions.is_open(self.profile.zone.to_server_ms(self.now_ms))

    def _case(self, books: AccountBooks, request: Request, desk: checks.Desk) -> checks.Case:
        instrument = self.instruments.get(request.symbol)
        return checks.Case(
            request=request,
            desk=desk,
            books=books,
            recent=sum(sent == books.profile.login and at > self.now_us - SECOND_US for sent, at in self._sent),
            instrument=instrument,
            is_open=instrument is not None and self.is_open(instrument),
            tick=self.quotes.at(request.symbol, self.now_ms) if instrument else None,
        )

    def _judge(self, case: checks.Case, history_delay_us: int, reason: int) -> tuple[int, Plan]:
        """Return the code and, if it is DONE, what is to be done."""
        refusal = checks.first_refusal(case)
        if refusal is not None:
            return refusal, Plan()
        if not case.is_deal:
            return self._move_stops(case)
        intent = self._intent(case, reason)
        books, quote = case.books, case.quote
        try:
            plan = self.execution(books, case.symbol, quote, history_delay_us).plan(intent)
            before = valuation.figures(books.profile, books.balance, books.positions.values(), self.market)
            held = plan.positions_after(books.positions.values())
            after = valuation.figures(books.profile, books.balance + plan.total, held, self.market)
        except NoRateError:
            return mt5.TRADE_RETCODE_PRICE_OFF, Plan()
        if after.margin > before.margin and after.free < 0:
            return mt5.TRADE_RETCODE_NO_MONEY, Plan()
        return mt5.TRADE_RETCODE_DONE, plan

    @staticmethod
    def _intent(case: checks.Case, reason: int) -> matching.Intent:
        request = case.request
        sl, tp = (0, 0) if case.is_closing else case.stops
        return matching.Intent(
            side=request.type, volume=case.volume, position=case.position, sl=sl, tp=tp, magic=request.magic,
            comment=case.profile.keep_comment(request.comment), reason=reason,
            type_filling=request.type_filling, type_time=request.type_time,
        )  # fmt: skip

    def _move_stops(self, case: checks.Case) -> tuple[int, Plan]:
        position, (sl, tp) = case.target, case.stops
        if (position.sl, position.tp) == (sl, tp):
            return mt5.TRADE_RETCODE_NO_CHANGES, Plan()
        return mt5.TRADE_RETCODE_DONE, Plan(kept=(replace(position, sl=sl, tp=tp, update_us=self.now_us),))

    def _answer(self, code: int, plan: Plan, case: checks.Case) -> Answer:
        deal = plan.deals[0] if plan.deals else None
        return Answer(
            retcode=code,
            deal=deal.ticket if deal else 0,
            order=plan.order.ticket if plan.order else 0,
            volume=deal.volume if deal else 0,
            price=deal.price if deal else 0,
            bid=case.tick.bid if case.tick else 0,
            ask=case.tick.ask if case.tick else 0,
            digits=case.instrument.digits if case.instrument else 0,
        )

    def terminal(self, path: str) -> Terminal:
        """Return the terminal of a path, with the symbols that it watched when it was last used."""
        with self.lock:
            if path not in self._terminals:
                watched = self.store.selected(path) | set(self.profile.selected)
                self._terminals[path] = Terminal(path, set(watched))
            return self._terminals[path]

    def watch(self, terminal: Terminal, symbol: str, *, enable: bool) -> None:
        """Put a symbol into a terminal's Market Watch, or take it out."""
        with self.lock:
            self._require_running()
            self.store.select(terminal.path, symbol, enable=enable)
            (terminal.selected.add if enable else terminal.selected.discard)(symbol)

    # books

    def carry_out(self, books: AccountBooks, plan: Plan, *, request: tuple[int, int, str, str] | None = None) -> None:
        """Commit a plan, then take it over."""
        orders = 1 if plan.order else 0
        counters = {"next_order": self._next_order + orders, "next_deal": self._next_deal + len(plan.deals)}
        changes = Changes(self.now_us, request=request, removed_positions=plan.removed)
        changes.meta = {key: str(value) for key, value in counters.items()}
        changes.rows = [*((plan.order,) if plan.order else ()), *plan.deals, *plan.kept]
        if plan.deals:
            changes.balances = {books.profile.login: books.balance + plan.total}
        self._commit(changes)
        self._next_order, self._next_deal = counters["next_order"], counters["next_deal"]
        books.apply(plan)

    @property
    def next_deal(self) -> int:
        """Return the ticket that the next deal will get."""
        return self._next_deal

    @property
    def next_order(self) -> int:
        """Return the ticket that the next order will get."""
        return self._next_order

    def call_fault(self, function: str, login: int, request: Request | None = None) -> Fault | None:
        """Return the fault that hits this call, if the plan holds one; its counters are committed first."""
        with self.lock:
            symbol, magic = (request.symbol, request.magic) if request else ("", 0)
            fault, changed = self.faults.look(function, login, symbol, magic)
            if changed:
                changes = Changes(self.now_us, faults=changed)
                if fault:
                    body = json.dumps(request.plain() if request else {}, sort_keys=True)
                    changes.fault_log = (fault.id, self.now_us, function, body)
                self._commit(changes)
                self.faults.take_over(changed)
            return fault

    def plan_fault(self, fault: Fault) -> None:
        """Add a fault to the plan."""
        self._commit(Changes(self.now_us, faults=[fault]))
        self.faults.take_over([fault])

    def verify(self) -> None:
        """Compare balances and positions with a replay of the deals. Raises: BooksDifferError, and the broker stops."""
        with self.lock:
            try:
                for login, books in self.books.items():
                    held = books.positions.values()
                    ledger.compare(login, books.deals, held, books.balance, self.instruments)
            except ledger.BooksDifferError as exc:
                self._stopped = str(exc)
                raise

    def close(self) -> None:
        """Stop and let go of the file."""
        with self.lock:
            self._stopped = self._stopped or "closed"
            self.store.close()

    def _commit(self, changes: Changes) -> None:
        self._require_running()
        try:
            self.store.commit(changes)
        except Exception as exc:
            self._stopped = f"a commit failed: {exc}"
            raise

    def _require_running(self) -> None:
        if self._stopped:
            raise BrokerStoppedError(self._stopped)
