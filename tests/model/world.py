"""The world of what stands: a stranger at the terminal, a gateway that is started anew, lists that come late, time."""

import contextlib
import inspect
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import hypothesis.strategies as st
from django.db.models import F, Q
from django.utils.timezone import now
from hypothesis.stateful import rule

from nexus.core.errors import NexusError
from reconciliation.services import cycles
from reconciliation.states import Trigger
from tests.model import draws
from tests.model.draws import (
    EARNED,
    FAULTS,
    LOST,
    MARKETS,
    PAID_IN,
    STRANGE,
    WITHIN,
    Fault,
    Market,
    amounts,
    depths,
    kinds,
    lots,
    maybe_far,
    near,
    sides,
    which_one,
)
from tests.model.floor import LATE_S, PRICES, Floor, numbers
from trading.brokers.mt5.emulator import constants as mt5
from trading.models import ChangeRequest, Fill, TradeLedger
from trading.services import cancels, changes, protection, terms, watch
from trading.states import IN_FLIGHT, Delivery, OrderType, Side

KINDS_OF_MT5 = {
    OrderType.LIMIT: mt5.ORDER_TYPE_BUY_LIMIT, OrderType.STOP: mt5.ORDER_TYPE_BUY_STOP,
    OrderType.STOP_LIMIT: mt5.ORDER_TYPE_BUY_STOP_LIMIT,
}  # fmt: skip


DESK = (
    "paper", "account", "made", "quiet_from", "is_netting", "currency", "blind_until", "bare_until", "ends_at",
    "proven", "excused", "paid", "given_back", "charged", "untold", "reconciled", "start",
)  # fmt: skip


class World(Floor):
    """One trader, one account of either kind, one broker behind a real gateway, and a stranger at its terminal."""

    desks: list[dict[str, Any]]
    seat: int
    is_shared: bool
    late: set[str]
    late_s: float
    symbol: str  # the instrument in hand
    levels: dict[str, str]  # where the price of each instrument of this life is

    def open_desk(self, *, is_netting: bool, currency: str) -> None:
        """Be at the account that was opened last, of which nothing is known yet."""
        self.is_netting, self.currency = is_netting, currency
        broker = self.paper.control._broker
        delays: Any = {f"{name}_delay_ms": round(draws.LATE_S * 1000) for name in self.late}
        broker.profile = replace(broker.profile, **delays)
        self.blind_until = self.bare_until = self.ends_at = 0.0
        self.proven: set[int] = set()
        self.excused: set[str] = set()
        self.paid = self.given_back = Decimal(0)
        self.reconciled = 0
        self.watch()
        self.reconcile()
        self.start = Decimal(self.paper.truth()["equity"]).scaleb(-8)
        self.seat = len(self.desks)
        self.desks.append({})

    def sit(self, number: int) -> None:
        """Be at another account."""
        self.desks[self.seat] = {name: getattr(self, name) for name in DESK}
        self.seat = number
        self.__dict__.update(self.desks[number])

    def everywhere(self, said: Callable[[], Any], *, of: int | None = None) -> list[Any]:
        """Return what is said of every account, or of every one of a user."""
        return [said() for _ in self.each_desk() if of in (None, self.account.user_id)]

    def each_desk(self) -> Iterator[None]:
        """Be at every account in turn."""
        back = self.seat
        for number in range(len(self.desks)):
            self.sit(number)
            yield
        self.sit(back)

    def turn(self) -> None:
        """Go on at another account, if there is one."""
        self.sit((self.seat + 1) % len(self.desks))

    @property
    def market(self) -> Market:
        """Return the market of the instrument in hand."""
        return MARKETS[self.symbol]

    def quote(self, depth: str = "0") -> None:
        """Quote the prices that all instruments are at, with every broker; so deep that of the one in hand."""
        others = [desk["paper"] for number, desk in enumerate(self.desks) if desk and number != self.seat]
        for paper in (self.paper, *others):
            for symbol, level in self.levels.items():
                lots = depth if symbol == self.symbol else "0"
                paper.control.tick(symbol, *MARKETS[symbol].prices[level], bid_vol=lots, ask_vol=lots)

    def take_up(self, on: int) -> None:
        """Have the first or the second instrument of this life in hand, where it has two."""
        self.symbol = [*self.levels][on % len(self.levels)]

    @rule(what=st.sampled_from(["watch", "watch", "resolve", "resolve", "turn"]))
    def go_on(self, what: str) -> None:
        """Let one of those work that always do, or go on at another account."""
        getattr(self, what)()

    @rule(prices=st.lists(st.sampled_from(sorted(PRICES)), min_size=1, max_size=2), depth=depths, on=which_one)
    def move_on(self, prices: list[str], depth: str, on: int = 0) -> None:
        """Let a price move more often than all else, there and back, and with so many lots on offer."""
        self.take_up(on)
        for self.levels[self.symbol] in prices:
            self.quote(depth)

    @rule(
        how=st.sampled_from(STRANGE), which=numbers, side=sides, quantity=lots, stop=maybe_far, goal=maybe_far,
        kind=kinds, away=near, on=which_one,
    )  # fmt: skip
    def act_strangely(self, how: str, on: int, **words: Any) -> None:
        """Do something at the terminal as somebody else."""
        self.take_up(on)
        is_lacking = {"close": not self.held(), "restop": not self.held(), "reterm": not self._waiting()}
        how = "trade" if is_lacking.get(how) else how
        if self.is_shared:
            done = getattr(self, f"{how}_strangely")
            done(**{name: words[name] for name in inspect.signature(done).parameters})

    def trade_strangely(self, side: Side, quantity: Decimal, stop: Decimal | None) -> None:
        """Trade at the terminal as somebody else."""
        kind = mt5.ORDER_TYPE_BUY if side is Side.BUY else mt5.ORDER_TYPE_SELL
        price = self.stops_of(side, self._closing(side), stop, None)["stop_loss"]
        self.paper.control.manual_trade(self.paper.login, self.symbol, kind, str(quantity), sl=str(price or 0))
        self._surprise()

    def restop_strangely(self, which: int, stop: Decimal | None, goal: Decimal | None) -> None:
        """Change stops at the terminal as somebody else."""
        held = self.paper.truth()["positions"]
        if held:
            row = self.one(which, held)
            self.symbol = row["symbol"]
            side = Side.BUY if row["type"] == 0 else Side.SELL
            prices = self.stops_of(side, self._closing(side), stop, goal)
            found: Any = {name: str(price or 0) for name, price in zip(("sl", "tp"), prices.values(), strict=True)}
            self.paper.control.manual_modify(self.paper.login, row["ticket"], **found)
            self._surprise()

    def rest_strangely(
        self, side: Side, quantity: Decimal, kind: OrderType, away: Decimal, stop: Decimal | None
    ) -> None:
        """Let an order wait as somebody else."""
        row = KINDS_OF_MT5[kind] + (0 if side is Side.BUY else 1)
        words = self._as_mt5(self.resting(kind, side, away, stop))
        self.paper.control.manual_order(self.paper.login, self.symbol, row, str(quantity), **words)
        self._surprise()

    def reterm_strangely(self, which: int, away: Decimal, stop: Decimal | None) -> None:
        """Change the terms of a waiting order at the terminal as somebody else."""
        row = self.one(which, self._waiting())
        if row:
            self.symbol = row["symbol"]
            kind = next(name for name, first in KINDS_OF_MT5.items() if row["type"] in (first, first + 1))
            side = Side.SELL if row["type"] % 2 else Side.BUY
            words = self._as_mt5(self.resting(kind, side, away, stop))
            self.paper.control.manual_modify(self.paper.login, row["ticket"], **words)
            self._surprise()

    def cancel_strangely(self, which: int) -> None:
        """Cancel a waiting order at the terminal as somebody else."""
        row = self.one(which, self._waiting())
        if row:
            self.paper.control.manual_cancel(self.paper.login, row["ticket"])
            self._surprise()

    def close_strangely(self, which: int) -> None:
        """Close at the terminal as somebody else."""
        held = self.paper.truth()["positions"]
        if held:
            self.paper.control.manual_close(self.paper.login, self.one(which, held)["ticket"])
            self._surprise()

    @rule(amount=amounts, kind=st.sampled_from([*PAID_IN, *PAID_IN, *EARNED]))
    def pay(self, amount: Decimal, kind: int) -> None:
        """Let money move without a trade: paid in or out, lent, or charged and earned."""
        self.paper.control.balance(self.paper.login, str(amount), kind)
        if kind in PAID_IN:
            self.paid += amount
            self.untold += max(Decimal(0), amount)
        else:
            self.charged += max(Decimal(0), -amount)

    @rule(which=numbers)
    def take_back(self, which: int) -> None:
        """Let the broker cancel a deal that is in our books, unless another one rests on it.

        A loss that is given back is paid in, and stays one of the day.
        """
        canceled = self.paper.truth()["canceled"]
        booked = {*Fill.objects.filter(account=self.account).values_list("venue_fill_id", flat=True)}
        deals = (each for each in self.paper.deals() if each["ticket"] not in canceled)
        deal = self.one(which, [each for each in deals if str(each["ticket"]) in booked])
        if deal is not None:
            with contextlib.suppress(ValueError):
                self.paper.control.cancel_deal(self.paper.login, deal["ticket"])
                back = max(Decimal(0), -Decimal(deal["profit"]).scaleb(-8))
                self.given_back += back
                self.untold += back
                self._surprise()

    def restart(self) -> None:
        """Let the gateway be started anew, with the journal that it has."""
        self.paper.restart()
        self.quote()
        self.watch()

    def charge_night(self) -> None:
        """Let the broker charge a night on every position."""
        with contextlib.suppress(ValueError):
            self.paper.control.charge_swap(self.paper.login, amount="-1.23")

    def move(self, price: str) -> None:
        """Say nothing here: `move_on` does."""
        self.move_on([price], "0")

    def end_day(self) -> None:
        """Let the broker's day end, for orders that last no longer."""
        self.paper.end_day()

    def reconcile(self) -> None:
        """Be the reconciliation: it may find what is on its way, and calls nothing of it a difference."""
        if time.monotonic() < self.blind_until or self.reconciled > 1:
            return  # what is on its way is left out three times in a row, and counts from then on
        self.reconciled += 1
        outcome = cycles.run(account_id=self.account.pk, trigger=Trigger.CLOCK, at=now())
        assert not outcome.discrepancy_usd, outcome
        assert not outcome.is_unvalued, outcome

    def let_lists_come(self) -> None:
        """Wait until the terminal shows what there is."""
        time.sleep(self.late_s)

    def watch(self) -> None:
        """Be the watcher once."""
        self.charged = self.untold = Decimal(0)
        watch.look(account_id=self.account.pk, at=now())

    def find(self) -> None:
        """Wait for as long as it takes to prove that what was lost is nowhere."""
        for seconds in (0, 61, 181, 181):
            self.wait(seconds)
            self.resolve()
            self.watch()

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

    @contextlib.contextmanager
    def _broken(self, fault: Fault) -> Iterator[None]:
        """Do one thing while the broker is as it is; a refusal of ours is an answer."""
        name, words = FAULTS[fault[0]]
        if self.is_shared and fault[1] and fault[0] in LOST:
            name = ""  # beside a stranger's trades nothing is proven absent: the rest of the life would be refused
        if name:
            self.paper.control.inject(name, **words)
        began = now()
        with contextlib.suppress(NexusError), self._excused():
            yield
        if name:
            self.let_the_fault_pass()
        if name == "stops_dropped":
            self._note_bare(since=began)
        self.quiet_from = max(self.quiet_from, time.monotonic() + LATE_S if name == "accept_late" else 0)
        if fault[1]:
            self.resolve()
            if not self.is_shared and self._open().filter(delivery=Delivery.UNKNOWN).exists():
                self.find()

    def _note_bare(self, *, since: datetime) -> None:
        """Believe until it is listed what was answered as it was asked for, where that was to stand with a stop."""
        orders = TradeLedger.objects.filter(account=self.account, created_at__gte=since)
        changed = ChangeRequest.objects.filter(position__account=self.account, requested_at__gte=since)
        is_asked = orders.filter(Q(stop_loss__isnull=False) | ~Q(venue_position_id="")).exists()
        if "positions" in self.late and (is_asked or changed.exclude(after__stop_loss=None).exists()):
            self.bare_until = time.monotonic() + draws.LATE_S

    def _surprise(self) -> None:
        """Nobody can know what somebody else does before it is listed."""
        if self.late:
            self.blind_until = time.monotonic() + LATE_S

    def resting(self, kind: OrderType, side: Side, away: Decimal | None, stop: Decimal | None) -> dict[str, Any]:
        """Return the prices of an order that waits so far away: a limit for a better price, a trigger for a worse."""
        here, way = self._closing(side), side.direction * (away or Decimal(0)) * self.market.scale
        prices = {"limit_price": here - way} if kind is OrderType.LIMIT else {"stop_price": here + way}
        if kind is OrderType.STOP_LIMIT:
            prices["limit_price"] = here + way - side.direction * WITHIN * self.market.scale
        entry = prices.get("limit_price", prices.get("stop_price"))
        assert entry is not None
        return prices | {"stop_loss": self.stops_of(side, entry, stop, None)["stop_loss"]}

    def _as_mt5(self, prices: dict[str, Any]) -> dict[str, Any]:
        limit, trigger = prices.get("limit_price"), prices.get("stop_price")
        words = {"price": trigger or limit, "stoplimit": limit if trigger else None, "sl": prices["stop_loss"]}
        return {name: str(price or 0) for name, price in words.items()}

    def _waiting(self) -> list[dict[str, Any]]:
        return [row for row in self.paper.truth()["working"] if row["price"]]

    def _closing(self, side: Side) -> Decimal:
        """Return the price at which what was done on a side is closed now."""
        bid, ask = self.market.prices[self.levels[self.symbol]]
        return Decimal(bid if side is Side.BUY else ask)

    def stops_of(self, side: Side, price: Decimal, stop: Decimal | None, goal: Decimal | None) -> dict[str, Any]:
        """Return the stops so far from a price."""
        away, scale = side.direction, self.market.scale
        return {
            "stop_loss": None if stop is None else price - away * stop * scale,
            "take_profit": None if goal is None else price + away * goal * scale,
        }

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
