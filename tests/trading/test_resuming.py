"""A stop is eased by two people, when everything that must hold does; each check fails alone, and says why."""

import contextlib
import json
from concurrent.futures import ThreadPoolExecutor, wait
from decimal import Decimal
from typing import Any

import pytest
from django.db import IntegrityError, connection, transaction
from django.utils.timezone import now

from accounts.models import User
from accounts.states import Role
from nexus.audit.types import Actor
from nexus.core.errors import Denied, Invalid, NotFound
from risk.models import ControlRelease, TradingControl
from risk.services import releases
from risk.services.releases import NotStopped, ReleaseDecided, ReleasePending, SecondPersonNeeded
from risk.states import ChangeState, ControlScope, LimitKind, StopLevel, Sweep, Trigger
from tests import stops
from tests.factories.accounts import UserFactory
from tests.stops import stop
from tests.threads import together
from tests.trading.conftest import limit
from tests.trading.releases import approve, failing, level, propose
from trading.models import AccountFigures, SweepRun, TradeLedger, TradingAccount
from trading.services import resuming, sweeping, triggers
from trading.services.resuming import NotReleasable, StopSetAnew
from trading.states import SweepState


def test_a_stop_that_was_set_anew_since_it_was_shown_is_not_proposed_about(halted, people):
    shown = TradingControl.objects.get(scope="SYSTEM").version
    stop()

    with pytest.raises(releases.SetAnew):
        propose(people[0], version=shown)

    assert not ControlRelease.objects.exists()
    assert propose(people[0], version=shown + 1).state == ChangeState.PROPOSED


def test_two_people_ease_a_stop_and_both_are_in_the_audit(halted, people, execute, new_events):
    release = propose(people[0])
    assert level() == StopLevel.HALTED

    assert approve(release, people[1]) == level() == StopLevel.ACTIVE

    release.refresh_from_db()
    assert (release.state, release.decided_by) == (ChangeState.APPLIED.value, people[1])
    assert [check["name"] for check in release.checks] == [check.__name__.upper() for check in resuming.CHECKS]
    told = {event.action: event.actor_id for event in new_events() if event.action.startswith("control.")}
    assert told["control.release_proposed"] == str(people[0].public_id)
    assert told["control.released"] == told["control.level_eased"] == str(people[1].public_id)
    assert execute().status == "FILLED"


def test_halted_can_be_eased_to_reduce_only_and_that_takes_two_as_well(halted, people):
    release = propose(people[0], level=StopLevel.REDUCE_ONLY)

    assert approve(release, people[1]) == StopLevel.REDUCE_ONLY
    with pytest.raises(NotStopped):
        propose(people[0], level=StopLevel.REDUCE_ONLY)


@pytest.mark.threat(17)
def test_whoever_proposed_or_set_the_stop_does_not_decide(account, people):
    stop(actor=Actor.user(people[0].public_id))
    stops.reconciled(account)
    release = propose(people[1])

    for person in (people[0], people[1]):
        with pytest.raises(SecondPersonNeeded):
            approve(release, person)

    assert level() == StopLevel.HALTED
    assert approve(release, people[2]) == StopLevel.ACTIVE
    with pytest.raises(IntegrityError, match="control_release_second_person"), transaction.atomic():
        ControlRelease.objects.filter(pk=release.pk).update(decided_by=people[1])


@pytest.mark.parametrize("role", [Role.TRADER, Role.BOT, Role.COMPLIANCE])
def test_only_operators_ease(halted, people, role):
    stranger = UserFactory.create(role=role)
    with pytest.raises(Denied):
        propose(stranger)
    release = propose(people[0])

    with pytest.raises(Denied):
        approve(release, stranger)
    with pytest.raises(Denied):
        resuming.refuse(release_id=release.pk, by=stranger, reason="No.", at=now())


def test_a_proposal_expires_is_refused_or_pending_and_is_decided_once(halted, people):
    expired = propose(people[0])
    with pytest.raises(ReleasePending):
        propose(people[1])
    later = expired.expires_at
    with pytest.raises(ReleaseDecided, match="expired"):
        approve(expired, people[1], at=later)

    refused = propose(people[0], at=later)
    expired.refresh_from_db()
    assert expired.state == ChangeState.EXPIRED
    resuming.refuse(release_id=refused.pk, by=people[1], reason="Not yet.", at=later)
    with pytest.raises(ReleaseDecided, match="refused"):
        approve(refused, people[1], at=later)
    assert level() == StopLevel.HALTED


def test_deciding_asks_for_a_reason_and_a_proposal(halted, people):
    release = propose(people[0])

    with pytest.raises(Invalid):
        resuming.approve(release_id=release.pk, by=people[1], reason=" ", at=now())
    with pytest.raises(NotFound):
        resuming.approve(release_id=release.pk + 1, by=people[1], reason="Agreed.", at=now())
    with pytest.raises(Invalid):
        propose(people[0], reason="")


@pytest.mark.threat(18)
def test_a_stop_that_was_set_anew_makes_the_proposal_stale(halted, people):
    release = propose(people[0])
    stop(reason="Again.")
    stops.reconciled(halted)

    with pytest.raises(StopSetAnew):
        approve(release, people[1])

    release.refresh_from_db()
    assert (release.state, level()) == (ChangeState.STALE.value, StopLevel.HALTED)
    assert approve(propose(people[0]), people[1]) == StopLevel.ACTIVE


def test_two_who_approve_at_once_ease_once(halted, people, new_events):
    release = propose(people[0])

    def act(number: int) -> str:
        try:
            return approve(release, people[1 + number]).name
        except ReleaseDecided:
            return "decided"

    assert sorted(together(2, act)) == ["ACTIVE", "decided"]
    assert [event.action for event in new_events()].count("control.released") == 1


@pytest.mark.threat(26)
def test_a_stop_that_races_a_release_stands(halted, people):
    """Whichever is first, the stop is in force at the end."""
    for _ in range(4):
        stops.put(StopLevel.HALTED)
        stop()
        stops.reconciled(halted)
        release = propose(people[0])

        def act(number: int, release: ControlRelease = release) -> None:
            if number:
                stop(reason="Now.")
                return
            with contextlib.suppress(StopSetAnew, NotReleasable):
                approve(release, people[1])

        together(2, act)

        assert level() == StopLevel.HALTED


def test_a_trigger_that_is_pulled_while_two_people_decide_is_not_lost(halted, people, monkeypatch):
    """It finds everything stopped already, and the stop is eased the moment after by what was looked at before."""
    release, looked, pulled = propose(people[0]), resuming.look, []

    def look(*given: Any, **named: Any) -> Any:
        checks = looked(*given, **named)
        pulled.append(
            elsewhere.submit(
                together, 1, lambda _: triggers.pull(
                    Trigger.DISCREPANCY, scope=ControlScope.SYSTEM, key="", reason="D is 1,001 USD.", at=now()
                ),
            )
        )  # fmt: skip
        wait(pulled, timeout=0.5)
        return checks

    monkeypatch.setattr(resuming, "look", look)
    with ThreadPoolExecutor(1) as elsewhere:
        assert approve(release, people[1]) == StopLevel.ACTIVE

    assert level() == StopLevel.REDUCE_ONLY
    assert len(pulled) == 1


def test_two_proposals_at_once_are_one(halted, people):
    def act(number: int) -> str:
        try:
            return str(propose(people[number]).pk)
        except ReleasePending:
            return "pending"

    assert sorted(together(3, act))[1:] == ["pending", "pending"]
    assert ControlRelease.objects.count() == 1


def test_a_failed_approval_is_kept_and_the_proposal_stays_open(halted, people, new_events):
    AccountFigures.objects.update(loss_today=Decimal(5000))
    release = propose(people[0])

    failing(release, people[1])

    (event,) = (each for each in new_events() if each.action == "control.release_unfit")
    assert json.loads(event.canonical)["detail"]["reason"] == "LOSS_BELOW_LIMIT"
    release.refresh_from_db()
    assert release.state == ChangeState.PROPOSED.value


def test_an_account_that_another_stop_holds_back_holds_up_nobody(halted, people, settings):
    """A dead account is stopped by itself, and then the rest may go on; its sweep is given up with the stop."""
    stop(sweep=Sweep.FLATTEN)
    dead = TradingAccount.objects.create(
        user=UserFactory.create(), name="Dead", venue="mt5", venue_account="1", server="gone", currency="USD",
        mode="HEDGING", gateway_url="http://127.0.0.1:1", created_at=now(),
    )  # fmt: skip
    stop(sweep=Sweep.FLATTEN)
    for sweep in SweepRun.objects.all():
        sweeping.run(sweep_id=sweep.pk, at=now())
    stops.reconciled(halted)
    release = propose(people[0])
    assert set(failing(release, people[1])) == {"SWEEP_PROVEN", "RECONCILED", "LOSS_BELOW_LIMIT", "EQUITY_USABLE"}

    stop(scope=ControlScope.ACCOUNT, key=str(dead.pk))

    assert approve(release, people[1]) == StopLevel.ACTIVE
    assert SweepRun.objects.get(account=dead).state == SweepState.ABANDONED
    assert not TradeLedger.objects.open().exists()


def test_the_rows_of_a_release_say_what_they_must(halted, people):
    release = propose(people[0])

    for changes in ({"reason": ""}, {"level": StopLevel.HALTED}, {"state": ChangeState.APPLIED.value}):
        with pytest.raises(IntegrityError), transaction.atomic():
            ControlRelease.objects.filter(pk=release.pk).update(**changes)


def test_a_limit_of_the_users_own_counts(halted, people):
    AccountFigures.objects.update(loss_today=Decimal(300))
    limit_user = User.objects.get(pk=halted.user_id)
    limit(LimitKind.DAILY_LOSS, "250", user=limit_user)

    assert list(failing(propose(people[0]), people[1])) == ["LOSS_BELOW_LIMIT"]


def test_a_release_is_taken_inside_its_transaction(halted, people):
    assert not connection.in_atomic_block
    with pytest.raises(AssertionError):
        releases.take(release_id=1, by=people[0], reason="x", at=now(), is_approval=True)
