"""What must hold before a stop is eased: each precondition fails alone, and says why."""

from datetime import timedelta
from decimal import Decimal

import pytest
from django.utils.timezone import now

from risk.models import ControlRelease, TradingControl
from risk.services import sights
from risk.states import StopLevel, Sweep
from tests import stops
from tests.stops import stop
from tests.trading.releases import approve, failing, level, propose
from trading.models import AccountFigures, ChangeRequest, SweepRun
from trading.services import sweeping
from trading.states import ChangeKind


def test_not_before_a_look_since_the_stop(account, people):
    stops.reconciled(account)
    stop()
    release = propose(people[0])

    failed = failing(release, people[1])

    assert list(failed) == ["RECONCILED"]
    assert f"{account} (not since the stop)" in failed["RECONCILED"]
    assert level() == StopLevel.HALTED
    stops.reconciled(account)
    assert approve(release, people[1]) == StopLevel.ACTIVE


def test_not_on_a_look_that_is_too_old(halted, people, settings):
    settings.RECONCILIATION_AGE_MAX_S = 0

    assert list(failing(propose(people[0]), people[1])) == ["RECONCILED"]


def test_not_while_an_order_is_unknown(execute, paper, account, people):
    paper.control.inject("timeout_before_accept")
    order = execute()
    stop()
    stops.reconciled(account)

    failed = failing(propose(people[0]), people[1])

    assert list(failed) == ["ORDERS_KNOWN"]
    assert str(order) in failed["ORDERS_KNOWN"]


def test_not_while_a_change_is_unknown(halted, people, execute):
    stops.put(StopLevel.ACTIVE)
    order = execute()
    stop()
    stops.reconciled(halted)
    ChangeRequest.objects.create(
        change_id="1-T", kind=ChangeKind.TERMS, state="UNKNOWN", order=order, requested_by="x", requested_at=now(),
        sent_at=now(),
    )  # fmt: skip

    assert list(failing(propose(people[0]), people[1])) == ["ORDERS_KNOWN"]


def test_not_while_its_sweep_is_not_proven(execute, account, people):
    execute()
    stop(sweep=Sweep.FLATTEN)
    stops.reconciled(account)
    release = propose(people[0])

    assert list(failing(release, people[1])) == ["SWEEP_PROVEN"]

    sweeping.run(sweep_id=SweepRun.objects.get().pk, at=now())
    assert approve(release, people[1]) == StopLevel.ACTIVE


def test_not_while_what_was_on_its_way_is_not_listed(halted, people):
    TradingControl.objects.update(followed_version=0)

    assert list(failing(propose(people[0]), people[1])) == ["IN_FLIGHT_LISTED"]


def test_not_while_the_loss_is_at_the_limit(halted, people, settings):
    release = propose(people[0])
    AccountFigures.objects.update(loss_today=Decimal(1000))

    failed = failing(release, people[1])

    assert list(failed) == ["LOSS_BELOW_LIMIT"]
    assert "1000 USD are lost today, and the limit is 1000" in failed["LOSS_BELOW_LIMIT"]
    AccountFigures.objects.update(loss_today=Decimal("999.99"))
    assert approve(release, people[1]) == StopLevel.ACTIVE


def test_a_look_at_once_after_the_stop_counts_however_long_the_checks_take(halted, people):
    """The look and the stop are compared by the moments that were written down, not by ages of different moments."""
    stopped_at = TradingControl.objects.get(scope="SYSTEM").changed_at
    assert stopped_at is not None

    sights.note(account_id=halted.pk, seen_at=stopped_at)
    assert list(failing(propose(people[0]), people[1])) == ["RECONCILED"]

    sights.note(account_id=halted.pk, seen_at=stopped_at + timedelta(microseconds=1))
    assert approve(ControlRelease.objects.get(), people[1]) == StopLevel.ACTIVE


@pytest.mark.parametrize(
    "unknown", [{"loss_today": None}, {"read_at": None}, {"read_at": "old"}, {"trading_date": "old"}]
)
def test_not_while_nobody_can_tell_the_loss(halted, people, unknown):
    old = {"read_at": now() - timedelta(hours=1), "trading_date": now().date() - timedelta(days=1)}
    AccountFigures.objects.update(**{name: old[name] if value else None for name, value in unknown.items()})

    failed = failing(propose(people[0]), people[1])

    assert list(failed) == ["LOSS_BELOW_LIMIT"]
    assert "its loss today is not known" in failed["LOSS_BELOW_LIMIT"]


@pytest.mark.parametrize(
    ("discrepancy", "words"),
    [(Decimal("500.01"), "500.01 USD"), (None, "A difference cannot be valued.")],
)
def test_not_while_books_and_broker_differ_by_what_would_stop_it_again(halted, people, discrepancy, words):
    sights.note(account_id=halted.pk, discrepancy=discrepancy)
    failed = failing(propose(people[0]), people[1])
    assert list(failed) == ["BOOKS_AGREE"]
    assert words in failed["BOOKS_AGREE"]

    sights.note(account_id=halted.pk, discrepancy=Decimal("500.00"))

    assert approve(ControlRelease.objects.get(), people[1]) == StopLevel.ACTIVE


@pytest.mark.parametrize(
    ("figures", "words"),
    [
        ({"equity": 0}, "not above zero"),
        ({"equity": None}, "not above zero"),
        ({"margin_level": 119}, "margin level is 119"),
    ],
)
def test_not_while_the_account_cannot_carry_trading(halted, people, figures, words):
    AccountFigures.objects.update(**figures)

    failed = failing(propose(people[0]), people[1])

    assert list(failed) == ["EQUITY_USABLE"]
    assert words in failed["EQUITY_USABLE"]
