"""The network is cut, delayed and doubled: no order executes twice, and what is unknown is found out."""

import random
from collections import Counter
from collections.abc import Iterator
from decimal import Decimal

import pytest
from django.utils.timezone import now

from tests.fakes.network import Network, network
from tests.trading.conftest import brief
from trading.brokers import registry
from trading.brokers.mt5 import adapter
from trading.brokers.mt5.emulator import constants as mt5
from trading.management.replay import books
from trading.models import TradeLedger
from trading.services import accounts, resolution, watch
from trading.states import OrderStatus

FILLED, REJECTED, UNKNOWN = OrderStatus.FILLED, OrderStatus.REJECTED, "UNKNOWN"


@pytest.fixture
def line(trader, account, paper, settings, monkeypatch) -> Iterator[Network]:
    """The line to the gateway."""
    monkeypatch.setattr(adapter, "JOURNAL_AGE_MIN_S", 0)  # this journal is as young as the test
    settings.BROKER_DEADLINE_S = 1
    settings.MAX_POSITION_SIZE = Decimal(10_000_000)
    settings.DAILY_LOSS_LIMIT = Decimal(1_000_000)
    settings.COOLDOWN_FAILURES = 1000
    settings.BURST_ORDERS = 1000
    registry.close()
    with network(paper.url) as standing:
        settings.MT5_GATEWAY_URL = standing.url
        accounts.broker_of(account).snapshot(symbols=["EURUSD"])
        yield standing
        registry.close()


def resolve(line, paper):
    """Mend the line and let the resolver ask."""
    line.fault = ""
    paper.quote("EURUSD", "1.08490", "1.08500")
    for order_id in resolution.due():
        resolution.resolve(order_id=order_id, at=now())


def executed(paper):
    return Counter(deal["magic"] for deal in paper.deals())


@pytest.mark.parametrize(
    ("fault", "told", "ends", "deals"),
    [
        ("cut before the request", UNKNOWN, REJECTED, 0),
        ("cut within the request", UNKNOWN, REJECTED, 0),
        ("cut before the answer", UNKNOWN, FILLED, 1),
        ("cut within the answer", UNKNOWN, FILLED, 1),
        ("swallowed", UNKNOWN, REJECTED, 0),
        ("answer swallowed", UNKNOWN, FILLED, 1),
        ("doubled at once", FILLED, FILLED, 1),
        ("doubled, the copy's answer wins", FILLED, FILLED, 1),
    ],
)
def test_no_fault_of_the_line_executes_an_order_twice(line, paper, account, execute, fault, told, ends, deals):
    line.fault = fault
    order = execute()
    assert told == (UNKNOWN if order.delivery == UNKNOWN else order.status)

    resolve(line, paper)
    late = [line.deliver(request) for request in line.kept]  # and now it arrives once more, or at last

    order.refresh_from_db()
    assert (order.status, len(paper.deals())) == (ends, deals)
    assert [b"200" in answer.split(b"\r\n", 1)[0] for answer in late] == [True]
    assert (b"TOMBSTONE" in late[0]) == (ends == REJECTED)
    resolve(line, paper)
    assert len(paper.deals()) == deals


def test_what_the_gateway_called_unsent_stays_unsent_when_a_copy_arrives_afterwards(line, paper, account, execute):
    paper.control.inject("none_result", function="order_check", code=mt5.RES_E_INTERNAL_FAIL_RECEIVE)
    order = execute()
    assert (order.status, order.reason) == (REJECTED, "BROKER_UNREACHABLE")
    resolve(line, paper)

    (answer,) = [line.deliver(request) for request in line.kept]

    assert b"TOMBSTONE" in answer
    assert paper.deals() == []


@pytest.mark.parametrize("seed", range(3))
def test_a_bad_line_all_day_leaves_both_books_the_same(line, paper, account, execute, seed):
    dice = random.Random(seed)
    faults = [
        "", "cut before the request", "cut within the request", "cut before the answer", "cut within the answer",
        "doubled at once", "doubled, the copy's answer wins",
    ]  # fmt: skip
    for _ in range(25):
        paper.quote("EURUSD", "1.08490", "1.08500")
        line.fault = dice.choice(faults)
        execute(brief(quantity=Decimal("0.01")))
        resolve(line, paper)
        if line.kept and dice.random() < 0.4:
            line.deliver(dice.choice(line.kept))  # an old request turns up again

    watch.look(account_id=account.pk, at=now())

    assert not resolution.due()
    assert max(executed(paper).values()) == 1
    shown = accounts.broker_of(account).snapshot(symbols=[])
    assert list(books.differences(account, paper.control._broker, paper.truth(), shown)) == []
    statuses = Counter(TradeLedger.objects.values_list("status", flat=True))
    assert statuses.keys() == {FILLED, REJECTED}
    assert statuses[FILLED] == len(paper.deals())
