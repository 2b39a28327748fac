"""Figures for Prometheus, in its text format: what was counted, what was measured, and how things stand now.

Source: Prometheus exposition formats, text-based format version 0.0.4.
"""

import math
import threading
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Mapping
from typing import TypeAlias

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
PREFIX = "nexus_gateway_"

# What is counted and measured; nothing else can be, so that a page of them fits on a page.
COUNTERS = {
    "requests_total": "Requests answered, by path and status.",
    "intents_total": "Trade requests that ended, by action and by how they stand in the journal.",
    "refusals_total": "Trade requests that the gateway itself refused, by code.",
    "pauses_total": "Times that the broker asked for fewer requests, and was left alone for a while.",
    "answers_total": "Answers of the terminal to trade requests, by return code (or last error).",
    "worker_kills_total": "Workers that the watchdog has ended.",
    "worker_starts_total": "Workers that were started.",
    "terminal_connects_total": "Connections to the terminal made again by the same worker.",
    "clock_changes_total": "Changes of the server's offset from UTC.",
}
HISTOGRAMS = {
    "send_seconds": "Time of one order_send in the terminal.",
    "unit_seconds": "Time of one unit of work in the worker, by unit.",
}

Labels: TypeAlias = tuple[tuple[str, str], ...]


class Meter:
    """The counters and histograms of one gateway. Safe to share between threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: dict[tuple[str, Labels], int] = defaultdict(int)
        self._buckets: dict[tuple[str, Labels], list[int]] = {}
        self._sums: dict[tuple[str, Labels], float] = defaultdict(float)

    def count(self, name: str, **labels: object) -> None:
        """Add one to a counter."""
        assert name in COUNTERS
        with self._lock:
            self._counts[name, _labels(labels)] += 1

    def time(self, name: str, seconds: float, **labels: object) -> None:
        """Add one measured time to a histogram."""
        assert name in HISTOGRAMS
        key = (name, _labels(labels))
        with self._lock:
            buckets = self._buckets.setdefault(key, [0] * (len(BUCKETS_S) + 1))
            buckets[bisect_left(BUCKETS_S, seconds)] += 1
            self._sums[key] += seconds

    def page(self, gauges: Mapping[str, tuple[str, float]]) -> str:
        """Return everything as Prometheus reads it. Takes: `gauges`, a description and a value by name."""
        lines: list[str] = []
        for name, (purpose, value) in gauges.items():
            lines += [
                f"# HELP {PREFIX}{name} {purpose}",
                f"# TYPE {PREFIX}{name} gauge",
                f"{PREFIX}{name} {_number(value)}",
            ]
        with self._lock:
            for name, purpose in COUNTERS.items():
                lines += [f"# HELP {PREFIX}{name} {purpose}", f"# TYPE {PREFIX}{name} counter"]
                rows = [(labels, value) for (each, labels), value in self._counts.items() if each == name]
                lines += [f"{PREFIX}{name}{_text(labels)} {value}" for labels, value in sorted(rows)]
            for name, purpose in HISTOGRAMS.items():
                lines += [f"# HELP {PREFIX}{name} {purpose}", f"# TYPE {PREFIX}{name} histogram"]
                for each, labels in sorted(self._buckets):
                    if each == name:
                        lines += self._histogram(name, labels)
        return "\n".join(lines) + "\n"

    def _histogram(self, name: str, labels: Labels) -> list[str]:
        lines, total = [], 0
        for bound, count in zip((*map(str, BUCKETS_S), "+Inf"), self._buckets[name, labels], strict=True):
            total += count
            lines.append(f"{PREFIX}{name}_bucket{_text((*labels, ('le', bound)))} {total}")
        lines.append(f"{PREFIX}{name}_sum{_text(labels)} {self._sums[name, labels]:.6f}")
        lines.append(f"{PREFIX}{name}_count{_text(labels)} {total}")
        return lines


def _number(value: float) -> str:
    return "NaN" if math.isnan(value) else f"{value:.15g}"


def _labels(labels: Mapping[str, object]) -> Labels:
    return tuple(sorted((name, str(value)) for name, value in labels.items()))


def _text(labels: Labels) -> str:
    if not labels:
        return ""
    escaped = ((name, value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")) for name, value in labels)
    return "{" + ",".join(f'{name}="{value}"' for name, value in escaped) + "}"
