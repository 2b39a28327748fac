"""Stops amid the load, one after the other: how long each takes, by the service and by the door.

Takes: what to measure (`commit` or `request`), how many stops, and for `request` the port and an operator's token.
Writes the times in ms and what went wrong as JSON to standard output; beside them what one empty round trip to the
database takes amid the same load, which no stop can be faster than.
"""

import http.client
import json
import os
import sys
import time
from collections.abc import Callable

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "nexus.settings")
django.setup()

from django.db import connection  # noqa: E402
from django.utils.timezone import now  # noqa: E402

from risk.services import control  # noqa: E402
from risk.states import ControlScope, StopLevel  # noqa: E402
from tests import stops  # noqa: E402
from trading.models import TradeLedger  # noqa: E402

PAUSE_S = 0.15  # for the load to flow again
PATH = "/api/v1/system/emergency-stop"


def measure(act: Callable[[], bool], count: int) -> dict[str, object]:
    """Stop and ease `count` times; time the stops, and count those that did without the lock, or let an order pass."""
    taken, trips, without, late = [], [], 0, 0
    for _ in range(count):
        time.sleep(PAUSE_S)
        trips.append(_round_trip_ms())
        began = time.perf_counter()
        has_lock = act()
        taken.append(1000 * (time.perf_counter() - began))
        time.sleep(PAUSE_S / 3)
        row = control.find(scope=ControlScope.SYSTEM, key="")
        assert row is not None
        without += not has_lock
        late += TradeLedger.objects.filter(sent_at__gt=row.changed_at).count() if has_lock else 0
        stops.put(StopLevel.ACTIVE)
    return {"taken": sorted(taken), "trips": sorted(trips), "without": without, "late": late}


def _round_trip_ms() -> float:
    began = time.perf_counter()
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
    return 1000 * (time.perf_counter() - began)


def commit() -> bool:
    """Stop through the service: from the call to its commit."""
    row = control.set_level(
        scope=ControlScope.SYSTEM, key="", level=StopLevel.HALTED, reason="The bench.", actor=stops.TESTER, at=now()
    )
    return bool(row.has_lock)


def request(port: int, token: str) -> bool:
    """Stop through the door: from the request to the answer, which lists the last order on its way."""
    door = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    door.request("POST", PATH, json.dumps({"reason": "The bench.", "sweep": "NONE"}), headers)
    answer = door.getresponse()
    body = json.loads(answer.read())
    door.close()
    assert answer.status == 200, body
    assert body["is_listed"], body
    return bool(body["has_lock"])


if __name__ == "__main__":
    kind, number, *rest = sys.argv[1:]
    given = (lambda: request(int(rest[0]), rest[1])) if kind == "request" else commit
    print(json.dumps(measure(given, int(number))))
