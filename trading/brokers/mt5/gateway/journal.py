"""The gateway's memory of every intent: what was asked, whether the terminal was called, what it answered.

One SQLite file, every change on disk before anything else happens, but for one: that an intent was received is on disk
with the change after it, at the latest the one that takes the right to call. What is lost before that was never called,
and nothing at all means the same.

An intent moves RECEIVED → CALLING → RESULT, or RECEIVED → REFUSED (never called, final), or RECEIVED or nothing →
TOMBSTONE (never called, and never will be). What ended long ago becomes FORGOTTEN: its words are gone, its name can
never be used again. No other move exists, so an intent is called at most once, crashes included.
"""

import json
import secrets
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

ALONE_WAIT_S = 5.0  # one that is stopping just now lets go of it
RUNS_TOLD = 32  # of the gateway; more cannot begin between two looks of the control plane

_SCHEMA = """
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS runs (run TEXT PRIMARY KEY, beats INTEGER NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS clock (offset_s INTEGER NOT NULL, since REAL NOT NULL, seen REAL NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS intents (
    intent_id TEXT PRIMARY KEY,
    state TEXT NOT NULL CHECK (state IN ('RECEIVED', 'CALLING', 'RESULT', 'REFUSED', 'TOMBSTONE', 'FORGOTTEN')),
    request TEXT,
    reply TEXT,
    correlation_id TEXT NOT NULL DEFAULT '',
    received_at REAL,
    called_at REAL,
    called_utc REAL,
    done_at REAL,
    CHECK ((state IN ('RESULT', 'REFUSED')) = (reply IS NOT NULL)),
    CHECK ((state IN ('CALLING', 'RESULT')) = (called_at IS NOT NULL))
) STRICT;
CREATE INDEX IF NOT EXISTS intents_called_at ON intents (called_at);
CREATE INDEX IF NOT EXISTS intents_calling ON intents (state) WHERE state = 'CALLING';
CREATE INDEX IF NOT EXISTS intents_done_at ON intents (done_at) WHERE reply IS NOT NULL OR state = 'TOMBSTONE';
"""
# A file of before intents could be forgotten has a narrower check.
_WIDEN = """
ALTER TABLE intents RENAME TO intents_before;
DROP INDEX intents_called_at;
DROP INDEX intents_calling;
"""
_WIDENED = "INSERT INTO intents SELECT * FROM intents_before; DROP TABLE intents_before;"


class Taken(Exception):
    """Somebody else has this journal."""


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """Keep every other process from this journal, for as long as this one lives. Raises: Taken.

    Two gateways on one journal would keep each intent to one call, and know nothing of each other's pauses, limits and
    terminals. The lock is the file's beside it: whoever dies lets go of it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = sqlite3.connect(path.with_name(f"{path.name}.lock"), isolation_level=None, timeout=ALONE_WAIT_S)
    try:
        try:
            lock.execute("BEGIN EXCLUSIVE")
        except sqlite3.OperationalError as exc:
            raise Taken(f"{path} is used by another gateway, or by a probe") from exc
        yield
    finally:
        lock.close()


class State(StrEnum):
    """Where an intent stands."""

    RECEIVED = "RECEIVED"
    CALLING = "CALLING"
    RESULT = "RESULT"
    REFUSED = "REFUSED"
    TOMBSTONE = "TOMBSTONE"
    FORGOTTEN = "FORGOTTEN"


@dataclass(frozen=True, slots=True)
class Record:
    """One intent. `called_utc` is the terminal's own clock, which an emulator may have set to another year."""

    state: State
    request: dict[str, Any] | None = None
    reply: dict[str, Any] | None = None
    called_utc: float | None = None


class Journal:
    """The file. Safe to share between threads; each method is one transaction, and on disk when it returns.

    `receive` alone does not wait for the disk.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = threading.Lock()
        self.trouble = ""
        self._database = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=5)
        self._database.execute("PRAGMA journal_mode = WAL")
        self._database.execute("PRAGMA synchronous = FULL")
        is_old = self._database.execute(
            "SELECT 1 FROM sqlite_schema WHERE name = 'intents' AND sql NOT LIKE '%FORGOTTEN%'"
        ).fetchone()
        before, after = (_WIDEN, _WIDENED) if is_old else ("", "")
        self._database.executescript(f"BEGIN IMMEDIATE; {before} {_SCHEMA} {after} COMMIT")
        self._database.execute("INSERT OR IGNORE INTO meta VALUES ('created_at', ?)", (repr(time.time()),))
        (created_at,) = self._database.execute("SELECT value FROM meta WHERE key = 'created_at'").fetchone()
        self.created_at = float(created_at)
        self._run = secrets.token_hex(8)
        self._database.execute("INSERT INTO runs VALUES (?, 0)", (self._run,))
        newest = self._database.execute("SELECT run, beats FROM runs ORDER BY rowid DESC LIMIT ?", (RUNS_TOLD,))
        self._runs: dict[str, int] = dict(reversed(newest.fetchall()))

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._database.close()

    def beat(self) -> None:
        """Note that time has passed: an older copy of this file that is put back one day shows that it is older.

        What keeps it from being written is in `trouble` until the next beat. Raises: sqlite3.Error.
        """
        with self._lock:
            try:
                self._database.execute("UPDATE runs SET beats = beats + 1 WHERE run = ?", (self._run,))
            except sqlite3.Error as exc:
                self.trouble = str(exc)
                raise
            self.trouble = ""
            self._runs = {**self._runs, self._run: self._runs[self._run] + 1}

    def runs(self) -> dict[str, int]:
        """Return the gateway's last runs with this journal and how often each has beaten, the one that lasts last.

        Whoever has seen a run go further than this has seen another journal, or what came after this copy was made.
        """
        return self._runs

    def find(self, intent_id: str) -> Record | None:
        """Return what is known of the intent."""
        with self._lock:
            return self._find(intent_id)

    def receive(self, intent_id: str, request: dict[str, Any], *, correlation_id: str) -> Record:
        """Note the intent, or return how it stands. One that was received and never called takes the new request."""
        with self._lock, self._unhurried():
            self._database.execute(
                "INSERT INTO intents (intent_id, state, request, correlation_id, received_at)"
                " VALUES (?, 'RECEIVED', ?, ?, ?) ON CONFLICT (intent_id) DO UPDATE SET request = excluded.request,"
                " correlation_id = excluded.correlation_id WHERE state = 'RECEIVED'",
                (intent_id, json.dumps(request), correlation_id, time.time()),
            )
            record = self._find(intent_id)
        assert record is not None
        return record

    def claim(self, intent_id: str, request: dict[str, Any], *, called_utc: float) -> bool:
        """Take the one right to call the terminal for this intent, and only with the request that was checked."""
        with self._lock:
            claimed = self._database.execute(
                "UPDATE intents SET state = 'CALLING', called_at = ?, called_utc = ?"
                " WHERE intent_id = ? AND request = ? AND state = 'RECEIVED'",
                (time.time(), called_utc, intent_id, json.dumps(request)),
            ).rowcount
        return claimed == 1

    def finish(self, intent_id: str, reply: dict[str, Any]) -> None:
        """Record the terminal's answer, whatever it was, before anyone hears of it."""
        self._answer(intent_id, reply, came_from=State.CALLING, to=State.RESULT)

    def refuse(self, intent_id: str, reply: dict[str, Any]) -> None:
        """Record that the intent was refused before any call, for good."""
        self._answer(intent_id, reply, came_from=State.RECEIVED, to=State.REFUSED)

    def settle(self, intent_id: str) -> Record:
        """Say how the intent stands; one that was never called can never be called afterwards."""
        with self._lock:
            self._database.execute(
                "INSERT INTO intents (intent_id, state, done_at) VALUES (?, 'TOMBSTONE', ?)"
                " ON CONFLICT (intent_id) DO UPDATE SET state = 'TOMBSTONE', done_at = excluded.done_at"
                " WHERE state = 'RECEIVED'",
                (intent_id, time.time()),
            )
            record = self._find(intent_id)
        assert record is not None
        return record

    def orders_since(self, at: float) -> int:
        """Count the calls made since `at` that may have added risk: no closes, no cancels, no stops."""
        with self._lock:
            (count,) = self._database.execute(
                "SELECT count(*) FROM intents WHERE called_at > ? AND json_extract(request, '$.action') IN (1, 5, 7)"
                " AND json_extract(request, '$.position') IS NULL",
                (at,),
            ).fetchone()
        return int(count)

    def calling(self) -> int:
        """Count the intents whose outcome nobody knows."""
        with self._lock:
            (count,) = self._database.execute("SELECT count(*) FROM intents WHERE state = 'CALLING'").fetchone()
        return int(count)

    def forget(self, *, done_before: float, at_most: int = 1000) -> int:
        """Let go of the words of intents that ended before then, and return how many. Names are kept for ever."""
        with self._lock:
            return self._database.execute(
                "UPDATE intents SET state = 'FORGOTTEN', request = NULL, reply = NULL, called_at = NULL"
                " WHERE rowid IN (SELECT rowid FROM intents WHERE done_at < ?"
                " AND (reply IS NOT NULL OR state = 'TOMBSTONE') LIMIT ?)",
                (done_before, at_most),
            ).rowcount

    def note_offset(self, offset_s: int, *, at: float) -> bool:
        """Note by how much the server was seen to be ahead of UTC; tell whether that has changed."""
        with self._lock:
            last = self._offset()
            if last is not None and last[0] == offset_s:
                self._database.execute("UPDATE clock SET seen = ? WHERE rowid = (SELECT max(rowid) FROM clock)", (at,))
                return False
            self._database.execute("INSERT INTO clock VALUES (?, ?, ?)", (offset_s, at, at))
        return last is not None

    def offset(self) -> tuple[int, float] | None:
        """Return the server's last known offset and when it was last seen."""
        with self._lock:
            return self._offset()

    def note_pause(self, row: int, *, until: float) -> None:
        """Keep until when the broker wants to be left alone, in UTC, and the how manieth pause in a row that is."""
        with self._lock:
            self._database.execute("INSERT OR REPLACE INTO meta VALUES ('pause', ?)", (json.dumps([row, until]),))

    def pause(self) -> tuple[int, float]:
        """Return what `note_pause` kept last; no pause, where it never did."""
        with self._lock:
            found = self._database.execute("SELECT value FROM meta WHERE key = 'pause'").fetchone()
        row, until = json.loads(found[0]) if found else (0, 0)
        return int(row), float(until)

    @contextmanager
    def _unhurried(self) -> Iterator[None]:
        """Leave it to the next change to bring this one to the disk: each wait for the disk is a wait of the order."""
        self._database.execute("PRAGMA synchronous = NORMAL")
        try:
            yield
        finally:
            self._database.execute("PRAGMA synchronous = FULL")

    def _offset(self) -> tuple[int, float] | None:
        row = self._database.execute("SELECT offset_s, seen FROM clock ORDER BY rowid DESC LIMIT 1").fetchone()
        return None if row is None else (int(row[0]), float(row[1]))

    def _answer(self, intent_id: str, reply: dict[str, Any], *, came_from: State, to: State) -> None:
        with self._lock:
            changed = self._database.execute(
                "UPDATE intents SET state = ?, reply = ?, done_at = ? WHERE intent_id = ? AND state = ?",
                (to, json.dumps(reply), time.time(), intent_id, came_from),
            ).rowcount
        if not changed:
            raise LookupError(f"intent {intent_id} is not {came_from}")

    def _find(self, intent_id: str) -> Record | None:
        row = self._database.execute(
            "SELECT state, request, reply, called_utc FROM intents WHERE intent_id = ?", (intent_id,)
        ).fetchone()
        if row is None:
            return None
        state, request, reply, called_utc = row
        return Record(State(state), request and json.loads(request), reply and json.loads(reply), called_utc)
