"""`python -m tests.chaos`: ill-treat an installation for SECONDS (180), then judge it by its broker's own books.

SEED repeats the draws of an earlier run, not its moments. KINDS names which misfortunes may happen, all unless said;
MODE whether the account is a hedging or a netting one, drawn unless said.
"""

import os
import random
import sys
import tempfile
from pathlib import Path

from tests.chaos import lies, night, processes

SECONDS = 180.0
MODES = ("hedging", "netting")
KINDS = (*processes.KINDS, *[lies.KIND] * 5)


def main() -> int:
    """Run one night and return its exit code."""
    seed = int(os.environ.get("SEED") or random.randrange(10**6))
    kinds = (os.environ.get("KINDS") or ",".join(KINDS)).split(",")
    if unknown := set(kinds) - set(KINDS):
        print(
            f"No such kinds: {', '.join(sorted(unknown))}. There are: {', '.join(sorted(set(KINDS)))}.", file=sys.stderr
        )
        return 2
    mode = os.environ.get("MODE") or random.Random(seed).choice(MODES)
    if mode not in MODES:
        print(f"No such mode: {mode}. There are: {', '.join(MODES)}.", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory(prefix="nexus-chaos-") as name:
        seconds = float(os.environ.get("SECONDS") or SECONDS)
        return night.run(Path(name), seed=seed, seconds=seconds, kinds=kinds, mode=mode)


if __name__ == "__main__":
    sys.exit(main())
