"""Names for what we send: drawn once, never used for a second send."""

from collections.abc import Iterable
from datetime import datetime

import structlog
from django.conf import settings
from django.db import connection, transaction

from nexus.alerts.services import alerts
from nexus.alerts.states import Severity
from nexus.core import statements
from trading.brokers import ids

SKIPPED = 10_000  # beyond what was seen: changes, and orders that have left no trace, have had numbers too
AHEAD_MAX = 10_000_000  # no installation has lost so many: somebody else uses our tag

log = structlog.get_logger(__name__)


def of(number: int) -> str:
    """Return the client order id of a drawn number."""
    return ids.client_order_id(tag=settings.BROKER_TAG, number=number)


def draw() -> str:
    """Draw the next client order id. A rollback leaves a gap, and no id is ever drawn twice."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT nextval('order_number')")
        number: int = cursor.fetchone()[0]
    return of(number)


def outrun(names: Iterable[str], *, at: datetime) -> None:
    """Draw no number again that a venue shows: a database that was put back to an earlier moment has forgotten it.

    A name that is used twice is not sent the second time: it is answered with what became of the first. Takes: names of
    ours, "" for none. Drawing takes a third of a second for each million, and holds up no order. Where it is broken
    off, what was drawn stays drawn, and the next look goes on.
    """
    newest = max((ids.magic(name) & ids.NUMBER_MAX for name in names if name), default=0)
    (last,) = statements.fetch_only("SELECT last_value FROM order_number")
    if not last < newest <= last + AHEAD_MAX:
        return
    drawn = newest - last + SKIPPED
    log.error("trading.order.numbers_skipped", last=last, seen=newest, drawn=drawn)
    with transaction.atomic():  # first of all: once they are drawn, nobody sees it any more
        alerts.open_alert(
            severity=Severity.WARNING,
            kind="ORDER_NUMBERS_SKIPPED",
            dedupe_key="order-numbers-skipped",
            text=f"A broker shows order numbers up to {newest}, and ours to {last} only: this database is older than"
            " what was sent. The numbers between are left out. What was sent meanwhile is booked as somebody else's.",
            at=at,
        )
    statements.fetch_only("SELECT max(nextval('order_number')) FROM generate_series(1, %s)", [drawn])
