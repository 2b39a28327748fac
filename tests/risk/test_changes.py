"""Limits change in one direction alone, and in the other by two people."""

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import IntegrityError, transaction

from accounts.models import User
from accounts.states import Role
from nexus.audit.types import Actor
from nexus.core.errors import Denied, Invalid, NotFound
from risk.models import LimitChange, RiskLimit
from risk.services import changes, limits
from risk.services.changes import LimitChanged
from risk.states import ChangeState, LimitKind, LimitScope
from tests.factories.accounts import PASSWORD, UserFactory
from tests.terminal import Terminal
from tests.threads import together

NOON = datetime(2026, 1, 5, 12, tzinfo=UTC)
LOSS: dict[str, Any] = {"scope": LimitScope.USER, "key": "7", "kind": LimitKind.DAILY_LOSS}


@pytest.fixture
def people(transactional_db: None) -> tuple[User, User]:
    """Two operators."""
    first, second = (UserFactory.create(role=Role.OPERATOR) for _ in range(2))
    return first, second


def lower(value: str, **changed):
    usual: dict[str, Any] = {**LOSS, "reason": "A test.", "actor": Actor.system("tests"), "at": NOON}
    return changes.lower(**(usual | {"value": Decimal(value)} | changed))


def propose(value: str, *, by: User, **changed) -> LimitChange:
    return changes.propose(**(LOSS | {"value": Decimal(value), "reason": "More room.", "by": by, "at": NOON} | changed))


def in_force(kind: LimitKind = LimitKind.DAILY_LOSS) -> Decimal:
    return limits.in_force(user_id=7, account_id=1, symbol="EURUSD")[kind].value


def test_lowering_acts_at_once_and_keeps_the_version_before(people, new_events):
    lower("500")
    lower("400", at=NOON + timedelta(hours=1))

    assert in_force() == 400
    old, new = RiskLimit.objects.order_by("pk")
    assert (old.value, old.ended_at) == (Decimal(500), NOON + timedelta(hours=1))
    assert (new.value, new.ended_at) == (Decimal(400), None)
    told = [event for event in new_events() if event.action == "risk.limit_lowered"]
    details = [json.loads(event.canonical)["detail"] for event in told]
    assert [(each["before"], each["after"]) for each in details] == [(None, "500"), ("500", "400")]


def test_a_limit_that_is_not_the_one_that_was_seen_is_left_alone(people):
    first = lower("500", seen=0)
    for stale in (0, first.pk - 1):
        with pytest.raises(LimitChanged):
            lower("400", seen=stale)
        with pytest.raises(LimitChanged):
            propose("900", by=people[0], seen=stale)
    assert in_force() == 500
    assert not LimitChange.objects.exists()
    assert propose("900", by=people[0], seen=first.pk).before == 500
    assert lower("400", seen=first.pk).value == 400


def test_one_person_cannot_give_more_room(people):
    lower("500")

    with pytest.raises(changes.LimitNotLowered):
        lower("500.01")

    assert in_force() == 500
    assert lower("500").value == 500  # the same is no more


def test_of_a_minimum_higher_is_tighter(people):
    lower("5", kind=LimitKind.TRADE_VALUE_MIN)

    with pytest.raises(changes.LimitNotLowered):
        lower("4.99", kind=LimitKind.TRADE_VALUE_MIN)
    assert lower("6", kind=LimitKind.TRADE_VALUE_MIN).value == 6


def test_a_first_limit_where_the_platform_has_none_opens_trading_and_needs_two(people, settings):
    settings.DAILY_LOSS_LIMIT = None

    with pytest.raises(changes.LimitNotLowered):
        lower("500")

    change = propose("500", by=people[0])
    changes.approve(change_id=change.pk, by=people[1], reason="Agreed.", at=NOON)
    assert in_force() == 500


@pytest.mark.parametrize("scope", LimitScope)
def test_the_first_limit_of_an_orders_quantity_acts_at_once_for_the_venue_has_one_of_its_own(people, settings, scope):
    assert settings.ORDER_QUANTITY_MAX is None
    key = "" if scope is LimitScope.PLATFORM else "7"
    size: dict[str, Any] = {"scope": scope, "key": key, "kind": LimitKind.ORDER_QUANTITY_MAX}

    lower("0.5", **size)
    with pytest.raises(changes.LimitNotLowered):
        lower("0.6", **size)

    assert RiskLimit.objects.get().value == Decimal("0.5")
    assert propose("0.6", by=people[0], **size).state == ChangeState.PROPOSED


def test_raising_takes_two_people_and_both_are_in_the_audit(people, new_events):
    lower("500")
    change = propose("800", by=people[0])
    assert in_force() == 500

    changes.approve(change_id=change.pk, by=people[1], reason="Agreed.", at=NOON + timedelta(hours=1))

    assert in_force() == 800
    change.refresh_from_db()
    assert (change.state, change.before, change.decided_by) == (ChangeState.APPLIED.value, Decimal(500), people[1])
    told = {event.action: event.actor_id for event in new_events() if "limit" in event.action}
    assert told["risk.limit_change_proposed"] == str(people[0].public_id)
    assert told["risk.limit_raised"] == str(people[1].public_id)


@pytest.mark.parametrize("value", ["500", "400"])
def test_a_proposal_that_gives_no_more_room_is_refused(people, value):
    lower("500")

    with pytest.raises(changes.LimitNotRaised):
        propose(value, by=people[0])
    with pytest.raises(changes.LimitNotRaised):
        propose("5000", by=people[0], kind=LimitKind.POSITION_SIZE)  # the platform's ceiling stays the tightest

    assert not LimitChange.objects.exists()


@pytest.mark.threat(17)
def test_whoever_proposes_does_not_decide(people):
    lower("500")
    change = propose("800", by=people[0])

    for decide in (changes.approve, changes.refuse):
        with pytest.raises(changes.SecondPersonNeeded):
            decide(change_id=change.pk, by=people[0], reason="Myself.", at=NOON)

    assert in_force() == 500
    with pytest.raises(IntegrityError, match="limit_change_second_person"), transaction.atomic():
        LimitChange.objects.filter(pk=change.pk).update(decided_by=people[0])


def test_a_refused_or_expired_proposal_changes_nothing_and_cannot_be_decided_again(people):
    lower("500")
    refused = propose("800", by=people[0])
    changes.refuse(change_id=refused.pk, by=people[1], reason="No.", at=NOON)
    expired = propose("900", by=people[0])
    tomorrow = NOON + timedelta(hours=24)

    for change, at in ((refused, NOON), (expired, tomorrow)):
        with pytest.raises(changes.ChangeDecided):
            changes.approve(change_id=change.pk, by=people[1], reason="Late.", at=at)

    assert in_force() == 500
    propose("850", by=people[1], at=tomorrow)
    expired.refresh_from_db()
    assert expired.state == ChangeState.EXPIRED


def test_a_limit_has_one_open_proposal(people):
    lower("500")
    propose("800", by=people[0])

    with pytest.raises(changes.ChangePending):
        propose("900", by=people[1])


def test_a_raised_limit_never_exceeds_the_ceiling_of_the_platform(people):
    lower("500")
    change = propose("5000", by=people[0])
    changes.approve(change_id=change.pk, by=people[1], reason="Agreed.", at=NOON)

    assert in_force() == 1000


@pytest.mark.parametrize("role", [Role.TRADER, Role.BOT, Role.COMPLIANCE])
def test_only_operators_change_limits(people, role):
    stranger = UserFactory.create(role=role)
    lower("500")
    change = propose("800", by=people[0])

    with pytest.raises(Denied):
        lower("1", by=stranger)
    with pytest.raises(Denied):
        propose("900", by=stranger, kind=LimitKind.POSITION_SIZE)
    with pytest.raises(Denied):
        changes.approve(change_id=change.pk, by=stranger, reason="Agreed.", at=NOON)


@pytest.mark.parametrize(
    "changed",
    [{"reason": " "}, {"value": Decimal(0)}, {"value": Decimal("NaN")}, {"value": Decimal("Infinity")}, {"key": ""},
     {"scope": LimitScope.PLATFORM}],
)  # fmt: skip
def test_refuses_a_change_without_sense(people, changed):
    with pytest.raises(Invalid):
        changes.propose(
            **(LOSS | {"value": Decimal(800), "reason": "More room.", "by": people[0], "at": NOON} | changed)
        )

    assert not LimitChange.objects.exists()


def test_deciding_asks_for_a_reason_and_a_proposal(people):
    lower("500")
    change = propose("800", by=people[0])

    with pytest.raises(Invalid):
        changes.approve(change_id=change.pk, by=people[1], reason=" ", at=NOON)
    with pytest.raises(NotFound):
        changes.approve(change_id=change.pk + 1, by=people[1], reason="Agreed.", at=NOON)


def test_12_first_limits_at_once_leave_one_in_force_and_it_is_the_lowest(people):
    """Without the lock the first rows collide, or a higher one replaces a lower one."""

    def attempt(number: int) -> bool:
        try:
            lower(str(100 + number))
        except changes.LimitNotLowered:
            return False
        return True

    together(12, attempt)

    assert RiskLimit.objects.get(ended_at__isnull=True).value == 100


def test_an_operator_does_all_of_it_from_the_command_line(people, monkeypatch):
    monkeypatch.setattr("getpass.getpass", Terminal())
    trader = UserFactory.create()
    place = ["USER", "DAILY_LOSS"]
    first, second = (["--as", person.email, "--reason", "A test."] for person in people)

    call_command("limit", "lower", *place, "300", "--key", trader.email, *first, stdout=StringIO())
    said = StringIO()
    call_command("limit", "propose", *place, "600", "--key", trader.email, *first, stdout=said)
    change = LimitChange.objects.get()
    assert f"Proposal {change.pk}" in said.getvalue()
    with pytest.raises(CommandError, match="Another operator"):
        call_command("limit", "approve", str(change.pk), *first, stdout=StringIO())
    shown = StringIO()
    call_command("limit", "show", stdout=shown)
    assert f"proposal {change.pk}: DAILY_LOSS of USER {trader.pk} to 600" in shown.getvalue()
    call_command("limit", "approve", str(change.pk), *second, stdout=StringIO())

    assert limits.in_force(user_id=trader.pk, account_id=1, symbol="EURUSD")[LimitKind.DAILY_LOSS].value == 600


COMMANDS = (
    ("limit", "lower", "PLATFORM", "DAILY_LOSS", "1", "--reason", "A test."),
    ("unknown_orders", "decide", "1", "approve"),
)


@pytest.mark.parametrize("command", COMMANDS, ids=["limit", "unknown_orders"])
@pytest.mark.parametrize(
    ("role", "password", "action"),
    [(Role.OPERATOR, "a guess of somebody else", "auth.login.failed"), (Role.TRADER, PASSWORD, "auth.login.denied")],
)
def test_the_command_line_lets_no_stranger_in_and_keeps_that_one_tried(
    people, monkeypatch, new_events, command, role, password, action
):
    monkeypatch.setattr("getpass.getpass", Terminal(password))
    stranger = UserFactory.create(role=role)

    with pytest.raises(CommandError, match="The email or the password is wrong"):
        call_command(*command, "--as", stranger.email)

    assert not RiskLimit.objects.exists()
    (event,) = (each for each in new_events() if each.action.startswith("auth."))
    assert (event.action, json.loads(event.canonical)["detail"]["door"]) == (action, command[0])
