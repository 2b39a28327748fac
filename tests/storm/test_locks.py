"""Each lock is needed: with it the promise holds, and with it taken away the same moment breaks the promise."""

import contextlib
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

import pytest
from django.db import OperationalError, connection, connections, transaction
from django.utils.timezone import now

from nexus.audit.models import Event
from nexus.audit.types import Actor
from risk.models import UserDailyStats
from risk.services import control, stats
from risk.states import ControlScope, StopLevel
from tests.storm.brinks import BRINKS, Brink, stand
from tests.threads import together
from tests.trading import twins
from tests.trading.conftest import brief
from trading.models import TradeLedger
from trading.services import admission, storing

SMALL = brief(quantity=Decimal("0.01"))
CLIENTS, FITS = 6, 2
MEETING_S = 0.4  # how long judges wait for one another: with the lock in place, they never meet


@pytest.fixture
def exact(settings: Any) -> None:
    """What an order can cost when it is judged is exactly what its position can lose: the brink stays where it is."""
    settings.PRICE_DEVIATION = settings.COMMISSION_PER_LOT = Decimal(0)


def without_lock(*, user_id: int, trading_date: Any) -> UserDailyStats:
    """Return the user's day as `stats.lock` does, unlocked."""
    row: UserDailyStats = UserDailyStats.objects.get_or_create(user_id=user_id, trading_date=trading_date)[0]
    return row


def meet_after_judging(monkeypatch: pytest.MonkeyPatch, parties: int) -> None:
    """Let judges wait for one another once they have judged, for a moment: whoever may judge at once, does."""
    meeting, original = threading.Barrier(parties), admission.judge

    def judge(*args: Any, **kwargs: Any) -> Any:
        judgement = original(*args, **kwargs)
        if not meeting.broken:
            with contextlib.suppress(threading.BrokenBarrierError):
                meeting.wait(MEETING_S)
        return judgement

    monkeypatch.setattr(admission, "judge", judge)


def fire(execute: Callable[..., TradeLedger], count: int) -> Counter[str]:
    def place(_: int) -> str:
        try:
            order = execute(SMALL, key=uuid.uuid4().hex)
        except OperationalError as exc:
            return type(exc).__name__
        return order.reason or order.status

    return Counter(together(count, place))


@pytest.mark.parametrize("brink", BRINKS, ids=str)
@pytest.mark.parametrize("is_locked", [True, False], ids=["locked", "unlocked"])
def test_the_lock_alone_keeps_a_limit(exact, execute, account, monkeypatch, brink: Brink, is_locked):
    one = execute(SMALL)
    value = stand(account, brink, one=one, fits=1 + FITS)
    if not is_locked:
        monkeypatch.setattr(stats, "lock", without_lock)
        monkeypatch.setattr(storing, "begin", twins.begin)  # the one that asks `stats.lock`
    meet_after_judging(monkeypatch, CLIENTS)

    outcomes = fire(execute, CLIENTS)

    over = f"{brink.kind}_EXCEEDS_LIMIT"
    assert outcomes == ({"FILLED": FITS, over: CLIENTS - FITS} if is_locked else {"FILLED": CLIENTS})
    assert (brink.used(account.pk) > value) == (not is_locked)


DAWDLE = """
CREATE FUNCTION dawdling_stop(p_lock bigint, p_scopes text[], p_keys text[], p_most smallint, p_wait_s double precision)
RETURNS boolean LANGUAGE plpgsql VOLATILE AS $$
DECLARE passed boolean;
BEGIN
  passed := risk_pass_stop(p_lock, p_scopes, p_keys, p_most);
  PERFORM pg_sleep(p_wait_s);
  RETURN passed;
END $$
"""
IS_DAWDLING = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND query LIKE '%dawdling_stop(%'"


@pytest.fixture
def dawdle(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Let whoever marks an order wait between its look at the switch and the mark."""

    def slow_down(*, wait_s: float, lock: int) -> None:
        scopes = "%(stop_scopes)s::text[], %(stop_keys)s::text[], %(stop_most)s::smallint"
        monkeypatch.setattr(control, "PASSED", f"dawdling_stop({lock}, {scopes}, {wait_s})")
        monkeypatch.setattr(storing, "_text", storing._text.__wrapped__)  # unremembered

    with connection.cursor() as cursor:
        cursor.execute(DAWDLE)
    yield slow_down
    with connection.cursor() as cursor:
        cursor.execute("DROP FUNCTION dawdling_stop(bigint, text[], text[], smallint, double precision)")


@pytest.mark.parametrize("is_locked", [True, False], ids=["locked", "unlocked"])
def test_the_stop_lock_alone_keeps_an_order_from_being_marked_after_a_stop(execute, paper, dawdle, is_locked):
    """A submitter has read the switch and is about to mark its order; a stop comes."""
    if is_locked:
        dawdle(wait_s=0.3, lock=control.STOP_LOCK)  # the stop waits for us and not we for it
    else:
        dawdle(wait_s=3, lock=1)

    def submit() -> None:
        execute(SMALL)
        connections.close_all()

    submitter = threading.Thread(target=submit)
    submitter.start()
    for _ in range(500):
        with connection.cursor() as cursor:
            cursor.execute(IS_DAWDLING)
            if cursor.fetchone()[0]:
                break
        time.sleep(0.01)
    halt()
    submitter.join()

    stopped = Event.objects.filter(action="control.level_set").latest("pk")
    sent_at = TradeLedger.objects.get().sent_at
    assert sent_at is not None
    assert (sent_at > stopped.recorded_at) == (not is_locked)
    if not is_locked:
        TradeLedger.objects.update(sent_at=stopped.recorded_at)  # it was meant to be wrong: let the invariants rest


def test_a_stop_does_not_wait_for_the_queue_of_one_user(trader, account, execute, paper):
    """Eight orders of one user wait for its day, which somebody holds. The stop has its lock at once all the same."""
    is_held, over = threading.Event(), threading.Event()

    def hold() -> None:
        with transaction.atomic():
            stats.lock(user_id=trader.pk, trading_date=now().date())
            is_held.set()
            over.wait(25)
        connections.close_all()

    outcomes: list[Counter[str]] = []
    holder = threading.Thread(target=hold)
    queue = threading.Thread(target=lambda: outcomes.append(fire(execute, 8)))
    holder.start()
    assert is_held.wait(10)
    queue.start()
    wait_until(lambda: waiting_for_locks() == 8)

    halt()

    assert holder.is_alive()
    assert '"has_lock": true' in Event.objects.filter(action="control.level_set").latest("pk").canonical
    over.set()
    queue.join()
    holder.join()
    assert outcomes == [{"TRADING_HALTED": 8}]
    assert paper.deals() == []


def halt() -> None:
    control.set_level(
        scope=ControlScope.SYSTEM, key="", level=StopLevel.HALTED, reason="A test.", actor=Actor.system("t"), at=now()
    )


def waiting_for_locks() -> int:
    with connections["default"].cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_locks WHERE NOT granted AND database = (SELECT oid FROM pg_database "
            "WHERE datname = current_database())"
        )
        return int(cursor.fetchone()[0])


def wait_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)
