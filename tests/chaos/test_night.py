"""The night's own parts: what it strikes, and that its judge finds what is wrong. `make chaos` lives a whole one."""

import os
import random
import subprocess
import sys
import time

import pytest
from django.utils.timezone import now

from tests.chaos import judging, processes
from trading.models import BookCorrection, TradeLedger
from trading.states import CancelState, CorrectionKind

SLEEPER = "import os, time; os.fork(); time.sleep(60)"


@pytest.fixture
def worker(tmp_path):
    """A server of an installation that has forked, as the worker does: its child's line says the same."""
    env = os.environ | {"NEXUS_DATA_DIR": str(tmp_path)}
    with subprocess.Popen([sys.executable, "-c", SLEEPER, " worker@here"], env=env, start_new_session=True) as process:
        deadline = time.monotonic() + 10
        while len(processes.of(tmp_path)) < 2 and time.monotonic() < deadline:
            time.sleep(0.05)
        yield process
        processes.strike(processes.POWER, tmp_path, chance=random.Random(1))


def test_an_installation_is_its_own_processes_and_what_they_have_started(tmp_path, worker):
    (tmp_path / "another").mkdir()

    found = processes.of(tmp_path)

    assert len(found) == 2
    assert worker.pid in found
    assert processes.of(tmp_path / "another") == {}


def test_a_blow_hits_one_of_its_kind_alone(tmp_path, worker):
    told = processes.strike("worker-child", tmp_path, chance=random.Random(1))

    assert told.startswith("killed ")
    assert told != f"killed {worker.pid}"
    assert worker.poll() is None
    assert processes.strike("gateway", tmp_path, chance=random.Random(1)) == ""


def test_the_power_ends_all(tmp_path, worker):
    assert processes.strike(processes.POWER, tmp_path, chance=random.Random(1)) == "2 processes at once"

    assert worker.wait(10) == -9


def _heard(order, *, status="FILLED", name=""):
    return {"status_code": 201, "body": {"id": name or str(order.public_id), "status": status}}


def test_answers_that_are_true_are_no_fault(execute):
    order = execute(key="one")

    assert judging._answered({"one": _heard(order)}) == []


@pytest.mark.parametrize(
    ("key", "changes", "words"),
    [
        ("one", {"status": "REJECTED"}, "was answered as REJECTED, and is FILLED"),
        ("one", {"name": "another"}, "key one was answered another"),
        ("two", {}, "and made None"),
    ],
)
def test_an_answer_that_is_untrue_is_found(execute, key, changes, words):
    order = execute(key="one")

    (fault,) = judging._answered({key: _heard(order, **changes)})

    assert words in fault


def test_an_order_that_two_keys_were_told_of_is_found(execute):
    order = execute(key="one")

    assert "more than one key" in judging._answered({"one": _heard(order), "two": _heard(order)})[0]


def test_what_stays_lost_or_idle_is_found(execute, monkeypatch):
    monkeypatch.setattr(judging, "SETTLES_S", 0)
    order = execute(key="one")
    TradeLedger.objects.filter(pk=order.pk).update(cancel=CancelState.UNKNOWN)

    faults = judging._settled()

    assert [each for each in faults if f"{order} is FILLED/DONE, cancel UNKNOWN" in each]
    assert [each for each in faults if "nobody has looked at an account" in each]
    assert [each for each in faults if "nothing was reconciled" in each]


def test_books_that_had_to_be_corrected_are_found(account):
    BookCorrection.objects.create(
        account=account, correction_id="one", kind=CorrectionKind.AUTOMATIC, amount=1, reason="a difference",
        made_by="reconciliation", created_at=now(),
    )  # fmt: skip

    (fault,) = judging._corrected()

    assert fault.startswith("the books were corrected by ")
