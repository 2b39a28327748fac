"""Outlive the supervisor, and stop what it started when it dies without a word (kill -9, out of memory).

Runs as a program of its own, with the standard library alone; its one argument is how many seconds a process has to
stop. It reads one fact per line from its standard input: `start PID SIGNAL`, `done PID`, `remove PATH`. The supervisor
holds the other end of that pipe; when the pipe closes, the supervisor is gone, however it went, and whatever is still
listed is stopped, newest first.
"""

import contextlib
import os
import shutil
import signal
import sys
import time

POLL_S = 0.05


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def stop_all(started: dict[int, int], *, grace_s: float) -> None:
    """Ask each process to stop, newest first, and end by force the groups of those that do not within the grace."""
    for pid, stop_signal in reversed(started.items()):
        with contextlib.suppress(OSError):
            os.kill(pid, stop_signal)
    deadline = time.monotonic() + grace_s
    while time.monotonic() < deadline and any(_alive(pid) for pid in started):
        time.sleep(POLL_S)
    for pid in reversed(started):
        with contextlib.suppress(OSError):
            os.killpg(pid, signal.SIGKILL)


def main() -> None:
    """Follow the supervisor's notes until its pipe closes, then clean up."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    started: dict[int, int] = {}
    folders: list[str] = []
    for line in sys.stdin:
        word, _, rest = line.rstrip("\n").partition(" ")
        if word == "start":
            pid, _, stop_signal = rest.partition(" ")
            started[int(pid)] = int(stop_signal)
        elif word == "done":
            started.pop(int(rest), None)
        elif word == "remove":
            folders.append(rest)
    stop_all(started, grace_s=float(sys.argv[1]))
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
