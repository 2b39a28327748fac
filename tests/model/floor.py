"""What every machine stands on: a broker, an account, keys, and what must hold of them at any time."""

import contextlib
import itertools
import tempfile
import time
import uuid
from datetime import timedelta
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
from django.conf import settings
from django.db.models import F
from django.utils.timezone import now
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from nexus.audit.types import Actor
from nexus.idempotency.services import records
from nexus.idempotency.services.records import RequestKey
from risk.services import sights
from risk.states import StopLevel
from tests import invariants, stops
from tests.factories.accounts import UserFactory
from tests.fakes import paper as paper_broker
from trading.brokers import registry
from trading.models import BrokerPosition, Fill, TradeLedger
from trading.services import accounts, dispatch, facts, orders, resolution
from trading.types import OrderIntent

LOGINS = itertools.count(9001)
PRICES = {"low": ("1.07490", "1.07500"), "middle": ("1.08490", "1.08500"), "high": ("1.09490", "1.09500")}
LATE_S = 1.5  # how late an order may arrive, of which the sender heard nothing
TESTER = Actor.system("tests")
numbers = st.integers(0, 11)


class Floor(RuleBasedStateMachine):
    """One trader, one account, one broker behind a real gateway."""

    def open_up(self, **opening: Any) -> None:
        """Begin a life with one account. Takes: `opening` as `paper` does."""
        self.stack = contextlib.ExitStack()
        self.stack.callback(registry.close)
        self.since = invariants.newest_event()
        stops.put(StopLevel.ACTIVE)
        self.price = "middle"
        self.open_account(UserFactory.create().pk, **opening)

    def open_account(self, user_id: int, **opening: Any) -> None:
        """Start a broker, link an account of somebody, learn the clock."""
        folder = Path(self.stack.enter_context(tempfile.TemporaryDirectory(prefix="nexus-model-")))
        self.paper = self.stack.enter_context(paper_broker.paper(folder, login=next(LOGINS), **opening))
        settings.MT5_GATEWAY_URL = self.paper.url
        self.made: dict[str, str] = {}
        self.quiet_from = 0.0
        self.quote()
        self.account = accounts.link(
            user_id=user_id, name="Paper", venue="mt5", venue_account=str(self.paper.login),
            server=paper_broker.SERVER, is_live=False, actor=TESTER, at=now(),
            gateway_url=self.paper.url,
        )  # fmt: skip
        sights.note(account_id=self.account.pk)
        for _ in range(2):
            accounts.broker_of(self.account).snapshot(symbols=["EURUSD"])
            self.quote()

    # what any of them may do

    @rule(price=st.sampled_from(sorted(PRICES)))
    def move(self, price: str) -> None:
        """Let the price move; orders that wait may fill, and stops may be hit."""
        self.price = price
        self.quote()

    def dispatch(self) -> None:
        """Be the dispatcher once."""
        for order_id in self.mine(dispatch.due()):
            order = dispatch.dispatch(order_id=order_id, at=now())
            if order is not None and not order.attempts:
                self.not_sent(order)

    @rule()
    def resolve(self) -> None:
        """Be the resolver once."""
        for order_id in self.mine(resolution.due()):
            resolution.resolve(order_id=order_id, at=now())

    def wait_for_belief(self) -> None:
        """Wait until nothing counts more strictly for what a list of the last seconds may hide."""
        time.sleep(facts.LISTED_WITHIN.total_seconds())

    def wait(self, seconds: int) -> None:
        """Let time pass for what was sent, and let the price be told again.

        It passes for the broker too: what was on its way has arrived long before. Were only our own clock moved, an
        order would be called absent, after minutes of ours, that is late by a moment of the broker's.
        """
        time.sleep(max(0, self.quiet_from - time.monotonic()))
        sent, span = TradeLedger.objects.unresolved().filter(account=self.account), timedelta(seconds=seconds)
        sent.update(
            sent_at=F("sent_at") - span, absent_since=F("absent_since") - span, asked_at=F("asked_at") - span,
        )  # fmt: skip
        self.quote()

    # what must hold

    @invariant()
    def always(self) -> None:
        """Hold the invariants of the reference, and the model beside them."""
        invariants.assert_always_true(self.paper, since=self.since, account_id=self.account.pk)
        for key, public_id in self.made.items():
            assert records.find(self.request(key)) == public_id

    def teardown(self) -> None:
        """Let everything be resolved, and compare the end with the model and the broker's books."""
        if not hasattr(self, "account"):
            return
        try:
            self.settle()
            self.always()
            self.compare()
        finally:
            self.stack.close()

    def settle(self) -> None:
        """Let everything come to its end."""
        raise NotImplementedError

    def compare(self) -> None:
        """Compare what has become of it."""
        raise NotImplementedError

    def not_sent(self, order: TradeLedger) -> None:
        """Hear that an order which was accepted has never left us."""

    # how it is done

    def quote(self) -> None:
        """Quote the price that it is at."""
        self.paper.quote("EURUSD", *PRICES[self.price])

    def place(self, key: str, intent: OrderIntent, *, put: Any = orders.execute) -> TradeLedger:
        """Place an order and keep what its key has made."""
        execution = put(user=self.account.user, account=self.account, intent=intent, key=self.request(key), at=now())
        self.made.setdefault(key, str(execution.order.public_id))
        found: TradeLedger = execution.order
        return found

    def let_the_fault_pass(self) -> None:
        """Lift a fault that hit nothing."""
        for fault in self.paper.control._broker.faults.faults.values():
            object.__setattr__(fault, "times", fault.fired)

    def new_key(self) -> str:
        """Return a key that nobody has used."""
        return uuid.uuid4().hex

    def request(self, key: str) -> RequestKey:
        """Return a key as the door takes it."""
        mark = records.fingerprint(method="POST", path="/trading/execute", body={})
        return RequestKey(str(self.account.user.public_id), str(self.account.public_id), key, mark)

    def one(self, which: int, rows: Any) -> Any:
        """Return one of some rows, None where there is none.

        By a number that was drawn before anybody looked: what is drawn must not hang on how fast things went.
        """
        found = rows if isinstance(rows, list) else list(rows.order_by("pk"))
        return found[which % len(found)] if found else None

    def mine(self, ids: list[int], rows: Any = TradeLedger.objects) -> list[int]:
        """Leave out what is of earlier examples, whose brokers are gone. Takes: `rows` of orders."""
        own = rows.filter(account=self.account, pk__in=ids).values_list("pk", flat=True)
        return sorted(own, key=ids.index)

    def held(self) -> Any:
        """Return the positions that our books hold open."""
        return BrokerPosition.objects.filter(account=self.account, closed_at__isnull=True)

    def rows(self) -> list[Any]:
        """Return all that our books say of the account."""
        own = {"account": self.account}
        return [
            list(TradeLedger.objects.filter(**own).order_by("pk").values()),
            list(Fill.objects.filter(**own).order_by("pk").values()),
            list(BrokerPosition.objects.filter(**own).order_by("pk").values()),
        ]
