"""Playing a script on a stage: time runs to each line, the order goes the way of every order, the books are read."""

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime

from accounts.types import Principal
from nexus.audit.types import Actor
from nexus.core.errors import NexusError
from nexus.idempotency.services import records
from nexus.idempotency.services.records import RequestKey
from risk.services import sights
from trading.management.replay import books
from trading.management.replay.script import Do, Step
from trading.management.replay.stage import Stage
from trading.models import BrokerPosition, Fill, TradeLedger, TradingAccount
from trading.services import accounts, cancels, closes, orders, resolution, watch

ROUNDS_MAX = 20  # of asking for what is still in doubt


class NotPlayed(Exception):
    """A line cannot be played as things stand; the message says why."""


@dataclass
class Report:
    """What a replay came to."""

    ticks: int = 0
    seconds: float = 0.0
    market_seconds: float = 0.0  # of these, in the emulated market alone
    steps: Counter[str] = field(default_factory=Counter)
    differences: list[str] = field(default_factory=list)

    @property
    def speed(self) -> float:
        """Return ticks a second, orders and books included."""
        return self.ticks / self.seconds if self.seconds else 0.0


def play(stage: Stage, account: TradingAccount, user: Principal, steps: list[Step]) -> Report:
    """Run the whole recording with the orders of the script, and compare the books of both sides at its end."""
    report, placed = Report(), dict[str, TradeLedger]()
    tape = stage.broker.tape
    assert tape is not None
    _look(account, stage)  # a gateway sends nothing before its books were read
    begun = time.perf_counter()
    for step in steps:
        with _market(report):
            stage.run_to(step.at)
        if step.do is not Do.ORDER:
            _look(account, stage)  # what has rested until now may be filled, or gone
        report.steps[_play(step, account, user, placed, at=stage.now)] += 1
    with _market(report):
        stage.run_out()
    _settle(account, stage)
    report.seconds = time.perf_counter() - begun
    report.ticks = tape.total
    shown = accounts.broker_of(account).snapshot(symbols=[])
    stage.control.verify()
    report.differences = list(books.differences(account, stage.broker, stage.truth(), shown))
    return report


@contextmanager
def _market(report: Report) -> Iterator[None]:
    """Count the time that the emulated market alone takes."""
    begun = time.perf_counter()
    yield
    report.market_seconds += time.perf_counter() - begun


def _play(step: Step, account: TradingAccount, user: Principal, placed: dict[str, TradeLedger], *, at: datetime) -> str:
    """Play one line and return what came of it, in a few words."""
    try:
        return " ".join(_outcome(step, account, user, placed, at=at))
    except NotPlayed as exc:
        return f"{step.do} not played: {exc}"
    except NexusError as exc:
        return f"{step.do} refused: {exc.detail}"


def _outcome(
    step: Step, account: TradingAccount, user: Principal, placed: dict[str, TradeLedger], *, at: datetime
) -> Iterator[str]:
    yield step.do
    key = RequestKey(
        principal=str(user.public_id),
        account=str(account.public_id),
        key=f"replay-{step.do}-{step.name}-{at.timestamp():.6f}",
        fingerprint=records.fingerprint(method="POST", path="/replay", body={}),
    )
    if step.do is Do.ORDER:
        assert step.intent is not None
        order = orders.execute(user=user, account=account, intent=step.intent, key=key, at=at).order
        placed[step.name] = order
    elif step.do is Do.CLOSE:
        position = _position(placed.get(step.name), account)
        order = closes.close(user=user, position=position, quantity=step.quantity, key=key, at=at).order
    else:
        resting = placed.get(step.name)
        if resting is None:
            raise NotPlayed("there is no such order")
        order = cancels.request(order_id=resting.pk, actor=Actor.user(user.public_id), reason="The script.", at=at)
    yield order.status
    if order.reason:
        yield order.reason


def _position(order: TradeLedger | None, account: TradingAccount) -> BrokerPosition:
    """Return the position that an order has made."""
    fill = None if order is None else Fill.objects.filter(order_id=order.pk).order_by("pk").first()
    position = fill and BrokerPosition.objects.filter(account=account, venue_position_id=fill.venue_position_id).first()
    if not position or position.closed_at is not None:
        raise NotPlayed("its position is not open")
    return position


def _look(account: TradingAccount, stage: Stage) -> int:
    """Read the books. Both sides are compared at the end of a replay, so nobody reconciles them on the way."""
    new = watch.look(account_id=account.pk, at=stage.now)
    sights.note(account_id=account.pk)
    return new


def _settle(account: TradingAccount, stage: Stage) -> None:
    """Read the books until nothing new comes, and ask for whatever is in doubt."""
    for _ in range(ROUNDS_MAX):
        new = _look(account, stage)
        for order_id in resolution.due():
            resolution.resolve(order_id=order_id, at=stage.now)
        if not new:
            return
