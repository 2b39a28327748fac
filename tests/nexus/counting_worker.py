"""A Celery application whose broker is a folder: it is asked in a loop, as the local run's is."""

import os
import time
from pathlib import Path

from celery import Celery

from nexus import celery

FOLDER = Path(os.environ["COUNTING_FOLDER"])
celery.LOOK_EVERY_S, celery.LOOKS = 0.25, 8

app = Celery("counting", broker="filesystem://")
app.conf.broker_transport_options = {
    "data_folder_in": str(FOLDER), "data_folder_out": str(FOLDER), "control_folder": str(FOLDER / "control"),
}  # fmt: skip
app.conf.worker_enable_remote_control = False
app.conf.worker_prefetch_multiplier = 1
app.conf.task_ignore_result = True
app.steps["worker"].add(celery.TakesItsWork)


@app.task(name="count")
def count(number: int, lasting_s: float) -> None:
    """Leave a file behind, after a while."""
    time.sleep(lasting_s)
    (FOLDER / f"done-{number}").touch()
