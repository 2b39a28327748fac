"""Keep a broker's books in one SQLite file: what was answered is what was committed.

The file is held exclusively while the broker is open: one writer. Deals are append only, by trigger, and so is what
takes one back.
"""

import json
import sqlite3
from collections.abc import Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar

from trading.brokers.mt5.emulator.faults import Fault
from trading.brokers.mt5.emulator.records import Cancellation, Deal, Order, Position, Tick, WorkingOrder

SCHEMA_VERSION = "3"
OLDER_SCHEMAS = frozenset({"1", "2"})  # lacked columns and tables that may begin empty
WIDE = frozenset({"magic"})  # unsigned 64 bits do not fit an SQLite integer: kept as text
Row = Deal | Cancellation | Order | WorkingOrder | Position | Tick
R = TypeVar("R", Deal, Cancellation, Order, WorkingOrder, Position, Tick)
TABLES: dict[type[Row], str] = {
    Deal: "deals",
    Cancellation: "cancellations",
    Order: "orders",
    WorkingOrder: "working",
    Position: "positions",
    Tick: "ticks",
}
KEYS = {table: "symbol, number" if table == "ticks" else "ticket" for table in TABLES.values()}
REPLACED = (Position, WorkingOrder)


class StoreBusyError(RuntimeError):
    """Say that another process holds the broker's file."""


class StoreMismatchError(RuntimeError):
    """Say that a file was made by another version, seed or configuration."""


@dataclass(slots=True)
class Changes:
    """Everything that one commit writes."""

    now_us: int
    meta: dict[str, str] = field(default_factory=dict)
    rows: list[Row] = field(default_factory=list)
    removed_positions: tuple[int, ...] = ()
    removed_orders: tuple[int, ...] = ()
    balances: dict[int, int] = field(default_factory=dict)
    new_accounts: dict[int, str] = field(default_factory=dict)
    request: tuple[int, int, str, str] | None = None  # login, time, request, answer
    faults: list[Fault] = field(default_factory=list)
    fault_log: tuple[int, int, str, str] | None = None  # fault, time, function, request


class Store:
    """Read and write one broker's file."""

    def __init__(self, path: Path | str) -> None:
        """Open or create the file. Raises: StoreBusyError, StoreMismatchError."""
        self._sql = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=0.2)
        try:
            for pragma in ("locking_mode=EXCLUSIVE", "journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
                self._sql.execute(f"PRAGMA {pragma}")
            self._sql.execute("BEGIN IMMEDIATE")
            for statement in _schema():
                self._sql.execute(statement)
            self._sql.execute("INSERT OR IGNORE INTO meta VALUES ('schema', ?)", (SCHEMA_VERSION,))
            if self.meta()["schema"] in OLDER_SCHEMAS:
                self._add_columns()
            self._sql.execute("COMMIT")
        except sqlite3.OperationalError as exc:
            self._sql.close()
            raise StoreBusyError(f"{path}: {exc}") from exc
        schema = self.meta()["schema"]
        if schema != SCHEMA_VERSION:
            self._sql.close()
            raise StoreMismatchError(f"{path} has schema {schema}, not {SCHEMA_VERSION}")

    def copy_to(self, path: str) -> None:
        """Write everything into another file."""
        with closing(sqlite3.connect(path)) as target:
            self._sql.backup(target)

    def copy_from(self, path: str) -> None:
        """Replace everything by what a file holds, if that was founded as this one was.

        Raises: StoreMismatchError, and nothing has changed.
        """
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as source:
            theirs = dict(source.execute("SELECT key, value FROM meta WHERE key IN ('schema', 'fingerprint')"))
            ours = self.meta()
            if any(theirs.get(key) != ours[key] for key in ("schema", "fingerprint")):
                raise StoreMismatchError(f"{path} is no snapshot of this broker")
            source.backup(self._sql)

    def _add_columns(self) -> None:
        """Bring a file of an older version up to this one: new columns begin empty."""
        for kind, table in TABLES.items():
            known = {row[1] for row in self._sql.execute(f"PRAGMA table_info({table})")}
            for name in _names(kind):
                if name not in known:
                    start = 1 if name == "levels" else 0
                    self._sql.execute(f"ALTER TABLE {table} ADD COLUMN {name} INTEGER NOT NULL DEFAULT {start}")
        self._sql.execute("UPDATE meta SET value = ? WHERE key = 'schema'", (SCHEMA_VERSION,))

    def close(self) -> None:
        """Let go of the file."""
        self._sql.close()

    def meta(self) -> dict[str, str]:
        """Return the broker's own values."""
        return dict(self._sql.execute("SELECT key, value FROM meta"))

    def accounts(self) -> dict[int, tuple[str, int]]:
        """Return founding text and balance by login."""
        rows = self._sql.execute("SELECT login, founding, balance FROM accounts ORDER BY login")
        return {login: (founding, balance) for login, founding, balance in rows}

    def load(self, kind: type[R]) -> list[R]:
        """Return all rows of one kind in the order of their key."""
        table = TABLES[kind]
        names = [each.name for each in fields(kind)]
        rows = self._sql.execute(f"SELECT {', '.join(names)} FROM {table} ORDER BY {KEYS[table]}")  # noqa: S608  # nosec B608  # our own names
        wide = [index for index, name in enumerate(names) if name in WIDE]
        return [kind(*_widened(row, wide)) for row in rows]

    def faults(self) -> list[Fault]:
        """Return the fault plan with its counters."""
        return [Fault(**json.loads(body)) for (body,) in self._sql.execute("SELECT body FROM faults ORDER BY id")]

    def fault_log(self) -> list[dict[str, Any]]:
        """Return every fired fault with the request that it hit."""
        rows = self._sql.execute("SELECT fault, time_us, function, request FROM fault_log ORDER BY id")
        return [dict(zip(("fault", "time_us", "function", "request"), row, strict=True)) for row in rows]

    def requests(self, since_us: int = 0) -> list[tuple[int, int, str, str]]:
        """Return login, time, request and answer of the requests after an instant."""
        query = "SELECT login, time_us, request, answer FROM requests WHERE time_us > ? ORDER BY id"
        return list(self._sql.execute(query, (since_us,)))

    def selected(self, terminal: str) -> frozenset[str]:
        """Return the symbols in a terminal's Market Watch."""
        rows = self._sql.execute("SELECT symbol FROM selected WHERE terminal = ?", (terminal,))
        return frozenset(symbol for (symbol,) in rows)

    def select(self, terminal: str, symbol: str, *, enable: bool) -> None:
        """Put a symbol into a terminal's Market Watch, or take it out."""
        if enable:
            self._sql.execute("INSERT OR IGNORE INTO selected VALUES (?, ?)", (terminal, symbol))
        else:
            self._sql.execute("DELETE FROM selected WHERE terminal = ? AND symbol = ?", (terminal, symbol))

    def commit(self, changes: Changes) -> None:
        """Write everything or nothing; on return it is on the disk."""
        self._sql.execute("BEGIN IMMEDIATE")
        try:
            self._write(changes)
            self._sql.execute("COMMIT")
        except BaseException:
            self._sql.execute("ROLLBACK")
            raise

    def _write(self, changes: Changes) -> None:
        run, many = self._sql.execute, self._sql.executemany
        many("INSERT OR REPLACE INTO meta VALUES (?, ?)", [*changes.meta.items(), ("now_us", str(changes.now_us))])
        many("INSERT INTO accounts VALUES (?, ?, 0)", changes.new_accounts.items())
        many("DELETE FROM positions WHERE ticket = ?", [(ticket,) for ticket in changes.removed_positions])
        many("DELETE FROM working WHERE ticket = ?", [(ticket,) for ticket in changes.removed_orders])
        for row in changes.rows:
            verb = "INSERT OR REPLACE" if isinstance(row, REPLACED) else "INSERT"
            names = _names(type(row))
            values = [str(getattr(row, name)) if name in WIDE else getattr(row, name) for name in names]
            columns, marks = ", ".join(names), ", ".join("?" * len(names))
            run(f"{verb} INTO {TABLES[type(row)]} ({columns}) VALUES ({marks})", values)
        many(
            "UPDATE accounts SET balance = ? WHERE login = ?",
            [(balance, login) for login, balance in changes.balances.items()],
        )
        if changes.request:
            run("INSERT INTO requests (login, time_us, request, answer) VALUES (?, ?, ?, ?)", changes.request)
        many("INSERT OR REPLACE INTO faults VALUES (?, ?)", [(fault.id, _body(fault)) for fault in changes.faults])
        if changes.fault_log:
            run("INSERT INTO fault_log (fault, time_us, function, request) VALUES (?, ?, ?, ?)", changes.fault_log)


def _widened(row: tuple[Any, ...], wide: Iterable[int]) -> list[Any]:
    values = list(row)
    for index in wide:
        values[index] = int(values[index])
    return values


def _body(fault: Fault) -> str:
    values: Mapping[str, object] = {each.name: getattr(fault, each.name) for each in fields(fault)}
    return json.dumps(values, sort_keys=True)


FIXED_SCHEMA = """
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS accounts (login INTEGER PRIMARY KEY, founding TEXT NOT NULL, balance INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS requests (id INTEGER PRIMARY KEY, login INTEGER NOT NULL REFERENCES accounts,
    time_us INTEGER NOT NULL, request TEXT NOT NULL, answer TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS requests_by_time ON requests (time_us);
CREATE TABLE IF NOT EXISTS selected (terminal TEXT, symbol TEXT, PRIMARY KEY (terminal, symbol));
CREATE TABLE IF NOT EXISTS faults (id INTEGER PRIMARY KEY, body TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS fault_log (id INTEGER PRIMARY KEY, fault INTEGER NOT NULL, time_us INTEGER NOT NULL,
    function TEXT NOT NULL, request TEXT NOT NULL);
"""
REFUSE = "BEGIN SELECT RAISE(ABORT, 'deals are append only'); END"
APPEND_ONLY = tuple(
    f"CREATE TRIGGER IF NOT EXISTS {table}_never_{what} BEFORE {verb} ON {table} {REFUSE}"
    for table in ("deals", "cancellations")
    for what, verb in (("change", "UPDATE"), ("go", "DELETE"))
)


def _schema() -> list[str]:
    """Return the statements that make an empty file; the tables of records have the columns of their class."""
    tables = [
        f"CREATE TABLE IF NOT EXISTS {table}"
        f" ({', '.join(_column(kind, name) for name in _names(kind))}, PRIMARY KEY ({KEYS[table]}))"
        for kind, table in TABLES.items()
    ]
    return [*(text for text in FIXED_SCHEMA.split(";") if text.strip()), *tables, *APPEND_ONLY]


def _names(kind: type[Row]) -> list[str]:
    return [each.name for each in fields(kind)]


def _column(kind: type[Row], name: str) -> str:
    declared = next(each.type for each in fields(kind) if each.name == name)
    holds = "TEXT" if name in WIDE or declared is str else "INTEGER"
    owner = " REFERENCES accounts" if name == "login" else ""
    return f"{name} {holds} NOT NULL{owner}"
