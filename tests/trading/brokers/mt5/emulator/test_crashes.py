"""A process that dies at any point leaves books that are whole: what was answered is there, what was not may be."""

import os
import random
import signal
import subprocess
import sys
import time

import pytest

from tests.trading.brokers.mt5.emulator.world import HEDGER, build
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
