"""Jobs by name, sent after the transaction has committed.

The row is the queue: a message that is lost only costs time, because a sweep picks the row up. So a transport that is
down is an error in the log and never an error for the person who asked.
"""

from functools import partial
from typing import Any

import structlog
from celery import current_app
from django.db import transaction

log = structlog.get_logger(__name__)


def enqueue(name: str, *, expires_s: int | None = None, **kwargs: Any) -> None:
    """Send the job `name` once the surrounding transaction has committed; at once when there is none.

    The correlation id travels in the message's headers. Takes: ids and other plain JSON values;
    `expires_s` for a job that a sweep hands out again, so that an outage leaves no pile of them.
    """
    transaction.on_commit(partial(_publish, name, expires_s, kwargs), robust=True)


def _publish(name: str, expires_s: int | None, kwargs: dict[str, Any]) -> None:
    try:
        current_app.send_task(name, kwargs=kwargs, expires=expires_s, retry=False, ignore_result=True)
    except Exception as exc:  # noqa: BLE001 — every transport fails in its own words, and none may break the request
        log.error("jobs.publish.failed", job=name, error=type(exc).__name__, detail=str(exc))  # noqa: TRY400
