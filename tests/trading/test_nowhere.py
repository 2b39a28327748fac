"""Orders that the broker took and shows nowhere, those that are over and live on there, and searches that break: people
are told, and two may end what nobody can find.
"""

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db.models import F
from django.utils.timezone import now

from nexus.alerts.models import Alert
from nexus.core.errors import Invalid
from reconciliation.services import cycles
from reconciliation.states import Trigger
from tests.trading.conftest import brief
from tests.trading.test_absence import RESTING
from tests.trading.test_resolution import tick
from trading import selectors
from trading.brokers.mt5.adapter import Mt5Broker
from trading.models import TradeLedger, TradingAccount
from trading.services import decisions, facts, figures, overview, resolution, signals, watch
from trading.services.decisions import NotUndecided
from trading.states import Delivery, OrderStatus

TOLD = "The broker took order"


def search(order: TradeLedger, *, times: int = 1, apart_s: int = 25) -> TradeLedger:
    """Ask again and again, each time a while after the other."""
    step = timedelta(seconds=apart_s)
    for _ in range(times):
        shifted = {name: F(name) - step for name in ("sent_at", "absent_since", "absent_at")}
        TradeLedger.objects.filter(pk=order.pk).update(**shifted)
        resolution.resolve(order_id=order.pk, at=now())
    order.refresh_from_db()
    return order


def told() -> list[str]:
    rows = Alert.objects.filter(kind="ORDER_UNKNOWN", closed_at__isnull=True)
    return [text[: len(TOLD)] for text in rows.values_list("text", flat=True)]


@pytest.fixture
def hidden(paper, monkeypatch) -> Any:
    """The broker accepts, and lists nothing."""
    with monkeypatch.context() as patched:
        for name in ("history_deals_get", "positions_get", "orders_get", "history_orders_get"):
            patched.setattr(paper.desk._hands.module, name, lambda *_, **__: ())
        yield patched


def test_what_the_broker_took_and_shows_nowhere_is_told_after_a_minute(execute, hidden):
    order = execute(brief(quantity=Decimal("0.01")))
    assert search(order, times=3).delivery == Delivery.ACKED
    assert told() == []
    assert [each.unknown for each in signals.accounts()] == [0]

    search(order)
    assert [each.unknown for each in signals.accounts()] == [1]

    assert told() == [TOLD]
    assert (selectors.unknown_orders(), overview.unknown_orders()[0], order.is_unfound) == ([order], 1, True)
    assert (order.delivery, order.reserved) == (Delivery.ACKED, order.risk)  # it proves nothing


@pytest.mark.parametrize("intent", [{"quantity": Decimal("0.01")}, RESTING], ids=["market", "resting"])
def test_it_is_over_when_the_broker_shows_it(execute, hidden, intent):
    order = execute(brief(**intent))
    search(order, times=5)
    hidden.undo()

    search(order)

    assert (told(), order.is_unfound, selectors.unknown_orders()) == ([], False, [])
    resting = (OrderStatus.PENDING, Delivery.ACKED)
    assert (order.status, order.delivery) == (resting if intent is RESTING else (OrderStatus.FILLED, Delivery.DONE))


def test_one_that_rests_again_is_asked_about_by_its_name_until_that_is_known(execute, hidden):
    """What a look lists as we have it is not asked about otherwise: the order would stay among the unknown ones."""
    order = execute(brief(**RESTING))
    search(order, times=5)
    hidden.undo()

    watch.look(account_id=order.account_id, at=now())

    assert resolution.due() == [order.pk]
    search(order)
    watch.look(account_id=order.account_id, at=now())
    assert (resolution.due(), order.is_unfound, told()) == ([], False, [])


def test_a_list_that_misses_it_now_and_then_is_nothing_to_tell(execute, hidden):
    order = execute(brief(**RESTING))
    search(order, times=2)
    hidden.undo()
    search(order)

    assert search(order, times=3).absent_since is None
    assert told() == []


def test_two_operators_end_what_is_nowhere(execute, hidden, people):
    order = execute(brief(quantity=Decimal("0.01")))
    with pytest.raises(NotUndecided):
        propose(order, people[0])
    search(order, times=5)

    decisions.decide(decision_id=propose(order, people[0]).pk, approve=True, by=people[1], at=now())

    order.refresh_from_db()
    assert (order.status, order.reason, order.reserved) == (OrderStatus.CANCELED, "DECIDED_BY_OPERATORS", 0)
    assert told() == []
    hidden.undo()
    watch.look(account_id=order.account_id, at=now())  # it had filled all the same
    order.refresh_from_db()
    assert (order.status, order.late_fill) == (OrderStatus.FILLED, True)


LISTS = {
    "nothing": ("history_deals_get", "positions_get", "orders_get", "history_orders_get"),
    "its fill alone": ("orders_get", "history_orders_get"),
}


@pytest.fixture(params=LISTS)
def partial(request, execute, paper, account, monkeypatch) -> TradeLedger:
    """An order that has filled in part, of whose rest the broker shows nothing any more."""
    order: TradeLedger = execute(brief(**(RESTING | {"quantity": Decimal("0.03")})))
    paper.control.tick("EURUSD", "1.08390", "1.08400", bid_vol="0.01", ask_vol="0.01")
    paper.quote("EURUSD", "1.08490", "1.08500")
    watch.look(account_id=account.pk, at=now())
    order.refresh_from_db()
    assert (order.status, order.filled_quantity) == (OrderStatus.PARTIALLY_FILLED, Decimal("0.01"))
    for name in LISTS[request.param]:
        monkeypatch.setattr(paper.desk._hands.module, name, lambda *_, **__: ())
    return order


def test_the_rest_of_an_order_that_is_nowhere_is_told_and_two_operators_end_it(partial, people):
    order = search(partial, times=5)

    assert (order.status, order.reserved > 0) == (OrderStatus.PARTIALLY_FILLED, True)
    assert told() == [TOLD]
    assert (selectors.unknown_orders(), overview.unknown_orders()[0], order.is_unfound) == ([order], 1, True)
    assert [each.unknown for each in signals.accounts()] == [1]
    decisions.decide(decision_id=propose(order, people[0]).pk, approve=True, by=people[1], at=now())

    order.refresh_from_db()
    assert (order.status, order.filled_quantity, order.reserved) == (OrderStatus.CANCELED, Decimal("0.01"), 0)
    assert told() == []


def test_what_has_filled_in_part_is_not_decided_to_be_rejected(partial, people):
    order = search(partial, times=5)

    with pytest.raises(Invalid, match="has filled in part"):
        propose(order, people[0], to=OrderStatus.REJECTED)


def test_a_proposal_is_void_once_the_order_is_shown_again(execute, hidden, people):
    order = execute(brief(**RESTING))
    search(order, times=5)
    proposal = propose(order, people[0])
    hidden.undo()
    search(order)

    with pytest.raises(NotUndecided):
        decisions.decide(decision_id=proposal.pk, approve=True, by=people[1], at=now())

    order.refresh_from_db()
    assert (order.status, order.delivery) == (OrderStatus.PENDING, Delivery.ACKED)


def propose(order: TradeLedger, by: Any, *, to: OrderStatus = OrderStatus.CANCELED) -> Any:
    words = "The dealer says that it was dropped."
    return decisions.propose(order_id=order.pk, to=to, evidence=words, by=by, at=now())


def test_an_order_that_is_found_at_work_is_not_unknown_any_more(execute, paper):
    paper.control.inject("timeout_after_accept")
    order = execute(brief(**RESTING))
    Alert.objects.all().delete()
    resolution._keep_asking(order_id=order.pk, asked_at=order.sent_at + timedelta(seconds=61), at=now())
    assert len(told()) == 1

    assert search(order).delivery == Delivery.ACKED

    assert told() == []


def test_a_search_that_breaks_is_told_as_one_that_fails(execute, paper, monkeypatch):
    paper.control.inject("timeout_before_accept")
    order = execute()
    tick(paper)
    search(order, times=3)
    order.refresh_from_db()
    assert order.absent_since is not None
    Alert.objects.all().delete()

    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("a defect of ours")

    monkeypatch.setattr(Mt5Broker, "order_report", broken)
    with pytest.raises(ZeroDivisionError):
        search(order)

    order.refresh_from_db()
    assert (order.delivery, order.absent_since, len(told())) == (Delivery.UNKNOWN, None, 1)


# --- Over here, and at work there -----------------------------------------------------------------------------------
@pytest.fixture
def living(execute, paper, people) -> TradeLedger:
    """An order that two operators have ended while nobody could ask the broker, where it works."""
    paper.control.inject("timeout_after_accept")
    order: TradeLedger = execute(brief(**RESTING))
    assert order.delivery == Delivery.UNKNOWN
    decisions.decide(decision_id=propose(order, people[0]).pk, approve=True, by=people[1], at=now())
    order.refresh_from_db()
    return order


def still_works(order: TradeLedger, *, ended_ago_s: int) -> list[str]:
    """Reconcile, and return what people are told."""
    TradeLedger.objects.filter(pk=order.pk).update(closed_at=now() - timedelta(seconds=ended_ago_s))
    cycles.run(account_id=order.account_id, trigger=Trigger.COMMAND, at=now())
    rows = Alert.objects.filter(kind="ORDER_STILL_WORKS", closed_at__isnull=True)
    return list(rows.values_list("object_id", flat=True))


def test_it_is_told_of_no_more_once_its_account_is_put_aside(living):
    """Nobody looks there again; taken up, its next reconciliation tells of it anew."""
    assert still_works(living, ended_ago_s=70) == [str(living.public_id)]
    figures.alarm(clock=facts.database_clock(), at=now())
    assert Alert.objects.filter(kind="ORDER_STILL_WORKS", closed_at=None).exists()

    TradingAccount.objects.update(is_active=False)
    figures.alarm(clock=facts.database_clock(), at=now())

    assert not Alert.objects.filter(kind="ORDER_STILL_WORKS", closed_at=None).exists()
    TradingAccount.objects.update(is_active=True)
    assert still_works(living, ended_ago_s=70) == [str(living.public_id)]


def test_an_order_that_is_over_here_and_works_there_is_told_until_it_is_gone(living, paper):
    assert still_works(living, ended_ago_s=30) == []  # a list may be as old as that

    assert still_works(living, ended_ago_s=70) == [str(living.public_id)]
    assert still_works(living, ended_ago_s=130) == [str(living.public_id)]
    (working,) = paper.truth()["working"]
    paper.control.manual_cancel(paper.login, working["ticket"])

    assert still_works(living, ended_ago_s=190) == []
