"""What went wrong once, or nearly: each of these lost something before it was mended."""

import threading
import uuid
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import OperationalError, connection, connections, transaction
from django.test.utils import CaptureQueriesContext
from django.utils.timezone import now

from nexus.audit.types import Actor
from risk.models import TradingControl
from risk.services import control
from risk.states import ControlScope, LimitKind, StopLevel
from tests.client import ApiClient
from tests.threads import together
from tests.trading.conftest import brief, limit
from trading.models import BrokerPosition, Fill, TradeLedger
from trading.services import fills, storing, watch
from trading.states import Delivery, FillKind, OrderStatus, Side
from trading.types import FillReport

BODY = '{"symbol": "EURUSD", "action": "BUY", "quantity": 0.01, "stop_loss": 1.0800}'
SPEAKS_FOR_THE_BROKER = True  # some of its reports are made up: the paper broker has never heard of them
SMALL = {"quantity": Decimal("0.01")}


def report(number: int, **changes: Any) -> FillReport:
    usual: dict[str, Any] = {
        "venue_fill_id": str(number), "venue_order_id": str(number), "venue_position_id": str(number),
        "client_order_id": "", "symbol": "EURUSD", "side": Side.BUY, "quantity": Decimal("0.01"),
        "price": Decimal("1.085"), "commission": Decimal(0), "swap": Decimal(0), "fee": Decimal(0),
        "profit": Decimal(0), "kind": FillKind.ORDER, "filled_at": now(),
    }  # fmt: skip
    return FillReport(**(usual | changes))


@pytest.mark.parametrize("token", ["abc", "a.b.c", "", "é"])
def test_a_token_that_does_not_hold_is_a_401(paper, token):
    answer = ApiClient().post("/trading/execute", BODY, authorization=f"Bearer {token}", idempotency_key="k" * 8)

    assert answer.status_code == 401
    assert not TradeLedger.objects.exists()


def test_an_access_token_that_has_expired_is_a_401(trader, monkeypatch):
    client = ApiClient().login(trader)
    later = now() + timedelta(hours=1)
    monkeypatch.setattr("accounts.api.authentication.timezone.now", lambda: later)

    assert client.post("/trading/execute", BODY, idempotency_key="k" * 8).status_code == 401


def test_one_user_one_lock_on_both_sides_of_midnight(execute, trader, monkeypatch):
    """A limit for one order, two at once, one before and one after the day changes: one passes."""
    limit(LimitKind.DAILY_LOSS, "5.83", user=trader)
    real, shift = storing.begin, threading.local()

    def begin(*, at: Any, **others: Any) -> Any:
        return real(at=at + timedelta(days=shift.days), **others)

    monkeypatch.setattr(storing, "begin", begin)

    def act(number: int) -> str:
        shift.days = number
        return str(execute(brief(**SMALL)).status)

    assert sorted(together(2, act)) == ["FILLED", "REJECTED"]


@pytest.mark.parametrize("days", [-1, 1])
def test_an_order_of_this_hour_counts_on_either_side_of_midnight(execute, trader, monkeypatch, days):
    """Asked for before midnight and admitted after it, it stands on the row of the day before."""
    limit(LimitKind.ORDERS_PER_HOUR, "1", user=trader)
    real = storing.begin
    with monkeypatch.context() as patched:
        patched.setattr(storing, "begin", lambda *, at, **others: real(at=at + timedelta(days=days), **others))
        first = execute(brief(**SMALL))

    second = execute(brief(**SMALL))

    assert [first.status, second.reason] == ["FILLED", "ORDERS_PER_HOUR_EXCEEDS_LIMIT"]


def test_two_fills_that_open_one_position_at_once_are_both_booked(account):
    for number in range(5):

        def act(part: int, number: int = number) -> int:
            both = report(100 * number + part, venue_position_id=f"p{number}")
            return fills.ingest(account=account, reports=[both], at=now())

        together(2, act)

    assert Fill.objects.count() == 10
    assert {row.quantity for row in BrokerPosition.objects.all()} == {Decimal("0.02")}


def test_a_database_that_fails_after_the_send_does_not_invite_a_second_try(trader, paper, monkeypatch):
    def fail(*_: object, **__: object) -> None:
        raise OperationalError("canceling statement due to lock timeout")

    monkeypatch.setattr(fills, "settle", fail)

    answer = ApiClient().login(trader).post("/trading/execute", BODY, idempotency_key=uuid.uuid4().hex)

    assert (answer.status_code, answer.json()["delivery"]) == (202, "SENDING")
    assert len(paper.deals()) == 1


def test_a_look_at_a_busy_hour_costs_the_same_as_at_a_quiet_one(execute, account, settings):
    settings.MAX_POSITION_SIZE = Decimal(10**9)
    settings.DAILY_LOSS_LIMIT = Decimal(10**6)

    def cost() -> int:
        with CaptureQueriesContext(connection) as queries:
            watch.look(account_id=account.pk, at=now())
        return len(queries)

    execute(brief(**SMALL))
    cost()  # the first look of all books what the account began with
    execute(brief(**SMALL))
    quiet = cost()  # one fill was told, which is booked already
    for _ in range(10):
        execute(brief(**SMALL))

    assert cost() == quiet


def test_a_stop_is_written_though_a_submitter_hangs(floor):
    held, over = threading.Event(), threading.Event()

    def hang() -> None:
        with transaction.atomic():
            control.lock_shared()
            held.set()
            over.wait(60)
        connections.close_all()

    thread = threading.Thread(target=hang)
    thread.start()
    assert held.wait(60)

    control.set_level(
        scope=ControlScope.SYSTEM, key="", level=StopLevel.HALTED, reason="A test.", actor=Actor.system("t"), at=now()
    )

    assert thread.is_alive()  # it hangs on
    assert TradingControl.objects.get(scope=ControlScope.SYSTEM).level == StopLevel.HALTED
    over.set()
    thread.join()


def test_a_line_feed_is_no_part_of_a_symbol(trader, paper):
    client = ApiClient().login(trader)

    answer = client.post("/trading/execute", BODY.replace("EURUSD", "EURUSD\\n"), idempotency_key=uuid.uuid4().hex)

    assert answer.status_code == 400


def test_an_order_whose_process_died_blocks_its_instrument(execute, monkeypatch):
    """It is SENDING and nobody will settle it: until the resolver has asked, it may be anywhere."""

    def die(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(fills, "settle", die)
    with pytest.raises(KeyboardInterrupt):
        execute(brief(**SMALL))
    monkeypatch.undo()
    TradeLedger.objects.update(sent_at=now() - timedelta(seconds=30))

    order = execute(brief(**SMALL))

    assert (order.status, order.reason) == (OrderStatus.REJECTED, "UNKNOWN_ORDER_ON_INSTRUMENT")
    assert TradeLedger.objects.filter(delivery=Delivery.SENDING).count() == 1
