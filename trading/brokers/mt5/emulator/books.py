"""Hold the books of one account in memory, exactly as they are committed."""

from bisect import insort
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Self

from trading.brokers.mt5.emulator import constants as mt5
from trading.brokers.mt5.emulator.late import Delayed, Late
from trading.brokers.mt5.emulator.profiles import AccountProfile
from trading.brokers.mt5.emulator.records import BUY, Cancellation, Deal, Order, Position, WorkingOrder


@dataclass(frozen=True, slots=True)
class Plan:
    """What an execution would do: nothing has happened until the broker commits it.

    `order` is finished by it, `working` goes on waiting, `gone` names the working orders that wait no more.
    """

    order: Order | None = None
    working: WorkingOrder | None = None
    gone: tuple[int, ...] = ()
    deals: tuple[Deal, ...] = ()
    removed: tuple[int, ...] = ()
    kept: tuple[Position, ...] = ()
    canceled: tuple[Cancellation, ...] = ()

    @property
    def total(self) -> int:
        """Return what the plan does to the balance."""
        return sum(deal.total for deal in self.deals)

    @property
    def subject(self) -> Order | None:
        """Return the order that the plan is about."""
        return self.order or self.working

    def positions_after(self, positions: Iterable[Position]) -> list[Position]:
        """Return the positions as they would be, oldest first."""
        gone = {*self.removed, *(each.ticket for each in self.kept)}
        after = [each for each in positions if each.ticket not in gone]
        return sorted((*after, *self.kept), key=lambda each: each.ticket)

    def working_after(self, working: Iterable[WorkingOrder]) -> list[WorkingOrder]:
        """Return the working orders as they would be, oldest first."""
        kept = (self.working,) if self.working else ()
        gone = {*self.gone, *(each.ticket for each in kept)}
        return sorted((*(each for each in working if each.ticket not in gone), *kept), key=lambda each: each.ticket)


@dataclass(slots=True)
class AccountBooks:
    """Balance, deals, finished and working orders, and open positions of one account."""

    profile: AccountProfile
    balance: int = 0
    deals: list[Deal] = field(default_factory=list)  # as they were executed
    canceled: set[int] = field(default_factory=set)  # the tickets of those that were taken back
    orders: list[Order] = field(default_factory=list)
    positions: dict[int, Position] = field(default_factory=dict)
    working: dict[int, WorkingOrder] = field(default_factory=dict)
    credit: int = 0
    seen_positions: Delayed[Position] = field(default_factory=Delayed)
    seen_working: Delayed[WorkingOrder] = field(default_factory=Delayed)

    def apply(self, plan: Plan, now_us: int, late: Late) -> None:
        """Take over a plan that has been committed; terminals see it `late`."""
        self.balance += plan.total
        self.credit += sum(deal.profit for deal in plan.deals if deal.is_credit)
        self.deals.extend(plan.deals)
        self.canceled.update(each.ticket for each in plan.canceled)
        if plan.order is not None:
            insort(self.orders, plan.order, key=lambda each: each.ticket)
        self.positions = {each.ticket: each for each in plan.positions_after(self.positions.values())}
        self.working = {each.ticket: each for each in plan.working_after(self.working.values())}
        self.seen_positions.put(now_us + late.positions_us, self.positions)
        self.seen_working.put(now_us + late.orders_us, self.working)

    def loaded(self) -> Self:
        """Return the books after their rows were read from the file: terminals see them as they are."""
        self.credit = sum(deal.profit for deal in self.deals if deal.is_credit)
        self.seen_positions.put(0, self.positions)
        self.seen_working.put(0, self.working)
        return self

    @property
    def standing(self) -> list[Deal]:
        """Return the deals that were not taken back."""
        return [each for each in self.deals if each.ticket not in self.canceled]

    def shown(self, deal: Deal) -> Deal:
        """Return a deal as the history shows it: one that was taken back has another type, and has earned nothing."""
        if deal.ticket not in self.canceled:
            return deal
        kind = mt5.DEAL_TYPE_BUY_CANCELED if deal.type == BUY else mt5.DEAL_TYPE_SELL_CANCELED
        return replace(deal, type=kind, profit=0)

    def of_symbol(self, symbol: str) -> list[Position]:
        """Return the positions in a symbol, oldest first."""
        return [each for each in self.positions.values() if each.symbol == symbol]

    def waiting(self, symbol: str) -> list[WorkingOrder]:
        """Return the working orders in a symbol, oldest first."""
        return [each for each in self.working.values() if each.symbol == symbol]

    @property
    def symbols(self) -> set[str]:
        """Return the symbols that have a position or a working order."""
        return {each.symbol for each in self.positions.values()} | {each.symbol for each in self.working.values()}

    def one_way(self, symbol: str, side: int) -> int:
        """Return the lots of one side that are open or waiting."""
        held = sum(each.volume for each in self.of_symbol(symbol) if each.type == side)
        return held + sum(each.volume_current for each in self.waiting(symbol) if each.side == side)
