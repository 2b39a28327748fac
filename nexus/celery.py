"""The worker's wiring: queues by the prefix of a job's name, and the correlation id carried along."""

import os

from celery import Celery
from celery.signals import beat_init, worker_init
from django_structlog.celery.steps import DjangoStructLogInitStep

from nexus import checks

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "nexus.settings")

app = Celery("nexus")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.steps["worker"].add(DjangoStructLogInitStep)
app.autodiscover_tasks()
app.autodiscover_tasks(["nexus"])  # the roof's own


@worker_init.connect
@beat_init.connect
def refuse_bad_boot(**_signal: object) -> None:
    """Stop a worker or a beat whose settings are not safe."""
    checks.refuse_bad_boot()
