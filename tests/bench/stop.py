"""(f) A stop amid 64 busy submitters: how long until it is committed, and until the last order on its way is listed."""

import contextlib
import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from nexus.local.folder import ROOT
from tests.bench.parts import EXECUTE, Run, bodies_of

CLIENTS = 64
PROCESSES = 4
STOPS_A_SECOND = 20
HANGING_STOPS = 20
HANGING_STOP_S = 2.0  # about what each takes with its pauses, so that the load lasts
FROZEN_S = 2.0  # until every thread that can has met a gateway that hangs
TIMEOUT_S = 300.0


def measure(run: Run) -> None:
    """Measure stops by the service, amid 64 database connections that all place orders, and amid 64 clients of the web
    server, which has fewer; then through the web server itself, while brokers answer and while every one hangs.
    """
    stops = max(20, round(STOPS_A_SECOND * run.seconds))
    with _submitters(run):
        _note(run, "stop_commit", "_64_connections", _stop(run, "commit", str(stops)))
    if not run.stage.port:
        run.stage.start_web()
    with _clients(run, seconds=max(5.0, stops * 0.3)):
        _note(run, "stop_commit", "_64", _stop(run, "commit", str(stops)))
    token = run.stage.people["operator"]["token"]
    with _clients(run, seconds=max(5.0, stops * 0.35)):
        _note(run, "stop_request", "_64", _stop(run, "request", str(stops), str(run.stage.port), token))
    if run.stage.people["behind"]:
        with _clients(run, seconds=HANGING_STOPS * HANGING_STOP_S, kind="behind"), _frozen(run):
            found = _stop(run, "request", str(HANGING_STOPS), str(run.stage.port), token)
        _note(run, "stop_request_hanging", "_64", found)


@contextlib.contextmanager
def _clients(run: Run, *, seconds: float, kind: str = "direct") -> Iterator[None]:
    """Keep 64 clients busy at the public door."""
    with ThreadPoolExecutor(1) as pool:
        loading = pool.submit(
            run.stage.load, path=EXECUTE, bodies=bodies_of(kind, run.stage), clients=CLIENTS,
            tokens=run.stage.tokens(kind), seconds=seconds, expect='"status":',
        )  # fmt: skip
        yield
        loading.result()


@contextlib.contextmanager
def _frozen(run: Run) -> Iterator[None]:
    """Freeze every gateway at once, in the midst of their orders."""
    (gateways,) = (child.process for child in run.stage.supervisor.children if child.name == "gateways")
    time.sleep(FROZEN_S)
    gateways.send_signal(signal.SIGSTOP)
    try:
        time.sleep(FROZEN_S)
        yield
    finally:
        gateways.send_signal(signal.SIGCONT)


@contextlib.contextmanager
def _submitters(run: Run) -> Iterator[None]:
    """Keep 64 traders busy, each with a database connection of its own."""
    share = CLIENTS // PROCESSES
    log = (run.stage.folder / "submitters.log").open("ab")
    with contextlib.ExitStack() as stack:
        running = [
            stack.enter_context(
                subprocess.Popen(
                    [sys.executable, "-m", "tests.bench.submitters", str(number * share), str(share)],
                    stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True, env=run.stage.env, cwd=ROOT,
                )
            )
            for number in range(PROCESSES)
        ]  # fmt: skip
        for process in running:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n", "a submitter did not start: see submitters.log"
        yield
        for process in running:
            assert process.stdin is not None
            process.stdin.close()


def _stop(run: Run, *arguments: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench.stopping", *arguments], capture_output=True, text=True, check=False,
        env=run.stage.env, timeout=TIMEOUT_S, cwd=ROOT,
    )  # fmt: skip
    if done.returncode:
        raise RuntimeError(f"tests.bench.stopping failed:\n{done.stderr[-3000:]}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def _note(run: Run, name: str, load: str, found: dict[str, Any]) -> None:
    taken, trips = found["taken"], found["trips"]
    run.figures |= {
        f"{name}_p50_ms{load}": round(_share(taken, 0.5), 3),
        f"{name}_p99_ms{load}": round(_share(taken, 0.99), 3),
        f"{name}_round_trip_p50_ms{load}": round(_share(trips, 0.5), 3),
        f"{name}_round_trip_p99_ms{load}": round(_share(trips, 0.99), 3),
    }
    wrong = f"  WRONG: {found['late']} orders after the stop" if found["late"] else ""
    run.say(
        f"  {name}{load}: {len(taken)} stops, p50 {_share(taken, 0.5):.1f} ms, p99 {_share(taken, 0.99):.1f} ms"
        f" (an empty round trip to the database: {_share(trips, 0.5):.1f}, {_share(trips, 0.99):.1f}),"
        f" {found['without']} without the lock{wrong}"
    )


def _share(times: list[float], share: float) -> float:
    return times[min(len(times) - 1, int(share * len(times)))]
