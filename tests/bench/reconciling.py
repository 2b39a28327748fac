"""(f) Reconciliation: how long comparing takes, and how long a cycle over many accounts.

`measure` runs beside the stage; everything below `main` in a process of its own, over Django.
"""

import json
import sys
from statistics import median
from typing import Any

from nexus.local import queue
from nexus.local.folder import ROOT
from tests.bench.parts import Run

WORKERS, THREADS = 2, 16
ACCOUNTS = 500
CYCLE_TIMEOUT_S = 300.0
SIZES = {"reconcile_1k_ms": (1_000, 9), "reconcile_100k_ms": (100_000, 5)}


def measure(run: Run) -> None:
    """Start the workers over a database of their own, and let the process below find the figures."""
    stage, database = run.stage, run.clones["reconcile"]
    queue.install(database, {})
    env = stage.env | {"DATABASE_URL": database, "CELERY_BROKER_URL": queue.URL}
    command = [sys.executable, "-m", "celery", "-A", "tests.bench.worker", "worker", "--pool", "threads"]
    command += ["--concurrency", str(THREADS), "--loglevel", "WARNING", "--without-gossip", "--without-mingle"]
    workers = [
        stage.supervisor.start(
            f"worker{number}", [*command, "--hostname", f"worker{number}@bench"], env=env, cwd=ROOT,
        )
        for number in range(WORKERS)
    ]  # fmt: skip
    said = stage.supervisor.run(
        "reconciling", [sys.executable, "-m", "tests.bench.reconciling"], env=env, timeout_s=2 * CYCLE_TIMEOUT_S
    )
    for worker in workers:
        worker.process.terminate()
        worker.process.wait(30)
        stage.supervisor.forget(worker)
    figures: dict[str, float] = json.loads(said.strip().splitlines()[-1])
    run.figures |= figures
    for name, figure in figures.items():
        run.say(f"  {name}: {figure:g}")


def main() -> dict[str, float]:
    """Measure the comparisons, then two cycles: the first opens the books, the second is one like any other."""
    from tests.bench import cycling  # noqa: PLC0415 - Django is set up below, and in this process alone

    figures = {name: round(median(cycling.compare(size, rounds)), 3) for name, (size, rounds) in SIZES.items()}
    cycling.link(ACCOUNTS)
    figures["reconcile_500_first_s"] = round(cycling.cycle(ACCOUNTS, timeout_s=CYCLE_TIMEOUT_S), 2)
    figures["reconcile_500_accounts_s"] = round(cycling.cycle(ACCOUNTS, timeout_s=CYCLE_TIMEOUT_S), 2)
    return figures


def _django() -> Any:
    import django  # noqa: PLC0415

    django.setup()


if __name__ == "__main__":
    _django()
    print(json.dumps(main()))
