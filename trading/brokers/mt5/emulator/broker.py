"""Be the broker: keep time, judge requests, execute them, and answer only what is committed.

Everything runs under one lock per broker. A commit that fails, or books that contradict their deals, stop it for good.
"""

import heapq
import json
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from fractions import Fraction

from trading.brokers.mt5.emulator import amounts, due, judging, ledger, stop_out, triggers, valuation
from trading.brokers.mt5.emulator import constants as mt5
from trading.brokers.mt5.emulator.books import AccountBooks, Plan
from trading.brokers.mt5.emulator.case import Case, Desk
from trading.brokers.mt5.emulator.clock import Clock
from trading.brokers.mt5.emulator.faults import Fault, FaultPlan
from trading.brokers.mt5.emulator.instruments import Instrument
from trading.brokers.mt5.emulator.liquidity import ENDLESS, Liquidity
from trading.brokers.mt5.emulator.profiles import BrokerProfile
from trading.brokers.mt5.emulator.recordings import RecordedQuotes
from trading.brokers.mt5.emulator.records import Deal, Tick
from trading.brokers.mt5.emulator.requests import NO_LIQUIDITY, Answer, CheckAnswer, Request
from trading.brokers.mt5.emulator.scene import Scene
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
        self.liquidity = Liquidity(meta.get("taken", "{}"))
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
        """Live up to an instant: all that falls due, and every tick that concerns somebody, oldest first.

        After a long sleep the ticks of generated quotes are thinned out to `catch_up_ticks` per symbol.
        """
        if target_us <= self.now_us:
            return
        limit, until_ms = self.profile.catch_up_ticks, target_us // 1_000
        streams: list[Iterable[due.Event]] = [
            self.quotes.between(symbol, self.now_ms, until_ms, limit) for symbol in self._symbols_at_stake()
        ]
        streams.append(due.between(self.books.values(), self.profile.zone, self.now_us, target_us))
        seen = False
        for event in heapq.merge(*streams, key=due.order_of):
            seen = True
            self.now_us = max(self.now_us, event.time_ms * 1_000)
            if isinstance(event, Tick):
                self._fire(event)
            else:
                books = self.books[event.login]
                self.carry_out(books, due.plan(event, books, self.scene()))
        self.now_us = target_us
        if seen or not self.clock.flows:
            self._commit(Changes(self.now_us))

    def _symbols_at_stake(self) -> list[str]:
        """Return the symbols whose ticks can do something."""
        return sorted({symbol for books in self.books.values() for symbol in books.symbols})

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
        """Let a tick close positions and fill orders, if its market is open."""
        instrument = self.instruments[tick.symbol]
        if not self.is_open(instrument):
            return
        for books in self.books.values():
            self._stop_out(books)
            for position, reason, limit in triggers.reached(books.of_symbol(tick.symbol), tick):
                comment = triggers.stop_comment(position, reason, instrument)
                plan = triggers.close(self.scene(), books, position, tick, reason=reason, comment=comment, limit=limit)
                self.carry_out(books, plan, tick=tick)
            for order in books.waiting(tick.symbol):
                self.carry_out(books, triggers.activate(self.scene(), books, order, tick), tick=tick)

    def _stop_out(self, books: AccountBooks) -> None:
        """Close an account's positions, the worst first, while it lacks margin."""
        tried: set[int] = set()
        while (step := stop_out.step(self.scene(), books, tried, self.is_open)) is not None:
            self.carry_out(books, step.plan, tick=step.tick)
        if tried and (missing := stop_out.shortfall(books)):
            self.pay(books.profile.login, missing, kind=mt5.DEAL_TYPE_CORRECTION, comment="Negative balance")

    # requests

    def send(
        self, login: int, request: Request, desk: Desk, *, fault: Fault | None = None, reason: int | None = None
    ) -> Answer:
        """Judge a request, execute it, commit it with its answer, and only then answer."""
        with self.lock:
            self.sync()
            books = self.books[login]
            delay_us = round(fault.params["seconds"] * SECOND_US) if fault and fault.name == "history_delay" else 0
            case = self._case(books, request, desk)
            code, plan = judging.judge(
                case, self.scene(delay_us), mt5.ORDER_REASON_EXPERT if reason is None else reason
            )
            answer = self._answer(code, plan, case)
            logged = json.dumps(request.plain(), sort_keys=True)
            entry = (login, self.now_us, logged, json.dumps([answer.retcode, answer.deal, answer.order]))
            self.carry_out(books, plan, request=entry, tick=case.tick)
            self._sent = [sent for sent in self._sent if sent[1] > self.now_us - SECOND_US] + [(login, self.now_us)]
            return answer

    def check(self, login: int, request: Request, desk: Desk) -> CheckAnswer:
        """Judge a request without any trace: 0 and the figures after the trade, or the code of the refusal."""
        with self.lock:
            self.sync()
            books = self.books[login]
            scene = replace(self.scene(), depth=ENDLESS)
            code, plan = judging.judge(self._case(books, request, desk), scene, mt5.ORDER_REASON_EXPERT)
            if code not in judging.DONE:
                return CheckAnswer(code)
            sums = scene.figures_after(books, plan)
            return CheckAnswer(0, sums.balance, sums.equity, sums.profit, sums.margin, sums.free, sums.level)

    def scene(self, history_delay_us: int = 0) -> Scene:
        """Return what an execution at this instant needs."""
        return Scene(
            market=self.market, house=self.profile, liquidity=self.liquidity, now_us=self.now_us,
            next_order=self._next_order, next_deal=self._next_deal, history_delay_us=history_delay_us,
        )  # fmt: skip

    def figures(self, login: int) -> valuation.Figures:
        """Return the sums of an account at this instant."""
        return self.scene().figures(self.books[login])

    def is_open(self, instrument: Instrument) -> bool:
        """Say whether a symbol's market is open now."""
        return instrument.sessions.is_open(self.profile.zone.to_server_ms(self.now_ms))

    def _case(self, books: AccountBooks, request: Request, desk: Desk) -> Case:
        about = books.working.get(request.order) if request.action in judging.ABOUT_ORDERS else None
        symbol = about.symbol if about else request.symbol
        instrument = self.instruments.get(symbol)
        return Case(
            request=request,
            desk=desk,
            books=books,
            recent=sum(sent == books.profile.login and at > self.now_us - SECOND_US for sent, at in self._sent),
            instrument=instrument,
            is_open=instrument is not None and self.is_open(instrument),
            tick=self.quotes.at(symbol, self.now_ms) if instrument else None,
            now_us=self.now_us,
            zone=self.profile.zone,
        )

    def _answer(self, code: int, plan: Plan, case: Case) -> Answer:
        volume = sum(deal.volume for deal in plan.deals)
        worth = sum(deal.volume * deal.price for deal in plan.deals)
        if plan.working and not plan.deals and not case.is_about_order:
            volume = plan.working.volume_initial
        return Answer(
            retcode=code,
            deal=plan.deals[0].ticket if plan.deals else 0,
            order=plan.subject.ticket if plan.subject else 0,
            volume=volume if not case.is_close_by else plan.deals[0].volume if plan.deals else 0,
            price=amounts.half_away(Fraction(worth, volume)) if plan.deals else 0,
            bid=case.tick.bid if case.tick else 0,
            ask=case.tick.ask if case.tick else 0,
            digits=case.instrument.digits if case.instrument else 0,
            comment=NO_LIQUIDITY if code == mt5.TRADE_RETCODE_REJECT else "",
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

    def carry_out(
        self,
        books: AccountBooks,
        plan: Plan,
        *,
        request: tuple[int, int, str, str] | None = None,
        tick: Tick | None = None,
    ) -> None:
        """Commit a plan, then take it over. Takes: `tick`: whose liquidity the plan uses up."""
        if request is None and plan == Plan():
            return
        is_new = plan.subject is not None and plan.subject.ticket == self._next_order
        counters = {"next_order": self._next_order + is_new, "next_deal": self._next_deal + len(plan.deals)}
        changes = Changes(self.now_us, request=request, removed_positions=plan.removed, removed_orders=plan.gone)
        changes.meta = {key: str(value) for key, value in counters.items()}
        changes.rows = [each for each in (plan.order, plan.working, *plan.deals, *plan.kept) if each is not None]
        if plan.deals:
            changes.balances = {books.profile.login: books.balance + plan.total}
        liquidity = self._drained(plan, tick)
        if liquidity is not self.liquidity:
            changes.meta["taken"] = liquidity.text
        self._commit(changes)
        self._next_order, self._next_deal = counters["next_order"], counters["next_deal"]
        self.liquidity = liquidity
        books.apply(plan)

    def _drained(self, plan: Plan, tick: Tick | None) -> Liquidity:
        """Return what a plan leaves of the liquidity of its tick; closing by another position uses none."""
        trades = [deal for deal in plan.deals if deal.symbol and deal.entry != mt5.DEAL_ENTRY_OUT_BY]
        if tick is None or not trades:
            return self.liquidity
        return self.liquidity.after(tick, trades[0].type, sum(deal.volume for deal in trades)) or self.liquidity

    def pay(self, login: int, amount: int, *, kind: int = mt5.DEAL_TYPE_BALANCE, comment: str = "") -> int:
        """Book a balance operation and return the ticket of its deal. Units: `amount` in 10^-8."""
        if amount % (amounts.UNIT // 10 ** self.books[login].profile.currency_digits):
            raise ValueError("the amount is finer than the account's currency")
        deal = Deal(
            ticket=self._next_deal, login=login, order_ticket=0, time_us=self.now_us, type=kind,
            entry=mt5.DEAL_ENTRY_IN, magic=0, position_id=0, reason=mt5.DEAL_REASON_CLIENT, volume=0, price=0,
            commission=0, swap=0, profit=amount, fee=0, symbol="", comment=comment, visible_us=self.now_us,
        )  # fmt: skip
        self.carry_out(self.books[login], Plan(deals=(deal,)))
        return deal.ticket

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
