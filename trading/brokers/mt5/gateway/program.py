"""The gateway's life: open, connect, serve, and stop cleanly when told to."""

import signal
import sqlite3
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from trading.brokers.mt5.gateway import bridge, logs
from trading.brokers.mt5.gateway import journal as journals
from trading.brokers.mt5.gateway.config import BadConfig, Config
from trading.brokers.mt5.gateway.desk import Desk
from trading.brokers.mt5.gateway.journal import Journal
from trading.brokers.mt5.gateway.remote import Remote, TerminalDown
from trading.brokers.mt5.gateway.sending import Sender
from trading.brokers.mt5.gateway.server import Gateway, Server
from trading.brokers.mt5.gateway.watch import Watch
from trading.brokers.mt5.gateway.worker import Late, Worker

FIRST_CONNECT_S = 90.0
STOP_S = 10.0
FORGET_EVERY_S = 3600.0
BEAT_EVERY_S = 10.0  # of the journal
SIGNAL_POLL_S = 0.25


def serve(config: Config, worker_command: Sequence[str]) -> int:
    """Serve until SIGTERM or SIGINT. Raises: BadConfig when the terminal or the address will never do.

    Takes: `worker_command`, which starts the process that owns the terminal.
    """
    with alone(config):
        return _serve(config, worker_command)


@contextmanager
def alone(config: Config) -> Iterator[None]:
    """Be the only one with this journal, and keep the log where one is wanted. Raises: BadConfig."""
    with ExitStack() as stack:
        stack.callback(logs.let_go)
        try:
            stack.enter_context(journals.alone(config.journal))
            if config.log is not None:
                logs.keep(config.log)
        except journals.Taken as exc:
            raise BadConfig(f"journal: {exc}") from exc
        except (OSError, sqlite3.Error) as exc:
            raise BadConfig(f"journal or log: cannot be opened ({exc})") from exc
        yield


def _serve(config: Config, worker_command: Sequence[str]) -> int:
    asked_to_stop = threading.Event()
    for name in ("SIGTERM", "SIGINT", "SIGBREAK"):  # the last one is how Windows stops a console program
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), lambda *_: asked_to_stop.set())
    journal = _open_journal(config)
    desk = Desk(Remote(worker_command, login=config.terminal.login, server=config.terminal.server))
    worker = assemble(desk, journal, config)
    watch = Watch(desk, worker, config.watchdog)
    try:
        _connect(worker)
        server = _listen(config, Gateway(desk, worker, journal, watch))
        listener = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1}, name="listener")
        listener.start()
        logs.write("gateway.started", host=config.host, port=server.server_port, calling=journal.calling())
        forget_at = beat_at = time.monotonic()
        while not asked_to_stop.wait(SIGNAL_POLL_S):  # Windows delivers no signal to a wait without an end
            if time.monotonic() >= beat_at:
                with _lasting("beat"):
                    journal.beat()
                beat_at = time.monotonic() + BEAT_EVERY_S
            if time.monotonic() >= forget_at:
                forget_at = time.monotonic() + FORGET_EVERY_S
                with _lasting("forgetting"):
                    forgotten = journal.forget(done_before=time.time() - 86_400 * config.journal_days)
                    forget_at -= FORGET_EVERY_S if forgotten else 0
        server.shutdown()
        server.server_close()
    finally:
        watch.close()
        has_stopped = worker.close(timeout_s=STOP_S)
        logs.write("gateway.stopped", terminal_released=has_stopped)
        if has_stopped:
            journal.close()
        else:
            desk.kill()
    return 0 if has_stopped else 1


@contextmanager
def _lasting(what: str) -> Iterator[None]:
    """Go on although the journal cannot be written: a disk that takes no more refuses orders, and hides no account."""
    try:
        yield
    except sqlite3.Error as exc:
        logs.write("gateway.journal.not_written", level="warning", what=what, problem=repr(exc))


def assemble(desk: Desk, journal: Journal, config: Config) -> Worker:
    """Give the terminal its one thread, and the units that may run there."""
    desk.keep_clock(journal, symbols=config.limits.symbols)
    sender = Sender(desk, journal, config.limits)

    def connect() -> dict[str, Any]:
        desk.verify()
        return {}

    units: dict[str, Callable[..., dict[str, Any]]] = {
        "connect": connect,
        "read": desk.read,
        "send": sender.send,
        "beat": desk.beat,
    }
    return Worker(units, stop=desk.close)


def _connect(worker: Worker) -> None:
    try:
        worker.run("connect", {}, timeout_s=FIRST_CONNECT_S)
    except TerminalDown as exc:
        if exc.is_final:
            raise BadConfig(f"terminal: {exc}") from exc
        logs.write("gateway.terminal.not_ready", detail=str(exc))  # it may come; until then every caller is told
    except Late:
        logs.write("gateway.terminal.not_ready", detail="the first connection takes long")


def _open_journal(config: Config) -> Journal:
    try:
        return Journal(config.journal)
    except (OSError, sqlite3.Error) as exc:
        raise BadConfig(f"journal: {config.journal} cannot be opened ({exc})") from exc


def _listen(config: Config, gateway: Gateway) -> Server:
    tls = None
    if config.tls is not None:
        try:
            tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            tls.minimum_version = ssl.TLSVersion.TLSv1_2
            tls.load_cert_chain(config.tls.cert, config.tls.key)
            tls.load_verify_locations(config.tls.client_ca)
            tls.verify_mode = ssl.CERT_REQUIRED
        except OSError as exc:
            raise BadConfig(f"tls: the certificates cannot be used ({exc})") from exc
    address = (config.host, config.port)
    try:
        return Server(
            address, gateway=gateway, token=config.token, metrics_token=config.metrics_token, tls=tls,
            wire=bridge.of_terminal(config.terminal),
        )  # fmt: skip
    except OSError as exc:
        raise BadConfig(f"listen: {config.host}:{config.port} cannot be bound ({exc.strerror})") from exc
