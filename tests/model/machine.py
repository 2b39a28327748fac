"""The machine: what may happen to orders, in any order, and what must hold after each step."""

import contextlib
import itertools
import tempfile
import time
import uuid
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
from django.conf import settings
from django.db.models import F
from django.utils.timezone import now
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, precondition, rule

from nexus.audit.types import Actor
from nexus.core.errors import Conflict, Invalid
from nexus.idempotency.services import records
from nexus.idempotency.services.records import RequestKey
from risk.services import sights
from risk.states import StopLevel
from tests import invariants, stops
from tests.factories.accounts import UserFactory
from tests.fakes import paper as paper_broker
from tests.model.deaths import DEATHS, death
from trading.brokers import ids, registry
from trading.models import BrokerPosition, Fill, TradeLedger
from trading.services import accounts, cancels, closes, dispatch, fills, orders, resolution, watch
from trading.states import Delivery, OrderStatus, OrderType, Side, TimeInForce
from trading.types import OrderIntent

LOGINS = itertools.count(9001)
PRICES = {"low": ("1.07490", "1.07500"), "middle": ("1.08490", "1.08500"), "high": ("1.09490", "1.09500")}
LATE_S = 1.5  # how late an order may arrive, of which the sender heard nothing
# What the broker does to one sending, and whether it executes it.
FAULTS: dict[str, tuple[dict[str, Any], bool]] = {
    "": ({}, True),
    "timeout_before_accept": ({}, False),
    "timeout_after_accept": ({}, True),
    "accept_late": ({"seconds": LATE_S}, True),
    "none_result": ({"executed": True}, True),
    "retcode": ({}, False),
    "hang": ({"seconds": 0}, True),
}
TESTER = Actor.system("tests")
lots = st.sampled_from([Decimal("0.01"), Decimal("0.02"), Decimal("0.05")])


@dataclass
class Expected:
    """The reference: one key is one order, and this much of it is executed."""

    signed: Decimal
    is_executed: bool


class Orders(RuleBasedStateMachine):
    """One trader, one account, one broker behind a real gateway."""

    keys = Bundle("keys")

    @initialize()
    def open_the_floor(self) -> None:
        """Start a broker, link an account, learn the clock."""
        self.stack = contextlib.ExitStack()
        folder = Path(self.stack.enter_context(tempfile.TemporaryDirectory(prefix="nexus-model-")))
        self.paper = self.stack.enter_context(paper_broker.paper(folder, login=next(LOGINS)))
        self.stack.callback(registry.close)
        settings.MT5_GATEWAY_URL = self.paper.url
        self.since = invariants.newest_event()
        self.expected: dict[str, Expected] = {}
        self.made: dict[str, str] = {}
        self._halt(StopLevel.ACTIVE)
        self.price = "middle"
        self.quiet_from = 0.0
        self.paper.quote("EURUSD", *PRICES["middle"])
        self.account = accounts.link(
            user_id=UserFactory.create().pk, name="Paper", venue="mt5", venue_account=str(self.paper.login),
            server=paper_broker.SERVER, is_live=False, actor=TESTER, at=now(),
        )  # fmt: skip
        sights.note(account_id=self.account.pk)
        for _ in range(2):
            accounts.broker_of(self.account).snapshot(symbols=["EURUSD"])
            self.paper.quote("EURUSD", *PRICES["middle"])

    # what people do

    @rule(target=keys, side=st.sampled_from(Side), quantity=lots, fault=st.sampled_from(sorted(FAULTS)))
    def trade(self, side: Side, quantity: Decimal, fault: str) -> str:
        """Place a market order, while the broker is as it is."""
        key = uuid.uuid4().hex
        if fault:
            self.paper.control.inject(fault, **FAULTS[fault][0])
        order = self._place(key, _market(side, quantity))
        if fault == "accept_late":
            self.quiet_from = time.monotonic() + LATE_S
        self._expect(key, order, is_executed=FAULTS[fault][1])
        if fault:
            self._let_the_fault_pass()
        return key

    @rule(target=keys, side=st.sampled_from(Side), quantity=lots, at=st.sampled_from(sorted(DEATHS)))
    def trade_and_die(self, side: Side, quantity: Decimal, at: str) -> str:
        """Place a market order, and let the process end on the way."""
        key = uuid.uuid4().hex
        with death(at):
            self._place(key, _market(side, quantity))
        made = records.find(self._request(key))
        if made is not None:
            self._expect(key, TradeLedger.objects.get(public_id=made), is_executed=DEATHS[at][3])
        return key

    @rule(target=keys, side=st.sampled_from(Side), quantity=lots)
    def accept(self, side: Side, quantity: Decimal) -> str:
        """Leave a market order to the dispatcher."""
        key = uuid.uuid4().hex
        order = self._place(key, _market(side, quantity), put=orders.accept)
        self._expect(key, order, is_executed=True)
        return key

    @rule(target=keys, side=st.sampled_from(Side), quantity=lots)
    def rest(self, side: Side, quantity: Decimal) -> str:
        """Place a limit order that waits for its price; whether it fills is for the broker's books to say."""
        key = uuid.uuid4().hex
        price = Decimal("1.0800") if side is Side.BUY else Decimal("1.0900")
        intent = OrderIntent(
            symbol="EURUSD", side=side, quantity=quantity, order_type=OrderType.LIMIT, limit_price=price,
            time_in_force=TimeInForce.GTC,
        )  # fmt: skip
        self.made[key] = str(self._place(key, intent).public_id)
        return key

    @rule(key=keys)
    def repeat(self, key: str) -> None:
        """Ask again with a key that was used: it is the same order, and nothing is sent."""
        if key in self.made:
            sent = len(self.paper.truth()["requests"])
            assert str(self._place(key, _market(Side.BUY, Decimal("0.01"))).public_id) == self.made[key]
            assert len(self.paper.truth()["requests"]) == sent

    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        """Cancel something that is open."""
        order = self._any(data, TradeLedger.objects.open().filter(account=self.account))
        if order is not None:
            with contextlib.suppress(Conflict):
                cancels.request(order_id=order.pk, actor=TESTER, reason="", at=now())
                order.refresh_from_db()
                name = self._key_of(order)
                if order.status == OrderStatus.CANCELED and not order.filled_quantity and name in self.expected:
                    self.expected[name].is_executed = False

    @rule(target=keys, data=st.data())
    def close(self, data: st.DataObject) -> str:
        """Close a position."""
        key = uuid.uuid4().hex
        held = BrokerPosition.objects.filter(account=self.account, closed_at__isnull=True)
        position = self._any(data, held)
        if position is not None:
            with contextlib.suppress(Conflict, Invalid):
                found = closes.close(
                    user=self.account.user, position=position, quantity=None, key=self._request(key), at=now()
                )
                self.made[key] = str(found.order.public_id)
                self._expect(key, found.order, is_executed=found.order.status == OrderStatus.FILLED)
        return key

    @rule(level=st.sampled_from(StopLevel))
    def stop(self, level: StopLevel) -> None:
        """Set the stop switch."""
        self._halt(level)

    # what the world does

    @rule(price=st.sampled_from(sorted(PRICES)))
    def move(self, price: str) -> None:
        """Let the price move; orders that wait may fill."""
        self.price = price
        self.paper.quote("EURUSD", *PRICES[price])

    @rule(data=st.data())
    def take_back(self, data: st.DataObject) -> None:
        """Let the broker cancel a deal that it has executed, unless another one rests on it."""
        truth = self.paper.truth()
        trades = [each for each in truth["deals"] if each["symbol"] and each["ticket"] not in truth["canceled"]]
        if not trades:
            return
        deal = data.draw(st.sampled_from(trades))
        with contextlib.suppress(ValueError):
            self.paper.control.cancel_deal(self.paper.login, deal["ticket"])
            for key, expected in self.expected.items():
                name = TradeLedger.objects.get(public_id=self.made[key]).client_order_id
                expected.is_executed = expected.is_executed and ids.magic(name) != deal["magic"]
            self.watch()

    @rule()
    def dispatch(self) -> None:
        """Be the dispatcher once."""
        for order_id in self._mine(dispatch.due()):
            order = dispatch.dispatch(order_id=order_id, at=now())
            if order is not None and not order.attempts:
                self.expected[self._key_of(order)].is_executed = False

    @rule()
    def resolve(self) -> None:
        """Be the resolver once."""
        for order_id in self._mine(resolution.due()):
            resolution.resolve(order_id=order_id, at=now())

    @rule(seconds=st.sampled_from([61, 181]))
    def wait(self, seconds: int) -> None:
        """Let time pass for what was sent, and let the price be told again.

        It passes for the broker too: what was on its way has arrived long before. Were only our own clock moved, an
        order would be called absent, after minutes of ours, that is late by a moment of the broker's.
        """
        time.sleep(max(0, self.quiet_from - time.monotonic()))
        sent, span = TradeLedger.objects.unresolved().filter(account=self.account), timedelta(seconds=seconds)
        sent.update(sent_at=F("sent_at") - span, absent_since=F("absent_since") - span)
        self.paper.quote("EURUSD", *PRICES[self.price])

    @rule()
    def watch(self) -> None:
        """Be the watcher once; a second look finds nothing more."""
        watch.look(account_id=self.account.pk, at=now())
        assert watch.look(account_id=self.account.pk, at=now()) == 0

    @precondition(lambda self: Fill.objects.filter(account=self.account).exists())
    @rule(data=st.data())
    def hear_old_news(self, data: st.DataObject) -> None:
        """Hear any part of the history again, in any order and twice: nothing changes."""
        reports = accounts.broker_of(self.account).fills_since(now() - timedelta(days=1))
        known = set(Fill.objects.filter(account=self.account).values_list("venue_fill_id", flat=True))
        again = data.draw(st.permutations([each for each in reports if each.venue_fill_id in known]))
        before = self._rows()
        fills.ingest(account=self.account, reports=[*again, *again], at=now())
        assert self._rows() == before

    # what must hold

    @invariant()
    def always(self) -> None:
        """Hold the invariants of the reference, and the model beside them."""
        invariants.assert_always_true(self.paper, since=self.since, account_id=self.account.pk)
        for key, public_id in self.made.items():
            assert records.find(self._request(key)) == public_id

    def teardown(self) -> None:
        """Let everything be resolved, and compare the end with the model and the broker's books."""
        if not hasattr(self, "account"):
            return
        try:
            self._settle()
            self.always()
            self._compare()
        finally:
            self.stack.close()

    def _settle(self) -> None:
        self.dispatch()
        for seconds in (0, 61, 181, 181):
            self.wait(seconds)
            self.resolve()
        self.watch()

    def _compare(self) -> None:
        unknown = TradeLedger.objects.filter(account=self.account, delivery__in=[Delivery.UNKNOWN, Delivery.SENDING])
        assert not unknown.exists(), list(unknown)
        for key, expected in self.expected.items():
            order = TradeLedger.objects.get(public_id=self.made[key])
            filled = order.filled_quantity * Side(order.side).direction
            wanted = expected.signed if expected.is_executed else Decimal(0)
            assert filled == wanted, f"{order} ({order.state}, {order.reason}) filled {filled}, not {wanted}"
            assert not order.late_fill, f"{order} was called absent while it was on its way"
        ours = {
            each.venue_position_id: abs(int(each.quantity.scaleb(8)))
            for each in BrokerPosition.objects.filter(account=self.account, closed_at__isnull=True)
        }
        theirs = {str(each["ticket"]): each["volume"] for each in self.paper.truth()["positions"]}
        assert ours == theirs

    # how it is done

    def _place(self, key: str, intent: OrderIntent, *, put: Any = orders.execute) -> TradeLedger:
        execution = put(user=self.account.user, account=self.account, intent=intent, key=self._request(key), at=now())
        self.made.setdefault(key, str(execution.order.public_id))
        found: TradeLedger = execution.order
        return found

    def _expect(self, key: str, order: TradeLedger, *, is_executed: bool) -> None:
        """An order that we rejected is not executed, whatever the broker would have done."""
        self.made[key] = str(order.public_id)
        is_ours = order.status == OrderStatus.REJECTED and not order.attempts
        self.expected[key] = Expected(order.quantity * Side(order.side).direction, is_executed and not is_ours)

    def _let_the_fault_pass(self) -> None:
        """Use up a fault that hit nothing, on a trade of somebody at the terminal that cannot succeed."""
        for fault in self.paper.control._broker.faults.faults.values():
            object.__setattr__(fault, "times", fault.fired)

    def _request(self, key: str) -> RequestKey:
        mark = records.fingerprint(method="POST", path="/trading/execute", body={})
        return RequestKey(str(self.account.user.public_id), str(self.account.public_id), key, mark)

    def _key_of(self, order: TradeLedger) -> str:
        return next((key for key, made in self.made.items() if made == str(order.public_id)), "")

    def _any(self, data: st.DataObject, rows: Any) -> Any:
        found = list(rows.order_by("pk"))
        return data.draw(st.sampled_from(found)) if found else None

    def _halt(self, level: StopLevel) -> None:
        stops.put(level)

    def _mine(self, order_ids: list[int]) -> list[int]:
        """Leave out the orders of earlier examples, whose brokers are gone."""
        own = TradeLedger.objects.filter(account=self.account, pk__in=order_ids).values_list("pk", flat=True)
        return sorted(own, key=order_ids.index)

    def _rows(self) -> list[Any]:
        own = {"account": self.account}
        return [
            list(TradeLedger.objects.filter(**own).order_by("pk").values()),
            list(Fill.objects.filter(**own).order_by("pk").values()),
            list(BrokerPosition.objects.filter(**own).order_by("pk").values()),
        ]


def _market(side: Side, quantity: Decimal) -> OrderIntent:
    return OrderIntent(symbol="EURUSD", side=side, quantity=quantity)
