"""HTTP to the gateway: pooled connections, one deadline a call, and the three ways in which it may fail."""

import http.client
import io
import json
import math
import socket
import ssl
import threading
import time
import urllib.parse
from decimal import Decimal
from functools import partial
from typing import Any

from nexus.core.errors import OutcomeUnknown, Unreachable
from trading.brokers import waits
from trading.brokers.base import is_patient, time_left

POOL_MAX = 16
DEADLINE_S_MAX = 60.0  # the gateway takes no longer one
IDLE_S_MAX = 30.0  # below the gateway's own limit, so that it never closes a connection that we are about to use
ANSWER_BYTES_MAX = 64 * 1024 * 1024
SILENT_FOR = 0.25  # of its deadline: a door has less than the whole, and shares it among accounts
SILENCE_S = 2.0  # how long a gateway that did not answer is not asked again
MARGIN_S = 0.5  # what the network may add to the gateway's own deadline


class Answered(Exception):
    """The gateway answered with an error. `is_sent` is False when it is certain that nothing was sent."""

    def __init__(self, status: int, body: Any) -> None:
        body = body if isinstance(body, dict) else {}
        super().__init__(f"gateway: {status} {body.get('error', '')} {body.get('detail', '')}".strip())
        self.is_sent = body.get("sent")


class _Bytes(io.RawIOBase):
    """What the other side says until a moment. A socket's own timeout bounds one wait, and a slow talker has many."""

    def __init__(self, connected: socket.socket, until: float) -> None:
        self._socket, self._until = connected, until
        self._raw = connected.makefile("rb", buffering=0)

    def readable(self) -> bool:
        """Tell that it can be read."""
        return True

    def readinto(self, buffer: Any) -> int | None:
        """Read what has come, waiting for no longer than what is left. Raises: TimeoutError."""
        left_s = self._until - time.monotonic()
        if left_s <= 0:
            raise TimeoutError("the deadline has passed in the middle of the answer")
        self._socket.settimeout(left_s)
        return self._raw.readinto(buffer)

    def close(self) -> None:
        """Let go of the socket."""
        self._raw.close()
        super().close()


class _Response(http.client.HTTPResponse):
    """An answer that has to be complete at a moment."""

    def __init__(self, connected: socket.socket, *args: Any, until: float, **kwargs: Any) -> None:
        super().__init__(connected, *args, **kwargs)
        self.fp.close()
        self.fp = io.BufferedReader(_Bytes(connected, until))


class GatewayClient:
    """The calls of one gateway. Safe to share between threads; not to be used across a fork."""

    def __init__(self, *, url: str, token: str, deadline_s: float, tls: ssl.SSLContext | None = None) -> None:
        parts = urllib.parse.urlsplit(url)
        scheme = "http" if tls is None else "https"
        if parts.scheme != scheme or not parts.hostname or not parts.port:
            raise ValueError(f"{url!r} is not an address of the form {scheme}://HOST:PORT")
        self._tls = tls
        if not 0 < deadline_s <= DEADLINE_S_MAX:
            raise ValueError(f"a deadline of {deadline_s} s is not within 0 to {DEADLINE_S_MAX} s")
        self._host, self._port = parts.hostname, parts.port
        self._deadline_s = deadline_s
        self._silent_until = -math.inf
        self._asking_silent = threading.Lock()
        self._head = {
            "Authorization": f"Bearer {token}",
            "Content-Type": "application/json",
        }
        self._idle: list[tuple[float, http.client.HTTPConnection]] = []

    def read(self, path: str, body: Any, *, correlation_id: str, urgency: str = "") -> Any:
        """Post a reading. Raises: Unreachable for every failure, since a reading that failed has changed nothing.

        A gateway that has just let a reading wait in vain is not waited for again at once: its callers would pile up.
        Of those who take risk away one at a time asks it all the same.
        """
        if time.monotonic() >= self._silent_until:
            return self._read(path, body, correlation_id, urgency)
        if not (is_patient() and self._asking_silent.acquire(blocking=False)):
            raise Unreachable(f"{path}: the gateway did not answer a moment ago")
        try:
            return self._read(path, body, correlation_id, urgency)
        finally:
            self._asking_silent.release()

    def _read(self, path: str, body: Any, correlation_id: str, urgency: str) -> Any:
        with waits.reading():
            return self._read_now(path, body, correlation_id, urgency)

    def _read_now(self, path: str, body: Any, correlation_id: str, urgency: str) -> Any:
        within_s = time_left(self._deadline_s)
        began = time.monotonic()
        try:
            connection = self._connection(within_s)
            left_s = max(0.0, within_s - (time.monotonic() - began))
            document = self._exchange(connection, path, body, correlation_id, urgency, within_s=left_s)
        except TimeoutError as exc:
            if within_s >= SILENT_FOR * self._deadline_s:  # whoever had less time knows nothing of it
                self._silent_until = time.monotonic() + SILENCE_S
            raise Unreachable(f"{path}: {exc or type(exc).__name__}") from exc
        except (Answered, OSError, http.client.HTTPException, ValueError) as exc:
            raise Unreachable(f"{path}: {exc or type(exc).__name__}") from exc
        self._silent_until = -math.inf
        return document

    def send(self, path: str, body: Any, *, correlation_id: str) -> Any:
        """Post an order. Raises: Unreachable when it certainly was not sent, OutcomeUnknown for all else."""
        with waits.sending():
            return self._send(path, body, correlation_id)

    def _send(self, path: str, body: Any, correlation_id: str) -> Any:
        try:
            connection = self._connection(self._deadline_s)
        except OSError as exc:
            raise Unreachable(f"{path}: {exc}") from exc
        try:
            return self._exchange(connection, path, body, correlation_id, within_s=self._deadline_s)
        except Answered as exc:
            if exc.is_sent is False:
                raise Unreachable(str(exc)) from exc
            raise OutcomeUnknown(str(exc)) from exc
        except (OSError, http.client.HTTPException, ValueError) as exc:
            raise OutcomeUnknown(f"{path}: {exc or type(exc).__name__}") from exc

    def close(self) -> None:
        """Close the idle connections."""
        while (idle := self._take_idle()) is not None:
            idle[1].close()

    def _take_idle(self) -> tuple[float, http.client.HTTPConnection] | None:
        """Take the connection that was put back last. Looking first would be a race for the last one."""
        try:
            return self._idle.pop()
        except IndexError:
            return None

    def _connection(self, within_s: float) -> http.client.HTTPConnection:
        while (idle := self._take_idle()) is not None:
            put_back_at, connection = idle
            if time.monotonic() - put_back_at < IDLE_S_MAX and _is_alive(connection):
                return connection
            connection.close()
        timeout_s = within_s + MARGIN_S
        if self._tls is None:
            connection = http.client.HTTPConnection(self._host, self._port, timeout=timeout_s)
        else:
            connection = http.client.HTTPSConnection(self._host, self._port, timeout=timeout_s, context=self._tls)
        connection.connect()
        connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._tls is not None:
            self._greet(connection)
        connection.timeout = self._deadline_s + MARGIN_S  # whoever takes it next has time of its own
        connection.sock.settimeout(connection.timeout)
        return connection

    def _greet(self, connection: http.client.HTTPConnection) -> None:
        """Ask for the gateway's health: only an answer proves that it has accepted our certificate.

        In TLS 1.3 a handshake ends before the server has looked at it; an order must not be the first to find out.
        """
        try:
            connection.request("GET", "/v1/health", headers=self._head)
            connection.getresponse().read(ANSWER_BYTES_MAX)
        except http.client.HTTPException as exc:
            connection.close()
            raise ConnectionError(repr(exc)) from exc
        except OSError:
            connection.close()
            raise

    def _exchange(
        self,
        connection: http.client.HTTPConnection,
        path: str,
        body: Any,
        correlation_id: str,
        urgency: str = "",
        *,
        within_s: float,
    ) -> Any:
        is_reusable = False
        until = time.monotonic() + within_s + MARGIN_S
        connection.response_class = partial(_Response, until=until)  # type: ignore[assignment]  # it only calls it
        try:
            head = {**self._head, "X-Correlation-ID": correlation_id, "X-Urgency": urgency}
            head["X-Deadline-Ms"] = str(max(1, math.ceil(1000 * within_s)))
            connection.request("POST", path, body=json.dumps(body, allow_nan=False), headers=head)
            response = connection.getresponse()
            raw = response.read(ANSWER_BYTES_MAX)
            if response.length:
                raise http.client.IncompleteRead(raw, response.length)
            document = json.loads(raw, parse_float=Decimal)
            is_reusable = response.isclosed() and not response.will_close
            if response.status != http.client.OK:
                raise Answered(response.status, document)
            if not isinstance(document, dict):
                raise ValueError("the answer is not an object")  # noqa: TRY004 - it is the text that is wrong
            return document
        finally:
            if is_reusable and len(self._idle) < POOL_MAX:
                self._idle.append((time.monotonic(), connection))
            else:
                connection.close()


def certificates(*, ca: str, cert: str, key: str) -> ssl.SSLContext:
    """Load what we show to a gateway and by which we know it. Raises: ValueError when the files are of no use."""
    try:
        context = ssl.create_default_context(ssl.Purpose.SERVER_AUTH, cafile=ca)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(cert, key)
    except OSError as exc:
        raise ValueError(f"the certificates cannot be used: {exc}") from exc
    return context


def _is_alive(connection: http.client.HTTPConnection) -> bool:
    """Tell whether the other side has neither closed the connection nor said anything uncalled for."""
    try:
        connection.sock.settimeout(0)
        connection.sock.recv(1)  # whatever could be read, the connection is of no use afterwards
    except (BlockingIOError, ssl.SSLWantReadError):
        return True
    except OSError:
        return False
    finally:
        connection.sock.settimeout(connection.timeout)
    return False
