"""Messages to people, written with their alert: they exist when it does, and go out after its commit."""

from datetime import datetime

from nexus.alerts.models import Delivery
from nexus.alerts.services import channels
from nexus.alerts.states import DeliveryState, Severity, Word
from nexus.core import statements
from nexus.core.jobs import enqueue

DELIVER = "alerts.deliver"
DUE_MAX = 500


def put(*, alert_id: int, severity: Severity, word: Word, at: datetime, unheard: str = "") -> None:
    """Write the messages of an alert, one a channel, and have them sent once the transaction has committed."""
    hearing = [channel.name for channel in channels.hearing(severity, word) if channel.name != unheard]
    state = DeliveryState.QUIET if severity is Severity.INFO else DeliveryState.WAITING
    made = Delivery.objects.bulk_create(
        [Delivery(alert_id=alert_id, channel=name, word=word, state=state, next_at=at) for name in hearing]
    )
    if state is DeliveryState.WAITING:
        for delivery in made:
            enqueue(DELIVER, delivery_id=delivery.pk)


def due(*, channel: str = "", limit: int = DUE_MAX) -> list[int]:
    """Return the messages that nobody is sending now, the loudest first: what a lost job or a dead worker left.

    Those that failed most stand before the others: a channel that takes nothing is known by them. Takes: `channel` for
    its messages alone.
    """
    rows = statements.fetch(
        "SELECT alert_delivery.id FROM alert_delivery JOIN alert ON alert.id = alert_id"
        " WHERE state = 'WAITING' AND next_at <= clock_timestamp() AND (%(channel)s = '' OR channel = %(channel)s)"
        " AND (leased_until IS NULL OR leased_until < clock_timestamp())"
        " ORDER BY severity = 'CRITICAL' DESC, attempts DESC, next_at LIMIT %(limit)s",
        {"channel": channel, "limit": limit},
    )
    return [key for (key,) in rows]


def hand_on(*, channel: str) -> None:
    """Have the next message of a channel sent: its own job may have found the channel busy."""
    for delivery_id in due(channel=channel, limit=1):
        enqueue(DELIVER, delivery_id=delivery_id)
