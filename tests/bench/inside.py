"""Orders without HTTP: place them through the service in this process and time what is asked for.

Reads a number of orders and of traders a line from standard input; answers each with a line of JSON: the times of the
whole order and of its admission (the first transaction: claim, locks, judgement, rows, commit), in ms.
"""

import json
import os
import sys
import time
from typing import Any

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "nexus.settings")
django.setup()

from accounts import selectors as people  # noqa: E402
from tests.bench import nowire  # noqa: E402
from tests.bench.placing import place  # noqa: E402
from trading.services import orders  # noqa: E402

USERS = 100


def main() -> None:
    """Place as many orders as each line says."""
    nowire.install()
    traders = [person for n in range(USERS) if (person := people.user_by_email(f"direct-{n}@bench.example"))]
    admissions: list[float] = []
    admit = orders._admit

    def timed(**arguments: Any) -> Any:
        begun = time.perf_counter()
        try:
            return admit(**arguments)
        finally:
            admissions.append(1000 * (time.perf_counter() - begun))

    orders._admit = timed
    for line in sys.stdin:
        admissions.clear()
        count, spread = map(int, line.split())
        whole = [_place(traders[n % spread], n // spread) for n in range(count)]
        print(json.dumps({"orders": whole, "admissions": admissions}), flush=True)


def _place(trader: Any, number: int) -> float:
    begun = time.perf_counter()
    order = place(trader, number)
    taken = 1000 * (time.perf_counter() - begun)
    assert order.status == "FILLED", (order.status, order.reason, order.checks)
    return taken


main()
