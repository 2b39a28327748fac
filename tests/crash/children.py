"""What the children of the matrix do: place one order, or be the worker that dispatches and resolves."""

from decimal import Decimal

from django.conf import settings
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


def order_of(account: TradingAccount, key: str) -> TradeLedger | None:
    """Return the order that this key has made, if any."""
    made = records.find(request_key(account, key))
    return None if made is None else TradeLedger.objects.get(public_id=made)
