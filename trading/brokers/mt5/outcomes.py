"""What an answer to `order_send` means: one total function, and the table behind it.

Source: MetaTrader 5 return codes of the trade server, and the constants of the published package 5.0.6231.
"""

from enum import StrEnum


class Outcome(StrEnum):
    """What one answer proves about one request."""

    PLACED = "PLACED"  # accepted; it rests or awaits its fill
    FILLED = "FILLED"  # accepted and said to be done; only deals prove it
    PARTIAL = "PARTIAL"  # accepted and done in part
    DONE = "DONE"  # the change asked for is in force
    RETRY = "RETRY"  # refused, certainly not executed; a new order with fresh data may be tried
    REJECTED = "REJECTED"  # refused, final
    HALT = "HALT"  # refused, and the account cannot trade until a person acts
    UNKNOWN = "UNKNOWN"  # proves nothing: ask

    @property
    def is_refusal(self) -> bool:
        """Tell whether nothing was executed, for certain."""
        return self in {Outcome.RETRY, Outcome.REJECTED, Outcome.HALT}


class Purpose(StrEnum):
    """What the request was for, as far as the meaning of a code depends on it."""

    OPEN = "OPEN"
    CLOSE = "CLOSE"
    PENDING = "PENDING"
    CHANGE = "CHANGE"
    CANCEL = "CANCEL"


# INVALID, INVALID_VOLUME, INVALID_PRICE, INVALID_STOPS, INVALID_FILL, and arguments that the package does not take.
DEFECTS = frozenset({"10013", "10014", "10015", "10016", "10030", "-2"})

RETCODES: dict[int, Outcome] = {
    10004: Outcome.RETRY,  # REQUOTE
    10006: Outcome.REJECTED,  # REJECT
    10007: Outcome.REJECTED,  # CANCEL
    10008: Outcome.PLACED,  # PLACED
    10009: Outcome.FILLED,  # DONE
    10010: Outcome.PARTIAL,  # DONE_PARTIAL
    10011: Outcome.UNKNOWN,  # ERROR
    10012: Outcome.UNKNOWN,  # TIMEOUT
    10013: Outcome.REJECTED,  # INVALID
    10014: Outcome.REJECTED,  # INVALID_VOLUME
    10015: Outcome.REJECTED,  # INVALID_PRICE
    10016: Outcome.REJECTED,  # INVALID_STOPS
    10017: Outcome.HALT,  # TRADE_DISABLED
    10018: Outcome.REJECTED,  # MARKET_CLOSED
    10019: Outcome.REJECTED,  # NO_MONEY
    10020: Outcome.RETRY,  # PRICE_CHANGED
    10021: Outcome.RETRY,  # PRICE_OFF
    10022: Outcome.REJECTED,  # INVALID_EXPIRATION
    10023: Outcome.UNKNOWN,  # ORDER_CHANGED: another request is in work
    10024: Outcome.RETRY,  # TOO_MANY_REQUESTS
    10025: Outcome.UNKNOWN,  # NO_CHANGES: means something only when a change was asked for
    10026: Outcome.HALT,  # SERVER_DISABLES_AT
    10027: Outcome.HALT,  # CLIENT_DISABLES_AT
    10028: Outcome.UNKNOWN,  # LOCKED
    10029: Outcome.RETRY,  # FROZEN
    10030: Outcome.REJECTED,  # INVALID_FILL
    10031: Outcome.UNKNOWN,  # CONNECTION
    10032: Outcome.HALT,  # ONLY_REAL
    10033: Outcome.REJECTED,  # LIMIT_ORDERS
    10034: Outcome.REJECTED,  # LIMIT_VOLUME
    10035: Outcome.REJECTED,  # INVALID_ORDER
    10036: Outcome.REJECTED,  # POSITION_CLOSED
    10038: Outcome.REJECTED,  # INVALID_CLOSE_VOLUME
    10039: Outcome.UNKNOWN,  # CLOSE_ORDER_EXIST
    10040: Outcome.REJECTED,  # LIMIT_POSITIONS
    10041: Outcome.REJECTED,  # REJECT_CANCEL
    10042: Outcome.REJECTED,  # LONG_ONLY
    10043: Outcome.REJECTED,  # SHORT_ONLY
    10044: Outcome.REJECTED,  # CLOSE_ONLY
    10045: Outcome.REJECTED,  # FIFO_CLOSE
    10046: Outcome.REJECTED,  # HEDGE_PROHIBITED, absent from the package
}

# What our own gateway refuses for the same reasons, before the venue has to.
PASSING = frozenset({"ACCOUNT_PAUSED", "FREEZE_DISTANCE"})

_BY_PURPOSE: dict[tuple[int, Purpose], Outcome] = {
    (10009, Purpose.PENDING): Outcome.PLACED,
    (10009, Purpose.CHANGE): Outcome.DONE,
    (10009, Purpose.CANCEL): Outcome.DONE,
    (10008, Purpose.CHANGE): Outcome.UNKNOWN,  # accepted, but not in force yet
    (10010, Purpose.CHANGE): Outcome.UNKNOWN,  # a change in part is not what was asked for
    (10010, Purpose.CANCEL): Outcome.UNKNOWN,
    (10025, Purpose.CHANGE): Outcome.DONE,
    (10036, Purpose.CLOSE): Outcome.UNKNOWN,  # somebody closed it; perhaps we did
}

# Only these three say that the request never left the process.
_NOTHING_SENT: dict[int, Outcome] = {
    -2: Outcome.REJECTED,  # the arguments are wrong: our defect
    -8: Outcome.HALT,  # trading through the Python API is switched off in the terminal
    -10004: Outcome.RETRY,  # no connection to the terminal: the write was not attempted
}


def of_retcode(retcode: int, purpose: Purpose) -> Outcome:
    """Classify the code of an answer; a code we do not know proves nothing."""
    return _BY_PURPOSE.get((retcode, purpose)) or RETCODES.get(retcode, Outcome.UNKNOWN)


def of_silence(last_error: int, *, exception: str = "") -> Outcome:
    """Classify the absence of an answer (`None`, or an exception named `exception`) by the terminal's last error."""
    if exception:
        return Outcome.REJECTED if exception == "SystemError" else Outcome.UNKNOWN
    return _NOTHING_SENT.get(last_error, Outcome.UNKNOWN)


def passes(code: str) -> bool:
    """Tell whether what this code says passes by itself: a new request, made of what is true then, may be accepted."""
    if code in PASSING:
        return True
    return code.isdecimal() and RETCODES.get(int(code)) is Outcome.RETRY


def is_defect(code: str) -> bool:
    """Tell whether this code says that the request itself was not valid: a defect of ours. MetaTrader reference §8."""
    return code in DEFECTS


def halts(code: str) -> bool:
    """Tell whether this code, of an answer or of a last error, says that the account cannot trade at all."""
    if not code.removeprefix("-").isdecimal():
        return False
    return Outcome.HALT in {RETCODES.get(int(code)), _NOTHING_SENT.get(int(code))}
