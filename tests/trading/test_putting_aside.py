"""Putting an account aside and taking it up again: by two, on what was looked at, and never around an order's back."""

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.utils.timezone import now

from accounts.models import ApprovalRequest, User
from accounts.services import approvals
from accounts.services.approvals import ApprovalStale, SecondPersonNeeded
from accounts.states import Role
from nexus.alerts.models import Alert
from nexus.core.errors import NotFound
from reconciliation.services.putting_aside import PUT_ASIDE, TAKE_UP
from risk.models import AccountSight
from tests.factories.accounts import UserFactory
from tests.trading.conftest import brief
from trading.models import AccountFigures, TradingAccount
from trading.services import figures, putting_aside, watch
from trading.services.putting_aside import ChangedSince, NotChangeable
from trading.states import Delivery

SMALL = brief(quantity=Decimal("0.01"), entry_price=None)


def ask(account: TradingAccount, by: User, *, is_active: bool = False, **more: Any) -> ApprovalRequest:
    way = TAKE_UP if is_active else PUT_ASIDE
    return way.ask(public_id=account.public_id, reason="Its broker is left.", by=by, at=now(), **more)


def agree(request: ApprovalRequest, by: User) -> None:
    approvals.decide(public_id=request.public_id, approve=True, by=by, reason="Seen.", at=now())


def is_active(account: TradingAccount) -> bool:
    return TradingAccount.objects.get(pk=account.pk).is_active


@pytest.fixture
def aside(account: TradingAccount, people: Any) -> TradingAccount:
    """The account, put aside by two of three."""
    agree(ask(account, people[0]), people[1])
    return account


def test_two_put_it_aside_and_nothing_more_is_admitted_on_it(account, people, execute, new_events):
    request = ask(account, people[0])
    with pytest.raises(SecondPersonNeeded):
        agree(request, people[0])
    assert is_active(account)

    agree(request, people[1])

    assert not is_active(account)
    order = execute(SMALL)  # by a request that had read the account before
    assert (order.status, order.reason) == ("REJECTED", "ACCOUNT_NOT_USABLE")
    (event,) = (each for each in new_events() if each.action == "trading.account_put_aside")
    assert (event.object_id, event.actor_id) == (str(account.public_id), str(people[1].public_id))


def test_real_money_is_disarmed_with_it(account, people):
    TradingAccount.objects.filter(pk=account.pk).update(is_live=True, armed_until=now() + timedelta(hours=1))

    agree(ask(account, people[0]), people[1])

    assert TradingAccount.objects.get(pk=account.pk).armed_until is None


def test_not_while_nobody_knows_what_became_of_an_order(account, people, execute, paper):
    asked = ask(account, people[0])
    paper.control.inject("timeout_before_accept")
    order = execute(SMALL)
    assert order.delivery == Delivery.UNKNOWN

    with pytest.raises(ApprovalStale):
        agree(asked, people[1])
    with pytest.raises(NotChangeable, match="Nobody knows yet"):
        ask(account, people[0])

    assert is_active(account)


def test_what_was_opened_since_it_was_asked_for_makes_it_void(account, people, execute):
    seen = PUT_ASIDE.standing(account)
    asked = ask(account, people[0])
    assert execute(SMALL).status == "FILLED"

    with pytest.raises(ApprovalStale):
        agree(asked, people[1])
    with pytest.raises(ChangedSince):
        ask(account, people[0], seen=seen)

    assert is_active(account)
    agree(ask(account, people[0]), people[1])  # two who have seen the position may leave it there
    assert not is_active(account)


def test_its_owner_neither_asks_nor_decides(account, people, trader):
    asked = ask(account, people[0])
    User.objects.filter(pk=trader.pk).update(role=Role.OPERATOR)
    owner = User.objects.get(pk=trader.pk)

    with pytest.raises(SecondPersonNeeded):
        agree(asked, owner)
    with pytest.raises(SecondPersonNeeded):
        ask(account, owner)

    assert is_active(account)


def test_two_take_it_up_again_and_it_is_compared_before_anything_is_admitted(aside, people, execute, monkeypatch):
    jobs = []
    monkeypatch.setattr(putting_aside, "enqueue", lambda name, **words: jobs.append((name, words["account_id"])))
    with pytest.raises(NotChangeable, match="put aside already"):
        ask(aside, people[0])

    agree(ask(aside, people[1], is_active=True), people[2])

    assert is_active(aside)
    assert jobs == [("reconciliation.reconcile_account", aside.pk)]
    assert not AccountSight.objects.filter(account_id=aside.pk).exists()
    assert execute(SMALL).reason == "RECONCILIATION_STALE"


def test_nobody_is_woken_for_the_time_in_which_it_was_not_looked_at(account, people, settings):
    watch.look(account_id=account.pk, at=now())
    agree(ask(account, people[0]), people[1])
    clock = now() + timedelta(hours=8)
    AccountFigures.objects.update(read_at=now() - timedelta(hours=8))

    agree(ask(account, people[0], is_active=True), people[1])
    figures.alarm(clock=now(), at=now())
    assert not Alert.objects.exists()

    figures.alarm(clock=clock, at=now())  # and nobody has looked since
    assert Alert.objects.get().kind == "ACCOUNT_NOT_WATCHED"
    watch.look(account_id=account.pk, at=now())
    assert AccountFigures.objects.get().failing_since is None


def test_an_account_that_nobody_knows_is_none(account, people):
    account.public_id = UserFactory.create().public_id

    with pytest.raises(NotFound):
        ask(account, people[0])
