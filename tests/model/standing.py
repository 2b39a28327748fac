"""The machine of what stands: positions netted or not, their stops, waiting orders, lists that come late, FLATTEN."""

import contextlib
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import hypothesis.strategies as st
from django.conf import settings
from django.db.models import F, Q
from django.utils.timezone import now
from hypothesis.stateful import initialize, invariant, rule

from nexus.core.errors import NexusError
from risk.states import ControlScope, StopLevel, Sweep
from tests import stops
from tests.model.draws import FAULTS, LATE_S, PUT, RARE, Fault, faults, lots, maybe_far, named, near, sides
from tests.model.floor import PRICES, TESTER, Floor, numbers
from tests.model.worst import Rules, worst
from trading.brokers import ids
from trading.brokers.mt5.emulator import constants as mt5
from trading.models import ChangeRequest, SweepRun, TradeLedger
from trading.services import cancels, changes, closes, headroom, orders, protection, resolution, sweeping, terms, watch
from trading.services.changes import IN_FLIGHT
from trading.states import ChangeKind, Delivery, OrderType, Side, SweepState, TimeInForce
from trading.types import OrderIntent

CENTS = Decimal("0.01")
BETTER = Decimal("0.02")  # more than the prices of `PRICES` are apart


class Standing(Floor):
    """One trader, one account of either kind, one broker behind a real gateway, and a stranger at its terminal."""

    @initialize(
        is_netting=st.booleans(), is_shared=st.booleans(),
        late=st.sets(st.sampled_from(["orders", "positions", "history"])),
        first=st.lists(st.tuples(sides, lots, maybe_far), max_size=3),
    )  # fmt: skip
    def open_the_floor(
        self, is_netting: bool, is_shared: bool, late: set[str], first: list[tuple[Side, Decimal, Decimal | None]]
    ) -> None:
        """Begin. Takes: whether somebody else trades on the account; what the terminal lists late; first trades."""
        self.open_up(netting=is_netting)
        self.is_netting, self.is_shared, self.late = is_netting, is_shared, late
        broker = self.paper.control._broker
        delays: Any = {f"{name}_delay_ms": round(LATE_S * 1000) for name in late}
        broker.profile = replace(broker.profile, **delays)
        self.late_s = LATE_S if late else 0.0
        self.blind_until = self.ends_at = 0.0
        self.proven: set[int] = set()
        self.excused: set[str] = set()
        watch.look(account_id=self.account.pk, at=now())
        self.start = Decimal(self.paper.truth()["equity"]).scaleb(-8)
        for side, quantity, stop in first:
            self.trade(side=side, quantity=quantity, stop=stop, goal=None, how="execute", fault=("", False))

    # what people do

    @rule(
        side=sides,
        quantity=lots,
        stop=maybe_far,
        goal=maybe_far,
        how=st.sampled_from(PUT),
        fault=faults,
    )
    def trade(
        self, side: Side, quantity: Decimal, stop: Decimal | None, goal: Decimal | None, how: str, fault: Fault
    ) -> None:
        """Place a market order with its stops, or leave it to the dispatcher."""
        intent = OrderIntent("EURUSD", side, quantity, **_stops(side, self._closing(side), stop, goal))
        with self._broken(fault):
            self.place(self.new_key(), intent, put=getattr(orders, how))

    @rule(
        side=sides,
        quantity=lots,
        away=near,
        stop=maybe_far,
        ends=st.booleans(),
        fault=faults,
    )
    def rest(
        self, side: Side, quantity: Decimal, away: Decimal, stop: Decimal | None, ends: bool, fault: Fault
    ) -> None:
        """Place a limit order that waits for its price, or until its end."""
        price = self._closing(side) - side.direction * away
        end = (now() + timedelta(seconds=2)).replace(microsecond=0) if ends else None
        intent = OrderIntent(
            "EURUSD", side, quantity, order_type=OrderType.LIMIT, limit_price=price, expires_at=end,
            time_in_force=TimeInForce.GTD if ends else TimeInForce.GTC, **_stops(side, price, stop, None),
        )  # fmt: skip
        with self._broken(fault):
            self.place(self.new_key(), intent)
        self.ends_at = time.monotonic() + 2 if ends else self.ends_at

    @rule(
        which=numbers, how=st.sampled_from(["close", "close", "close_by", "restop", "restop"]), part=st.none() | lots,
        stop=maybe_far, goal=maybe_far, what=named, fault=faults,
    )  # fmt: skip
    def touch_position(self, how: str, which: int, fault: Fault, **words: Any) -> None:
        """Do something to a position."""
        wanted = {"close": ["part"], "close_by": [], "restop": ["stop", "goal", "what"]}[how]
        getattr(self, how)(which=which, fault=fault, **{name: words[name] for name in wanted})

    @rule(which=numbers, how=st.sampled_from(["reterm", "cancel"]), away=st.none() | near, stop=maybe_far, fault=faults)
    def touch_order(self, how: str, which: int, fault: Fault, **words: Any) -> None:
        """Do something to an order."""
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
        other = self.one(which, self.held().filter(quantity__lt=0))
        if position is not None and other is not None:
            key = self.request(self.new_key())
            with self._broken(fault):
                closes.close_by(user=self.account.user, position=position, other=other, key=key, at=now())

    def restop(self, which: int, stop: Decimal | None, goal: Decimal | None, what: set[str], fault: Fault) -> None:
        """Change the stops of a position."""
        position = self.one(which, self.held())
        if position is not None:
            wanted = _stops(position.side, self._closing(position.side), stop, goal)
            wanted = {name: price for name, price in wanted.items() if name in what}
            with self._broken(fault):
                changes.change_stops(position_id=position.pk, stops=wanted, actor=TESTER, reason="", at=now())

    def reterm(self, which: int, away: Decimal | None, stop: Decimal | None, fault: Fault) -> None:
        """Change the price of a waiting order, or its stop, or both."""
        order = self.one(which, self._open().filter(delivery=Delivery.ACKED, order_type=OrderType.LIMIT))
        if order is not None:
            side = Side(order.side)
            price = order.limit_price if away is None else self._closing(side) - side.direction * away
            wanted = {"limit_price": price, "stop_loss": _stops(side, price, stop, None)["stop_loss"]}
            with self._broken(fault):
                terms.change(user=self.account.user, order_id=order.pk, terms=wanted, reason="", at=now())

    def cancel(self, which: int, fault: Fault) -> None:
        """Cancel something that is open."""
        order = self.one(which, self._open())
        if order is not None:
            with self._broken(fault):
                cancels.request(order_id=order.pk, actor=TESTER, reason="", at=now())

    def flatten(self) -> None:
        """Stop the account and have all of it closed."""
        stops.stop(scope=ControlScope.ACCOUNT, key=str(self.account.pk), sweep=Sweep.FLATTEN)
        self.sweep()

    def sweep(self) -> None:
        """Be the worker of stops once."""
        with self._excused():
            for sweep in SweepRun.objects.filter(account=self.account, state=SweepState.RUNNING).order_by("pk"):
                sweeping.run(sweep_id=sweep.pk, at=now())
        proven = SweepRun.objects.filter(account=self.account, state=SweepState.PROVEN).exclude(pk__in=self.proven)
        if proven.exists() and time.monotonic() > self.blind_until:
            truth = self.paper.truth()
            assert not [*truth["positions"], *truth["working"]], f"{list(proven)} are proven and {truth}"
        self.proven |= {each.pk for each in proven}

    def ease(self) -> None:
        """Ease the stop of the account."""
        stops.put(StopLevel.ACTIVE, scope=ControlScope.ACCOUNT, key=str(self.account.pk))

    @rule(what=st.sampled_from(RARE))
    def do_rarely(self, what: str) -> None:
        """Do what is not done at every turn."""
        getattr(self, what)()

    # what the world does

    @rule(
        how=st.sampled_from(["trade", "restop", "close"]), which=numbers, side=sides, quantity=lots, stop=maybe_far,
        goal=maybe_far,
    )  # fmt: skip
    def act_strangely(self, how: str, **words: Any) -> None:
        """Do something at the terminal as somebody else."""
        wanted = {"trade": ["side", "quantity", "stop"], "restop": ["which", "stop", "goal"], "close": ["which"]}[how]
        if self.is_shared:
            getattr(self, f"{how}_strangely")(**{name: words[name] for name in wanted})

    def trade_strangely(self, side: Side, quantity: Decimal, stop: Decimal | None) -> None:
        """Trade at the terminal as somebody else."""
        kind = mt5.ORDER_TYPE_BUY if side is Side.BUY else mt5.ORDER_TYPE_SELL
        price = _stops(side, self._closing(side), stop, None)["stop_loss"]
        self.paper.control.manual_trade(self.paper.login, "EURUSD", kind, str(quantity), sl=str(price or 0))
        self._surprise()

    def restop_strangely(self, which: int, stop: Decimal | None, goal: Decimal | None) -> None:
        """Change stops at the terminal as somebody else."""
        held = self.paper.truth()["positions"]
        if held:
            row = self.one(which, held)
            side = Side.BUY if row["type"] == 0 else Side.SELL
            prices = _stops(side, self._closing(side), stop, goal)
            found: Any = {name: str(price or 0) for name, price in zip(("sl", "tp"), prices.values(), strict=True)}
            self.paper.control.manual_modify(self.paper.login, row["ticket"], **found)
            self._surprise()

    def close_strangely(self, which: int) -> None:
        """Close at the terminal as somebody else."""
        held = self.paper.truth()["positions"]
        if held:
            self.paper.control.manual_close(self.paper.login, self.one(which, held)["ticket"])
            self._surprise()

    def restart(self) -> None:
        """Let the gateway be started anew, with the journal that it has."""
        self.paper.restart()
        self.quote()
        self.watch()

    def let_lists_come(self) -> None:
        """Wait until the terminal shows what there is."""
        time.sleep(self.late_s)

    @rule()
    def watch(self) -> None:
        """Be the watcher once."""
        watch.look(account_id=self.account.pk, at=now())

    def find(self) -> None:
        """Wait for as long as it takes to prove that what was lost is nowhere."""
        for seconds in (0, 61, 181, 181):
            self.wait(seconds)
            self.resolve()
            self.watch()

    @rule()
    def resolve(self) -> None:
        """Be every resolver once."""
        super().resolve()
        own = ChangeRequest.objects.filter(Q(order__account=self.account) | Q(position__account=self.account))
        for pk in [pk for pk in changes.due() if own.filter(pk=pk).exists()]:
            changes.resolve(change_id=pk, at=now())
            terms.resolve(change_id=pk)
        for order_id in self.mine(cancels.due()):
            cancels.again(order_id=order_id, at=now())
        with self._excused():
            for order_id in self.mine(protection.due()):
                protection.protect(order_id=order_id, at=now())

    def wait(self, seconds: int) -> None:
        """Let time pass for changes too; what the broker shows late has been shown by then."""
        time.sleep(self.late_s)
        own = ChangeRequest.objects.filter(Q(order__account=self.account) | Q(position__account=self.account))
        own.filter(state__in=IN_FLIGHT).update(sent_at=F("sent_at") - timedelta(seconds=seconds))
        super().wait(seconds)

    # what must hold

    @invariant()
    def nothing_turns_around(self) -> None:
        """What only reduces has opened nothing, at the broker."""
        marks = {ids.magic(name) for name in {*self._reducing()} - self.excused}
        opening = (mt5.DEAL_ENTRY_IN, mt5.DEAL_ENTRY_INOUT)
        wrong = [
            each
            for each in self.paper.deals()
            if each["magic"] in marks and each["entry"] in opening and each["reason"] == mt5.DEAL_REASON_EXPERT
        ]
        assert not wrong, str([tuple(each.values()) for each in self.paper.deals()])

    @invariant()
    def the_worst_is_counted(self) -> None:
        """The gate counts no less than what the broker's own books may lose."""
        if time.monotonic() < self.blind_until:
            return
        # An order that waited may have filled at a better price, which nobody can know yet: of that it assumes a move.
        (_, least), counted = self._worst(less=BETTER), self._counted()
        assert counted is None or counted >= least - CENTS, f"counted {counted}, and it may be {least}"

    def settle(self) -> None:
        """Let lists come, and ask until nothing is open any more that only waits for an answer."""
        self.dispatch()
        self.find()
        for _ in range(8):
            if SweepRun.objects.filter(account=self.account, state=SweepState.RUNNING).exists():
                time.sleep(self.late_s)
                self.quote()
                self.sweep()
        time.sleep(max(0, self.ends_at - time.monotonic(), self.blind_until - time.monotonic()))
        self.quote()
        self.wait_for_belief()
        for order_id in resolution.due_of(self.account.pk):  # those too that a listing has shown a moment ago
            resolution.resolve(order_id=order_id, at=now())
        self.resolve()
        self.watch()

    def compare(self) -> None:
        """Compare our books with the broker's: positions and their stops, waiting orders and theirs."""
        truth = self.paper.truth()
        own = TradeLedger.objects.filter(account=self.account)
        lost = own.filter(delivery__in=[Delivery.UNKNOWN, Delivery.SENDING])
        assert self.is_shared or not lost.exists(), list(lost)  # beside a stranger's trades nothing is proven absent
        assert not own.filter(late_fill=True).exists(), "something was called absent while it was on its way"
        ours = {int(each.venue_position_id): (each.quantity, each.stop_loss, each.take_profit) for each in self.held()}
        assert ours == {
            each["identifier"]: (Decimal(each["volume"]).scaleb(-8) * (1 - 2 * each["type"]), *_levels(each))
            for each in truth["positions"]
        }
        waiting = own.filter(delivery=Delivery.ACKED)
        assert {int(each.venue_order_id): (each.leaves, each.limit_price, each.stop_loss) for each in waiting} == {
            each["ticket"]: (Decimal(each["volume_current"]).scaleb(-8), _level(each["price"]), _levels(each)[0])
            for each in truth["working"]
        }
        changing = ChangeRequest.objects.filter(Q(order__account=self.account) | Q(position__account=self.account))
        changing = changing.filter(state__in=IN_FLIGHT).exclude(kind=ChangeKind.CANCEL)  # that is found with its order
        assert not changing.exists(), list(changing)
        sweeps = SweepRun.objects.filter(account=self.account, state=SweepState.RUNNING)
        assert lost.exists() or not sweeps.exists(), [(each.detail, each.left) for each in sweeps]
        counted, (least, _) = self._counted(), self._worst()
        assert counted is not None, "nobody knows"
        assert counted >= least - CENTS
        if not truth["working"] and not lost.exists():
            assert counted <= least + len(truth["positions"]) * CENTS + CENTS, f"{counted} is counted, of {least}"

    # how it is done

    @contextlib.contextmanager
    def _broken(self, fault: Fault) -> Iterator[None]:
        """Do one thing while the broker is as it is; a refusal of ours is an answer."""
        name, words = FAULTS[fault[0]]
        if name:
            self.paper.control.inject(name, **words)
        with contextlib.suppress(NexusError), self._excused():
            yield
        if name:
            self.let_the_fault_pass()
        self.quiet_from = max(self.quiet_from, time.monotonic() + LATE_S if name == "accept_late" else 0)
        if fault[1]:
            self.resolve()
            if not self.is_shared and self._open().filter(delivery=Delivery.UNKNOWN).exists():
                self.find()

    def _surprise(self) -> None:
        """Nobody can know what somebody else does before it is listed."""
        if self.late:
            self.blind_until = time.monotonic() + LATE_S

    def _worst(self, less: Decimal = Decimal(0)) -> tuple[Decimal, Decimal]:
        bid, ask = PRICES[self.price]
        bound = Rules(settings.GAP_ALLOWANCE, (settings.UNSTOPPED_MOVE or 1) * (1 - less))
        return worst(self.paper.truth(), start=self.start, bid=bid, ask=ask, is_netting=self.is_netting, rules=bound)

    def _counted(self) -> Decimal | None:
        found = headroom.read(user=self.account.user, account=self.account, symbol="EURUSD", at=now())
        used: Decimal | None = next(each.used for each in found.checks if each.name == "DAILY_LOSS")
        return used

    def _closing(self, side: Side) -> Decimal:
        """Return the price at which what was done on a side is closed now."""
        bid, ask = PRICES[self.price]
        return Decimal(bid if side is Side.BUY else ask)

    @contextlib.contextmanager
    def _excused(self) -> Iterator[None]:
        """Excuse what closes by then what somebody else has just closed, where nobody could see that."""
        is_blind = time.monotonic() < self.blind_until
        known = {*self._reducing()} if is_blind else set()
        try:
            yield
        finally:
            self.excused |= {*self._reducing()} - known if is_blind else set()

    def _reducing(self) -> list[str]:
        orders = TradeLedger.objects.filter(account=self.account).exclude(venue_position_id="")
        return list(orders.values_list("client_order_id", flat=True))

    def _open(self) -> Any:
        return TradeLedger.objects.open().filter(account=self.account)


def _stops(side: Side, price: Decimal, stop: Decimal | None, goal: Decimal | None) -> dict[str, Any]:
    away = side.direction
    return {
        "stop_loss": None if stop is None else price - away * stop,
        "take_profit": None if goal is None else price + away * goal,
    }


def _levels(row: dict[str, Any]) -> tuple[Decimal | None, Decimal | None]:
    return _level(row["sl"]), _level(row["tp"])


def _level(points: int) -> Decimal | None:
    return Decimal(points).scaleb(-5) if points else None
