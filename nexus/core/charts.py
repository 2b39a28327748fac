"""What a chart is, before anybody draws it: a time cut into steps, figures on it, and the same figures as a table.

Figures are decimals and leave as text; only the browser makes floats of them, to draw. docs/adr/0021.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_EVEN, Decimal
from itertools import groupby
from typing import Any

from django.utils import timezone
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from nexus.core.figures import NOTHING, written
from nexus.core.money import as_text

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
DEFAULT = "24h"
# How lines are told apart without their colour, as SVG and canvas write it; limits have their own.
DASHES = ("", "7 4", "2 3", "10 3 2 3", "14 4", "5 2 1 2", "1 5", "12 3 2 3 2 3")
LIMIT_DASHES = ("4 3", "9 4")
Words = str | Promise
Value = Decimal | None

_HOUR, _MINUTE = timedelta(hours=1), timedelta(minutes=1)
# How long a chart looks back, and how wide its steps are: never more than 360 of them.
LENGTHS: Mapping[str, tuple[Words, timedelta, timedelta]] = {
    "6h": (_("6 hours"), 6 * _HOUR, _MINUTE),
    "24h": (_("24 hours"), 24 * _HOUR, 5 * _MINUTE),
    "7d": (_("7 days"), 7 * 24 * _HOUR, 30 * _MINUTE),
    "30d": (_("30 days"), 30 * 24 * _HOUR, 2 * _HOUR),
}


@dataclass(frozen=True, slots=True)
class Window:
    """A time that is looked at, cut into steps that begin at round times: the last of them holds now."""

    key: str
    since: datetime
    until: datetime
    step: timedelta

    @property
    def steps(self) -> list[datetime]:
        """Return when each step begins."""
        return [self.since + number * self.step for number in range((self.until - self.since) // self.step)]

    @property
    def given(self) -> dict[str, Any]:
        """Return the arguments of a statement that cuts times by `date_bin(%(step)s, …, %(epoch)s)`."""
        return {"since": self.since, "until": self.until, "step": self.step, "epoch": EPOCH}

    def spread(self, rows: Mapping[datetime, Value]) -> tuple[Value, ...]:
        """Return one figure a step; None where nothing was seen."""
        return tuple(rows.get(each) for each in self.steps)


def window(key: str, *, at: datetime) -> Window:
    """Return the time that a reader asks for; for a word that nobody knows, a day."""
    known = key if key in LENGTHS else DEFAULT
    _words, length, step = LENGTHS[known]
    until = at - (at - EPOCH) % step + step
    return Window(known, until - length, until, step)


def choices(chosen: Window) -> list[tuple[str, Words, bool]]:
    """Return every length with its words, and which one is shown."""
    return [(key, words, key == chosen.key) for key, (words, _length, _step) in LENGTHS.items()]


@dataclass(frozen=True, slots=True)
class Series:
    """One line, or one set of bars. A `limit` is drawn as one, whatever its place."""

    label: Words
    values: Sequence[Value]
    is_limit: bool = False


@dataclass(frozen=True, slots=True)
class Key:
    """How one series is told from the others: its number among its kind, and its dashes."""

    series: Series
    number: int
    dash: str
    newest: str = ""
    lowest: str = ""
    highest: str = ""


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table behind a chart. `until` closes a gap of several steps; `place` is what a bar stands for."""

    begins: datetime | None
    until: datetime | None
    place: str
    cells: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Chart:
    """One chart: lines over `window`, or bars over `places`. `empty` says what to do when there is nothing to show."""

    name: str
    title: Words
    unit: Words
    series: Sequence[Series]
    empty: Words
    window: Window | None = None
    places: Sequence[str] = ()
    about: Words = ""
    notes: Sequence[Words] = field(default_factory=tuple)
    digits: int = 2
    place_words: Words = ""
    as_of: datetime | None = None
    from_zero: bool = True
    lies: bool = False  # bars from left to right, for places with long names

    @property
    def document(self) -> str:
        """Return the payload as JSON, for an attribute: the pages hold no script, not even one that is only data."""
        return json.dumps(self.payload, ensure_ascii=False, separators=(",", ":"))

    @property
    def width(self) -> int:
        """Return how many columns the table has."""
        return 1 + len(self.series)

    @property
    def has_data(self) -> bool:
        """Tell whether anything was seen at all; limits alone are nothing to look at."""
        return any(value is not None for each in self.series if not each.is_limit for value in each.values)

    @property
    def payload(self) -> dict[str, Any]:
        """Return what the browser draws. Figures are texts."""
        times = None if self.window is None else [int(each.timestamp()) for each in self.window.steps]
        return {
            "times": times,
            "until": None if self.window is None else int(self.window.until.timestamp()),
            "places": list(self.places),
            "unit": str(self.unit),
            "digits": self.digits,
            "zone": timezone.get_current_timezone_name(),
            "zero": self.from_zero,
            "lies": self.lies,
            "series": [
                {
                    "label": str(key.series.label),
                    "limit": key.series.is_limit,
                    "number": key.number,
                    "dash": key.dash,
                    "values": [None if value is None else as_text(value) for value in key.series.values],
                }
                for key in self.keys
            ],
        }

    @property
    def keys(self) -> list[Key]:
        """Return the legend."""
        lines = [each for each in self.series if not each.is_limit]
        limits = [each for each in self.series if each.is_limit]
        return [
            *(self._key(each, number % len(DASHES), DASHES) for number, each in enumerate(lines)),
            *(self._key(each, number % len(LIMIT_DASHES), LIMIT_DASHES) for number, each in enumerate(limits)),
        ]

    def _key(self, series: Series, number: int, dashes: Sequence[str]) -> Key:
        seen = [value for value in series.values if value is not None]
        if not seen or (self.window is None and not series.is_limit):
            return Key(series, number, dashes[number])
        if series.is_limit:
            return Key(series, number, dashes[number], self.text(seen[-1]))
        return Key(series, number, dashes[number], *map(self.text, (seen[-1], min(seen), max(seen))))

    @property
    def rows(self) -> Iterator[Row]:
        """Yield the same figures as a table: the newest first, and a gap as one line."""
        lines = list(zip(*(each.values for each in self.series), strict=True))
        if self.window is None:
            for place, cells in zip(self.places, lines, strict=True):
                yield Row(None, None, place, tuple(map(self.text, cells)))
            return
        dated = list(zip(self.window.steps, lines, strict=True))
        for is_gap, group in groupby(reversed(dated), key=lambda each: self._is_gap(each[1])):
            held = list(group)
            if is_gap:
                yield Row(held[-1][0], held[0][0] + self.window.step, "", ())
                continue
            for begins, cells in held:
                yield Row(begins, None, "", tuple(map(self.text, cells)))

    def _is_gap(self, cells: Sequence[Value]) -> bool:
        told = [cell for cell, each in zip(cells, self.series, strict=True) if not each.is_limit]
        return all(cell is None for cell in told)

    def text(self, value: Value) -> str:
        """Write a figure with the reader's signs."""
        if value is None:
            return NOTHING
        rounded = value.quantize(Decimal(1).scaleb(-self.digits), rounding=ROUND_HALF_EVEN)
        return written(f"{rounded:.{self.digits}f}")
