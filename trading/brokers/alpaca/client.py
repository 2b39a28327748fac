"""Alpaca's API through `alpaca-py`, held to our rules: one deadline, no retries, exact numbers, three kinds of failure.

The library retries 429 and 504 by itself, sends included, and knows no timeout. A retried send whose first try arrived
is refused as a duplicate, which the library reports as a refusal of an order that lives. So its session is ours: it
raises what went wrong before the library sees a status that it would try again (docs/adr/0008). The library's own
models hold quantities and prices as floats; requests are sent, and answers read, as text and exact decimals instead.
"""

import json
import math
import ssl
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from http import HTTPStatus
from typing import Any

import requests
from alpaca.common.rest import RESTClient
from alpaca.trading.client import TradingClient
from requests.adapters import HTTPAdapter
from urllib3.exceptions import ConnectTimeoutError, HTTPError, NewConnectionError

from nexus.core.errors import OutcomeUnknown, Refused, Unreachable
from trading.brokers import waits
from trading.brokers.alpaca import outcomes
from trading.brokers.alpaca.outcomes import Answer, Duplicate, Outcome, Purpose, Says, Silence
from trading.brokers.alpaca.profile import Profile
from trading.brokers.base import time_left

ANSWER_BYTES_MAX = 16 * 1024 * 1024
CHUNK_BYTES = 64 * 1024
POOL_MAX = 16


class Answered(Exception):
    """The API, or something before it, answered with what is no success."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(f"{answer.status} {answer.code or ''} {answer.message or answer.says}".replace("  ", " "))
        self.answer = answer


class _Session(requests.Session):
    """The library's session: a deadline for the whole answer, no redirects, no proxies or keys from the environment."""

    def __init__(self, *, deadline_s: float) -> None:
        super().__init__()
        self.trust_env = False
        self._deadline_s = deadline_s
        self.paused_until = -math.inf  # by our own steady clock
        for scheme in ("https://", "http://"):
            self.mount(scheme, HTTPAdapter(pool_maxsize=POOL_MAX, max_retries=0))

    def request(self, method: str, url: str | bytes, *args: Any, **kwargs: Any) -> requests.Response:
        """Make one request, once. Raises: Answered for whatever is no success, or a library's error; Unreachable when
        there is no time for a reading.
        """
        is_reading = method.upper() == "GET"
        with waits.reading() if is_reading else waits.sending():
            within_s = time_left(self._deadline_s) if is_reading else self._deadline_s
            return self._request(method, url, *args, within_s=within_s, **kwargs)

    def _request(self, method: str, url: str | bytes, *args: Any, within_s: float, **kwargs: Any) -> requests.Response:
        until = time.monotonic() + within_s
        rules: dict[str, Any] = {"timeout": within_s, "stream": True, "allow_redirects": False}
        response = super().request(method, url, *args, **(kwargs | rules))
        try:
            raw = _body(response, until)
        finally:
            response.close()
        document, answer = _understand(response.status_code, raw)
        if response.status_code == outcomes.TOO_MANY:
            answer = replace(answer, pause_s=outcomes.pause_s(response.headers, now=datetime.now(UTC)))
            self.paused_until = time.monotonic() + (answer.pause_s or 0)
        if answer.says in {Says.REFUSAL, Says.RUBBISH} or not outcomes.is_success(answer):
            raise Answered(answer)
        response._content = raw  # the library asks whether there is any text
        response.json = lambda **_: document  # type: ignore[method-assign]  # its own reading goes through floats
        return response


class Client:
    """The calls of one account. Safe to share between threads."""

    def __init__(self, profile: Profile) -> None:
        self._session = _Session(deadline_s=profile.deadline_s)
        self._trading = TradingClient(profile.key, profile.secret, raw_data=True, url_override=profile.url)
        self._data = RESTClient(profile.data_url, profile.key, profile.secret, raw_data=True)
        self._trading._session = self._data._session = self._session
        self._feed = profile.feed

    def pause_s(self) -> float:
        """Return how long the API wants to be left alone, 0 when it has not said so."""
        return round(max(0.0, self._session.paused_until - time.monotonic()), 3)

    def close(self) -> None:
        """Close the idle connections."""
        self._session.close()

    def account(self) -> Any:
        """Read the account."""
        return read(self._trading.get_account)

    def clock(self) -> Any:
        """Read whether the market is open."""
        return read(self._trading.get_clock)

    def positions(self) -> Any:
        """Read every open position."""
        return read(self._trading.get_all_positions)

    def position(self, symbol: str) -> Any:
        """Read one position, or None when it is not open."""
        return find(lambda: self._trading.get_open_position(symbol))

    def asset(self, symbol: str) -> Any:
        """Read one asset, or None when the venue does not know it."""
        return find(lambda: self._trading.get_asset(symbol))

    def order(self, order_id: str) -> Any:
        """Read one order by the venue's id, or None."""
        return find(lambda: self._trading.get_order_by_id(order_id))

    def order_by_client_id(self, client_order_id: str) -> Any:
        """Read one order by our id, or None when the venue says that there is none."""
        return find(lambda: self._trading.get_order_by_client_id(client_order_id))

    def orders(self, **params: Any) -> Any:
        """Read a page of orders."""
        return read(lambda: self._trading.get("/orders", params))

    def activities(self, **params: Any) -> Any:
        """Read a page of the account's activities."""
        return read(lambda: self._trading.get("/account/activities", params))

    def quotes(self, symbols: Sequence[str]) -> Any:
        """Read the latest quote of each symbol; one that the venue does not quote is left out."""
        params = {"symbols": ",".join(symbols), "feed": self._feed}
        return read(lambda: self._data.get("/stocks/quotes/latest", params))

    def place(self, order: Mapping[str, str]) -> Any:
        """Send an order, once. Raises: as `send`."""
        return send(lambda: self._trading.post("/orders", dict(order)), Purpose.ORDER)

    def replace(self, order_id: str, terms: Mapping[str, str]) -> Any:
        """Put another order in an order's place, once. Raises: as `send`."""
        return send(lambda: self._trading.patch(f"/orders/{order_id}", dict(terms)), Purpose.CHANGE)

    def cancel(self, order_id: str) -> None:
        """Ask for an order to be canceled. Raises: as `send`."""
        send(lambda: self._trading.cancel_order_by_id(order_id), Purpose.CANCEL)


def read(ask: Callable[[], Any]) -> Any:
    """Read something. Raises: Unreachable for every failure, since a reading that failed has changed nothing."""
    try:
        document = ask()
    except (Answered, OSError, HTTPError, ValueError) as exc:
        raise Unreachable(f"Alpaca: {exc or type(exc).__name__}") from exc
    if document is None:
        raise Unreachable("Alpaca: the answer is empty")
    return document


def find(ask: Callable[[], Any]) -> Any:
    """Read something that may not be there: None only when the API itself says so. Raises: Unreachable."""
    try:
        return read(ask)
    except Unreachable as exc:
        if isinstance(exc.__cause__, Answered) and outcomes.is_absence(exc.__cause__.answer):
            return None
        raise


def send(ask: Callable[[], Any], purpose: Purpose) -> Any:
    """Send something, once, and return the venue's answer.

    Raises: Refused; Duplicate; Unreachable when it certainly was not sent; OutcomeUnknown for all else.
    """
    document: Any = None
    answer: Answer | Silence
    words: object
    try:
        document = ask()
        answer = Answer(HTTPStatus.OK, Says.NOTHING if document is None else Says.DOCUMENT)
        words = "the answer is not what was asked for"
    except Answered as exc:
        answer, words = exc.answer, exc
    except (OSError, HTTPError, ValueError) as exc:
        answer, words = silence(exc), exc or type(exc).__name__
    outcome = outcomes.of(answer, purpose)
    if outcome is Outcome.ACCEPTED:
        return document
    if outcome is Outcome.DUPLICATE:
        raise Duplicate(str(words))
    if outcome is Outcome.NOT_SENT:
        raise Unreachable(f"Alpaca: {words}")
    if outcome.is_refusal and isinstance(answer, Answer):
        code, halts = str(answer.code or answer.status), outcome is Outcome.HALT
        raise Refused(answer.message, code=code, halts=halts, retry_s=answer.pause_s)
    raise OutcomeUnknown(f"Alpaca: {words}")


def silence(exc: Exception) -> Silence:
    """Say whether a request that got no answer can have left us: only without a connection it cannot."""
    if isinstance(exc, requests.ConnectTimeout):
        return Silence.NOT_CONNECTED
    reason = getattr(exc.args[0], "reason", None) if isinstance(exc, requests.ConnectionError) and exc.args else None
    if isinstance(reason, NewConnectionError | ConnectTimeoutError):
        return Silence.NOT_CONNECTED
    cause = reason.args[0] if isinstance(reason, HTTPError) and reason.args else None
    return Silence.NOT_CONNECTED if isinstance(cause, ssl.SSLCertVerificationError) else Silence.NO_ANSWER


def _body(response: requests.Response, until: float) -> bytes:
    """Read the whole answer, however slowly it is told, until the deadline. Raises: TimeoutError, ValueError."""
    raw = bytearray()
    while chunk := response.raw.read1(CHUNK_BYTES, decode_content=True):
        raw += chunk
        if len(raw) > ANSWER_BYTES_MAX:
            raise ValueError("the answer is too long")
        if time.monotonic() > until:
            raise TimeoutError("the deadline has passed in the middle of the answer")
    return bytes(raw)


def _understand(status: int, raw: bytes) -> tuple[Any, Answer]:
    """Read a body with exact numbers, and say what kind of words it holds."""
    if not raw.strip():
        return None, Answer(status, Says.NOTHING)
    try:
        document = json.loads(raw, parse_float=Decimal, parse_constant=_no_number)
    except (ValueError, RecursionError):
        return None, Answer(status, Says.RUBBISH)
    if outcomes.is_success(Answer(status, Says.DOCUMENT)):
        is_document = isinstance(document, dict | list)
        return document, Answer(status, Says.DOCUMENT if is_document else Says.RUBBISH)
    if not isinstance(document, dict) or not isinstance(document.get("message"), str):
        return None, Answer(status, Says.RUBBISH)
    code: Any = document.get("code")
    known = code if isinstance(code, int) and not isinstance(code, bool) else 0
    return None, Answer(status, Says.REFUSAL, known, document["message"][:300])


def _no_number(text: str) -> Any:
    raise ValueError(f"{text} is not a number")
