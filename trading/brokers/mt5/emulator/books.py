"""Hold the books of one account in memory, exactly as they are committed."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from trading.brokers.mt5.emulator.profiles import AccountProfile
from trading.brokers.mt5.emulator.records import Deal, Order, Position


@dataclass(frozen=True, slots=True)
class Plan:
    """What an execution would do: nothing has happened until the broker commits it."""

    order: Order | None = None
    deals: tuple[Deal, ...] = ()
    removed: tuple[int, ...] = ()
    kept: tuple[Position, ...] = ()

    @property
    def total(self) -> int:
        """Return what the plan does to the balance."""
        return sum(deal.total for deal in self.deals)

    def positions_after(self, positions: Iterable[Position]) -> list[Position]:
        """Return the positions as they would be, oldest first."""
        gone = {*self.removed, *(each.ticket for each in self.kept)}
        after = [each for each in positions if each.ticket not in gone]
        return sorted((*after, *self.kept), key=lambda each: each.ticket)


@dataclass(slots=True)
class AccountBooks:
    """Balance, deals, finished orders and open positions of one account."""

    profile: AccountProfile
    balance: int = 0
    deals: list[Deal] = field(default_factory=list)
    orders: list[Order] = field(default_factory=list)
    positions: dict[int, Position] = field(default_factory=dict)

    def apply(self, plan: Plan) -> None:
        """Take over a plan that has been committed."""
        self.balance += plan.total
        self.deals.extend(plan.deals)
        if plan.order is not None:
            self.orders.append(plan.order)
        self.positions = {each.ticket: each for each in plan.positions_after(self.positions.values())}

    def of_symbol(self, symbol: str) -> list[Position]:
        """Return the positions in a symbol, oldest first."""
        return [each for each in self.positions.values() if each.symbol == symbol]
