"""What crosses trading's borders: intents coming in, facts read from brokers."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import NamedTuple

from trading.states import CashKind, FillKind, OrderType, PositionMode, Side, TimeInForce, VenueState


@dataclass(frozen=True, slots=True)
class Link:
    """How to reach one account at one venue. `settings` holds what the adapter alone understands (address, server)."""

    venue: str
    account: str
    settings: dict[str, str]


@dataclass(frozen=True, slots=True)
class Quote:
    """The price now. `at` is the source's own time in UTC, never the time of asking.

    Units: prices in the instrument's quote currency; `size_least` is the smaller of what is offered on the two sides,
    in lots, None where the source does not say.
    """

    symbol: str
    bid: Decimal
    ask: Decimal
    at: datetime
    size_least: Decimal | None = None

    @property
    def spread(self) -> Decimal:
        """Return how far the sides are apart."""
        return self.ask - self.bid


@dataclass(frozen=True, slots=True)
class Instrument:
    """What can be traded and in which steps.

    Units: quantities in lots, `contract_size` in base units a lot (1 where the venue counts units, such as shares),
    `tick_size` and `stops_distance_min` in price, `commission_per_lot` in USD for a round trip; `one_way_max` is
    the most lots that may be held and wait on one side together.
    """

    symbol: str
    base_currency: str
    profit_currency: str
    margin_currency: str
    contract_size: Decimal
    tick_size: Decimal
    digits: int
    quantity_min: Decimal
    quantity_max: Decimal
    quantity_step: Decimal
    stops_distance_min: Decimal
    is_tradable: bool
    freeze_distance: Decimal = Decimal(0)  # nearer than this to the market, nothing can be changed
    order_types: frozenset[OrderType] = frozenset({OrderType.MARKET})
    times_in_force: frozenset[TimeInForce] = frozenset({TimeInForce.IOC, TimeInForce.FOK})
    takes_stops: bool = True  # its positions carry a stop and a target; else an order that asks for one is refused
    commission_per_lot: Decimal | None = None  # None where the venue does not say: the setting counts
    one_way_max: Decimal | None = None  # None where the venue sets no such limit


@dataclass(frozen=True, slots=True)
class VenuePosition:
    """One position as the venue holds it. `venue_position_id` never changes while the position lives.

    A netting venue may name it by its symbol, and may know neither the order that opened it nor when.
    """

    venue_position_id: str
    symbol: str
    side: Side
    quantity: Decimal
    price_open: Decimal
    price_current: Decimal
    stop_loss: Decimal | None
    take_profit: Decimal | None
    profit: Decimal  # floating, swap included, in account currency
    swap: Decimal
    client_order_id: str  # of the order that opened it; empty when it is not ours, or the venue does not tell
    opened_at: datetime | None


@dataclass(frozen=True, slots=True)
class VenueOrder:
    """One order that works at the venue.

    Units: quantities in lots, `quantity_left` is what may still fill.
    """

    venue_order_id: str
    client_order_id: str  # empty when it is not ours
    symbol: str
    side: Side
    order_type: OrderType
    quantity: Decimal
    quantity_left: Decimal
    price: Decimal  # of the limit, or the trigger of a stop
    stop_loss: Decimal | None
    take_profit: Decimal | None
    placed_at: datetime
    limit_price: Decimal | None = None  # what a STOP_LIMIT becomes once its trigger is touched
    time_in_force: TimeInForce | None = None
    expires_at: datetime | None = None
    venue_position_id: str = ""  # of the position that it closes


@dataclass(frozen=True, slots=True)
class AccountSnapshot:
    """The account, its positions and the quotes asked for, read from the venue as one unit.

    Where a venue cannot be read at once, what fills meanwhile may be seen twice, as working and as held, but never not
    at all.
    Units: amounts in `currency`. `balance` is the equity at the prices that positions were opened at.
    """

    account: str
    currency: str
    mode: PositionMode
    is_live: bool
    balance: Decimal
    equity: Decimal
    margin_used: Decimal
    margin_free: Decimal
    leverage: int
    positions: tuple[VenuePosition, ...]
    quotes: dict[str, Quote]
    orders: tuple[VenueOrder, ...] = ()
    margin_asked: Decimal | None = None  # what `MarginQuestion` asked, where the venue answers it in the same unit
    profit_asked: Decimal | None = None  # likewise of `ProfitQuestion`
    pause_s: float = 0  # how long the venue is to be left alone: it has said that too much was asked of it
    credit: Decimal = Decimal(0)  # lent by the venue: in the equity, and no part of the balance
    remembers: Mapping[str, int] = field(default_factory=dict)  # see `rules.still_remembers`
    sends_nothing: str = ""  # why what stands before the venue sends nothing at all, closes neither; in its own words

    @property
    def hides_something(self) -> bool:
        """Tell whether margin is in use and nothing is listed that could use it: an empty list is none of an error."""
        return self.margin_used.is_finite() and self.margin_used > 0 and not (self.positions or self.orders)


@dataclass(frozen=True, slots=True)
class MarginQuestion:
    """How much margin would an order take? Without a `price`, at the market's of the moment that it is read.

    Units: `quantity` in lots, `price` in the instrument's quote currency.
    """

    symbol: str
    side: Side
    quantity: Decimal
    price: Decimal | None = None


@dataclass(frozen=True, slots=True)
class ProfitQuestion:
    """What would a trade earn? Without a `price_open`, opened at the market's price of the moment that it is read."""

    symbol: str
    side: Side
    quantity: Decimal  # lots
    price_open: Decimal | None
    price_close: Decimal


@dataclass(frozen=True, slots=True)
class OrderRequest:
    """One order to send, once. `client_order_id` is ours, unique for ever, and travels with it.

    Units: `quantity` in lots; prices in the instrument's quote currency; `deviation` is how far from the reference a
    market order may fill, where the venue can hold it to that. An order with a `venue_position_id` only reduces or
    closes that position.
    """

    client_order_id: str
    symbol: str
    side: Side
    quantity: Decimal
    reference_price: Decimal
    deviation: Decimal
    stop_loss: Decimal | None
    take_profit: Decimal | None
    order_type: OrderType = OrderType.MARKET
    limit_price: Decimal | None = None  # of LIMIT and STOP_LIMIT
    stop_price: Decimal | None = None  # the trigger of STOP and STOP_LIMIT
    time_in_force: TimeInForce | None = None  # None leaves it to the venue's own rules for market orders
    expires_at: datetime | None = None  # of GTD
    venue_position_id: str = ""
    sent_at: datetime | None = None  # when it was first marked as about to be sent
    send_by_s: float | None = None  # by this process's steady clock; who is later sends nothing any more


@dataclass(frozen=True, slots=True)
class OrderChange:
    """New terms of a working order, all of them: what is left out is taken away. Sent once for its `change_id`."""

    change_id: str
    venue_order_id: str
    limit_price: Decimal | None
    stop_price: Decimal | None
    stop_loss: Decimal | None
    take_profit: Decimal | None
    time_in_force: TimeInForce
    expires_at: datetime | None = None
    send_by_s: float | None = None  # as of an order


@dataclass(frozen=True, slots=True)
class StopsChange:
    """New stops of a position, both of them: None takes one away. Sent once for its `change_id`."""

    change_id: str
    venue_position_id: str
    symbol: str
    stop_loss: Decimal | None
    take_profit: Decimal | None
    send_by_s: float | None = None  # as of an order


@dataclass(frozen=True, slots=True)
class FillReport:
    """One execution. `venue_fill_id` is the only key that makes two reports the same fill.

    Units: `quantity` in lots; `commission`, `swap`, `fee` and `profit` in account currency, negative when we pay.
    """

    venue_fill_id: str
    venue_order_id: str
    venue_position_id: str
    client_order_id: str  # empty when the fill carries no id of ours
    symbol: str
    side: Side
    quantity: Decimal
    price: Decimal
    commission: Decimal
    swap: Decimal
    fee: Decimal
    profit: Decimal
    kind: FillKind
    filled_at: datetime  # UTC
    reverses: str = ""  # of a BUST: the `venue_fill_id` that it takes back, whole
    venue_time_ms: int | None = None  # as the venue's own clock wrote it, where that is not UTC
    venue_offset_s: int | None = None  # what was taken off it to get UTC
    is_nameless: bool = (
        False  # the venue shows nobody as the one who asked for it: a person, or an order that lost its mark
    )


@dataclass(frozen=True, slots=True)
class CashReport:
    """One movement of money at the venue without a trade. `venue_cash_id` makes two reports the same.

    Units: `amount` in account currency, negative when it leaves.
    """

    venue_cash_id: str
    kind: CashKind
    amount: Decimal
    words: str
    moved_at: datetime  # UTC
    venue_time_ms: int | None = None  # as of a fill
    venue_offset_s: int | None = None
    is_dated_by_day: bool = False  # its day is all that the venue tells: `moved_at` is when that began


@dataclass(frozen=True, slots=True)
class Mark:
    """Up to where the news of an account was told. Its times are the venue's own: only the adapter reads them."""

    quotes: Mapping[str, int]  # symbol → the time of the price that was told last
    deals: int  # the time of the newest fill or movement of money
    told: frozenset[str]  # the ids of those that stand so near to it that the next reading lists them again
    asked: int  # the venue's time at this reading


@dataclass(frozen=True, slots=True)
class News:
    """What an account's venue shows that it had not told before, and up to where it is told now."""

    quotes: Mapping[str, Quote]
    fills: tuple[FillReport, ...]
    cash: tuple[CashReport, ...]
    mark: Mark
    is_whole: bool = False  # it was read from the beginning that the caller named, and not from a mark


@dataclass(frozen=True, slots=True)
class OrderReport:
    """What the venue knows of one order of ours, with every fill it has of it so far."""

    client_order_id: str
    state: VenueState
    venue_order_id: str = ""
    fills: tuple[FillReport, ...] = ()
    reason: str = ""  # the venue's own words for a refusal
    code: str = ""  # the venue's own code
    is_local: bool = False  # we refused it on the way: the venue never said a word
    halts: bool = False  # the refusal says that the account cannot trade until a person acts
    is_defect: bool = False  # the refusal says that the request itself was not valid
    stops_missing: bool = False  # a position that these fills made stands without a stop that the order asked for
    stops_unseen: bool = False  # one of them is listed nowhere yet, or nobody has looked: it may lack them as well
    is_shown: bool = True  # False: the venue has said that it took the order, and no list of its shows it or its end
    remembers: Mapping[str, int] = field(default_factory=dict)  # of who swears that it was never sent, likewise


@dataclass(frozen=True, slots=True)
class OrderIntent:
    """What somebody wants to trade.

    Units: `quantity` in lots; prices in the instrument's quote currency. `entry_price` is the price the client saw:
    it is the collar of a market order. `limit_price` belongs to LIMIT and STOP_LIMIT; `stop_price`, the trigger, to
    STOP and STOP_LIMIT. An intent with a `venue_position_id` only reduces that position.
    """

    symbol: str
    side: Side
    quantity: Decimal
    entry_price: Decimal | None = None
    stop_loss: Decimal | None = None
    take_profit: Decimal | None = None
    order_type: OrderType = OrderType.MARKET
    limit_price: Decimal | None = None
    stop_price: Decimal | None = None
    time_in_force: TimeInForce | None = None
    expires_at: datetime | None = None
    venue_position_id: str = ""
    other_position_id: str = ""  # an opposite position to close it by, with no trade in the market

    @property
    def is_reducing(self) -> bool:
        """Tell whether this can only make a position smaller."""
        return bool(self.venue_position_id)

    @property
    def resting_price(self) -> Decimal | None:
        """Return the price a pending order waits at: its trigger, else its limit. None for a market order."""
        return self.stop_price if self.stop_price is not None else self.limit_price


class Conversion(NamedTuple):
    """How an amount becomes USD: by which quote, and whether USD is that pair's base currency.

    An empty `symbol` means that the amount is in USD already.
    """

    symbol: str
    usd_is_base: bool


@dataclass(frozen=True, slots=True)
class Holding:
    """A net holding: signed quantity in lots and its average price."""

    quantity: Decimal
    price: Decimal


@dataclass(frozen=True, slots=True)
class Reservation:
    """The worst an order can cost, and what it would add.

    Units: `risk` and `value` in USD, `units` in base units, `deviation` in price. `restopped` is the part of `risk`
    that it does to the stops of what it is netted with.
    """

    risk: Decimal
    value: Decimal
    units: Decimal
    deviation: Decimal
    restopped: Decimal = Decimal(0)


@dataclass(frozen=True, slots=True)
class Difference:
    """One position on which our books and the broker disagree. The key is a symbol (netting) or an identifier.

    Units: signed lots; prices are averages, none where nothing is held. `venue_position_id` is the broker's, empty when
    it holds nothing; `mark` is the broker's price of it now; `contract_size` and `conversion` none for an instrument
    that we have not met. `is_busy`: an order is in flight on it, or it has moved in the last seconds.
    """

    key: str
    symbol: str
    venue_position_id: str
    quantity: Decimal
    price: Decimal | None
    venue_quantity: Decimal
    venue_price: Decimal | None
    mark: Decimal | None = None
    contract_size: Decimal | None = None
    conversion: Conversion | None = None
    is_busy: bool = False

    @property
    def missing(self) -> Decimal:
        """Return what our books lack, in signed lots."""
        return self.venue_quantity - self.quantity
