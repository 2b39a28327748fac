"""What an answer of Alpaca's trading API means: one total function, and the tables behind it.

Source: Alpaca's Trading API reference (status codes of /v2/orders), and `alpaca-py` 0.44.0 for what reaches us of them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from enum import StrEnum

PAUSE_S_MIN, PAUSE_S_MAX = 1.0, 60.0


class Outcome(StrEnum):
    """What one answer proves about one request."""

    ACCEPTED = "ACCEPTED"  # taken in; what became of it is asked for
    RETRY = "RETRY"  # refused, certainly not executed; a new order may be tried later
    REJECTED = "REJECTED"  # refused, final
    HALT = "HALT"  # refused, and nothing is accepted until a person acts
    DUPLICATE = "DUPLICATE"  # something of this name is there already: look it up
    NOT_SENT = "NOT_SENT"  # nothing left us
    UNKNOWN = "UNKNOWN"  # proves nothing: ask

    @property
    def is_refusal(self) -> bool:
        """Tell whether nothing was executed, for certain."""
        return self in {Outcome.RETRY, Outcome.REJECTED, Outcome.HALT}


class Purpose(StrEnum):
    """What the request was for, as far as the meaning of an answer depends on it."""

    ORDER = "ORDER"
    CHANGE = "CHANGE"
    CANCEL = "CANCEL"


class Silence(StrEnum):
    """Why there is no answer."""

    NOT_CONNECTED = "NOT_CONNECTED"  # no connection, so not a byte of the request was written
    NO_ANSWER = "NO_ANSWER"  # written, in part or whole, and then a timeout, a reset, an end


class Duplicate(Exception):
    """The venue has something by this name already: whoever sent it has to look it up."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer. `says` is what kind of words its body holds; `code` and `message` are those of a refusal."""

    status: int
    says: "Says"
    code: int = 0
    message: str = ""
    pause_s: float | None = None  # how long nothing is to be asked, where the answer is that too much was


class Says(StrEnum):
    """What a body holds."""

    NOTHING = "NOTHING"
    DOCUMENT = "DOCUMENT"  # JSON, an object or a list
    REFUSAL = "REFUSAL"  # JSON of the API's own: an object with a `message`
    RUBBISH = "RUBBISH"  # a proxy's page, half a document, anything else


# With these, in the API's own words, the request was refused before anything was done with it. All other errors prove
# nothing, and so do these in the words of a proxy.
REFUSALS: dict[int, Outcome] = {
    400: Outcome.REJECTED,
    401: Outcome.HALT,  # the key is not valid, or not any more
    403: Outcome.REJECTED,  # buying power, shares, wash trades; the account's own flags tell whether it is blocked
    404: Outcome.REJECTED,
    422: Outcome.REJECTED,  # parameters, or a state that does not allow it
    429: Outcome.RETRY,  # over the rate limit: Alpaca documents that the request is to be made again
}
OK_MIN, OK_MAX, NOT_FOUND, UNPROCESSABLE, TOO_MANY = 200, 299, 404, 422, 429


def of(answer: Answer | Silence, purpose: Purpose) -> Outcome:
    """Classify an answer, or the lack of one. Total: what is not known to prove anything proves nothing."""
    if isinstance(answer, Silence):
        return Outcome.NOT_SENT if answer is Silence.NOT_CONNECTED else Outcome.UNKNOWN
    if is_success(answer):
        understood = Says.NOTHING if purpose is Purpose.CANCEL else Says.DOCUMENT
        return Outcome.ACCEPTED if answer.says is understood else Outcome.UNKNOWN
    if answer.says is not Says.REFUSAL:
        return Outcome.UNKNOWN
    if purpose is not Purpose.CANCEL and _is_duplicate(answer):
        return Outcome.DUPLICATE
    return REFUSALS.get(answer.status, Outcome.UNKNOWN)


def is_success(answer: Answer) -> bool:
    """Tell whether the status says that it went well."""
    return OK_MIN <= answer.status <= OK_MAX


def is_absence(answer: Answer) -> bool:
    """Tell whether the API itself says that what was asked for is not there."""
    return answer.status == NOT_FOUND and answer.says is Says.REFUSAL


def pause_s(headers: Mapping[str, str], *, now: datetime) -> float:
    """Return how long to leave the API alone after 429: `Retry-After`, else until `X-RateLimit-Reset`, else a minute.

    The limit is that of a minute, so it is never longer. A reset is a time by the API's own clock, which `Date` tells;
    `now` is used where it does not.
    """
    after, reset = headers.get("Retry-After", ""), headers.get("X-RateLimit-Reset", "")
    if after.isascii() and after.isdecimal():
        wanted_s = float(after)
    elif reset.isascii() and reset.isdecimal():
        try:
            said = parsedate_to_datetime(headers.get("Date", ""))
        except ValueError:
            said = now
        wanted_s = float(reset) - said.timestamp()
    else:
        wanted_s = PAUSE_S_MAX
    return min(max(wanted_s, PAUSE_S_MIN), PAUSE_S_MAX)


def _is_duplicate(answer: Answer) -> bool:
    words = answer.message.lower()  # its code, 40010001, is shared with other faults of parameters
    return answer.status == UNPROCESSABLE and "client_order_id" in words and "unique" in words
