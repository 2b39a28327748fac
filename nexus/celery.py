"""The worker's wiring: queues by the prefix of a job's name, and the correlation id carried along."""

import os
import signal
import threading
import time
from contextlib import suppress
from typing import Any

import structlog
from celery import Celery, bootsteps
from celery.concurrency.prefork import TaskPool
from celery.exceptions import SoftTimeLimitExceeded
from celery.signals import beat_init, task_failure, task_prerun, worker_init
from celery.worker import state
from django.db import connections
from django_structlog.celery.steps import DjangoStructLogInitStep

from nexus import checks

LOOK_EVERY_S, LOOKS = 1.0, 20  # of a job that waits for a process that is free

log = structlog.get_logger(__name__)

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


@task_failure.connect
def give_up_connections(exception: BaseException, **_signal: object) -> None:
    """Close the connections of a job that was too slow: wherever it was, it may have left a lock of its session."""
    if isinstance(exception, SoftTimeLimitExceeded):
        connections.close_all()


@worker_init.connect
@beat_init.connect
def refuse_bad_boot(**_signal: object) -> None:
    """Stop a worker or a beat whose settings are not safe."""
    checks.refuse_bad_boot()


class TakesItsWork(bootsteps.StartStopStep):
    """Ends a worker whose processes take no job any more; whoever keeps it running starts it again.

    Where its broker is asked in a loop (the local run's is), the processes of a worker share one queue and its lock,
    and one that is killed while it waits for work takes the lock with it: from then on nothing is done, and nothing
    ends (seen: no account was watched for ten minutes). No more jobs are handed out than there are processes, so one
    that waits while a process is free waits for the length of a breath.
    """

    requires = ("celery.worker.components:Pool",)

    def start(self, parent: Any) -> None:
        """Begin to look, where the worker has processes."""
        if isinstance(parent.pool, TaskPool):
            threading.Thread(target=_end_when_stuck, args=[parent.pool], daemon=True).start()


def _end_when_stuck(pool: TaskPool) -> None:
    """Look each second; a machine that was asleep, or too busy to look, has not waited."""
    waiting: dict[str, int] = {}
    while max(waiting.values(), default=0) < LOOKS:
        time.sleep(LOOK_EVERY_S)
        with suppress(RuntimeError):  # the sets have changed under our eyes: so it works
            active = {each.id for each in state.active_requests}
            idle = {each.id for each in state.reserved_requests} - active if len(active) < pool.num_processes else ()
            waiting = {name: waiting.get(name, 0) + 1 for name in idle}
    log.critical("jobs.worker.stuck", waiting=sorted(waiting), active=sorted(active), processes=pool.num_processes)
    for child in pool.info["processes"]:
        os.kill(child, signal.SIGKILL)
    os._exit(1)


app.steps["worker"].add(TakesItsWork)
