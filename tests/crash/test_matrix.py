"""The crash matrix, once at every point: `make crash` does it fifty times."""

import os
import re
import subprocess
import sys

from nexus.local.folder import ROOT
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
