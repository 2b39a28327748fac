"""Every answer, and the lack of one, has one meaning; what is not known to prove anything proves nothing."""

import itertools
import ssl
from datetime import UTC, datetime, timedelta

import pytest
import requests
from urllib3.connection import HTTPConnection
from urllib3.exceptions import ConnectTimeoutError, MaxRetryError, NewConnectionError, ProtocolError, SSLError

from trading.brokers.alpaca import outcomes
from trading.brokers.alpaca.client import silence
from trading.brokers.alpaca.outcomes import Answer, Outcome, Purpose, Says, Silence

DEFINITIVE = {400, 401, 403, 404, 422, 429}


@pytest.mark.parametrize(("says", "purpose"), list(itertools.product(Says, Purpose)))
def test_every_status_with_every_body_has_one_outcome(says, purpose):
    for status in range(100, 1000):
        outcome = outcomes.of(Answer(status, says, 40010001, "no"), purpose)

        assert isinstance(outcome, Outcome)
        if outcome.is_refusal:
            assert (status in DEFINITIVE, says) == (True, Says.REFUSAL), status
        if outcome is Outcome.ACCEPTED:
            assert 200 <= status <= 299
            assert says is (Says.NOTHING if purpose is Purpose.CANCEL else Says.DOCUMENT)
        assert outcome is not Outcome.NOT_SENT  # somebody answered: it was sent


@pytest.mark.parametrize("code", [0, 40010000, 40010001, 40110000, 40310000, 40410000, 42210000, 42910000, 50010000])
@pytest.mark.parametrize("status", sorted(DEFINITIVE))
def test_a_code_that_we_do_not_know_changes_nothing_of_what_the_status_says(status, code):
    outcome = outcomes.of(Answer(status, Says.REFUSAL, code, "words"), Purpose.ORDER)

    assert outcome is outcomes.REFUSALS[status]


@pytest.mark.parametrize("status", [408, 409, 425, 500, 502, 503, 504, 520, 599])
def test_errors_of_the_server_prove_nothing_even_in_the_api_s_own_words(status):
    assert outcomes.of(Answer(status, Says.REFUSAL, 50010000, "internal"), Purpose.ORDER) is Outcome.UNKNOWN


@pytest.mark.parametrize(
    ("purpose", "meant"),
    [(Purpose.ORDER, Outcome.DUPLICATE), (Purpose.CHANGE, Outcome.DUPLICATE), (Purpose.CANCEL, Outcome.REJECTED)],
)
def test_an_id_that_is_taken_is_no_refusal_of_the_order(purpose, meant):
    answer = Answer(422, Says.REFUSAL, 40010001, "client_order_id must be unique")

    assert outcomes.of(answer, purpose) is meant


def test_only_the_key_stops_the_account_by_its_status():
    halting = {s for s in range(100, 1000) if outcomes.of(Answer(s, Says.REFUSAL), Purpose.ORDER) is Outcome.HALT}

    assert halting == {401}


@pytest.mark.parametrize("purpose", Purpose)
def test_silence_is_unknown_unless_there_was_no_connection(purpose):
    assert outcomes.of(Silence.NOT_CONNECTED, purpose) is Outcome.NOT_SENT
    assert outcomes.of(Silence.NO_ANSWER, purpose) is Outcome.UNKNOWN


CONNECTION = HTTPConnection("127.0.0.1")
CERTIFICATE = SSLError(ssl.SSLCertVerificationError(1, "certificate verify failed"))


@pytest.mark.parametrize(
    ("failure", "meant"),
    [
        (requests.ConnectTimeout("connect"), Silence.NOT_CONNECTED),
        (requests.ConnectionError(MaxRetryError(None, "/", NewConnectionError(CONNECTION, "refused"))),  # type: ignore[arg-type]
         Silence.NOT_CONNECTED),
        (requests.ConnectionError(MaxRetryError(None, "/", ConnectTimeoutError())),  # type: ignore[arg-type]
         Silence.NOT_CONNECTED),
        (requests.exceptions.SSLError(MaxRetryError(None, "/", CERTIFICATE)),  # type: ignore[arg-type]
         Silence.NOT_CONNECTED),
        (requests.exceptions.SSLError(MaxRetryError(None, "/", SSLError("record"))),  # type: ignore[arg-type]
         Silence.NO_ANSWER),
        (requests.ReadTimeout("read"), Silence.NO_ANSWER),
        (requests.ConnectionError(ProtocolError("aborted", ConnectionResetError())), Silence.NO_ANSWER),
        (requests.ConnectionError(), Silence.NO_ANSWER),
        (requests.exceptions.ChunkedEncodingError(), Silence.NO_ANSWER),
        (requests.exceptions.ProxyError(), Silence.NO_ANSWER),
        (TimeoutError("in the middle"), Silence.NO_ANSWER),
        (ConnectionResetError(), Silence.NO_ANSWER),
        (ValueError("rubbish"), Silence.NO_ANSWER),
    ],
    ids=lambda each: type(each).__name__,
)  # fmt: skip
def test_whatever_may_have_been_written_counts_as_sent(failure, meant):
    assert silence(failure) is meant


NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
AT_NOON = "Mon, 02 Mar 2026 12:00:00 GMT"


@pytest.mark.parametrize(
    ("headers", "now", "pause_s"),
    [
        ({"X-RateLimit-Reset": str(int(NOON.timestamp()) + 20), "Date": AT_NOON}, NOON + timedelta(hours=1), 20),
        ({"X-RateLimit-Reset": str(int(NOON.timestamp()) + 20)}, NOON, 20),
        ({"X-RateLimit-Reset": str(int(NOON.timestamp()) + 20), "Date": "today"}, NOON, 20),
        ({"X-RateLimit-Reset": str(int(NOON.timestamp()) - 20)}, NOON, 1),
        ({"X-RateLimit-Reset": str(int(NOON.timestamp()) + 600)}, NOON, 60),
    ],
)
def test_a_limit_is_over_when_the_venue_s_own_clock_says_so(headers, now, pause_s):
    assert outcomes.pause_s(headers, now=now) == pause_s
