"""`python -m tests.crash`: run the matrix on a database of its own. `KILLS` says how often each point is hit."""

import importlib
import os
import sys

import django

from tests.crash import ground


def main() -> int:
    """Prepare the ground first: only then can modules with tables be imported, so the matrix is loaded by name."""
    with ground.prepared() as folder:
        django.setup()
        return int(importlib.import_module("tests.crash.matrix").run(int(os.environ.get("KILLS", "50")), folder))


if __name__ == "__main__":
    sys.exit(main())
