"""Define the rows of the broker's books. They never change: a new state is a new row.

Units: see `amounts`; times in microseconds of UTC.
"""

from dataclasses import dataclass, fields

from trading.brokers.mt5.emulator import constants as mt5

BUY, SELL = 0, 1


@dataclass(frozen=True, slots=True)
class Deal:
    """One movement of the account: an execution, or a balance operation with an empty symbol."""

    ticket: int
    login: int
    order_ticket: int
    time_us: int
    type: int
    entry: int
    magic: int
    position_id: int
    reason: int
    volume: int
    price: int
    commission: int
    swap: int
    profit: int
    fee: int
    symbol: str
    comment: str
    visible_us: int

    @property
    def total(self) -> int:
        """Return what the deal does to the balance."""
        return 0 if self.is_credit else self.profit + self.swap + self.commission + self.fee

    @property
    def is_credit(self) -> bool:
        """Say whether it moves the credit, which is no part of the balance."""
        return self.type == mt5.DEAL_TYPE_CREDIT


@dataclass(frozen=True, slots=True)
class Cancellation:
    """The broker's taking back of a deal: the deal's own row stays as it was executed."""

    ticket: int  # the deal's
    login: int
    time_us: int


@dataclass(frozen=True, slots=True)
class Order:
    """One order. `price` is what a pending order waits for, or what a market order was filled at on average."""

    ticket: int
    login: int
    setup_us: int
    done_us: int
    type: int
    type_filling: int
    type_time: int
    state: int
    magic: int
    position_id: int
    reason: int
    volume_initial: int
    volume_current: int
    price: int
    sl: int
    tp: int
    symbol: str
    comment: str
    visible_us: int
    stoplimit: int = 0
    expires_us: int = 0
    position_by_id: int = 0

    @property
    def side(self) -> int:
        """Return what its deals do: buy or sell."""
        return self.type % 2

    @property
    def filled(self) -> int:
        """Return the volume that has been traded."""
        return self.volume_initial - self.volume_current


@dataclass(frozen=True, slots=True)
class WorkingOrder(Order):
    """One order that still waits, or that is being executed. It expires at `expires_us`, 0 means never."""

    def finish(self, state: int, **changes: int) -> Order:
        """Return the order as history keeps it."""
        values = {each.name: getattr(self, each.name) for each in fields(Order)}
        return Order(**(values | {"state": state} | changes))


@dataclass(frozen=True, slots=True)
class Position:
    """One open position; `price_open` is an average price, stops are in points, 0 means none."""

    ticket: int
    login: int
    identifier: int
    time_us: int
    update_us: int
    type: int
    magic: int
    reason: int
    volume: int
    price_open: int
    sl: int
    tp: int
    symbol: str
    comment: str
    swap: int = 0


@dataclass(frozen=True, slots=True)
class Tick:
    """One quote of a symbol, in points, at a millisecond of UTC.

    `bid_vol` and `ask_vol` say how many lots each of `levels` price levels offers; 0 means without limit.
    """

    symbol: str
    number: int
    time_ms: int
    bid: int
    ask: int
    last: int = 0
    volume: int = 0
    bid_vol: int = 0
    ask_vol: int = 0
    levels: int = 1

    def entry_price(self, side: int) -> int:
        """Return what a buyer pays or a seller gets."""
        return self.ask if side == BUY else self.bid

    def exit_price(self, side: int) -> int:
        """Return what closing a position of `side` gets."""
        return self.bid if side == BUY else self.ask
