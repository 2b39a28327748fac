"""A worker that takes no job any more ends, and one that is only busy does not."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
WITHIN_S = 60.0
BUSY_S = 4.0  # twice what a worker that is stuck is given there


class Worker:
    """A real worker of two processes, its jobs and what they have left."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.env = os.environ | {
            "COUNTING_FOLDER": str(folder), "CELERY_BROKER_URL": "filesystem://", "PYTHONPATH": str(ROOT),
        }  # fmt: skip
        self.log = folder / "log"
        options = ["--concurrency", "2", "--loglevel", "INFO", "--without-gossip", "--without-mingle"]
        with self.log.open("wb") as log:
            command = [sys.executable, "-m", "celery", "-A", "tests.nexus.counting_worker", "worker", *options]
            self.process = subprocess.Popen(
                command, env=self.env, cwd=folder, stdout=log, stderr=log, start_new_session=True
            )

    def ask(self, *jobs: tuple[int, float]) -> None:
        """Send jobs: the number of each, and how long it lasts."""
        sends = "; ".join(f"count.delay({number}, {lasting_s})" for number, lasting_s in jobs)
        command = [sys.executable, "-c", f"from tests.nexus.counting_worker import count; {sends}"]
        subprocess.run(command, env=self.env, cwd=self.folder, check=True)

    def done(self) -> set[int]:
        """Return the numbers of the jobs that are done."""
        return {int(path.name.removeprefix("done-")) for path in self.folder.glob("done-*")}

    def children(self) -> list[int]:
        """Return the processes that the worker's own has started."""
        given = subprocess.run(["ps", "-o", "pid=", "--ppid", str(self.process.pid)], capture_output=True, check=False)
        return [int(pid) for pid in given.stdout.split()]

    def until(self, is_so: Callable[[], bool]) -> None:
        """Wait until something is so."""
        ends = time.monotonic() + WITHIN_S
        while not is_so():
            assert time.monotonic() < ends, self.log.read_text()
            time.sleep(0.05)


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[Worker]:
    """A worker that is ready."""
    started = Worker(tmp_path)
    started.until(lambda: "ready." in started.log.read_text())
    yield started
    if started.process.poll() is None:
        os.killpg(started.process.pid, signal.SIGKILL)
        started.process.wait()


def test_a_worker_whose_waiting_processes_were_killed_ends(worker):
    worker.ask((1, 0))
    worker.until(lambda: worker.done() == {1})
    for child in worker.children():  # one of them holds the queue's lock while it waits
        os.kill(child, signal.SIGKILL)
    worker.ask((2, 0), (3, 0))

    worker.until(lambda: worker.process.poll() is not None)

    assert worker.process.returncode == 1
    assert "jobs.worker.stuck" in worker.log.read_text()
    assert not {2, 3} & worker.done()


def test_a_worker_whose_processes_are_busy_goes_on(worker):
    worker.ask(*((number, BUSY_S) for number in range(4)), (9, 0))

    worker.until(lambda: worker.done() == {0, 1, 2, 3, 9})

    assert worker.process.poll() is None
