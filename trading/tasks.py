"""The clock's door: lost orders are asked for, and accounts are looked at."""

from collections.abc import Callable
from contextlib import ExitStack

import structlog
from celery import shared_task
from django.db import connection

from nexus.core.jobs import enqueue
from trading.services import (
    cancels,
    changes,
    dispatch,
    emergency,
    figures,
    lost,
    protection,
    readings,
    resolution,
    sweepers,
    terms,
    watch,
)
from trading.services.facts import database_clock as now  # whatever these date is held against limits of the day

log = structlog.get_logger(__name__)

SWEEP_EXPIRES_S = 10  # the next sweep hands it out again


@shared_task(name="trading.resolve_orders", soft_time_limit=20)
def resolve_orders(**_future: object) -> None:
    """Hand out every order and change that has to be asked about, each as a job of its own. An error about one kind
    keeps no other from its turn, and is raised when all have had theirs.
    """
    kinds = (
        ("trading.resolve_order", "order_id", resolution.due),
        ("trading.cancel_again", "order_id", cancels.due),
        ("trading.resolve_change", "change_id", changes.due),
        ("trading.protect_order", "order_id", protection.due),
    )
    with ExitStack() as turns:  # each is taken whatever those before it raise, the newest first
        turns.callback(lambda: lost.tell(at=now()))
        for name, key, due in reversed(kinds):
            turns.callback(_hand_out, name, key, due)


def _hand_out(name: str, key: str, due: Callable[[], list[int]]) -> None:
    try:
        found = due()
    except Exception:
        connection.close_if_unusable_or_obsolete()
        raise
    for each in found:
        enqueue(name, expires_s=SWEEP_EXPIRES_S, **{key: each})


@shared_task(name="trading.resolve_change", soft_time_limit=60)
def resolve_change(*, change_id: int, **_future: object) -> None:
    """Ask the broker what became of one change."""
    changes.resolve(change_id=change_id, at=now())
    terms.resolve(change_id=change_id)


@shared_task(name="trading.cancel_again", soft_time_limit=60)
def cancel_again(*, order_id: int, **_future: object) -> None:
    """Send a cancel anew that was refused for the moment."""
    cancels.again(order_id=order_id, at=now())


@shared_task(name="trading.protect_order", soft_time_limit=60)
def protect_order(*, order_id: int, **_future: object) -> None:
    """Give a position the stops that its order asked for, or close it."""
    protection.protect(order_id=order_id, at=now())


@shared_task(name="trading.resolve_order", acks_late=True, soft_time_limit=60)
def resolve_order(*, order_id: int, **_future: object) -> None:
    """Ask the broker about one order."""
    order = resolution.resolve(order_id=order_id, at=now())
    log.info("trading.order.asked_for", order_id=str(order.public_id), status=order.status, delivery=order.delivery)


@shared_task(name="trading.dispatch_orders", soft_time_limit=20)
def dispatch_orders(**_future: object) -> None:
    """Hand out every accepted order whose message was lost, each as a job of its own."""
    for order_id in dispatch.due():
        enqueue("trading.dispatch_order", expires_s=SWEEP_EXPIRES_S, order_id=order_id)


@shared_task(name="trading.dispatch_order", acks_late=True, soft_time_limit=60)
def dispatch_order(*, order_id: int, **_future: object) -> None:
    """Send one accepted order."""
    order = dispatch.dispatch(order_id=order_id, at=now())
    if order is not None:
        log.info("trading.order.dispatched", order_id=str(order.public_id), status=order.status)


@shared_task(name="trading.watch_accounts", soft_time_limit=20)
def watch_accounts(**_future: object) -> None:
    """Hand out every account that has to be looked at, each as a job of its own, and see that stops are followed."""
    for account_id in watch.watched():
        enqueue("trading.watch_account", expires_s=SWEEP_EXPIRES_S, account_id=account_id)
    emergency.alarm(at=now())


@shared_task(name="trading.watch_account", soft_time_limit=30)
def watch_account(*, account_id: int, **_future: object) -> None:
    """Look at one account."""
    watch.take_turn(account_id=account_id, at=now())


@shared_task(name="trading.follow_stops", soft_time_limit=20)
def follow_stops(**_future: object) -> None:
    """List what was on its way when a stop came, and begin its sweep, where nobody has yet; see that others work."""
    emergency.follow_due(at=now())
    figures.alarm(clock=now(), at=now())


@shared_task(name="trading.run_sweeps", soft_time_limit=20)
def run_sweeps(**_future: object) -> None:
    """Give every sweep that is due its round."""
    sweepers.run_due(at=now())


@shared_task(name="trading.purge_readings", soft_time_limit=60)
def purge_readings(**_future: object) -> None:
    """Delete readings that no chart shows any more."""
    while readings.purge(at=now()) == readings.BATCH:
        pass
