"""Be the broker: live through time, judge requests, execute them, and answer only what is committed."""

import heapq
import json
import threading
from collections.abc import Iterable
from dataclasses import replace
from fractions import Fraction

from trading.brokers.mt5.emulator import altering, amounts, comfort, due, judging, pending, stop_out, triggers
from trading.brokers.mt5.emulator import constants as mt5
from trading.brokers.mt5.emulator.books import AccountBooks, Plan
from trading.brokers.mt5.emulator.case import Case, Desk
from trading.brokers.mt5.emulator.core import SECOND_US, BrokerStoppedError, Core
from trading.brokers.mt5.emulator.faults import Fault
from trading.brokers.mt5.emulator.late import late_of
from trading.brokers.mt5.emulator.liquidity import ENDLESS
from trading.brokers.mt5.emulator.quotes import splitmix64
from trading.brokers.mt5.emulator.records import Tick
from trading.brokers.mt5.emulator.requests import NO_LIQUIDITY, Answer, CheckAnswer, Request
from trading.brokers.mt5.emulator.store import Changes

CRASH_CODE = 86
__all__ = ["Broker", "BrokerStoppedError"]


class Broker(Core):
    """One broker with all its accounts. Make one with `open_broker`."""

    def sync(self) -> None:
        """Live up to what the clock says."""
        self._require_running()
        self.run_to(self.clock.target_us(self.now_us))

    def run_to(self, target_us: int) -> None:
        """Live up to an instant: all that falls due, and every tick that concerns somebody, oldest first.

        After a long sleep the ticks of generated quotes are thinned out to `catch_up_ticks` per symbol.
        """
        for instant_us in due.sends(self.moods.late_sends, target_us):
            self._live(instant_us)  # in parts: what a late request opens has ticks, midnights and an end of its own
            self._send_late()
        self._live(target_us)

    def _live(self, target_us: int) -> None:
        """Live up to an instant without a late request on the way."""
        if target_us <= self.now_us:
            return
        limit, until_ms = self.profile.catch_up_ticks, target_us // 1_000
        streams: list[Iterable[due.Event]] = [
            self.quotes.between(symbol, self.now_ms, until_ms, limit) for symbol in self._symbols_at_stake()
        ]
        streams.append(due.between(self.books.values(), self.zone, self.now_us, target_us))
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

    @property
    def latency_s(self) -> float:
        """Return how long the next good request travels before it is executed, by the broker's own dice."""
        least, most = self.profile.latency_ms
        luck = splitmix64(self._seed ^ splitmix64(self._next_order + 1))
        return (least + luck % (most - least + 1)) / 1_000

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
            for order in (each for each in books.waiting(tick.symbol) if pending.is_reached(each, tick)):
                self.carry_out(books, triggers.activate(self.scene(), books, order, tick), tick=tick)

    def _stop_out(self, books: AccountBooks) -> None:
        """Close an account's positions, the worst first, while it lacks margin."""
        if self._is_comfortable(books):
            return
        tried: set[int] = set()
        while (step := stop_out.step(self.scene(), books, tried, self.is_open)) is not None:
            self.carry_out(books, step.plan, tick=step.tick)
        if tried and (missing := stop_out.shortfall(books)):
            self.pay(books.profile.login, missing, kind=mt5.DEAL_TYPE_CORRECTION, comment="Negative balance")

    def _is_comfortable(self, books: AccountBooks) -> bool:
        """Say whether an account is certainly far from a stop-out, without valuing every position."""
        if not books.positions:
            return not books.balance + books.credit < 0
        login = books.profile.login
        known = self._comforts.get(login)
        if known is None or not known.is_of(books):
            known = self._comforts[login] = comfort.of(books, self.instruments, self.quotes, self.now_ms)
        return comfort.is_far(books, known, self.market)

    # requests

    def accept_late(self, login: int, request: Request, delay_us: int, retcode: int) -> None:
        """Take a request now and execute it later; it is on record at once."""
        with self.lock:
            self.sync()
            self.moods.delay_send(self.now_us + delay_us, login, request)
            changes = Changes(self.now_us, {"moods": self.moods.text})
            changes.request = (login, self.now_us, _logged(request), json.dumps([retcode, 0, 0, "late"]))
            self._commit(changes)

    def _send_late(self) -> None:
        """Execute what was accepted earlier."""
        found = self.moods.next_send(self.now_us)
        if found is not None:
            self.save_moods()
            _, login, request = found
            self._execute(self.books[login], request, Desk(), None, mt5.ORDER_REASON_EXPERT)

    def send(
        self, login: int, request: Request, desk: Desk, *, fault: Fault | None = None, reason: int | None = None
    ) -> Answer:
        """Judge a request, execute it, commit it with its answer, and only then answer."""
        with self.lock:
            self.sync()
            return self._execute(
                self.books[login], request, desk, fault, mt5.ORDER_REASON_EXPERT if reason is None else reason
            )

    def _execute(self, books: AccountBooks, request: Request, desk: Desk, fault: Fault | None, reason: int) -> Answer:
        login, late, crash = books.profile.login, late_of(self.profile, fault), self._crash_of(fault)
        case = self._case(books, request, desk)
        scene = replace(self.scene(late), depth=altering.depth(fault))
        code, plan = judging.judge(case, scene, reason)
        plan = altering.plan(fault, plan)
        answer = self._answer(code, plan, case)
        entry = (login, self.now_us, _logged(request), json.dumps([answer.retcode, answer.deal, answer.order]))
        if crash == "before_commit":
            self.exit_process(CRASH_CODE)
        self.carry_out(books, plan, request=entry, tick=case.tick, late=late)
        self._sent = [sent for sent in self._sent if sent[1] > self.now_us - SECOND_US] + [(login, self.now_us)]
        if fault is not None and fault.name == "duplicate_deal":
            again = judging.judge(self._case(books, request, desk), self.scene(late), reason)[1]
            self.carry_out(books, again, tick=case.tick, late=late)
        if crash == "after_commit":
            self.exit_process(CRASH_CODE)
        if fault is not None and crash == "after_reply":
            threading.Timer(fault.params["seconds"], self.exit_process, (CRASH_CODE,)).start()
        return answer

    @staticmethod
    def _crash_of(fault: Fault | None) -> str:
        return fault.params["point"] if fault is not None and fault.name == "crash" else ""

    def quoted_answer(self, retcode: int, request: Request) -> Answer:
        """Return a bare code with the quote of the moment, as a server does that refuses a price."""
        with self.lock:
            instrument = self.instruments.get(request.symbol)
            tick = self.quotes.at(request.symbol, self.now_ms) if instrument else None
            if instrument is None or tick is None:
                return Answer(retcode)
            return Answer(retcode, bid=tick.bid, ask=tick.ask, digits=instrument.digits)

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

    def _case(self, books: AccountBooks, request: Request, desk: Desk) -> Case:
        about = books.working.get(request.order) if request.action in judging.ABOUT_ORDERS else None
        symbol = about.symbol if about else request.symbol
        instrument = self.offers(symbol)
        return Case(
            request=request,
            desk=desk,
            books=books,
            recent=sum(sent == books.profile.login and at > self.now_us - SECOND_US for sent, at in self._sent),
            instrument=instrument,
            is_open=instrument is not None and self.is_open(instrument),
            tick=self.quotes.at(symbol, self.now_ms) if instrument else None,
            now_us=self.now_us,
            zone=self.zone,
        )

    def _answer(self, code: int, plan: Plan, case: Case) -> Answer:
        volume = sum(deal.volume for deal in plan.deals)
        worth = sum(deal.volume * deal.price for deal in plan.deals)
        if plan.working and not plan.deals and not case.is_about_order:
            volume = plan.working.volume_initial
        shown = not (self.profile.done_without_ticket and case.is_deal)
        return Answer(
            retcode=code,
            deal=plan.deals[0].ticket if plan.deals and shown else 0,
            order=plan.subject.ticket if plan.subject else 0,
            volume=volume if not case.is_close_by else plan.deals[0].volume if plan.deals else 0,
            price=amounts.half_away(Fraction(worth, volume)) if plan.deals and shown else 0,
            bid=case.tick.bid if case.tick else 0,
            ask=case.tick.ask if case.tick else 0,
            digits=case.instrument.digits if case.instrument else 0,
            comment=NO_LIQUIDITY if code == mt5.TRADE_RETCODE_REJECT else "",
        )


def _logged(request: Request) -> str:
    return json.dumps(request.plain(), sort_keys=True)
