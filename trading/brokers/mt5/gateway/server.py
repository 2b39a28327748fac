"""The gateway's door: HTTP/1.1 on loopback, JSON, one token, and only the paths below."""

import hmac
import http.server
import json
import re
import socket
import socketserver
import sqlite3
import ssl
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from typing import Any

from trading.brokers.mt5.gateway import logs, metrics, plain, sending
from trading.brokers.mt5.gateway.bridge import Dropped, Wire, sound
from trading.brokers.mt5.gateway.desk import READINGS, Desk
from trading.brokers.mt5.gateway.journal import Journal, State
from trading.brokers.mt5.gateway.remote import TerminalDown
from trading.brokers.mt5.gateway.watch import Watch
from trading.brokers.mt5.gateway.worker import Busy, Late, Urgency, Worker

BODY_MAX = 256 * 1024
BATCH_MAX = 64
CONNECTIONS_MAX = 256  # Nexus keeps up to sixteen in each of its processes, and a close may come by any of them
IDLE_S, HANDSHAKE_S = 75.0, 5.0
DEADLINE_S_DEFAULT, DEADLINE_S_MAX = 5.0, 60.0

PATHS = frozenset({"/v1/batch", "/v1/order_send", "/v1/reconciled", "/v1/health", "/metrics"})

_INTENT = re.compile(r"[A-Za-z0-9_-]{1,64}")
_CORRELATION = re.compile(r"[A-Za-z0-9_.:-]{1,64}")
_SETTLE = re.compile(r"/v1/intents/([^/]+)/settle")


class Problem(Exception):
    """An answer other than 200. `is_sent` is False when it is certain that nothing was sent, None when it is not."""

    def __init__(self, status: int, error: str, detail: str, *, is_sent: bool | None = False) -> None:
        super().__init__(detail)
        self.status, self.is_sent = status, is_sent
        self.body = {"error": error, "detail": detail, "sent": is_sent}


class Gateway:
    """What the paths do, in plain data; knows nothing of HTTP but its status numbers."""

    def __init__(self, desk: Desk, worker: Worker, journal: Journal, watch: Watch | None = None) -> None:
        self._desk = desk
        self._worker = worker
        self._journal = journal
        self._watch = watch
        self.meter = desk.meter

    def call(self, function: str, body: Any, timeout_s: float) -> dict[str, Any]:
        """Make one reading."""
        reply = self._run("read", {"calls": [_reading(body, function)]}, timeout_s, _urgency("", [body]))
        (answer,) = reply.pop("results")
        reply.update(answer)
        return reply

    def batch(self, body: Any, timeout_s: float, urgency: str) -> dict[str, Any]:
        """Make several readings as one unit."""
        if not isinstance(body, list) or not 1 <= len(body) <= BATCH_MAX:
            raise Problem(400, "bad_request", f"a batch is a list of 1 to {BATCH_MAX} calls")
        calls = [_reading(entry, entry.get("function") if isinstance(entry, dict) else None) for entry in body]
        reply = self._run("read", {"calls": calls}, timeout_s, _urgency(urgency, calls))
        return reply | {"journal_runs": self._journal.runs(), "journal_trouble": self._journal.trouble}

    def order_send(self, body: Any, timeout_s: float, correlation_id: str) -> dict[str, Any]:
        """Send an intent, or say what became of it before."""
        if not isinstance(body, dict) or not isinstance(body.get("request"), dict):
            raise Problem(400, "bad_request", "the body must hold intent_id and request")
        intent_id = _intent_id(body.get("intent_id"))
        request = plain.arguments(body["request"])
        record = self._journal.receive(intent_id, request, correlation_id=correlation_id)
        if record.state is not State.RECEIVED and record.state is not State.CALLING:
            return sending.as_dict(record, self._journal, now=self._desk.now())
        try:
            urgency = _urgency_of(request)
            if self._watch and self._watch.holds_up(urgency):
                raise Problem(503, "stalled", "a call of the terminal does not end; nothing new is sent")
            return self._run("send", {"intent_id": intent_id, "correlation_id": correlation_id}, timeout_s, urgency)
        except Problem as problem:
            return self._why_not_sent(intent_id, problem)

    def _why_not_sent(self, intent_id: str, problem: Problem) -> dict[str, Any]:
        """Say that nothing was sent only where nothing ever will be: another request with this id may be on its way.

        Returns how the intent stands when it was called after all. Raises: Problem.
        """
        if problem.is_sent is not False:
            raise problem
        record = self._journal.settle(intent_id)
        if record.state is State.TOMBSTONE:
            raise problem
        return sending.as_dict(record, self._journal, now=self._desk.now())

    def reconciled(self, body: Any) -> dict[str, Any]:
        """Take the word that the books were compared with what this generation of workers shows."""
        run, generation = (body.get("run"), body.get("generation")) if isinstance(body, dict) else (None, None)
        if type(run) is not str or type(generation) is not int:
            raise Problem(400, "bad_request", "run must be a text and generation a number")
        self._desk.reconciled(run, generation)
        logs.write("gateway.reconciled", generation=generation, reconcile_first=self._desk.must_reconcile)
        return {
            "run": self._desk.run,
            "generation": self._desk.generation,
            "reconcile_first": self._desk.must_reconcile,
        }

    def settle(self, intent_id: str) -> dict[str, Any]:
        """Say what became of an intent; if it was never called, make sure that it never will be."""
        return sending.as_dict(self._journal.settle(_intent_id(intent_id)), self._journal, now=self._desk.now())

    def health(self) -> dict[str, Any]:
        """Say how the gateway is, without entering the terminal."""
        busy_s = self._worker.busy_s()
        is_well = self._worker.is_alive() and busy_s < DEADLINE_S_DEFAULT and self._desk.identity is not None
        is_well = is_well and not self._journal.trouble
        status = "ok" if is_well and not self._desk.must_reconcile else "degraded"
        if self._watch and self._watch.is_stalled():
            status = "stalled"
        login, server = self._desk.identity or (None, None)
        return {
            "status": status, "busy_s": round(busy_s, 3), "waiting": self._worker.waiting(),
            "calling": self._journal.calling(), "journal": self._journal.trouble or "ok",
            "login": login, "server": server,
            "worker_pid": self._desk.worker_pid, "run": self._desk.run, "generation": self._desk.generation,
            "reconcile_first": self._desk.must_reconcile,
            "kills": self._watch.kills if self._watch else 0,
            "server_tick_time": self._desk.server_tick_time, "gateway_utc": round(self._desk.now(), 6),
        }  # fmt: skip

    def metrics(self) -> str:
        """Return the figures for Prometheus, without entering the terminal."""
        desk, worker, watch = self._desk, self._worker, self._watch
        is_up = worker.is_alive() and desk.identity is not None
        tick = desk.server_tick_time
        offset_s = desk.clock.offset_s
        return desk.meter.page({
            "up": ("Whether the right account was seen in the last reading.", is_up),
            "worker_busy_seconds": ("How long the unit in hand has been running.", worker.busy_s()),
            "worker_generation": ("Which worker in a row serves the terminal.", desk.generation),
            "waiting": ("Units that wait for the terminal.", worker.waiting()),
            "stalled": ("Whether nothing new is sent because a call does not end.", bool(watch and watch.is_stalled())),
            "reconcile_first": ("Whether nothing new is sent before the books were read.", desk.must_reconcile),
            "pause_seconds": ("How long nothing is sent since the broker asked for less.", desk.throttle.left_s()),
            "journal_writable": ("Whether the journal took its last beat.", not self._journal.trouble),
            "intents_calling": ("Trade requests whose outcome nobody knows.", self._journal.calling()),
            "tick_age_seconds": (
                "Age of the newest price seen, by the server's clock; NaN while that is not known.",
                float("nan") if tick is None or offset_s is None else desk.now() + offset_s - tick,
            ),
            "server_offset_seconds": (
                "By how much the server's clock is ahead of UTC; NaN while that is not known.",
                float("nan") if offset_s is None else offset_s,
            ),
        })  # fmt: skip

    def _run(self, unit: str, payload: dict[str, Any], timeout_s: float, urgency: Urgency) -> dict[str, Any]:
        started = time.perf_counter()
        try:
            return self._worker.run(unit, payload, timeout_s=timeout_s, urgency=urgency)
        except Late as exc:
            raise Problem(504, "deadline", str(exc), is_sent=None if exc.has_started else False) from exc
        except Busy as exc:
            raise Problem(503, "busy", str(exc)) from exc
        except TerminalDown as exc:
            raise Problem(503, "terminal_down", str(exc)) from exc
        finally:
            self._desk.meter.time("unit_seconds", time.perf_counter() - started, unit=unit)


def _reading(body: Any, function: object) -> dict[str, Any]:
    if function not in READINGS:
        raise Problem(404, "not_allowed", f"{function!r} is not among the functions of this gateway")
    if not isinstance(body, dict):
        raise Problem(400, "bad_request", "a call is an object with args and kwargs")
    args, kwargs, where = body.get("args", []), body.get("kwargs", {}), body.get("where", {})
    if not isinstance(args, list) or not isinstance(kwargs, dict):
        raise Problem(400, "bad_request", "args must be a list and kwargs an object")
    if not isinstance(where, dict) or not all(isinstance(values, list) for values in where.values()):
        raise Problem(400, "bad_request", "where must give a list of values for each field")
    return {"function": function, "args": args, "kwargs": plain.arguments(kwargs), "where": where}


def _urgency(asked: str, calls: Sequence[dict[str, Any]]) -> Urgency:
    """Return the urgency that the caller gave, or what its calls tell: history is read to reconcile."""
    if asked in {"CLOSE", "PROTECT", "SEND", "QUOTE"}:  # the readings that an order needs are as urgent as the order
        return Urgency[asked]
    is_history = any(str(call.get("function", "")).startswith("history_") for call in calls)
    return Urgency.RECONCILE if is_history else Urgency.QUOTE


def _urgency_of(request: dict[str, Any]) -> Urgency:
    """Return how urgent a send is: what takes risk away goes first."""
    if sending.ends(request):
        return Urgency.CLOSE
    return Urgency.PROTECT if sending.reduces(request) else Urgency.SEND


def _intent_id(value: object) -> str:
    if not isinstance(value, str) or not _INTENT.fullmatch(value):
        raise Problem(400, "bad_request", "intent_id must be 1 to 64 of A-Z a-z 0-9 _ -")
    return value


class Handler(http.server.BaseHTTPRequestHandler):
    """One connection. It authenticates before it reads a body, and answers every request with JSON."""

    protocol_version = "HTTP/1.1"
    server_version = "nexus-gateway"
    sys_version = ""
    disable_nagle_algorithm = True
    wbufsize = -1  # head and body leave in one write
    timeout = IDLE_S
    server: "Server"

    def do_GET(self) -> None:
        """Answer a GET."""
        self._answer(self._get)

    def do_POST(self) -> None:
        """Answer a POST."""
        self._answer(self._post)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name is the base class's
        """Say nothing: what matters is logged where it happens."""

    def _answer(self, work: Callable[[], dict[str, Any] | str]) -> None:
        given = self.headers.get("X-Correlation-ID", "")
        self.correlation_id = given if _CORRELATION.fullmatch(given) else uuid.uuid4().hex
        status, body = 200, dict[str, Any]()
        try:
            self._authenticate()
            answer = work()
            if isinstance(answer, str):
                self._write(status, answer.encode(), metrics.CONTENT_TYPE)
                return
            body = answer
        except Dropped as exc:
            self.close_connection = True
            if exc.answer is not None:
                self._write(status, json.dumps(exc.answer).encode(), is_cut=True)
            return
        except Problem as exc:
            status, body = exc.status, exc.body
            logs.write("gateway.request.refused", correlation_id=self.correlation_id, status=status, **body)
        except sqlite3.Error as exc:
            status, body = 503, {"error": "journal", "detail": f"the journal cannot be used: {exc}", "sent": None}
            logs.write("gateway.request.failed", correlation_id=self.correlation_id, problem=repr(exc))
        except Exception as exc:  # noqa: BLE001 - an answer must say that the outcome is not known
            status, body = 500, {"error": "internal", "detail": type(exc).__name__, "sent": None}
            logs.write("gateway.request.failed", correlation_id=self.correlation_id, problem=repr(exc))
        self._write(status, json.dumps(body).encode())

    def _write(self, status: int, body: bytes, content_type: str = "application/json", *, is_cut: bool = False) -> None:
        self.server.gateway.meter.count("requests_total", path=_path_label(self.path), status=status)
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        if status in {400, 401, 411, 413}:  # the body may still be on its way
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body[: len(body) // 2] if is_cut else body)

    def _authenticate(self) -> None:
        scheme, _, token = self.headers.get("Authorization", "").partition(" ")
        tokens = [self.server.token]
        if self.command == "GET" and self.server.metrics_token:
            tokens.append(self.server.metrics_token)
        matches = [hmac.compare_digest(token.encode(), each.encode()) for each in tokens]
        if not any(matches) or scheme != "Bearer":
            raise Problem(401, "not_authenticated", "a bearer token is required")

    def _get(self) -> dict[str, Any] | str:
        if self.path == "/v1/health":
            return self.server.gateway.health()
        if self.path == "/metrics":
            return self.server.gateway.metrics()
        raise Problem(404, "not_found", "no such path")

    def _post(self) -> dict[str, Any]:
        body, timeout_s = self._body(), self._timeout_s()
        return self.server.wire(self.path, lambda: self._done(body, timeout_s))

    def _done(self, body: Any, timeout_s: float) -> dict[str, Any]:
        gateway = self.server.gateway
        if self.path == "/v1/batch":
            return gateway.batch(body, timeout_s, self.headers.get("X-Urgency", ""))
        if self.path == "/v1/reconciled":
            return gateway.reconciled(body)
        if self.path == "/v1/order_send":
            return gateway.order_send(body, timeout_s, self.correlation_id)
        if self.path.startswith("/v1/call/"):
            return gateway.call(self.path.removeprefix("/v1/call/"), body, timeout_s)
        if match := _SETTLE.fullmatch(self.path):
            return gateway.settle(match[1])
        raise Problem(404, "not_found", "no such path")

    def _body(self) -> Any:
        length = self.headers.get("Content-Length", "")
        if self.headers.get("Transfer-Encoding") or not length.isdecimal():
            raise Problem(411, "length_required", "the length of the body must be given")
        if int(length) > BODY_MAX:
            raise Problem(413, "too_large", f"a body has {BODY_MAX} bytes at most")
        raw = self.rfile.read(int(length))
        try:
            return json.loads(raw or b"{}", parse_constant=_no_constant)
        except (ValueError, RecursionError) as exc:
            raise Problem(400, "bad_request", "the body is not JSON") from exc

    def _timeout_s(self) -> float:
        given = self.headers.get("X-Deadline-Ms", "")
        if not given:
            return DEADLINE_S_DEFAULT
        if not given.isdecimal() or not 0 < int(given) <= 1000 * DEADLINE_S_MAX:
            raise Problem(400, "bad_request", f"X-Deadline-Ms must be 1 to {1000 * DEADLINE_S_MAX:.0f}")
        return int(given) / 1000


def _path_label(path: str) -> str:
    """Return the path as it is counted: names inside it, and paths that do not exist, would be without number."""
    if _SETTLE.fullmatch(path):
        return "/v1/intents/settle"
    if path.startswith("/v1/call/"):
        return "/v1/call"
    return path if path in PATHS else "other"


def _no_constant(name: str) -> object:
    raise ValueError(f"{name} is not JSON")


class Server(http.server.ThreadingHTTPServer):
    """The listening socket; one thread a connection, and no more of them than agreed."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(
        self,
        address: tuple[str, int],
        *,
        gateway: Gateway,
        token: str,
        metrics_token: str = "",
        tls: ssl.SSLContext | None = None,
        wire: Wire = sound,
    ) -> None:
        if ":" in address[0]:
            self.address_family = socket.AF_INET6
        self.gateway = gateway
        self.token = token
        self.wire = wire
        self.metrics_token = metrics_token
        self._tls = tls
        self._places = threading.BoundedSemaphore(CONNECTIONS_MAX)
        super().__init__(address, Handler)

    def server_bind(self) -> None:
        """Bind without asking the name service for our own name, as the base class would.

        Windows gives an address that may be used again to several programs at once, unless one asks to have it alone.
        """
        if hasattr(socket, "SO_EXCLUSIVEADDRUSE"):
            self.allow_reuse_address = False
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_EXCLUSIVEADDRUSE, 1)
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])

    def process_request(self, request: Any, client_address: Any) -> None:
        """Give the connection a thread, or close it when all places are taken."""
        if self._places.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            logs.write("gateway.connection.refused")
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Serve the connection to its end, after its certificate has been seen where one is asked for."""
        try:
            if self._tls is not None:
                request.settimeout(HANDSHAKE_S)
                request = self._tls.wrap_socket(request, server_side=True)
            super().process_request_thread(request, client_address)
        except OSError as exc:
            logs.write("gateway.handshake.refused", problem=str(exc))
            self.shutdown_request(request)
        finally:
            self._places.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Log what broke a connection; its caller sees it closed."""
        logs.write("gateway.connection.broken")
