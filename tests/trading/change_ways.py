"""What becomes of a change, the ways in which that becomes known, and all that comes of it: of a position's stops, and
of a working order's terms.
"""

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from decimal import Decimal
from functools import partial
from typing import Any, ClassVar

import pytest
from django.db.models import F, QuerySet
from django.utils.timezone import now

from nexus.alerts.models import Alert
from nexus.audit.models import Event
from nexus.audit.types import Actor
from nexus.core.errors import NexusError, OutcomeUnknown, OutsideError, Refused, Unreachable
from risk.models import RiskAdjustment, TradingControl
from risk.states import ControlScope
from tests import invariants
from tests.fakes.paper import Paper
from tests.trading.conftest import TESTER, brief
from trading.brokers.mt5.adapter import Mt5Broker
from trading.models import BrokerPosition, ChangeRequest, TradeLedger
from trading.services import accounts, cancels, changes, coverage, facts, headroom, lost, terms, watch
from trading.states import IN_FLIGHT, ChangeKind, OrderType, TimeInForce
from trading.types import AccountSnapshot

D = Decimal
QUOTE = ("1.08490", "1.08500")
Send = Callable[[], None]
Prices = Mapping[str, Decimal | None]
PROVEN = timedelta(seconds=200)  # after so long a request that was on its way has arrived
OLD = {"STOPS": "The position shows the old stops.", "TERMS": "The order shows the old terms."}


@dataclass(frozen=True)
class End:
    """What becomes of a change: it is done, or `error` is what is said to whoever sends it."""

    error: OutsideError | None = None
    begins: str = ""  # how its answer is kept

    @property
    def is_done(self) -> bool:
        return self.error is None

    def arrive(self, send: Send) -> None:
        if self.error is None:
            send()

    def answer(self, send: Send) -> None:
        self.arrive(send)
        if self.error is not None:
            raise self.error


DONE = End()
REFUSED = End(Refused("The stops are not valid.", code="10016"))
NOT_NOW = End(Refused("The price is too near.", code="10029", retry_s=0), changes.PASSING)
NOT_SENT = End(Unreachable("The gateway is away."), changes.UNSENT)
FOR_GOOD = End(Refused("Trading is disabled.", code="10017", halts=True))


class Desk(ABC):
    """Whoever asks for a change and hears of it, over a broker that is real enough to show what became of it."""

    kind: ClassVar[ChangeKind]
    sends: ClassVar[str]  # the adapter's function
    action: ClassVar[str]  # in the audit

    def __init__(self, execute: Any, account: Any, trader: Any, paper: Paper, patch: pytest.MonkeyPatch) -> None:
        self.execute, self.account, self.trader, self.paper, self.patch = execute, account, trader, paper, patch
        self.flights: list[Any] = []

    def stand(self, **asked: Any) -> None:
        """Let something stand that can be changed, and note what it counts."""
        self.paper.quote("EURUSD", *QUOTE)
        self.flights = []
        self.make(**asked)
        self.since, self.adjusted = invariants.newest_event(), RiskAdjustment.objects.count()
        self.base = (D(0), D(0))
        self.base = self.counted()

    def ask(self, wanted: Prices, tell: Callable[[Send], None]) -> None:
        """Ask for a change. Takes: what happens instead of sending it."""
        real = getattr(Mt5Broker, self.sends)

        def send(broker: Mt5Broker, request: Any) -> None:
            with self.patch.context() as patched:
                patched.setattr(Mt5Broker, self.sends, real)
                self.fly()
                tell(partial(real, broker, request))

        with self.patch.context() as patched:
            patched.setattr(Mt5Broker, self.sends, send)
            self.request(wanted)

    def fly(self) -> None:
        """Note what counts while nobody knows, when it is sent and each time that it is looked for."""
        if self.latest().state not in IN_FLIGHT:
            return
        listed = [each["delivery"] in IN_FLIGHT for each in coverage.in_flight(ControlScope.ACCOUNT, self.account.pk)]
        seen = (*self.counted(), listed, self.again())
        self.flights += [seen] if seen not in self.flights else []

    def search(self) -> None:
        """Look for it when it would have arrived for long; people are told of it meanwhile, as long as nobody knows."""
        self.changes().update(sent_at=F("sent_at") - PROVEN)
        self.look_once()

    def look_once(self) -> None:
        self.fly()
        is_open = self.latest().state in IN_FLIGHT
        lost.tell(at=now())
        is_late = facts.database_clock() - self.latest().sent_at > lost.TOLD_AFTER
        assert self.alerts(str(self.latest().public_id)) == ["CHANGE_UNKNOWN"] * (is_open and is_late)
        self.resolve(self.latest().pk)

    def again(self) -> str:
        """Ask for another change, and return what is said."""
        before = ChangeRequest.objects.count()
        try:
            self.request(self.next())
        except NexusError as exc:
            assert ChangeRequest.objects.count() == before
            return str(exc.code)
        return str(self.latest().state)

    def latest(self) -> ChangeRequest:
        return self.changes().latest("pk")

    def counted(self) -> tuple[Decimal, Decimal]:
        """Return what counts, since it stands, against the limits of the day's loss and of its value."""
        found = headroom.read(user=self.trader, account=self.account, symbol="EURUSD", at=now())
        used = {check.name: check.used for check in found.checks}
        loss, value = used["DAILY_LOSS"], used["DAILY_VALUE"]
        assert loss is not None
        assert value is not None
        return loss - self.base[0], value - self.base[1]

    def snapshot(self) -> AccountSnapshot:
        return accounts.broker_of(self.account).snapshot(symbols=[])

    def alerts(self, *names: str) -> list[str]:
        rows = Alert.objects.filter(closed_at=None, object_id__in=names) if names else Alert.objects.filter(
            closed_at=None
        )  # fmt: skip
        return sorted(rows.values_list("kind", flat=True))

    def told(self) -> dict[str, Any]:
        """Return all that has come of it, when the account was looked at once more."""
        change = self.latest()
        lost.tell(at=now())
        watch.look(account_id=self.account.pk, at=now())
        events = [json.loads(each.canonical) for each in Event.objects.filter(pk__gt=self.since).order_by("pk")]
        answers = [each["detail"] for each in events if each["action"] == f"{self.action}_answered"]
        found = {
            "state": change.state,
            "answer": change.answer,
            "settled": change.settled_at is not None,
            "while it was on its way": self.flights,
            "stands": self.stands(),
            "at the broker": self.shown(),
            "counted": self.counted(),
            "adjustments": list(
                RiskAdjustment.objects.order_by("pk").values_list("kind", "before", "after")[self.adjusted :]
            ),
            "alerts": self.alerts(),
            "asked": sum(each["action"] == f"{self.action}_requested" for each in events),
            "answered": [each["state"] for each in answers if each["change_id"] == change.change_id],
            "moved": [each["action"] for each in events if "_moved" in each["action"] or "_shown" in each["action"]],
            "listed": coverage.changes_under(ControlScope.SYSTEM, "").count(),
            "is asked for": change.pk in changes.due(),
            "stopped": list(TradingControl.objects.exclude(scope="SYSTEM").values_list("scope", flat=True)),
        }
        return found | {"the next": self.again()}

    @abstractmethod
    def make(self, **asked: Any) -> None: ...

    @abstractmethod
    def changes(self) -> QuerySet[ChangeRequest]: ...

    @abstractmethod
    def request(self, wanted: Prices) -> None: ...

    @abstractmethod
    def resolve(self, change_id: int) -> None: ...

    @abstractmethod
    def next(self) -> Prices: ...

    @abstractmethod
    def stands(self) -> Any: ...

    @abstractmethod
    def shown(self) -> Any: ...


class StopsDesk(Desk):
    """Of a position of 0.1 lots, bought at 1.08500; it is marked at 1.08490."""

    kind, sends, action = ChangeKind.STOPS, "change_stops", "position.stops"

    def make(self, **asked: Any) -> None:
        assert self.execute(brief(**asked)).status == "FILLED"
        self.pk = BrokerPosition.objects.latest("pk").pk

    @property
    def row(self) -> BrokerPosition:
        return BrokerPosition.objects.get(pk=self.pk)

    def changes(self) -> QuerySet[ChangeRequest]:
        return ChangeRequest.objects.filter(position=self.pk)

    def request(self, wanted: Prices) -> None:
        trader = Actor.user(self.trader.public_id)
        changes.change_stops(position_id=self.pk, stops=wanted, actor=trader, reason="A test.", at=now())

    def resolve(self, change_id: int) -> None:
        changes.resolve(change_id=change_id, at=now())

    def next(self) -> Prices:
        return {"stop_loss": D("1.0845")}

    def stands(self) -> Any:
        return self.row.stop_loss, self.row.take_profit

    def shown(self) -> Any:
        held = [
            each for each in self.paper.truth()["positions"] if str(each["identifier"]) == self.row.venue_position_id
        ]
        return [(D(each["sl"]) / 100_000 or None, D(each["tp"]) / 100_000 or None) for each in held]


class TermsDesk(Desk):
    """Of an order for 0.1 lots that waits."""

    kind, sends, action = ChangeKind.TERMS, "change_order", "order.terms"

    def make(self, **asked: Any) -> None:
        usual: dict[str, Any] = {"order_type": OrderType.LIMIT, "limit_price": D("1.0840"), "stop_loss": D("1.0790")}
        order = self.execute(replace(brief(), entry_price=None, time_in_force=TimeInForce.GTC, **(usual | asked)))
        assert order.delivery == "ACKED", order.reason
        self.pk = order.pk
        if order.order_type == OrderType.STOP_LIMIT:  # its trigger is touched: at the broker it is a limit order now
            self.paper.quote("EURUSD", "1.08590", "1.08600")

    @property
    def row(self) -> TradeLedger:
        return TradeLedger.objects.get(pk=self.pk)

    def changes(self) -> QuerySet[ChangeRequest]:
        return ChangeRequest.objects.filter(order=self.pk)

    def request(self, wanted: Prices) -> None:
        terms.change(user=self.trader, order_id=self.pk, terms=wanted, reason="A test.", at=now())

    def resolve(self, change_id: int) -> None:
        terms.resolve(change_id=change_id)

    def next(self) -> Prices:
        return {"take_profit": D("1.0960")}

    def told(self) -> dict[str, Any]:
        """Return all that has come of it, and what its order gives back when it is canceled."""
        found = super().told()
        self.cancel()
        return found | {"canceled": self.counted()}

    def cancel(self) -> None:
        cancels.request(order_id=self.pk, actor=TESTER, reason="A test.", at=now())

    def stands(self) -> Any:
        row = self.row
        prices = (row.limit_price, row.stop_price, row.stop_loss, row.take_profit)
        return (*prices, row.risk, row.restopped, row.reserved, row.value)

    def shown(self) -> Any:
        working = [each for each in self.paper.truth()["working"] if str(each["ticket"]) == self.row.venue_order_id]
        return [tuple(D(each[name]) / 100_000 for name in ("price", "sl", "tp")) for each in working]


# --- Ways --------------------------------------------------------------------------------------------------------
def by_answer(desk: Desk, wanted: Prices, end: End) -> None:
    desk.ask(wanted, end.answer)


def by_search(desk: Desk, wanted: Prices, end: End) -> None:
    desk.ask(wanted, partial(lose, end))
    desk.search()


def lose(end: End, send: Send) -> None:
    end.arrive(send)
    raise OutcomeUnknown("No answer.")


def by_search_after_a_crash(desk: Desk, wanted: Prices, end: End) -> None:
    def die(send: Send) -> None:
        end.arrive(send)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        desk.ask(wanted, die)
    desk.search()


def by_answer_after_a_search(desk: Desk, wanted: Prices, end: End) -> None:
    """The search shows that nothing was changed; then it was, or the refusal is heard all the same."""

    def wait(send: Send) -> None:
        desk.search()
        end.answer(send)

    desk.ask(wanted, wait)


def by_search_before_the_answer(desk: Desk, wanted: Prices, end: End) -> None:
    def find(send: Send) -> None:
        end.arrive(send)
        desk.search()
        end.answer(lambda: None)

    desk.ask(wanted, find)


def by_search_before_the_answer_is_lost(desk: Desk, wanted: Prices, end: End) -> None:
    def find(send: Send) -> None:
        end.arrive(send)
        desk.search()
        raise OutcomeUnknown("No answer.")

    desk.ask(wanted, find)


def by_the_second_search(desk: Desk, wanted: Prices, end: End) -> None:
    """The first one cannot ask, and the next sees a list from before anything was changed, or sent."""
    broker_shows: list[AccountSnapshot] = []

    def see(send: Send) -> None:
        broker_shows.append(desk.snapshot())
        lose(end, send)

    desk.ask(wanted, see)

    def fail(*_: Any, **__: Any) -> Any:
        raise Unreachable("Nobody is there.")

    for shown in (fail, lambda *_, **__: broker_shows[0]):
        with desk.patch.context() as patched:
            patched.setattr(Mt5Broker, "snapshot", shown)
            desk.resolve(desk.latest().pk)
        assert desk.latest().state == "UNKNOWN"
    desk.search()


Way = Callable[[Desk, Prices, End], None]
