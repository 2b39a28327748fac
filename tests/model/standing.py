"""The machine of what stands: positions netted or not, their stops, waiting orders, lists that come late, FLATTEN."""

import time
from datetime import timedelta
from decimal import Decimal
from typing import Any

import hypothesis.strategies as st
from django.utils.timezone import now
from hypothesis.stateful import initialize, rule

from tests.factories.accounts import UserFactory
from tests.model.draws import (
    BESIDE,
    LATE_S,
    PUT,
    RARE,
    WITHIN,
    Fault,
    faults,
    kinds,
    lives,
    lots,
    maybe_far,
    named,
    near,
    sides,
    which_one,
)
from tests.model.floor import TESTER, numbers
from tests.model.judged import Judged
from trading.services import cancels, changes, closes, orders, terms
from trading.states import Delivery, OrderType, Side, TimeInForce
from trading.types import OrderIntent


class Standing(Judged):
    """What people do with one account of either kind, and with its stop switch."""

    @initialize(
        is_netting=st.booleans(), is_shared=st.booleans(), beside=st.sampled_from(["", "", "mine", "another's"]),
        late=st.sets(st.sampled_from(["orders", "positions", "history"])), also=st.sampled_from(BESIDE),
        currency=st.sampled_from(["USD", "USD", "EUR"]),
        commission=st.sampled_from(["0", "7"]),
        first=st.lists(st.tuples(sides, lots, maybe_far), max_size=3),
    )  # fmt: skip
    def open_the_floor(
        self, is_netting: bool, is_shared: bool, beside: str, late: set[str], also: str, currency: str, commission: str,
        first: list[tuple[Side, Decimal, Decimal | None]],
    ) -> None:  # fmt: skip
        """Begin. Takes: whether somebody else trades on the account; who has one `beside` it, of the other kind; what
        the terminal lists late; what is traded `also`; the currency of the first account; first trades.
        """
        self.symbol, self.levels = "EURUSD", dict.fromkeys(["EURUSD", *filter(None, [also])], "middle")
        self.is_shared, self.late, self.late_s = is_shared, late, LATE_S if late else 0.0
        self.desks = []
        self.open_up(netting=is_netting, commission=commission, currency=currency)
        self.open_desk(is_netting=is_netting, currency=currency)
        if beside:
            user_id = self.account.user_id if beside == "mine" else UserFactory.create().pk
            self.sit(0)
            self.open_account(user_id, netting=not is_netting, commission=commission)
            self.open_desk(is_netting=not is_netting, currency="USD")
        for side, quantity, stop in first:
            self.trade(side=side, quantity=quantity, stop=stop, goal=None, how="execute", fault=("", False), on=0)

    @rule(
        side=sides,
        quantity=lots,
        stop=maybe_far,
        goal=maybe_far,
        how=st.sampled_from(PUT),
        fault=faults,
        on=which_one,
    )
    def trade(
        self, side: Side, quantity: Decimal, stop: Decimal | None, goal: Decimal | None, how: str, fault: Fault, on: int
    ) -> None:
        """Place a market order with its stops, or leave it to the dispatcher."""
        self.take_up(on)
        intent = OrderIntent(self.symbol, side, quantity, **self.stops_of(side, self._closing(side), stop, goal))
        with self._broken(fault):
            self.place(self.new_key(), intent, put=getattr(orders, how))

    @rule(side=sides, quantity=lots, kind=kinds, away=near, stop=maybe_far, life=lives, fault=faults, on=which_one)
    def rest(
        self,
        side: Side,
        quantity: Decimal,
        kind: OrderType,
        away: Decimal,
        stop: Decimal | None,
        life: TimeInForce,
        fault: Fault,
        on: int,
    ) -> None:
        """Place an order that waits for its price, or until its end."""
        self.take_up(on)
        prices = self.resting(kind, side, away, stop)
        end = (now() + timedelta(seconds=2)).replace(microsecond=0) if life is TimeInForce.GTD else None
        intent = OrderIntent(
            self.symbol, side, quantity, order_type=kind, expires_at=end, time_in_force=life, **prices
        )  # fmt: skip
        with self._broken(fault):
            self.place(self.new_key(), intent)
        self.ends_at = time.monotonic() + 2 if end else self.ends_at

    @rule(
        which=numbers, how=st.sampled_from(["close", "close", "close_by", "restop", "restop"]), part=st.none() | lots,
        stop=maybe_far, goal=maybe_far, what=named, fault=faults,
    )  # fmt: skip
    def touch_position(self, how: str, which: int, fault: Fault, **words: Any) -> None:
        """Do something to a position; where there is none, make one."""
        if not self.held().exists():
            side, quantity = list(Side)[which % 2], words["part"] or Decimal("0.05")
            self.trade(side, quantity, words["stop"], words["goal"], "execute", fault, which)
            return
        wanted = {"close": ["part"], "close_by": [], "restop": ["stop", "goal", "what"]}[how]
        getattr(self, how)(which=which, fault=fault, **{name: words[name] for name in wanted})

    @rule(which=numbers, how=st.sampled_from(["reterm", "cancel"]), away=st.none() | near, stop=maybe_far, fault=faults)
    def touch_order(self, how: str, which: int, fault: Fault, **words: Any) -> None:
        """Do something to an order; where there is none, make one."""
        if not self._open().exists():
            side, kind, away = list(Side)[which % 2], list(OrderType)[1 + which % 3], words["away"] or WITHIN
            self.rest(side, Decimal("0.05"), kind, away, words["stop"], TimeInForce.GTC, fault, which)
            return
        getattr(self, how)(which=which, fault=fault, **(words if how == "reterm" else {}))

    def close(self, which: int, part: Decimal | None, fault: Fault) -> None:
        """Close a position, whole or in part."""
        position = self.one(which, self.held())
        if position is not None:
            with self._broken(fault):
                key = self.request(self.new_key())
                closes.close(user=self.account.user, position=position, quantity=part, key=key, at=now())

    def close_by(self, which: int, fault: Fault) -> None:
        """Close a position by an opposite one."""
        position = self.one(which, self.held().filter(quantity__gt=0))
        other = self.one(which, self.held().filter(quantity__lt=0, **({"symbol": position.symbol} if position else {})))
        if position is not None and other is not None:
            key = self.request(self.new_key())
            with self._broken(fault):
                closes.close_by(user=self.account.user, position=position, other=other, key=key, at=now())

    def restop(self, which: int, stop: Decimal | None, goal: Decimal | None, what: set[str], fault: Fault) -> None:
        """Change the stops of a position."""
        position = self.one(which, self.held())
        if position is not None:
            self.symbol = position.symbol
            wanted = self.stops_of(position.side, self._closing(position.side), stop, goal)
            wanted = {name: price for name, price in wanted.items() if name in what}
            with self._broken(fault):
                changes.change_stops(position_id=position.pk, stops=wanted, actor=TESTER, reason="", at=now())

    def reterm(self, which: int, away: Decimal | None, stop: Decimal | None, fault: Fault) -> None:
        """Change the prices of a waiting order, or its stop, or all of them."""
        waiting = self._open().filter(delivery=Delivery.ACKED).exclude(order_type=OrderType.MARKET)
        order = self.one(which, waiting)
        if order is not None:
            self.symbol, side, kind = order.symbol, Side(order.side), OrderType(order.order_type)
            wanted = self.resting(kind, side, away, stop)
            if away is None:
                stands = order.limit_price or order.stop_price
                wanted = {"stop_loss": self.stops_of(side, stands, stop, None)["stop_loss"]}
            with self._broken(fault):
                terms.change(user=self.account.user, order_id=order.pk, terms=wanted, reason="", at=now())

    def cancel(self, which: int, fault: Fault) -> None:
        """Cancel something that is open."""
        order = self.one(which, self._open())
        if order is not None:
            with self._broken(fault):
                cancels.request(order_id=order.pk, actor=TESTER, reason="", at=now())

    @rule(what=st.sampled_from(RARE))
    def do_rarely(self, what: str) -> None:
        """Do what is not done at every turn."""
        getattr(self, what)()
