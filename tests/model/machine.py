"""The machine of orders: what may happen to them, in any order, and what must hold after each step."""

import contextlib
import time
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from random import Random
from typing import Any

import hypothesis.strategies as st
from django.utils.timezone import now
from hypothesis.stateful import Bundle, initialize, rule

from nexus.core.errors import Conflict, Invalid
from nexus.idempotency.services import records
from risk.states import StopLevel
from tests import stops
from tests.model.deaths import DEATHS, death
from tests.model.floor import LATE_S, TESTER, Floor, numbers
from trading.brokers import ids
from trading.models import Fill, TradeLedger
from trading.services import accounts, cancels, closes, fills, orders, watch
from trading.states import Delivery, OrderStatus, OrderType, Side, TimeInForce
from trading.types import OrderIntent

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
lots = st.sampled_from([Decimal("0.01"), Decimal("0.02"), Decimal("0.05")])


@dataclass
class Expected:
    """The reference: one key is one order, and this much of it is executed."""

    signed: Decimal
    is_executed: bool


class Orders(Floor):
    """One trader, one account, one broker behind a real gateway."""

    keys = Bundle("keys")

    @initialize()
    def open_the_floor(self) -> None:
        """Begin."""
        self.open_up()
        self.expected: dict[str, Expected] = {}

    # what people do

    @rule(target=keys, side=st.sampled_from(Side), quantity=lots, fault=st.sampled_from(sorted(FAULTS)))
    def trade(self, side: Side, quantity: Decimal, fault: str) -> str:
        """Place a market order, while the broker is as it is."""
        key = self.new_key()
        if fault:
            self.paper.control.inject(fault, **FAULTS[fault][0])
        order = self.place(key, _market(side, quantity))
        if fault == "accept_late":
            self.quiet_from = time.monotonic() + LATE_S
        self._expect(key, order, is_executed=FAULTS[fault][1])
        if fault:
            self.let_the_fault_pass()
        return key

    @rule(target=keys, side=st.sampled_from(Side), quantity=lots, at=st.sampled_from(sorted(DEATHS)))
    def trade_and_die(self, side: Side, quantity: Decimal, at: str) -> str:
        """Place a market order, and let the process end on the way."""
        key = self.new_key()
        with death(at):
            self.place(key, _market(side, quantity))
        made = records.find(self.request(key))
        if made is not None:
            self._expect(key, TradeLedger.objects.get(public_id=made), is_executed=DEATHS[at][3])
        return key

    @rule(target=keys, side=st.sampled_from(Side), quantity=lots)
    def accept(self, side: Side, quantity: Decimal) -> str:
        """Leave a market order to the dispatcher."""
        key = self.new_key()
        order = self.place(key, _market(side, quantity), put=orders.accept)
        self._expect(key, order, is_executed=True)
        return key

    @rule(target=keys, side=st.sampled_from(Side), quantity=lots)
    def rest(self, side: Side, quantity: Decimal) -> str:
        """Place a limit order that waits for its price; whether it fills is for the broker's books to say."""
        key = self.new_key()
        price = Decimal("1.0800") if side is Side.BUY else Decimal("1.0900")
        intent = OrderIntent(
            symbol="EURUSD", side=side, quantity=quantity, order_type=OrderType.LIMIT, limit_price=price,
            time_in_force=TimeInForce.GTC,
        )  # fmt: skip
        self.made[key] = str(self.place(key, intent).public_id)
        return key

    @rule(key=keys)
    def repeat(self, key: str) -> None:
        """Ask again with a key that was used: it is the same order, and nothing is sent."""
        if key in self.made:
            sent = len(self.paper.truth()["requests"])
            assert str(self.place(key, _market(Side.BUY, Decimal("0.01"))).public_id) == self.made[key]
            assert len(self.paper.truth()["requests"]) == sent

    @rule(which=numbers)
    def cancel(self, which: int) -> None:
        """Cancel something that is open."""
        order = self.one(which, TradeLedger.objects.open().filter(account=self.account))
        if order is not None:
            with contextlib.suppress(Conflict):
                cancels.request(order_id=order.pk, actor=TESTER, reason="", at=now())
                order.refresh_from_db()
                name = self._key_of(order)
                if order.status == OrderStatus.CANCELED and not order.filled_quantity and name in self.expected:
                    self.expected[name].is_executed = False

    @rule(target=keys, which=numbers)
    def close(self, which: int) -> str:
        """Close a position."""
        key = self.new_key()
        position = self.one(which, self.held())
        if position is not None:
            with contextlib.suppress(Conflict, Invalid):
                found = closes.close(
                    user=self.account.user, position=position, quantity=None, key=self.request(key), at=now()
                )
                self.made[key] = str(found.order.public_id)
                self._expect(key, found.order, is_executed=found.order.status == OrderStatus.FILLED)
        return key

    @rule(level=st.sampled_from(StopLevel))
    def stop(self, level: StopLevel) -> None:
        """Set the stop switch."""
        stops.put(level)

    # what the world does

    @rule(which=numbers)
    def take_back(self, which: int) -> None:
        """Let the broker cancel a deal that it has executed, unless another one rests on it."""
        truth = self.paper.truth()
        trades = [each for each in truth["deals"] if each["symbol"] and each["ticket"] not in truth["canceled"]]
        deal = self.one(which, trades)
        if deal is None:
            return
        with contextlib.suppress(ValueError):
            self.paper.control.cancel_deal(self.paper.login, deal["ticket"])
            for key, expected in self.expected.items():
                name = TradeLedger.objects.get(public_id=self.made[key]).client_order_id
                expected.is_executed = expected.is_executed and ids.magic(name) != deal["magic"]
            self.watch()

    @rule()
    def watch(self) -> None:
        """Be the watcher once; a second look finds nothing more, but for what arrives late between both."""
        is_quiet = time.monotonic() > self.quiet_from
        watch.look(account_id=self.account.pk, at=now())
        assert watch.look(account_id=self.account.pk, at=now()) == 0 or not is_quiet

    @rule(order=numbers)
    def hear_old_news(self, order: int) -> None:
        """Hear any part of the history again, in any order and twice: nothing changes."""
        reports = accounts.broker_of(self.account).fills_since(now() - timedelta(days=1))
        known = set(Fill.objects.filter(account=self.account).values_list("venue_fill_id", flat=True))
        again = [each for each in reports if each.venue_fill_id in known]
        Random(order).shuffle(again)
        before = self.rows()
        fills.ingest(account=self.account, reports=[*again, *again], at=now())
        assert self.rows() == before

    @rule()
    def dispatch(self) -> None:
        """Be the dispatcher once."""
        super().dispatch()

    @rule(seconds=st.sampled_from([61, 181]))
    def wait(self, seconds: int) -> None:
        """Let time pass."""
        super().wait(seconds)

    def settle(self) -> None:
        """Ask until nothing is open any more."""
        for _ in range(3):  # each time it takes fifty orders, and a life may be made of nothing else
            self.dispatch()
        for seconds in (0, 61, 181, 181):
            self.wait(seconds)
            self.resolve()
        self.watch()

    def compare(self) -> None:
        """Compare orders with the model, and positions with the broker's books."""
        unknown = TradeLedger.objects.filter(account=self.account, delivery__in=[Delivery.UNKNOWN, Delivery.SENDING])
        assert not unknown.exists(), list(unknown)
        for key, expected in self.expected.items():
            order = TradeLedger.objects.get(public_id=self.made[key])
            filled = order.filled_quantity * Side(order.side).direction
            wanted = expected.signed if expected.is_executed else Decimal(0)
            assert filled == wanted, f"{order} ({order.state}, {order.reason}) filled {filled}, not {wanted}"
            assert not order.late_fill, f"{order} was called absent while it was on its way"
        ours = {each.venue_position_id: abs(int(each.quantity.scaleb(8))) for each in self.held()}
        theirs = {str(each["ticket"]): each["volume"] for each in self.paper.truth()["positions"]}
        assert ours == theirs

    # how it is done

    def not_sent(self, order: TradeLedger) -> None:
        """Expect nothing of it."""
        self.expected[self._key_of(order)].is_executed = False

    def _expect(self, key: str, order: TradeLedger, *, is_executed: bool) -> None:
        """An order that we rejected is not executed, whatever the broker would have done."""
        self.made[key] = str(order.public_id)
        is_ours = order.status == OrderStatus.REJECTED and not order.attempts
        self.expected[key] = Expected(order.quantity * Side(order.side).direction, is_executed and not is_ours)

    def _key_of(self, order: TradeLedger) -> str:
        return next((key for key, made in self.made.items() if made == str(order.public_id)), "")


def _market(side: Side, quantity: Decimal) -> OrderIntent:
    return OrderIntent(symbol="EURUSD", side=side, quantity=quantity)
