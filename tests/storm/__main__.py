"""`python -m tests.storm`: fire at every limit, on a database of its own. `USERS` says how many users there are."""

import importlib
import os
import sys

import django

from tests.crash import ground
from tests.fakes.paper import TOKEN

# What an order can cost when it is judged is then exactly what its position can lose: the brink stays where it is.
EXACT = {"PRICE_DEVIATION": "0", "COMMISSION_PER_LOT": "0", "QUOTE_AGE_MAX_S": "3600", "GATEWAY_TOKEN": TOKEN}


def main() -> int:
    """Prepare the ground first: only then can modules with tables be imported, so the storm is loaded by name."""
    users = int(os.environ.get("USERS", "100"))
    with ground.prepared(**EXACT) as folder:
        django.setup()
        storm = importlib.import_module("tests.storm.storm")
        return int(
            storm.run(
                folder,
                users=users,
                requests=int(os.environ.get("REQUESTS", "128")),
                rounds=int(os.environ.get("STOPS", "4")),
            )
        )


if __name__ == "__main__":
    sys.exit(main())
