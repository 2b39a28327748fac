"""Gather what an execution at one instant needs to know."""

from dataclasses import dataclass

from trading.brokers.mt5.emulator.books import AccountBooks, Plan
from trading.brokers.mt5.emulator.instruments import PRICE_IS_ASKED
from trading.brokers.mt5.emulator.late import NOT_LATE, Late
from trading.brokers.mt5.emulator.liquidity import Depth, Fill, Liquidity
from trading.brokers.mt5.emulator.profiles import BrokerProfile
from trading.brokers.mt5.emulator.quotes import splitmix64
from trading.brokers.mt5.emulator.records import Tick, WorkingOrder
from trading.brokers.mt5.emulator.valuation import Figures, Market, figures
from trading.brokers.mt5.emulator.zones import ServerZone


@dataclass(frozen=True, slots=True)
class Scene:
    """One instant of a broker: its prices, what may be traded at them, its next tickets."""

    market: Market
    house: BrokerProfile
    liquidity: Liquidity
    now_us: int
    next_order: int
    next_deal: int
    zone: ServerZone
    seed: int = 1
    late: Late = NOT_LATE
    depth: Depth | None = None

    def fills(self, order: WorkingOrder, tick: Tick, *, limit: int | None = None) -> tuple[Fill, ...]:
        """Return the executions that the tick offers an order."""
        instrument = self.market.instruments[order.symbol]
        slip = self._slip() if limit is None and instrument.exemode not in PRICE_IS_ASKED else 0
        return self.liquidity.fills(
            tick, instrument, order.side, order.volume_current, limit=limit, slip=slip, depth=self.depth
        )

    def _slip(self) -> int:
        """Return how many ticks worse the next execution is than the quoted price, by the broker's own dice."""
        most = self.house.slippage_ticks
        if not most:
            return 0
        luck = splitmix64(self.seed ^ splitmix64(self.next_deal))
        return luck % (2 * most + 1) - most if self.house.positive_slippage else luck % (most + 1)

    def figures(self, books: AccountBooks) -> Figures:
        """Return the sums of an account as it is."""
        return self.figures_after(books, Plan())

    def figures_after(self, books: AccountBooks, plan: Plan) -> Figures:
        """Return the sums of an account as a plan would leave it."""
        held = plan.positions_after(books.positions.values())
        waiting = plan.working_after(books.working.values())
        return figures(
            books.profile, books.balance + plan.total, held, self.market, credit=books.credit, working=waiting
        )

    def is_affordable(self, books: AccountBooks, plan: Plan) -> bool:
        """Say whether the plan binds no more margin than there is. Raises: NoRateError."""
        before, after = self.figures(books), self.figures_after(books, plan)
        return after.margin <= before.margin or after.free >= 0
