"""What brokers tell that is new, by a mark of how far each of us has read. Network only: no transaction is open.

A mark is of one process and one reader, and lives as long as its connection: whoever has none reads everything, and
booking a thing twice is impossible.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from weakref import WeakKeyDictionary

from trading.brokers.base import Broker
from trading.types import Mark, News

WHOLE_EVERY = timedelta(seconds=60)  # what a venue lists later than its adapter allows for is found by then


@dataclass(frozen=True, slots=True)
class _Read:
    mark: Mark
    whole_at: datetime  # when it was last read without a mark


class Reader:
    """How far one reader has read each account. Safe to share between threads: an older mark only reads more."""

    def __init__(self) -> None:
        self._read: WeakKeyDictionary[Broker, _Read] = WeakKeyDictionary()

    def read(self, broker: Broker, *, symbols: Sequence[str], since: datetime, clock: datetime) -> News:
        """Read what is new since the last `keep`; once a minute everything since `since`. Raises: Unreachable."""
        known = self._read.get(broker)
        is_due = known is None or not timedelta(0) <= clock - known.whole_at < WHOLE_EVERY
        return broker.news(symbols=symbols, since=since, mark=None if known is None or is_due else known.mark)

    def keep(self, broker: Broker, news: News, *, clock: datetime) -> None:
        """Note that everything in `news` has been dealt with: it is not told again."""
        known = self._read.get(broker)
        whole_at = clock if news.is_whole or known is None else known.whole_at
        self._read[broker] = _Read(news.mark, whole_at)
