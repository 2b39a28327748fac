"""A process that dies at any point leaves books that are whole: what was answered is there, what was not may be."""

import json
import os
import random
import signal
import subprocess
import sys
import time

import pytest

from tests.trading.brokers.mt5.emulator import crash_child
from tests.trading.brokers.mt5.emulator.crash_child import RATE, STEPS
from tests.trading.brokers.mt5.emulator.world import HEDGER, build, quote_all
from trading.brokers.mt5.emulator.broker import CRASH_CODE

CHILD = [sys.executable, "-m", "tests.trading.brokers.mt5.emulator.crash_child"]
KILLS = int(os.environ.get("NEXUS_EMULATOR_KILLS", "2"))


def child(path, *task):
    return subprocess.Popen(
        [*CHILD, str(path), *task], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )


@pytest.mark.parametrize(
    ("point", "answered", "executed"), [("before_commit", 1, 1), ("after_commit", 1, 2), ("after_reply", 2, 2)]
)
def test_process_dies_at_a_chosen_point(tmp_path, point, answered, executed):
    with child(tmp_path / "b.sqlite3", "crash", point) as process:
        heard = [line for line in process.stdout if line.startswith("10009")]
        assert process.wait(timeout=30) == CRASH_CODE

    assert len(heard) == answered
    world = build(path=tmp_path / "b.sqlite3")
    truth = world.control.truth(HEDGER)
    assert [row["magic"] for row in truth["positions"]] == list(range(1, executed + 1))
    assert len(truth["requests"]) == len(truth["orders"]) == executed
    assert world.buy("EURUSD", 0.1).retcode == 10009  # the fault has fired: it does not kill the next process
    world.broker.close()


@pytest.mark.parametrize("seed", range(KILLS))
def test_a_killed_run_that_goes_on_ends_as_one_that_nobody_killed(tmp_path, seed):
    whole = quote_all(build(path=tmp_path / "whole.sqlite3", account=RATE))
    for step in STEPS:
        crash_child.play(whole, step)
    path, told = tmp_path / "killed.sqlite3", random.Random(seed).randrange(1, len(STEPS) - 1)
    with child(path, "script") as process:
        for _ in range(told):
            process.stdout.readline()
            process.stdin.write("\n")
            process.stdin.flush()
        process.send_signal(signal.SIGKILL)  # somewhere in the step after those
    assert process.returncode == -signal.SIGKILL

    world = build(path=path, account=RATE)
    truth = world.control.truth(HEDGER)
    ticks = len(list(world.broker.quotes.scripted("EURUSD", 0, world.broker.now_ms))) - 1  # one opened the market
    done = len(truth["requests"]) + ticks
    assert done in (told, told + 1)
    for step in STEPS[done:]:
        crash_child.play(world, step)

    assert json.dumps(world.control.truth(HEDGER)) == json.dumps(whole.control.truth(HEDGER))
    world.broker.close()
    whole.broker.close()


@pytest.mark.parametrize("seed", range(KILLS))
def test_killed_process_has_kept_every_word(tmp_path, seed):
    with child(tmp_path / "b.sqlite3", "trade") as process:
        heard = [process.stdout.readline()]
        time.sleep(random.Random(seed).uniform(0.05, 0.5))
        process.send_signal(signal.SIGKILL)
        heard += process.stdout.readlines()

    answers = [tuple(map(int, line.split())) for line in heard if line.endswith("\n")]
    assert {code for code, _, _ in answers} <= {10009}
    world = build(path=tmp_path / "b.sqlite3")
    world.control.verify()
    truth = world.control.truth(HEDGER)
    deals = {row["ticket"]: row["magic"] for row in truth["deals"]}
    orders = {row["ticket"]: row["magic"] for row in (*truth["orders"], *truth["working"])}
    for _, ticket, magic in answers:
        assert (deals if magic % 3 else orders)[ticket] == magic
    assert len(answers) <= len(truth["requests"]) <= len(answers) + 1
    world.broker.close()
