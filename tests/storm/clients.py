"""Clients that place orders: several processes of many threads each, all starting at one instant."""

import threading
import uuid
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext

from django.db import OperationalError, connections
from django.utils.timezone import now

from nexus.core.errors import Unavailable
from nexus.idempotency.services import records
from nexus.idempotency.services.records import RequestKey
from tests.trading.conftest import brief
from trading.models import TradeLedger, TradingAccount
from trading.services import orders
from trading.types import OrderIntent

SMALL: OrderIntent = brief(quantity=brief().quantity / 10)

Outcomes = Counter[tuple[int, str]]


class Clients:
    """`processes` × `threads` clients, waiting to fire."""

    def __init__(self, context: ForkServerContext, *, processes: int, threads: int) -> None:
        self._start = context.Barrier(processes)
        self._strings: list[Connection] = []
        for _ in range(processes):
            mine, theirs = context.Pipe()
            context.Process(target=serve, args=(theirs, self._start, threads), daemon=True).start()
            theirs.close()
            self._strings.append(mine)

    def fire(self, account_ids: Sequence[int]) -> None:
        """Let one order be placed on each account listed, dealt out to the clients like cards."""
        for number, strings in enumerate(self._strings):
            strings.send(list(account_ids[number :: len(self._strings)]))

    def outcomes(self) -> Outcomes:
        """Wait until all is done, and return how often each account got each status or reason."""
        total: Outcomes = Counter()
        for strings in self._strings:
            total.update(strings.recv())
        return total


def serve(strings: Connection, start: threading.Barrier, threads: int) -> None:
    """Be one process of clients, until nobody asks any more."""
    with ThreadPoolExecutor(max_workers=threads, initializer=connections["default"].ensure_connection) as pool:
        while True:
            try:
                account_ids = strings.recv()
            except EOFError:
                return
            accounts = TradingAccount.objects.select_related("user").in_bulk(set(account_ids))
            start.wait(timeout=60)
            strings.send(Counter(pool.map(_place, [accounts[each] for each in account_ids])))


def place(account: TradingAccount) -> TradeLedger:
    """Place one small order under a key of its own."""
    mark = records.fingerprint(method="POST", path="/trading/execute", body={})
    key = RequestKey(str(account.user.public_id), str(account.public_id), uuid.uuid4().hex, mark)
    return orders.execute(user=account.user, account=account, intent=SMALL, key=key, at=now()).order


def _place(account: TradingAccount) -> tuple[int, str]:
    try:
        order = place(account)
    except (OperationalError, Unavailable) as exc:
        return account.pk, type(exc).__name__
    return account.pk, order.reason or order.public_status
