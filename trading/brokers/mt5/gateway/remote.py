"""The terminal in a process of its own, as the gateway sees it: it may hang or die, and can be killed.

The package holds Python's lock while it waits for the terminal: only another process can go on meanwhile, and only a
kill ends the wait.
"""

import contextlib
import json
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from typing import IO, Any

from trading.brokers.mt5.gateway.calls import Answer, Call

LENGTH = struct.Struct(">I")


class TerminalDown(Exception):
    """The terminal cannot be used now; nothing was called. `is_final` when only a person can change that."""

    def __init__(self, detail: str, *, is_final: bool = False) -> None:
        super().__init__(detail)
        self.is_final = is_final


class TerminalLost(TerminalDown):
    """The worker process ended during the calls; any of them may have been made."""


class Remote:
    """One worker process at a time. One thread makes the calls; any thread may kill.

    Takes: `command`, which starts a worker that serves frames on its standard input and output (`worker_process`).
    """

    def __init__(self, command: Sequence[str], *, login: int, server: str) -> None:
        self.login, self.server = login, server
        self.generation = 0  # which worker in a row this is
        self._command = list(command)
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()
        self._ahead_s = 0.0  # by how much the terminal's clock is ahead of ours; an emulator may live in another year

    def make(self, calls: Sequence[Call]) -> list[Answer]:
        """Make the calls with nobody in between, starting a worker if there is none.

        Raises: TerminalDown when the worker cannot open its terminal, TerminalLost when it ended meanwhile.
        """
        process = self._process or self._start()
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            write_frame(process.stdin, [[call.function, call.args, call.kwargs, call.where] for call in calls])
            reply = read_frame(process.stdout)
        except (OSError, ValueError) as exc:
            reply, reason = None, repr(exc)
        else:
            reason = "its pipe is closed"
        if reply is None:
            self._bury(process)
            raise TerminalLost(f"the worker process ended with code {process.returncode}: {reason}")
        self._ahead_s = reply["now"] - time.time()
        return [Answer(*answer) for answer in reply["answers"]]

    def now(self) -> float:
        """Return UTC in seconds by the clock that the terminal's own times follow, without asking it."""
        return time.time() + self._ahead_s

    @property
    def pid(self) -> int | None:
        """Return the worker's process id, None when none runs."""
        process = self._process
        return process.pid if process else None

    def kill(self) -> None:
        """End the worker now, whatever it is doing. What it asked of the terminal may still happen."""
        with self._lock:
            if self._process is not None:
                self._process.kill()

    def close(self) -> None:
        """Let the worker put its terminal away and end."""
        process = self._process
        if process is None:
            return
        assert process.stdin is not None
        with contextlib.suppress(OSError):
            process.stdin.close()
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
        self._bury(process)

    def _start(self) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(  # noqa: S603 - our own program, with no argument from outside
            self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
        )
        assert process.stdout is not None
        with self._lock:
            self._process = process  # from now on it can be killed: opening a terminal may hang too
        try:
            hello = read_frame(process.stdout)
        except (OSError, ValueError):
            hello = None
        if hello is None or "error" in hello:
            process.kill()
            self._bury(process)
            raise TerminalDown(hello["error"] if hello else "the worker process does not start", is_final=bool(hello))
        self.generation += 1
        self._ahead_s = hello["now"] - time.time()
        return process

    def _bury(self, process: subprocess.Popen[bytes]) -> None:
        with self._lock:
            self._process = None
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            assert pipe is not None
            with contextlib.suppress(OSError):
                pipe.close()


def worker_command(config_file: str) -> list[str]:
    """Return the command that starts a worker for the terminal that the file names."""
    return [sys.executable, "-m", "trading.brokers.mt5.gateway", "worker", "--config", config_file]


def write_frame(pipe: IO[bytes], document: Any) -> None:
    """Write one message. Raises: OSError when nobody reads."""
    raw = json.dumps(document, allow_nan=False).encode()
    rest = memoryview(LENGTH.pack(len(raw)) + raw)
    while rest:
        rest = rest[pipe.write(rest) :]


def read_frame(pipe: IO[bytes]) -> Any:
    """Read one message, or None at the end of the pipe."""
    head = _read(pipe, LENGTH.size)
    body = head and _read(pipe, LENGTH.unpack(head)[0])
    return json.loads(body) if body else None


def _read(pipe: IO[bytes], size: int) -> bytes | None:
    parts = []
    while size:
        part = pipe.read(size)
        if not part:
            return None
        parts.append(part)
        size -= len(part)
    return b"".join(parts)
