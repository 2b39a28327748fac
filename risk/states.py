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
    CANCEL = "CANCEL"
    FLATTEN = "FLATTEN"


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
    POSITION_SIZE = "POSITION_SIZE"  # base units, an instrument and side
    TRADE_VALUE_MAX = "TRADE_VALUE_MAX"  # USD, one order
    TRADE_VALUE_MIN = "TRADE_VALUE_MIN"  # USD, one order: the only limit of which the highest is the tightest
