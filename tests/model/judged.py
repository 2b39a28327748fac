"""What must hold of what stands, at any time and at its end: nothing turns around, and the worst is counted."""

import time
from decimal import Decimal
from typing import Any

from django.conf import settings
from django.db.models import Q
from django.utils.timezone import now
from hypothesis.stateful import invariant

from nexus.core import money
from reconciliation.services import cycles
from reconciliation.states import Status, Trigger
from risk.states import ControlScope, StopLevel, Sweep
from tests import stops
from tests.model.draws import LATE_S, MARKETS
from tests.model.floor import PRICES
from tests.model.world import World
from tests.model.worst import Rules, Sight, worst
from trading.brokers import ids
from trading.brokers.mt5.emulator import constants as mt5
from trading.brokers.mt5.emulator.case import STOP_LIMITS, STOPS
from trading.models import ChangeRequest, Fill, SweepRun, TradableInstrument, TradeLedger
from trading.services import headroom, resolution, sweeping
from trading.states import IN_FLIGHT, ChangeKind, Delivery, FillKind, SweepState

CENTS = Decimal("0.01")
BETTER = Decimal("0.02")  # more than the prices of `PRICES` are apart


class Judged(World):
    """A world of which is known what must hold."""

    def always(self) -> None:
        """Hold what always holds, but for a deal that was taken back: until somebody looks, nobody knows."""
        for _ in self.each_desk():
            told = Fill.objects.filter(account=self.account, kind=FillKind.BUST).values_list("reverses", flat=True)
            if {str(ticket) for ticket in self.paper.truth()["canceled"]} <= {*told}:
                super().always()

    @invariant()
    def nothing_turns_around(self) -> None:
        """What only reduces has opened nothing, at the broker."""
        opening = (mt5.DEAL_ENTRY_IN, mt5.DEAL_ENTRY_INOUT)
        for _ in self.each_desk():
            marks = {ids.magic(name) for name in {*self._reducing()} - self.excused}
            wrong = [
                each
                for each in self.paper.deals()
                if each["magic"] in marks and each["entry"] in opening and each["reason"] == mt5.DEAL_REASON_EXPERT
            ]
            assert not wrong, str([tuple(each.values()) for each in self.paper.deals()])

    @invariant()
    def the_worst_is_counted(self) -> None:
        """The gate counts no less than what the brokers' own books may lose, on all accounts of a user."""
        for _ in self.each_desk():
            # An order that waited may have filled at a better price, which nobody can know yet: of that it assumes a
            # move. Nor can it know a stop that a broker has dropped while it answered otherwise, before that is listed.
            own = self.account.user_id
            least = sum(self.everywhere(lambda: self._worst(less=BETTER)[1] - self._hidden(), of=own))
            is_blind = time.monotonic() < max(self.everywhere(lambda: max(self.blind_until, self.bare_until), of=own))
            counted = self._counted()
            is_counted = is_blind or counted is None or counted >= least - CENTS
            assert is_counted, f"counted {counted}, and it may be {least}"

    def flatten(self) -> None:
        """Stop the account and have all of it closed."""
        stops.stop(scope=ControlScope.ACCOUNT, key=str(self.account.pk), sweep=Sweep.FLATTEN)
        self.sweep()

    def flatten_all(self) -> None:
        """Stop the user and have every account closed."""
        stops.stop(scope=ControlScope.USER, key=str(self.account.user_id), sweep=Sweep.FLATTEN)
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
        """Ease the stop of the account, and that of its user."""
        stops.put(StopLevel.ACTIVE, scope=ControlScope.ACCOUNT, key=str(self.account.pk))
        stops.put(StopLevel.ACTIVE, scope=ControlScope.USER, key=str(self.account.user_id))

    def settle(self) -> None:
        """Let everything come to its end, everywhere."""
        for _ in self.each_desk():
            self.settle_here()
        self.wait_for_belief()
        for _ in self.each_desk():
            self.watch()

    def settle_here(self) -> None:
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
        """Compare everything, then let it end."""
        for _ in self.each_desk():
            self.compare_here()
        for _ in self.each_desk():
            self.compare_figures()
        if not any(self.everywhere(lambda: self._lost().exists())):
            self.end()

    def compare_here(self) -> None:
        """Compare our books with the broker's: positions and their stops, waiting orders and theirs."""
        truth, own, lost = self.paper.truth(), TradeLedger.objects.filter(account=self.account), self._lost()
        assert self.is_shared or not lost.exists(), list(lost)  # beside a stranger's trades nothing is proven absent
        assert not own.filter(late_fill=True).exists(), "something was called absent while it was on its way"
        ours = {int(each.venue_position_id): (each.quantity, each.stop_loss, each.take_profit) for each in self.held()}
        theirs = {
            each["identifier"]: (Decimal(each["volume"]).scaleb(-8) * (1 - 2 * each["type"]), *_levels(each))
            for each in truth["positions"]
        }
        assert ours == theirs, f"{ours}, and the broker holds {theirs}"
        waiting = {int(each.venue_order_id): each for each in own.filter(delivery=Delivery.ACKED)}
        marked = {each["ticket"]: each for each in truth["working"] if each["magic"]}  # else it is somebody else's
        assert {ticket: _terms(each) for ticket, each in waiting.items()} == {
            ticket: _shown(each, waiting.get(ticket)) for ticket, each in marked.items()
        }
        changing = ChangeRequest.objects.filter(Q(order__account=self.account) | Q(position__account=self.account))
        changing = changing.filter(state__in=IN_FLIGHT).exclude(kind=ChangeKind.CANCEL)  # that is found with its order
        assert not changing.exists(), list(changing)
        sweeps = SweepRun.objects.filter(account=self.account, state=SweepState.RUNNING)
        assert lost.exists() or not sweeps.exists(), [(each.detail, each.left) for each in sweeps]

    def compare_figures(self) -> None:
        """Hold what the gate counts of a user against what may be lost: no less, and no more."""
        counted = self._counted()
        own = self.account.user_id
        least = sum(self.everywhere(lambda: self._worst(back=self.given_back)[0], of=own))
        assert counted is not None, "nobody knows"
        assert counted >= least - CENTS, f"{counted} is counted, of {least}"
        is_quiet = not any(self.everywhere(lambda: self._lost().exists() or self.paper.truth()["working"], of=own))
        if is_quiet:
            pieces = sum(self.everywhere(lambda: len(self.paper.truth()["positions"]) + 1, of=own))
            assert counted <= least + pieces * CENTS, f"{counted} is counted, of {least}"

    def end(self) -> None:
        """Close all there is, and let the gate, our books and the broker's say the same to the cent."""
        for _ in self.each_desk():
            self.flatten()
        self.settle()
        for _ in self.each_desk():
            self._is_over()
        for _ in self.each_desk():
            lost = sum(self.everywhere(self._lost_in_usd, of=self.account.user_id))
            found = headroom.read(user=self.account.user, account=self.account, symbol="EURUSD", at=now())
            used = {each.name: each.used for each in found.checks}
            assert not found.missing, found
            for name, exact in {"DAILY_LOSS": lost, "POSITION_SIZE": 0, "POSITION_COUNT": 0, "MARGIN": 0}.items():
                assert used[name] == exact, f"{name}: {used[name]}, and it is {exact}"

    def _lost_today(self) -> Decimal:
        equity = Decimal(self.paper.truth()["equity"]).scaleb(-8)
        return max(Decimal(0), self.start + self.paid + self.given_back - equity)

    def _lost_in_usd(self) -> Decimal:
        return money.ceil_to(self._lost_today() * self._usd(), CENTS)

    def _usd(self) -> Decimal:
        """Return USD for a unit of the account's currency, where that costs more."""
        return Decimal(1) if self.currency == "USD" else Decimal(PRICES[self.levels["EURUSD"]][1])

    def _is_over(self) -> None:
        truth, own = self.paper.truth(), TradeLedger.objects.filter(account=self.account)
        assert not [*truth["positions"], *truth["working"]], truth
        assert not self.held().exists(), list(self.held())
        assert not own.exclude(reserved=0).exists()
        assert not own.open().exists(), list(own.open())
        outcome = cycles.run(account_id=self.account.pk, trigger=Trigger.CLOCK, at=now())
        assert outcome.status == Status.CLEAN, outcome

    def _hidden(self) -> Decimal:
        """Return what may hide until the next look behind what was paid in: what was charged, also for trades, and
        what was lost where something was opened and closed since, or where a late list shows as held what is closed.
        """
        booked = {*Fill.objects.filter(account=self.account).values_list("venue_fill_id", flat=True)}
        new = [each for each in self.paper.deals() if str(each["ticket"]) not in booked]
        opened = {each["position_id"] for each in new if each["entry"] != mt5.DEAL_ENTRY_OUT}
        shown_at = self.paper.control.now_us - round(LATE_S * 1_000_000) if "positions" in self.late else 0
        lost = sum(
            max(0, -each["profit"]) for each in new if each["position_id"] in opened or 0 < shown_at < each["time_us"]
        )
        lost -= sum(each["commission"] for each in new)
        return min(self.untold, self.charged + Decimal(lost).scaleb(-8)) * self._usd()

    def _lost(self) -> Any:
        own = TradeLedger.objects.filter(account=self.account)
        return own.filter(delivery__in=[Delivery.UNKNOWN, Delivery.SENDING])

    def _worst(self, less: Decimal = Decimal(0), back: Decimal = Decimal(0)) -> tuple[Decimal, Decimal]:
        bound = Rules(settings.GAP_ALLOWANCE, (settings.UNSTOPPED_MOVE or 1) * (1 - less))
        start = self.start + self.paid + back
        sights = {symbol: self._sight(symbol, is_least=bool(less)) for symbol in self.levels}
        return worst(
            self.paper.truth(), start=start, sights=sights, is_netting=self.is_netting, rules=bound, usd=self._usd()
        )

    def _sight(self, symbol: str, *, is_least: bool) -> Sight:
        """Return an instrument as it is seen now. What waits is reserved by the rate of the moment when it was asked
        for, which was the least of all at worst; and so is what has filled and is not listed yet.
        """
        market, usd = MARKETS[symbol], (Decimal(1), Decimal(1))
        bid, ask = (Decimal(price) for price in market.prices[self.levels[symbol]])
        if symbol == "USDJPY":
            least = 1 / max(Decimal(price) for price, _ in market.prices.values())
            usd = (least if is_least else 1 / bid, least)
        return Sight(bid, ask, market.digits, *(market.lot * each for each in usd))

    def _counted(self) -> Decimal | None:
        other = next((symbol for symbol in self.levels if symbol != self.symbol), self.symbol)
        asked = other if TradableInstrument.objects.filter(account=self.account, symbol=other).exists() else None
        found = headroom.read(user=self.account.user, account=self.account, symbol=asked, at=now())
        used: Decimal | None = next(each.used for each in found.checks if each.name == "DAILY_LOSS")
        return used


def _levels(row: dict[str, Any]) -> tuple[Decimal | None, Decimal | None]:
    return _level(row, "sl"), _level(row, "tp")


def _level(row: dict[str, Any], name: str) -> Decimal | None:
    return Decimal(row[name]).scaleb(-MARKETS[row["symbol"]].digits) if row[name] else None


def _terms(order: TradeLedger) -> tuple[Decimal | None, ...]:
    return order.leaves, order.limit_price, order.stop_price, order.stop_loss


def _shown(row: dict[str, Any], ours: TradeLedger | None) -> tuple[Decimal | None, ...]:
    """Return the terms of a waiting order at the broker. A trigger that was touched stays in our books, and so does a
    stop that somebody has taken away: it is still wanted.
    """
    limit, trigger = _level(row, "price"), None if ours is None else ours.stop_price
    if row["type"] in STOP_LIMITS:
        limit, trigger = _level(row, "stoplimit"), limit
    elif row["type"] in STOPS:
        limit, trigger = None, limit
    stop = _level(row, "sl") or (None if ours is None else ours.stop_loss)
    return Decimal(row["volume_current"]).scaleb(-8), limit, trigger, stop
