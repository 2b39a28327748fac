"""The clock's door: messages go out, again where they must, and quiet ones together."""

from celery import shared_task
from django.utils.timezone import now

from nexus.alerts.services import delivery, outbox
from nexus.core.jobs import enqueue

SWEEP_EXPIRES_S = 10  # the next sweep hands it out again


@shared_task(name="alerts.deliver")
def deliver(*, delivery_id: int, **_future: object) -> None:
    """Send one message."""
    delivery.deliver(delivery_id=delivery_id, at=now())


@shared_task(name="alerts.sweep")
def sweep(**_future: object) -> None:
    """Hand out what a lost job or a dead worker left, and tell the next people of what nobody has taken in hand."""
    delivery.escalate(at=now())
    for delivery_id in outbox.due():
        enqueue(outbox.DELIVER, expires_s=SWEEP_EXPIRES_S, delivery_id=delivery_id)


@shared_task(name="alerts.digest")
def digest(**_future: object) -> None:
    """Send each channel its quiet messages as one."""
    delivery.digest(at=now())
