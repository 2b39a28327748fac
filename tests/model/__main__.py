"""`python -m tests.model`: live random lives of both machines, SEEDS (10) seeds one after the other, each in a process.

FIRST names the first seed, and its followers; else each is drawn. LIVES (8) and STEPS (60) are of each machine. What
failed is kept in `var/lives/SEED.log`, and its seed repeats it as far as a clock that runs on lets anything repeat.
"""

import os
import random
import subprocess
import sys
import time
from pathlib import Path

LOGS = Path("var/lives")
TESTS = "tests/model/test_machines.py"


def main() -> int:
    """Live all the seeds and return the exit code."""
    count, first = int(os.environ.get("SEEDS") or 10), os.environ.get("FIRST")
    seeds = range(int(first), int(first) + count) if first else random.sample(range(10**9), count)
    failed = [seed for seed in seeds if not _live(seed)]
    print(f"seeds {count} failed {len(failed)}" + "".join(f" {seed}" for seed in failed))
    return 1 if failed else 0


def _live(seed: int) -> bool:
    """Live one seed, say so, and tell whether everything held; what was printed is kept only where it did not."""
    environment = {
        **os.environ,
        "MODEL_SEED": str(seed),
        "MODEL_EXAMPLES": os.environ.get("LIVES") or "8",
        "MODEL_STEPS": os.environ.get("STEPS") or "60",
    }
    LOGS.mkdir(parents=True, exist_ok=True)
    log, begun = LOGS / f"{seed}.log", time.monotonic()
    with log.open("w") as out:
        done = subprocess.run(
            [sys.executable, "-m", "nexus.local", "test", TESTS, "-q", "-n", "0"],
            env=environment, stdout=out, stderr=subprocess.STDOUT, check=False,
        )  # fmt: skip
    held = done.returncode == 0
    print(f"  seed {seed:<10} {'held' if held else f'FAILED, see {log}'}  {time.monotonic() - begun:.0f} s", flush=True)
    if held:
        log.unlink()
    return held


if __name__ == "__main__":
    sys.exit(main())
