"""Processor time, which a busy machine does not stretch: how much of it an order takes, wherever it is spent."""

import os
import resource
from collections.abc import Iterable
from pathlib import Path

TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")
PPID, UTIME, CSTIME = 1, 11, 14  # places after the name in /proc/PID/stat


def spent_s(roots: Iterable[int]) -> float | None:
    """Return what these processes, all below them, and our own finished children have spent. None but on Linux."""
    stats = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            stats[int(path.parent.name)] = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it ended as we looked
    if not stats:
        return None
    below = set(roots)
    while new := {pid for pid, stat in stats.items() if int(stat[PPID]) in below} - below:
        below |= new
    ticks = sum(int(number) for pid in below & set(stats) for number in stats[pid][UTIME : CSTIME + 1])
    ours = resource.getrusage(resource.RUSAGE_CHILDREN)
    return ticks / TICKS_A_SECOND + ours.ru_utime + ours.ru_stime
