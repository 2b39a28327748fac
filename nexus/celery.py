"""The worker's wiring: queues by the prefix of a job's name, and the correlation id carried along."""

import os
from typing import Any

from celery import Celery
from celery.signals import beat_init, task_prerun, worker_init
from django.db import connections
from django_structlog.celery.steps import DjangoStructLogInitStep

from nexus import checks

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "nexus.settings")

app = Celery("nexus")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.steps["worker"].add(DjangoStructLogInitStep)
app.autodiscover_tasks()
app.autodiscover_tasks(["nexus"])  # the roof's own


@task_prerun.connect
def look_at_connections(task: Any, **_signal: object) -> None:
    """Close what does not work any more of a worker's connections, which are kept from job to job.

    Celery would close each after its job (`CELERY_DB_REUSE_MAX`). Once the database had no connection to give, nobody
    followed a stop, looked at an account or told people any more, whatever they had held a moment before.
    """
    if task.request.is_eager:
        return
    for each in connections.all(initialized_only=True):
        each.close_if_unusable_or_obsolete()


@worker_init.connect
@beat_init.connect
def refuse_bad_boot(**_signal: object) -> None:
    """Stop a worker or a beat whose settings are not safe."""
    checks.refuse_bad_boot()
