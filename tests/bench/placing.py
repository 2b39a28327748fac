"""One order through the service, as everybody who measures from inside places it."""

import uuid
from decimal import Decimal
from typing import Any

from django.utils.timezone import now

from nexus.idempotency.services.records import RequestKey, fingerprint
from trading import selectors
from trading.services import orders
from trading.states import Side
from trading.types import OrderIntent

BUY = OrderIntent("EURUSD", Side.BUY, Decimal("0.01"), Decimal("1.0850"), Decimal("1.0799"), Decimal("1.0900"))
SELL = OrderIntent("EURUSD", Side.SELL, Decimal("0.01"), Decimal("1.0850"), Decimal("1.0900"), Decimal("1.0800"))


def place(trader: Any, number: int) -> Any:
    """Buy with even numbers and sell with odd ones; return the order as it stands."""
    account = selectors.account_for(trader, public_id=None)
    key = RequestKey(str(trader.public_id), str(account.public_id), uuid.uuid4().hex, fingerprint(
        method="POST", path="/trading/execute", body={}))  # fmt: skip
    intent = BUY if number % 2 == 0 else SELL
    return orders.execute(user=trader, account=account, intent=intent, key=key, at=now()).order
