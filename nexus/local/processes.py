"""Start child processes, watch them, and stop every one of them, whatever happens to us.

Each child leads a session of its own, writes to a log file of its own, and tells the guard (`guard.py`) its number
before it becomes the real program, so that no instant exists at which a killed supervisor leaves it behind.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import FrameType, TracebackType
from typing import Self

from nexus.local import guard

POLL_S = 0.1
KILL_WAIT_S = 5.0
LOG_BYTES_MAX = 32 * 1024 * 1024
LOG_TAIL_LINES = 20

# The shell says its own number on its standard output, which is the guard's pipe; then it becomes the program, with its
# standard output where its standard error already goes: the log. Nothing of the pipe remains in the program.
_ANNOUNCE = 'echo "start $$ $1" || exit 75; shift; exec "$@" >&2'


class ChildFailed(Exception):
    """A child process ended when it should not have, or ended badly."""


class StopRequested(BaseException):
    """Someone asked us to stop: Ctrl-C, a TERM, a closed terminal, or the parent that started us is gone."""


@dataclass(frozen=True)
class RunAs:
    """The user a child runs as, when we are root and it must not be."""

    uid: int
    gid: int
    name: str


@dataclass
class Child:
    """One running program and how to stop it."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path
    stop_signal: signal.Signals
    stop_timeout_s: float
    is_foundation: bool = False
    restart: Callable[[], "Child"] | None = None

    def tail(self) -> str:
        """Return the last lines that the child wrote, indented, for an error message."""
        lines = self.log.read_text(errors="replace").splitlines()[-LOG_TAIL_LINES:] if self.log.exists() else []
        return "\n".join(f"    {line}" for line in lines) or "    (it wrote nothing)"

    def failure(self) -> ChildFailed:
        """Describe how the child ended, with its last words."""
        code = self.process.returncode
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
        return ChildFailed(f"{self.name} {how}. The end of {self.log}:\n{self.tail()}")


class Supervisor:
    """Own a set of child processes for the length of a `with` block; none of them outlives it."""

    def __init__(self, *, logs: Path, guard_grace_s: float = 8.0) -> None:
        self.logs = logs
        self._guard_grace_s = guard_grace_s
        self.children: list[Child] = []
        self._stopping = False
        self._previous: dict[int, object] = {}
        self._parent = os.getppid()

    def __enter__(self) -> Self:
        """Start the guard before any child, so that there is no child without a guard."""
        self.logs.mkdir(parents=True, exist_ok=True, mode=0o700)
        reader, self._pipe = os.pipe()
        self._guard = subprocess.Popen(
            [sys.executable, "-I", "-S", str(Path(guard.__file__).absolute()), str(self._guard_grace_s)],
            stdin=reader,
            start_new_session=True,
            cwd="/",
        )
        os.close(reader)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop everything, then let the guard go."""
        self.stop()
        os.close(self._pipe)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._guard.wait(timeout=KILL_WAIT_S)
        for number, handler in self._previous.items():
            signal.signal(number, handler)  # type: ignore[arg-type]  # it came from signal.signal itself

    def handle_signals(self) -> None:
        """Turn Ctrl-C, TERM and a closed terminal into StopRequested, here in the main thread."""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            self._previous[number] = signal.signal(number, self._on_signal)

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        if not self._stopping:
            raise StopRequested(signal.Signals(number).name)

    def remove_at_end(self, folder: Path) -> None:
        """Have `folder` removed when we are gone, even when we are killed."""
        self._note(f"remove {folder}")

    def _note(self, line: str) -> None:
        with contextlib.suppress(BrokenPipeError):
            os.write(self._pipe, f"{line}\n".encode())

    def start(
        self,
        name: str,
        command: Sequence[str],
        *,
        env: Mapping[str, str],
        stop_signal: signal.Signals = signal.SIGTERM,
        stop_timeout_s: float = 10.0,
        run_as: RunAs | None = None,
        cwd: Path | None = None,
        is_foundation: bool = False,
        restarts: int = 0,
    ) -> Child:
        """Start `command` with its output in `<logs>/<name>.log` and keep it until `stop`.

        A foundation is what the others stand on: it is asked to stop only when they all have. A child with `restarts`
        left that dies while we `watch` is started again.
        """
        log = self.logs / f"{name}.log"
        _keep_previous(log)
        with log.open("ab") as output:
            process = subprocess.Popen(
                ["/bin/sh", "-c", _ANNOUNCE, "sh", str(int(stop_signal)), *command],
                stdin=subprocess.DEVNULL,
                stdout=self._pipe,
                stderr=output,
                env=dict(env),
                cwd=cwd,
                start_new_session=True,
                user=run_as.uid if run_as else None,
                group=run_as.gid if run_as else None,
                extra_groups=[] if run_as else None,
            )
        again = partial(
            self.start, name, command, env=env, stop_signal=stop_signal, stop_timeout_s=stop_timeout_s, run_as=run_as,
            cwd=cwd, is_foundation=is_foundation, restarts=restarts - 1,
        )  # fmt: skip
        restart = again if restarts > 0 else None
        child = Child(name, process, log, stop_signal, stop_timeout_s, is_foundation, restart)
        self.children.append(child)
        return child

    def run(self, name: str, command: Sequence[str], *, env: Mapping[str, str], timeout_s: float = 300.0) -> str:
        """Run `command` to its end and return what it wrote. Raises: ChildFailed, with the end of its log."""
        child = self.start(name, command, env=env)
        deadline = time.monotonic() + timeout_s
        while child.process.poll() is None:
            self.check(besides=child)
            if time.monotonic() > deadline:
                raise ChildFailed(f"{name} did not end within {timeout_s:.0f} s. See {child.log}.")
            time.sleep(POLL_S / 4)
        self.forget(child)
        if child.process.returncode:
            raise child.failure()
        return child.log.read_text(errors="replace")

    def check(self, *, besides: Child | None = None) -> None:
        """Raise ChildFailed when a child has died, StopRequested when the process that we serve has."""
        for child in self.children:
            if child is not besides and child.process.poll() is not None:
                raise child.failure()
        if self._guard.poll() is not None:
            raise ChildFailed("The guard process was killed; without it children could outlive us.")
        if os.environ.get("NEXUS_STOP_WITH_PARENT") and os.getppid() != self._parent:
            raise StopRequested("the program that started us is gone")

    def watch(self) -> None:
        """Wait for as long as every child lives or may be started again. Raises: ChildFailed, StopRequested."""
        while True:
            for child in [each for each in self.children if each.restart and each.process.poll() is not None]:
                print(f"{child.name} died and is started again. See {child.log}.1", flush=True)
                self.children.remove(child)
                assert child.restart is not None
                child.restart()
            self.check()
            for child in self.children:
                _limit(child.log)
            time.sleep(POLL_S * 2)

    def forget(self, child: Child) -> None:
        """Take a child that has ended off the list."""
        self.children.remove(child)
        self._note(f"done {child.process.pid}")

    def stop(self) -> None:
        """Stop every child, newest first and the foundations last, each within its own time, then by force."""
        self._stopping = True
        newest_first = list(reversed(self.children))
        others = [child for child in newest_first if not child.is_foundation]
        for child in others:
            _ask(child)
        asked_at = time.monotonic()
        for child in others:
            self._finish(child, asked_at=asked_at)
        for child in newest_first:
            if child.is_foundation:
                self.stop_child(child)

    def stop_child(self, child: Child) -> None:
        """Ask one child to stop, wait for it, and end by force what remains of it."""
        _ask(child)
        self._finish(child, asked_at=time.monotonic())

    def _finish(self, child: Child, *, asked_at: float) -> None:
        left_s = max(0.0, asked_at + child.stop_timeout_s - time.monotonic())
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.process.wait(timeout=left_s)
        with contextlib.suppress(OSError):
            os.killpg(child.process.pid, signal.SIGKILL)
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.process.wait(timeout=KILL_WAIT_S)
        self.forget(child)


def _ask(child: Child) -> None:
    if child.process.poll() is None:
        with contextlib.suppress(OSError):
            child.process.send_signal(child.stop_signal)


def _keep_previous(log: Path) -> None:
    """Keep one earlier run's log beside the new one."""
    if log.exists():
        log.replace(log.with_suffix(".log.1"))


def _limit(log: Path) -> None:
    """Start a log anew when it has grown large; the child appends, so it continues at the top."""
    with contextlib.suppress(OSError):
        if log.stat().st_size > LOG_BYTES_MAX:
            shutil.copyfile(log, log.with_suffix(".log.1"))
            os.truncate(log, 0)
