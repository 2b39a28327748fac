"""`python -m tests.chaos`: ill-treat an installation for SECONDS (180), then judge it by its broker's own books.

SEED repeats the draws of an earlier run, not its moments. KINDS names which misfortunes may happen, all unless said.
"""

import os
import random
import sys
import tempfile
from pathlib import Path

from tests.chaos import lies, night, processes

SECONDS = 180.0
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
    with tempfile.TemporaryDirectory(prefix="nexus-chaos-") as name:
        return night.run(Path(name), seed=seed, seconds=float(os.environ.get("SECONDS") or SECONDS), kinds=kinds)


if __name__ == "__main__":
    sys.exit(main())
