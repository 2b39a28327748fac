"""One JSON line on standard output for everything worth knowing, and in a file where one is wanted; never a secret."""

import contextlib
import datetime as dt
import json
import sys
import threading
from logging import LogRecord
from logging.handlers import RotatingFileHandler
from pathlib import Path

FILE_BYTES, FILES_KEPT = 10 * 1024 * 1024, 10

_lock = threading.Lock()
_files: list[RotatingFileHandler] = []


def keep(path: Path) -> None:
    """Write every line into this file too, from now on; it is let go in pieces. Raises: OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    _files[:] = [RotatingFileHandler(path, maxBytes=FILE_BYTES, backupCount=FILES_KEPT, encoding="utf-8")]


def let_go() -> None:
    """Close the file."""
    while _files:
        _files.pop().close()


def write(event: str, *, correlation_id: str = "", **fields: object) -> None:
    """Write one line. Only name fields that may be read by anyone who reads logs."""
    line = {"at": dt.datetime.now(dt.UTC).isoformat(timespec="milliseconds"), "event": event, **fields}
    if correlation_id:
        line["correlation_id"] = correlation_id
    text = json.dumps(line, default=str)
    with _lock, contextlib.suppress(OSError):  # a full disk or a closed window ends no gateway; the file has the line
        sys.stdout.write(text + "\n")
        sys.stdout.flush()
    for file in _files:
        file.handle(LogRecord("gateway", 0, "", 0, text, None, None))
