"""Orders without HTTP: place them through the service in this process and time what is asked for.

Reads a number of orders a line from standard input; answers each with a line of JSON: the times of the whole order and
of its admission (the first transaction: claim, locks, judgement, rows, commit), in ms.
"""

import json
import os
import sys
import time
import uuid
from decimal import Decimal
from typing import Any

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "nexus.settings")
django.setup()

from django.utils.timezone import now  # noqa: E402

from accounts import selectors as people  # noqa: E402
from nexus.idempotency.services.records import RequestKey, fingerprint  # noqa: E402
from tests.bench import nowire  # noqa: E402
from trading import selectors  # noqa: E402
from trading.services import orders  # noqa: E402
from trading.states import Side  # noqa: E402
from trading.types import OrderIntent  # noqa: E402

BUY = OrderIntent("EURUSD", Side.BUY, Decimal("0.01"), Decimal("1.0850"), Decimal("1.0800"), Decimal("1.0900"))
SELL = OrderIntent("EURUSD", Side.SELL, Decimal("0.01"), Decimal("1.0850"), Decimal("1.0900"), Decimal("1.0800"))
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
        whole = [_place(traders[n % len(traders)], n) for n in range(int(line))]
        print(json.dumps({"orders": whole, "admissions": admissions}), flush=True)


def _place(trader: Any, number: int) -> float:
    account = selectors.account_for(trader, public_id=None)
    key = RequestKey(str(trader.public_id), str(account.public_id), uuid.uuid4().hex, fingerprint(
        method="POST", path="/trading/execute", body={}))  # fmt: skip
    intent = BUY if number // USERS % 2 == 0 else SELL
    begun = time.perf_counter()
    order = orders.execute(user=trader, account=account, intent=intent, key=key, at=now()).order
    taken = 1000 * (time.perf_counter() - begun)
    assert order.status == "FILLED", (order.status, order.reason, order.checks)
    return taken


main()
