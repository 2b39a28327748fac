"""Kill at every point, bring everybody back, and compare what we say with the broker's own books."""

import contextlib
import itertools
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from multiprocessing.context import ForkServerContext
from pathlib import Path

from django.conf import settings
from django.db.models import F
from django.utils.timezone import now

from nexus.audit.types import Actor
from nexus.idempotency.services.records import KeyInProgress
from risk.services import sights
from tests.crash import children, ground
from tests.crash.gateways import SERVER, GatewayProcess
from tests.crash.judging import Judgement, judge
from tests.crash.points import POINTS, Ends, Point, Victim
from tests.factories.accounts import UserFactory
from trading.brokers import registry
from trading.models import TradeLedger, TradingAccount
from trading.services import accounts, resolution, watch
from trading.states import Delivery, RejectedBy

CHILD_S = 30.0
SCENE_KILLS = 60  # positions pile up, and every one of them costs time in every reading
TRIES = 5  # orders that our own gate refuses before somebody can die of one
LOGINS = itertools.count(5001)


@dataclass
class Row:
    """One line of the table."""

    name: str
    kills: int = 0
    found: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0

    def __str__(self) -> str:
        counts = "".join(f"{self.found[kind]:>7}" for kind in ("lost", "twice", "left"))
        return f"{self.name:<38}{self.kills:>7}{counts}{1000 * self.seconds / max(self.kills, 1):>9.0f}"


def run(kills: int, folder: Path) -> int:
    """Kill `kills` times at every point, print the table, and return the exit code."""
    settings.SENDING_LEASE_S = 0
    context = ground.nursery("tests.crash.children", "tests.crash.gateways")
    print(f"{'point':<38}{'kills':>7}{'lost':>7}{'twice':>7}{'left':>7}{'ms/kill':>9}", flush=True)
    rows = []
    with contextlib.ExitStack() as stack:
        scene: Scene | None = None
        for name in POINTS:
            row, started = Row(name), time.monotonic()
            for number in range(kills):
                if scene is None or scene.kills >= SCENE_KILLS:
                    stack.close()
                    scene = Scene(context, folder, login=next(LOGINS))
                    stack.callback(scene.close)
                _count(row, number, scene.kill(name, retries_first=number % 2 == 0))
            row.seconds = time.monotonic() - started
            rows.append(row)
            print(row, flush=True)
    total = sum((row.found for row in rows), start=Counter[str]())
    numbers = " ".join(f"{kind} {total[kind]}" for kind in ("lost", "twice", "left"))
    print(f"kills {sum(row.kills for row in rows)} {numbers}", flush=True)
    return 1 if total else 0


class Survived(Exception):
    """Nobody died: the order did not come to the point. Takes: what was to happen, and the order's key where known."""


def until_it_dies(attempt: Callable[[bool], str], *, refused: Callable[[str], str]) -> str:
    """Try until somebody has died of an order, and return its key. A kill that did not happen is never counted.

    On a machine that is slow our own gate refuses an order now and then (its price is too old, or it has waited too
    long), so that it never comes to the point: another one is placed, and said so. Whatever else lets everybody live
    is an error: a point that the product does not pass any more would prove nothing.
    """
    for number in range(TRIES):
        try:
            return attempt(number > 0)
        except Survived as exc:
            words, key = exc.args
            reason = refused(key)
            if not reason:
                raise
            print(f"  {words}: refused, {reason}; once more", file=sys.stderr, flush=True)
    raise AssertionError(f"{TRIES} orders in a row were refused before they came to the point")


def _count(row: Row, number: int, judgement: Judgement) -> None:
    row.kills += 1
    row.found.update(judgement.found)
    for words in judgement.words:
        print(f"  {row.name}, kill {number}: {words}", file=sys.stderr, flush=True)


class Scene:
    """A trader, an account, and the gateway to its broker."""

    def __init__(self, context: ForkServerContext, folder: Path, *, login: int) -> None:
        self.kills = 0
        self._context = context
        self.gateway = GatewayProcess(context, folder / f"gateway-{login}", login=login)
        self.gateway.start()
        self.account = self._link(login)

    def close(self) -> None:
        """End the gateway."""
        self.gateway.kill()
        registry.close()

    def kill(self, name: str, *, retries_first: bool) -> Judgement:
        """Let one process die on the way of one new order; then everybody comes back, in either order."""
        point = POINTS[name]
        key = until_it_dies(lambda again: self._try(name, again=again), refused=self._refused)
        if point.ends is Ends.IF_STORED:
            children.wait_for_database()
        stored = children.order_of(self.account, key)
        answers = [self._retry(key, point)] if retries_first else []
        children.work()
        found_later = watch.look(account_id=self.account.pk, at=now())
        answers += [self._retry(key, point), self._retry(key, point)]
        order = TradeLedger.objects.get(public_id=answers[0])
        was_unknown = self._wait_for_proof(order)
        order.refresh_from_db()
        return judge(
            point.ends,
            order=order,
            stored=stored,
            answers=answers,
            was_unknown=was_unknown,
            found_later=found_later,
            truth=self.gateway.truth(),
        )

    def _try(self, name: str, *, again: bool) -> str:
        """Place one new order that somebody is to die of, and return its key. Raises: Survived."""
        self.kills += 1
        key = f"crash-{self.kills:06}"
        self._crash(name, key, again=again)
        return key

    def _refused(self, key: str) -> str:
        """Return why we refused an order ourselves, before anybody sent anything; nothing where we did not."""
        order = children.order_of(self.account, key)
        is_ours = order is not None and order.rejected_by == RejectedBy.LOCAL and not order.attempts
        return order.reason if order is not None and is_ours else ""

    def _crash(self, name: str, key: str, *, again: bool) -> None:
        """Bring about the death that this point is about, and nothing else. Raises: Survived."""
        point = POINTS[name]
        if point.victim is Victim.GATEWAY and not again:
            self.gateway.arm(name)
        web = name if point.victim is Victim.WEB else point.before
        self._spawn(key, children.place, self.account.pk, key, is_queued=point.is_queued, point=web, dies=bool(web))
        if point.victim in (Victim.DISPATCHER, Victim.RESOLVER):
            self._spawn(key, children.work, point=name, dies=True)
        if point.victim is Victim.GATEWAY and point.before:
            self._spawn(key, children.work, point="", dies=False)
        if point.victim is Victim.GATEWAY:
            if not self.gateway.has_died():
                raise Survived(f"the gateway did not come to {name}", key)
            self.gateway.start()

    def _spawn(
        self, key: str, act: Callable[..., object], *args: object, point: str, dies: bool, **named: object
    ) -> None:
        child = self._context.Process(target=act, args=args, kwargs={**named, "point": point})
        child.start()
        child.join(CHILD_S)
        wanted = -signal.SIGKILL if dies else 0
        if dies and child.exitcode == 0:
            raise Survived(f"{point}: a child ended with 0, not {wanted}", key)
        assert child.exitcode == wanted, f"{point or 'no point'}: a child ended with {child.exitcode}, not {wanted}"

    def _retry(self, key: str, point: Point) -> str:
        """Ask again as the client does, with the same key, until somebody answers; return the order's id."""
        for _ in range(200):
            try:
                execution = children.place(self.account.pk, key, is_queued=point.is_queued)
            except KeyInProgress:  # the server has not noticed yet that the first one is dead
                time.sleep(0.01)
            else:
                return str(execution.order.public_id)
        raise AssertionError("the key of a dead process stays taken")

    def _wait_for_proof(self, order: TradeLedger) -> bool:
        """Let the time pass that proves an absence, by moving the sending into the past; tell whether it was needed."""
        order.refresh_from_db()
        if order.delivery != Delivery.UNKNOWN:
            return False
        for seconds in (61, 120):
            resolution.resolve(order_id=order.pk, at=now())  # one search more, too early to prove anything
            assert TradeLedger.objects.get(pk=order.pk).delivery == Delivery.UNKNOWN, "resolved by a guess"
            span = timedelta(seconds=seconds)
            TradeLedger.objects.filter(pk=order.pk).update(
                sent_at=F("sent_at") - span, absent_since=F("absent_since") - span
            )
            resolution.resolve(order_id=order.pk, at=now())
        return True

    def _link(self, login: int) -> TradingAccount:
        settings.MT5_GATEWAY_URL = self.gateway.url
        account = accounts.link(
            user_id=UserFactory.create().pk,
            name="Paper",
            venue="mt5",
            venue_account=str(login),
            server=SERVER,
            is_live=False,
            actor=Actor.system("tests"),
            at=now(),
        )
        sights.note(account_id=account.pk)
        settings.MT5_GATEWAY_URL = ground.NOWHERE
        account.gateway_url = self.gateway.url
        account.save()
        return account
