"""How far trading is allowed, and for whom."""

from enum import IntEnum, StrEnum


class StopLevel(IntEnum):
    """How far trading is allowed; higher is stricter, and the strictest of all scopes wins."""

    ACTIVE = 0
    REDUCE_ONLY = 1
    HALTED = 2


class Sweep(StrEnum):
    """What a stop does to what already stands."""

    NONE = "NONE"
    CANCEL = "CANCEL"  # every working order
    FLATTEN = "FLATTEN"  # and every position

    @property
    def strength(self) -> int:
        """Return how much it takes away; a stop that is set twice keeps the stronger."""
        return list(Sweep).index(self)


class Trigger(StrEnum):
    """What stops trading by itself. Each has a level in the settings, `STOP_ON_…`."""

    DAILY_LOSS = "DAILY_LOSS"
    EQUITY_UNUSABLE = "EQUITY_UNUSABLE"
    MARGIN_LEVEL = "MARGIN_LEVEL"
    UNKNOWN_ORDERS = "UNKNOWN_ORDERS"  # several orders in a row whose answer was lost
    REFUSALS = "REFUSALS"  # several orders in a row that the broker refused
    ACCOUNT_REFUSED = "ACCOUNT_REFUSED"  # the broker says that nothing will be accepted until somebody acts
    WRONG_FILL = "WRONG_FILL"  # late, or for more than was asked, above a value
    STOP_LOSS_REFUSED = "STOP_LOSS_REFUSED"  # the broker refused the stop-loss of a position that stands without one
    DISCREPANCY = "DISCREPANCY"  # reconciliation: the books differ by too much
    RECONCILIATION = "RECONCILIATION"  # reconciliation: it failed too often in a row


class ControlScope(StrEnum):
    """What a stop covers. The key names which one; the system has the key ''."""

    SYSTEM = "SYSTEM"
    BROKER = "BROKER"
    ACCOUNT = "ACCOUNT"
    USER = "USER"
    STRATEGY = "STRATEGY"
    INSTRUMENT = "INSTRUMENT"


class LimitScope(StrEnum):
    """Whose limit it is. Platform limits are ceilings; every other may only be tighter."""

    PLATFORM = "PLATFORM"
    USER = "USER"
    ACCOUNT = "ACCOUNT"
    INSTRUMENT = "INSTRUMENT"


class LimitKind(StrEnum):
    """What is limited, and in which unit."""

    DAILY_LOSS = "DAILY_LOSS"  # USD, a user and trading day
    DAILY_VALUE = "DAILY_VALUE"  # USD, a user and trading day
    DAILY_QUANTITY = "DAILY_QUANTITY"  # lots, a user and trading day
    ORDERS_PER_DAY = "ORDERS_PER_DAY"  # orders, a user and trading day
    ORDERS_PER_HOUR = "ORDERS_PER_HOUR"  # orders, a user and hour of the database's clock
    ORDERS_PER_SECOND = "ORDERS_PER_SECOND"  # requests, an account and the last second; refused ones count
    POSITION_SIZE = "POSITION_SIZE"  # base units, an instrument and side
    POSITION_COUNT = "POSITION_COUNT"  # open positions of a user
    ORDER_QUANTITY_MAX = "ORDER_QUANTITY_MAX"  # lots, one order
    TRADE_VALUE_MAX = "TRADE_VALUE_MAX"  # USD, one order
    TRADE_VALUE_MIN = "TRADE_VALUE_MIN"  # USD, one order: the only limit of which the highest is the tightest
    PRICE_COLLAR = "PRICE_COLLAR"  # fraction of the reference price


class Group(IntEnum):
    """The eleven groups of pre-trade checks, in their order (execution reference §5)."""

    ACCESS = 1
    STOP_STATE = 2
    FRESHNESS = 3
    SHAPE = 4
    DUPLICATES = 5
    QUOTE = 6
    ORDER_SIZE = 7
    POSITION = 8
    DAILY = 9
    FUNDS = 10
    CONDUCT = 11


class Suspicion(StrEnum):
    """What is told to people although no limit forbids it."""

    BURST = "BURST"
    UNUSUAL_SIZE = "UNUSUAL_SIZE"
    OPPOSITE_ORDERS = "OPPOSITE_ORDERS"
    NEW_NETWORK = "NEW_NETWORK"


class ChangeState(StrEnum):
    """Where a proposal stands that a second person decides."""

    PROPOSED = "PROPOSED"
    APPLIED = "APPLIED"
    REFUSED = "REFUSED"
    EXPIRED = "EXPIRED"
    STALE = "STALE"  # what it was about has changed since


class AdjustmentKind(StrEnum):
    """What changed the risk of something that already stands."""

    PARTIAL_FILL = "PARTIAL_FILL"
    SLIPPAGE = "SLIPPAGE"
    STOP_CHANGE = "STOP_CHANGE"
    EXTERNAL = "EXTERNAL"
