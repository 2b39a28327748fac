"""What the children of the matrix do: place one order, or be the worker that dispatches and resolves."""

import time
from decimal import Decimal

from django.conf import settings
from django.db import connection
from django.utils.timezone import now

from nexus.idempotency.services import records
from nexus.idempotency.services.records import RequestKey
from tests.crash import points
from trading.models import TradeLedger, TradingAccount
from trading.services import dispatch, orders, resolution
from trading.services.orders import Execution
from trading.states import Side
from trading.types import OrderIntent

PATH = "/trading/execute"


def place(account_id: int, key: str, *, is_queued: bool, point: str = "") -> Execution:
    """Place the one order of this key, as a web process would."""
    points.arm(point)
    account = TradingAccount.objects.select_related("user").get(pk=account_id)
    intent = OrderIntent("EURUSD", Side.BUY, Decimal("0.01"))
    put = orders.accept if is_queued else orders.execute
    return put(user=account.user, account=account, intent=intent, key=request_key(account, key), at=now())


def request_key(account: TradingAccount, key: str) -> RequestKey:
    """Return the key as the client of this account sends it, always for the same request."""
    mark = records.fingerprint(method="POST", path=PATH, body={"symbol": "EURUSD"})
    return RequestKey(str(account.user.public_id), str(account.public_id), key, mark)


def work(*, point: str = "") -> None:
    """Be the worker once: send what waits, ask about what is open. A lease ends at once."""
    points.arm(point)
    settings.SENDING_LEASE_S = 0
    for order_id in dispatch.due():
        dispatch.dispatch(order_id=order_id, at=now())
    for order_id in resolution.due():
        resolution.resolve(order_id=order_id, at=now())


def wait_for_database(seconds: float = 10.0) -> None:
    """Wait until the database has ended every transaction of the dead: a commit that was on its way may yet arrive."""
    until = time.monotonic() + seconds
    while _others_in_transactions():
        assert time.monotonic() < until, "a dead process's transaction does not end"
        time.sleep(0.005)


def _others_in_transactions() -> bool:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database()"
            " AND pid <> pg_backend_pid() AND backend_type = 'client backend' AND xact_start IS NOT NULL)"
        )
        return bool(cursor.fetchone()[0])


def order_of(account: TradingAccount, key: str) -> TradeLedger | None:
    """Return the order that this key has made, if any."""
    made = records.find(request_key(account, key))
    return None if made is None else TradeLedger.objects.get(public_id=made)
