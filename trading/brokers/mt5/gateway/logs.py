"""One JSON line on standard output for everything worth knowing, never with a secret in it."""

import datetime as dt
import json
import sys
import threading

_lock = threading.Lock()


def write(event: str, *, correlation_id: str = "", **fields: object) -> None:
    """Write one line. Only name fields that may be read by anyone who reads logs."""
    line = {"at": dt.datetime.now(dt.UTC).isoformat(timespec="milliseconds"), "event": event, **fields}
    if correlation_id:
        line["correlation_id"] = correlation_id
    text = json.dumps(line, default=str)
    with _lock:
        sys.stdout.write(text + "\n")
        sys.stdout.flush()
