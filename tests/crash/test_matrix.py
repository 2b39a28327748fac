"""The crash matrix, once at every point: `make crash` does it fifty times."""

import os
import re
import subprocess
import sys

import pytest

from nexus.local.folder import ROOT
from tests.crash.matrix import TRIES, Survived, until_it_dies
from tests.crash.points import POINTS, Victim


def test_no_order_is_lost_sent_twice_or_left_behind():
    done = subprocess.run(
        [sys.executable, "-m", "tests.crash"], env=os.environ | {"KILLS": "1"}, cwd=ROOT, capture_output=True,
        text=True, check=False, timeout=150,
    )  # fmt: skip

    assert done.stdout.splitlines()[-1:] == [f"kills {len(POINTS)} lost 0 twice 0 left 0"], done.stdout + done.stderr
    assert done.returncode == 0


def test_every_process_dies_somewhere():
    assert {point.victim for point in POINTS.values()} == set(Victim)
    assert len(POINTS) >= 16
    assert all(re.fullmatch(r"[a-z]+: [a-zA-Z, ]{5,}", name) for name in POINTS)


def test_a_kill_that_did_not_happen_is_repeated_where_our_gate_refused_the_order():
    tried: list[bool] = []

    def attempt(again: bool) -> str:
        tried.append(again)
        if len(tried) < 3:
            raise Survived("a child ended with 0, not -9", f"key-{len(tried)}")
        return "key-3"

    assert until_it_dies(attempt, refused=lambda key: f"QUOTE_STALE of {key}") == "key-3"
    assert tried == [False, True, True]


@pytest.mark.parametrize(("reason", "error", "tries"), [("", Survived, 1), ("QUOTE_STALE", AssertionError, TRIES)])
def test_a_point_that_nobody_comes_to_is_an_error(reason, error, tries):
    tried = []

    def attempt(again: bool) -> str:
        tried.append(again)
        raise Survived("a child ended with 0, not -9", "key")

    with pytest.raises(error):
        until_it_dies(attempt, refused=lambda _: reason)
    assert len(tried) == tries
