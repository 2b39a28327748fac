"""The storm, small: `make storm` fires more, at a hundred users."""

import os
import subprocess
import sys

from nexus.local.folder import ROOT


def test_no_limit_is_exceeded_and_no_order_passes_a_stop():
    size = {"USERS": "10", "REQUESTS": "32", "STOPS": "2"}
    done = subprocess.run(
        [sys.executable, "-m", "tests.storm"], env=os.environ | size, cwd=ROOT, capture_output=True, text=True,
        check=False, timeout=150,
    )  # fmt: skip

    assert done.stdout.splitlines()[-1:] == ["faults 0"], done.stdout + done.stderr
    assert done.returncode == 0
