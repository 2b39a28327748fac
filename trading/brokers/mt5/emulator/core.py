"""Keep a broker's state, and commit every change of it before anybody hears of it.

Everything runs under one lock per broker. A commit that fails, or books that contradict their deals, stop it for good.
"""

import json
import os
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from trading.brokers.mt5.emulator import amounts, ledger
from trading.brokers.mt5.emulator import constants as mt5
from trading.brokers.mt5.emulator.books import AccountBooks, Plan
from trading.brokers.mt5.emulator.clock import Clock
from trading.brokers.mt5.emulator.comfort import Comfort
from trading.brokers.mt5.emulator.day_range import DayRanges
from trading.brokers.mt5.emulator.faults import Fault, FaultPlan
from trading.brokers.mt5.emulator.instruments import Instrument
from trading.brokers.mt5.emulator.late import Late, late_of
from trading.brokers.mt5.emulator.liquidity import Liquidity
from trading.brokers.mt5.emulator.moods import MARKET_CLOSED, Moods
from trading.brokers.mt5.emulator.profiles import BrokerProfile
from trading.brokers.mt5.emulator.recordings import RecordedQuotes
from trading.brokers.mt5.emulator.records import Deal, Tick
from trading.brokers.mt5.emulator.requests import Request
from trading.brokers.mt5.emulator.scene import Scene
from trading.brokers.mt5.emulator.scripted import ScriptedQuotes
from trading.brokers.mt5.emulator.store import Changes, Store
from trading.brokers.mt5.emulator.terminal import Terminal
from trading.brokers.mt5.emulator.valuation import Figures, Market
from trading.brokers.mt5.emulator.zones import ServerZone

if TYPE_CHECKING:
    from trading.brokers.mt5.emulator.broker import Broker

SECOND_US = 1_000_000


class BrokerStoppedError(RuntimeError):
    """Say that the broker has stopped itself and answers nothing any more."""


class Core:
    """The state of one broker with all its accounts. Whoever opens it says how it is reloaded and reopened."""

    load_books: Callable[[], Mapping[int, AccountBooks]]
    reopen: Callable[[str], "Broker"]

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
        seed: int = 1,
    ) -> None:
        """Take over loaded books and check them against their deals. Raises: BooksDifferError."""
        self.profile, self.instruments = profile, dict(instruments)
        self.quotes, self.store, self.clock, self.tape = quotes, store, clock, tape
        self.lock = threading.RLock()
        self.exit_process: Callable[[int], object] = os._exit
        self._sleep, self._seed = sleep, seed
        self._stopped = ""
        self._comforts: dict[int, Comfort] = {}
        self._terminals: dict[str, Terminal] = {}
        self.has_wire = False  # whether a gateway asks what happens to requests on their way
        self.day_ranges = DayRanges(quotes)
        self._take_over(books)
        clock.target_us(self.now_us)  # a paced clock begins to flow here

    def _take_over(self, books: Mapping[int, AccountBooks]) -> None:
        """Begin where the file ends."""
        meta = self.store.meta()
        self.books = dict(books)
        self.faults = FaultPlan(self.store.faults())
        self.now_us = int(meta["now_us"])
        self._next_order, self._next_deal = int(meta["next_order"]), int(meta["next_deal"])
        self.liquidity = Liquidity(meta.get("taken", "{}"))
        self.moods = Moods.read(meta.get("moods", "{}"))
        for login, leverage in self.moods.leverage.items():
            self.books[int(login)].profile = replace(self.books[int(login)].profile, leverage=leverage)
        self._sent = [(login, at) for login, at, _, _ in self.store.requests(self.now_us - SECOND_US)]
        self.verify()

    def reload(self) -> None:
        """Begin anew where the file ends, after the file was replaced."""
        with self.lock:
            self.quotes.rewrite(self.store.load(Tick))
            self.day_ranges = DayRanges(self.quotes)
            self._take_over(self.load_books())

    # time

    @property
    def now_ms(self) -> int:
        """Return the present in milliseconds of UTC."""
        return self.now_us // 1_000

    @property
    def market(self) -> Market:
        """Return all prices of the present."""
        return Market(self.instruments, self.quotes, self.now_ms)

    @property
    def zone(self) -> ServerZone:
        """Return the zone that the server's clock shows now."""
        return self.moods.zone(self.profile.zone)

    # instants

    def scene(self, late: Late | None = None) -> Scene:
        """Return what an execution at this instant needs."""
        return Scene(
            market=self.market, house=self.profile, liquidity=self.liquidity, now_us=self.now_us,
            next_order=self._next_order, next_deal=self._next_deal, late=late or late_of(self.profile), seed=self._seed,
            zone=self.zone,
        )  # fmt: skip

    def figures(self, login: int) -> Figures:
        """Return the sums of an account at this instant."""
        return self.scene().figures(self.books[login])

    def is_open(self, instrument: Instrument) -> bool:
        """Say whether a symbol's market is open now."""
        is_closed = self.moods.is_on(MARKET_CLOSED, instrument.name, self.now_us)
        return not is_closed and instrument.sessions.is_open(self.profile.zone.to_server_ms(self.now_ms))

    def offers(self, symbol: str) -> Instrument | None:
        """Return an instrument as it is offered now."""
        instrument = self.instruments.get(symbol)
        return self.moods.seen_by_traders(instrument, self.now_us) if instrument else None

    # terminals

    def terminal(self, path: str) -> Terminal:
        """Return the terminal of a path, with the symbols that it watched when it was last used."""
        with self.lock:
            if path not in self._terminals:
                watched = self.store.selected(path) | set(self.profile.selected)
                self._terminals[path] = Terminal(path, set(watched))
            return self._terminals[path]

    def calm_terminals(self) -> None:
        """Turn every switch of every terminal back to where it belongs."""
        for terminal in self._terminals.values():
            terminal.calm()

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
        late: Late | None = None,
    ) -> None:
        """Commit a plan, then take it over. Takes: `tick`: whose liquidity the plan uses up; `late`: when it shows."""
        if request is None and plan == Plan():
            return
        is_new = plan.subject is not None and plan.subject.ticket == self._next_order
        counters = {"next_order": self._next_order + is_new, "next_deal": self._next_deal + len(plan.deals)}
        changes = Changes(self.now_us, request=request, removed_positions=plan.removed, removed_orders=plan.gone)
        changes.meta = {key: str(value) for key, value in counters.items()}
        changes.rows = [
            each for each in (plan.order, plan.working, *plan.deals, *plan.canceled, *plan.kept) if each is not None
        ]
        if plan.deals:
            changes.balances = {books.profile.login: books.balance + plan.total}
        liquidity = self._drained(plan, tick)
        if liquidity is not self.liquidity:
            changes.meta["taken"] = liquidity.text
        self._commit(changes)
        self._next_order, self._next_deal = counters["next_order"], counters["next_deal"]
        self.liquidity = liquidity
        books.apply(plan, self.now_us, late or late_of(self.profile))

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
        deal = self.payment(login, amount, kind=kind, comment=comment)
        self.carry_out(self.books[login], Plan(deals=(deal,)))
        return deal.ticket

    def payment(self, login: int, amount: int, *, kind: int = mt5.DEAL_TYPE_BALANCE, comment: str = "") -> Deal:
        """Return a balance operation as it would be the next deal."""
        return Deal(
            ticket=self._next_deal, login=login, order_ticket=0, time_us=self.now_us, type=kind,
            entry=mt5.DEAL_ENTRY_IN, magic=0, position_id=0, reason=mt5.DEAL_REASON_CLIENT, volume=0, price=0,
            commission=0, swap=0, profit=amount, fee=0, symbol="", comment=comment, visible_us=self.now_us,
        )  # fmt: skip

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
            fault, changed = self.faults.look(function, login, symbol, magic, self.now_us)
            if changed:
                changes = Changes(self.now_us, faults=changed)
                if fault:
                    body = json.dumps(request.plain() if request else {}, sort_keys=True)
                    changes.fault_log = (fault.id, self.now_us, function, body)
                self._commit(changes)
                self.faults.take_over(changed)
            return fault

    def save_moods(self) -> None:
        """Commit how the broker differs from its configuration."""
        self._commit(Changes(self.now_us, {"moods": self.moods.text}))

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
                    ledger.compare(login, books.deals, books.standing, held, books.balance, self.instruments)
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
