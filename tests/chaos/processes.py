"""The processes of one installation: find one of a kind, kill it, freeze it, or all of them at once."""

import os
import random
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

FROZEN_S = (3, 8, 20, 45)


@dataclass(frozen=True)
class Process:
    """One process: its number, its parent's, and its command line."""

    pid: int
    parent: int
    line: str


Finder = Callable[[Process, dict[int, Process]], bool]


def _says(*words: str) -> Finder:
    return lambda each, _: all(word in each.line for word in words)


def _pool(word: str, *, as_child: bool) -> Finder:
    """Find a server by what its line says, or the processes that it has forked, whose lines say the same."""

    def find(each: Process, everybody: dict[int, Process]) -> bool:
        above = everybody.get(each.parent)
        return word in each.line and (above is not None and word in above.line) is as_child

    return find


KILLED: dict[str, Finder] = {
    "web": _pool("nexus.wsgi", as_child=False),
    "web-worker": _pool("nexus.wsgi", as_child=True),
    "events": _says("nexus.asgi"),
    "worker": _pool(" worker@", as_child=False),
    "worker-child": _pool(" worker@", as_child=True),
    "worker-stop": _says("worker-stop@"),
    "worker-alerts": _says("worker-alerts@"),
    "worker-audit": _says("worker-audit@"),
    "beat": _says("celery", " beat "),
    "gateway": _says("mt5.gateway"),
    "sealer": _says("sealer"),
    "database": _says("postgres: nexus"),
}
FROZEN: dict[str, Finder] = {
    f"frozen-{name}": KILLED[name]
    for name in ("web-worker", "worker", "worker-child", "worker-stop", "gateway", "database")
}
POWER = "power"  # everything at once
KINDS = (*KILLED, *FROZEN, POWER)


def of(folder: Path) -> dict[int, Process]:
    """Return every process of the installation in `folder`, its database's and its supervisor included."""
    everybody, mine = {}, set()
    marks = {os.fsencode(folder), os.fsencode((folder / "postgres").resolve())}
    for place in (each for each in Path("/proc").iterdir() if each.name.isdecimal()):
        try:
            line, environment = (place / "cmdline").read_bytes(), (place / "environ").read_bytes()
            parent = int((place / "stat").read_text().rpartition(")")[2].split()[1])
        except (OSError, ValueError):  # it has ended meanwhile, or is somebody else's
            continue
        each = Process(int(place.name), parent, line.replace(b"\0", b" ").decode(errors="replace"))
        everybody[each.pid] = each
        if any(mark in line or mark in environment for mark in marks):
            mine.add(each.pid)
    grown = True
    while grown:
        children = {each.pid for each in everybody.values() if each.parent in mine} - mine
        mine |= children
        grown = bool(children)
    return {pid: everybody[pid] for pid in mine - {os.getpid()}}


def strike(kind: str, folder: Path, *, chance: random.Random) -> str:
    """Let one misfortune happen; return what it was, nothing when there was no such process. A freeze waits."""
    everybody = of(folder)
    if kind == POWER:
        _send(list(everybody), signal.SIGKILL)
        return f"{len(everybody)} processes at once"
    find = KILLED.get(kind) or FROZEN[kind]
    there = sorted(each.pid for each in everybody.values() if find(each, everybody))
    if not there:
        return ""
    pid = chance.choice(there)
    if kind in KILLED:
        _send([pid], signal.SIGKILL)
        return f"killed {pid}"
    seconds = chance.choice(FROZEN_S)
    _send([pid], signal.SIGSTOP)
    time.sleep(seconds)
    _send([pid], signal.SIGCONT)
    return f"froze {pid} for {seconds} s"


def _send(pids: Sequence[int], number: signal.Signals) -> None:
    for pid in pids:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            continue
