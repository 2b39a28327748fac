"""Many orders at one instant against each limit: exactly as many pass as fit, never one more and never one less.

The pattern of `test_orders_race`: each of these fails when the lock of the user's day is taken away.
"""

import time
import uuid
from collections import Counter
from dataclasses import replace
from decimal import Decimal
from types import SimpleNamespace

import pytest
from django.utils.timezone import now

from nexus.idempotency.services import records
from nexus.idempotency.services.records import RequestKey
from risk.models import UserDailyStats
from risk.states import LimitKind
from tests.threads import together
from tests.trading.conftest import brief, limit
from trading.models import BrokerPosition, TradeLedger
from trading.services import facts, orders
from trading.services.facts import Facts
from trading.states import Side
from trading.types import OrderIntent

VALUE = Decimal("1085.22")  # of 0.01 lots
MANY = 24


@pytest.fixture
def at_once(trader, account, settings, monkeypatch):
    """Place the same small order many times at once, at one moment; return how many ended in which way.

    The day has its row already: making it would let them pass one by one.
    """
    settings.MAX_POSITION_SIZE = Decimal(1_000_000)
    steady = time.monotonic()
    monkeypatch.setattr(orders, "time", SimpleNamespace(monotonic=lambda: steady))
    UserDailyStats.objects.get_or_create(user=trader, trading_date=now().date())

    def race(many: int = MANY, intent: OrderIntent | None = None) -> Counter[str]:
        moment = now()
        small = intent or brief(quantity=Decimal("0.01"))

        def place(_number: int) -> str:
            key = RequestKey(str(trader.public_id), str(account.public_id), uuid.uuid4().hex,
                             records.fingerprint(method="POST", path="/trading/execute", body={}))  # fmt: skip
            order = orders.execute(user=trader, account=account, intent=small, key=key, at=moment).order
            return order.reason or order.status

        return Counter(together(many, place))

    return race


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (LimitKind.DAILY_VALUE, str(3 * VALUE)), (LimitKind.DAILY_VALUE, str(4 * VALUE - Decimal("0.01"))),
        (LimitKind.DAILY_QUANTITY, "0.03"), (LimitKind.DAILY_QUANTITY, "0.039"),
        (LimitKind.ORDERS_PER_DAY, "3"), (LimitKind.ORDERS_PER_HOUR, "3"),
        (LimitKind.POSITION_COUNT, "3"), (LimitKind.POSITION_SIZE, "3999"),
    ],
)  # fmt: skip
def test_exactly_3_pass(at_once, trader, paper, kind, value):
    limit(kind, value, user=trader)

    assert at_once() == {"FILLED": 3, f"{kind}_EXCEEDS_LIMIT": MANY - 3}
    assert len(paper.deals()) == 3
    assert UserDailyStats.objects.get().orders_admitted == 3
    assert not TradeLedger.objects.filter(reserved__gt=0).exists()


def test_exactly_3_pass_the_rate_and_the_refused_count_too(at_once, settings):
    settings.ORDERS_PER_SECOND = Decimal(3)

    assert at_once() == {"FILLED": 3, "ORDERS_PER_SECOND_EXCEEDS_LIMIT": MANY - 3}


def test_exactly_1_of_the_same_orders_passes_a_duplicate_window(at_once, settings):
    settings.DUPLICATE_WINDOW_S = 60

    assert at_once() == {"FILLED": 1, "DUPLICATE_ORDER": MANY - 1}


@pytest.mark.parametrize("free", [Decimal("32.57"), Decimal("43.39")])
def test_exactly_3_pass_a_margin_for_3(at_once, settings, monkeypatch, free):
    """An order of 0.01 lots takes 10.85, counted as 10.8522 while it works: 3 need 32.57 at most, 4 at least 43.40."""
    settings.MARGIN_BUFFER = Decimal(0)
    original = facts.read

    def with_little_margin(**arguments):
        found = original(**arguments)
        assert isinstance(found, Facts)
        (mine,) = found.accounts
        little = replace(mine.snapshot, margin_free=free - mine.snapshot.margin_used)
        return replace(found, accounts=(replace(mine, snapshot=little),))

    monkeypatch.setattr(facts, "read", with_little_margin)

    assert at_once() == {"FILLED": 3, "MARGIN_EXCEEDS_FREE": MANY - 3}


def test_a_position_is_closed_exactly_once(at_once, execute, paper):
    """A close that fills between the read and the lock is not in the facts: without counting it a second one passes."""
    execute(brief(quantity=Decimal("0.02")))
    position = BrokerPosition.objects.get()
    close = OrderIntent(
        "EURUSD", Side.SELL, Decimal("0.01"), venue_position_id=position.venue_position_id
    )  # fmt: skip

    ended = at_once(12, close)

    assert ended.pop("FILLED") == 2
    assert set(ended) <= {"QUANTITY_EXCEEDS_POSITION", "POSITION_NOT_FOUND"}
    assert len(paper.deals()) == 3
    assert paper.truth()["positions"] == []
