"""A web process that places one order and is killed at a named point. Run by test_crash.py, never imported.

Takes: the point, the trader's id and the account's id as arguments.
"""

import os
import signal
import sys
from decimal import Decimal
from typing import Any

import django

django.setup()

from django.utils.timezone import now  # noqa: E402

from accounts import selectors as people  # noqa: E402
from nexus.idempotency.services import records  # noqa: E402
from nexus.idempotency.services.records import RequestKey  # noqa: E402
from trading import selectors  # noqa: E402
from trading.brokers.mt5.adapter import Mt5Broker  # noqa: E402
from trading.services import fills, orders  # noqa: E402
from trading.states import Side  # noqa: E402
from trading.types import OrderIntent  # noqa: E402


def die(*_: Any, **__: Any) -> Any:
    """End like a process that lost its power."""
    os.kill(os.getpid(), signal.SIGKILL)


def main(point: str, email: str) -> None:
    """Place the order and die on the way."""
    submit, settle = Mt5Broker.submit, fills.settle
    doors: dict[str, tuple[Any, str, Any]] = {
        "before_send": (Mt5Broker, "submit", die),
        "after_send": (Mt5Broker, "submit", lambda self, order: die(submit(self, order))),
        "after_settle": (fills, "settle", lambda order, **arguments: die(settle(order, **arguments))),
    }
    setattr(*doors[point])
    user = people.user_by_email(email)
    assert user is not None
    account = selectors.account_for(user, public_id=None)
    intent = OrderIntent("EURUSD", Side.BUY, Decimal("0.1"), Decimal("1.0850"), Decimal("1.0800"), Decimal("1.0900"))
    key = RequestKey(str(user.public_id), str(account.public_id), "a-key-that-crashes", records.fingerprint(
        method="POST", path="/trading/execute", body={}))  # fmt: skip
    orders.execute(user=user, account=account, intent=intent, key=key, at=now())


main(*sys.argv[1:])
