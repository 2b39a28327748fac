"""Prepared statements straight through libpq, and BEGIN and COMMIT in the same round trip as a statement.

The driver's cursors are made for everything; of a statement of ours they took more of Python's time than binding and
reading its values does. Values are adapted by the driver's own adapters, and errors are the driver's own. Whoever waits
does so without the interpreter's lock, and is bound by the server's timeouts.
"""

import itertools
import select
from collections.abc import Sequence
from typing import Any

import psycopg
from psycopg import pq
from psycopg.adapt import AdaptersMap, PyFormat, Transformer
from psycopg.types.datetime import TimestamptzLoader

Row = tuple[Any, ...]

KNOWN = "_nexus_known"
BEGIN, COMMIT = b"BEGIN", b"COMMIT"
OK = frozenset({pq.ExecStatus.TUPLES_OK, pq.ExecStatus.COMMAND_OK})
TEXT = pq.Format.TEXT


class _Known:
    """What one connection has prepared, and how it adapts values."""

    __slots__ = ("adapters", "adapting", "connection", "names", "numbers")

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        # Django reads each time in Python, to give it the session's zone; the driver's own loader, in C, does too.
        self.adapters = AdaptersMap(connection.adapters)
        self.adapters.register_loader("timestamptz", TimestamptzLoader)
        self.connection = connection
        self.adapting = Transformer(self)
        self.names: dict[tuple[str, tuple[int, ...]], bytes] = {}
        self.numbers = itertools.count()  # none twice: who was interrupted may have prepared it, and kept no name


def run(connection: psycopg.Connection[Any], text: str, values: Sequence[Any], *, commits: bool = False) -> list[Row]:
    """Run a statement with `$1` and on, prepared at its first use, and return its rows.

    Opens a transaction first where the connection wants one. Takes: `commits` to commit it, unless the statement fails.
    Raises: the driver's own errors.
    """
    known: _Known | None = connection.__dict__.get(KNOWN)
    if known is None:  # kept by the connection itself: it refers back to it, and both end together
        known = connection.__dict__[KNOWN] = _Known(connection)
    wire: Any = connection.pgconn
    adapting = known.adapting
    bound = adapting.dump_sequence(values, [PyFormat.AUTO] * len(values)) if values else []
    types, formats = (adapting.types or (), adapting.formats) if values else ((), ())
    name = known.names.get((text, types))
    if name is None:
        name = f"nexus_{next(known.numbers)}".encode()
        _checked(wire, wire.prepare(name, text.encode(), types))
        known.names[(text, types)] = name
    begins = not connection.autocommit and wire.transaction_status == pq.TransactionStatus.IDLE
    if begins or commits:
        result = _together(connection, name, bound, formats, begins=begins, commits=commits)
    else:
        result = _checked(wire, wire.exec_prepared(name, bound, formats, TEXT))
    if result.status != pq.ExecStatus.TUPLES_OK:
        return []
    adapting.set_pgresult(result, format=TEXT)
    return adapting.load_rows(0, result.ntuples, tuple)


def _together(
    connection: psycopg.Connection[Any],
    name: bytes,
    bound: Sequence[Any],
    formats: Any,
    *,
    begins: bool,
    commits: bool,
) -> Any:
    """Send the statement with what comes before and after it; what follows a failure is skipped by the server."""
    wire: Any = connection.pgconn
    try:
        wire.enter_pipeline_mode()
        if begins:
            wire.send_query_params(BEGIN, None)
        wire.send_query_prepared(name, bound, formats, TEXT)
        if commits:
            wire.send_query_params(COMMIT, None)
        wire.pipeline_sync()
        results = _until_sync(wire)
        wire.exit_pipeline_mode()
    except BaseException:  # also an interruption: half an answer is of no use to whoever comes next
        connection.close()
        raise
    for each in results:
        _checked(wire, each)
    return results[1 if begins else 0]


def _until_sync(wire: Any) -> list[Any]:
    """Return what the server answered to each of what was sent. Waits without the interpreter's lock."""
    results: list[Any] = []
    arrival = select.poll()
    arrival.register(wire.socket, select.POLLIN | select.POLLOUT)
    while wire.flush():
        arrival.poll()
        wire.consume_input()
    arrival.modify(wire.socket, select.POLLIN)
    while True:
        while wire.is_busy():
            arrival.poll()
            wire.consume_input()
        result = wire.get_result()
        if result is None:  # the end of one statement's answers
            if wire.status != pq.ConnStatus.OK:
                raise psycopg.OperationalError(wire.get_error_message())
            continue
        if result.status == pq.ExecStatus.PIPELINE_SYNC:
            return results
        results.append(result)


def _checked(wire: Any, result: Any) -> Any:
    if result.status in OK:
        return result
    # An error without a code is not the server's. The status alone does not tell: of a server that crashed and was able
    # to say so before we asked, the client library still believes the connection to be well.
    if wire.status != pq.ConnStatus.OK or result.error_field(pq.DiagnosticField.SQLSTATE) is None:
        raise psycopg.OperationalError(wire.get_error_message())
    raise psycopg.errors.error_from_result(result)
