"""What a run does about differences, small and large, over the real books."""

import uuid
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import transaction
from django.db.models import F
from django.utils.timezone import now

from nexus.alerts.models import Alert
from nexus.audit.types import Actor
from reconciliation.models import Cycle, ReconciliationLog, Review
from reconciliation.services import concluding, cycles
from reconciliation.states import Trigger
from risk.models import AccountSight, TradingControl
from risk.services import control
from risk.states import ControlScope, StopLevel
from tests import stops
from tests.factories.accounts import UserFactory
from tests.fakes.paper import LOGIN
from tests.reconciliation.test_bad_day import books, delay_history, found, stop_of
from tests.trading.conftest import brief, link
from trading.brokers.mt5.emulator import constants as mt5
from trading.models import BookCorrection, BrokerPosition, Fill, TradingAccount
from trading.services import corrections, fills, resuming, watch
from trading.services.corrections import Origin
from trading.states import CorrectionKind, FillKind, Side
from trading.types import FillReport

ROOM = Decimal(1_000_000)


def shift_average(usd: str, *, of: BrokerPosition | None = None) -> BrokerPosition:
    """Let our average of a position of 0.1 lots be off by so many USD: by usd / 10,000 in price."""
    row = of or BrokerPosition.objects.get()
    BrokerPosition.objects.filter(pk=row.pk).update(price_open=F("price_open") + Decimal(usd) / 10_000)
    return row


@pytest.mark.parametrize(
    ("usd", "actions", "impact"),
    [
        ("99.99", ["OBSERVED", "BROKER_SYNCED"], "LOW"),
        ("100.00", ["REVIEW", "REVIEW"], "MEDIUM"),
        ("-500.00", ["REVIEW", "REVIEW"], "MEDIUM"),
        ("500.01", ["TRADING_STOPPED", "TRADING_STOPPED"], "HIGH"),
    ],
)
def test_the_bands_over_real_books(usd, actions, impact, execute, paper, account, reconcile, quiet):
    execute()
    reconcile()
    row = shift_average(usd)
    off = BrokerPosition.objects.get().price_open

    outcomes = [reconcile() for _ in range(2)]

    assert [outcome.findings[0][1] for outcome in outcomes] == actions
    assert {outcome.discrepancy_usd for outcome in outcomes} == {abs(Decimal(usd))}
    assert {row[-1] for row in found()} == {impact}
    assert stop_of(account) == (StopLevel.REDUCE_ONLY if impact == "HIGH" else None)
    after = BrokerPosition.objects.get(pk=row.pk)
    is_corrected = impact == "LOW"
    assert after.price_open == (Decimal("1.085") if is_corrected else off)
    assert Review.objects.filter(state="OPEN").exists() is not is_corrected
    made = BookCorrection.objects.exclude(kind="OPENING")
    assert made.count() == int(is_corrected)
    assert reconcile().status == ("CLEAN" if is_corrected else "DIFFERENT")


def test_a_correction_is_an_entry_of_its_own_and_a_replay_finds_it_taken(
    execute, paper, account, reconcile, quiet, new_events
):
    execute()
    reconcile()
    shift_average("30")
    reconcile()
    fills_before = books()["fills"]

    reconcile()

    entry = BookCorrection.objects.get(kind="AUTOMATIC")
    assert (entry.quantity, entry.price, entry.symbol, entry.amount) == (0, Decimal("1.085"), "EURUSD", 0)
    logged = ReconciliationLog.objects.get(action="BROKER_SYNCED", entry="DIFFERENCE")
    assert logged.evidence["corrections"] == [entry.correction_id]
    assert (logged.value_usd, logged.evidence["sightings"]) == (30, 2)
    assert books()["fills"] == fills_before
    assert [event.action for event in new_events()].count("books.corrected") == 1

    shift_average("30")  # the same once more, as of the same state of the broker: it has not helped
    reconcile()
    outcome = reconcile()

    assert [action for _, action in outcome.findings] == ["REVIEW"]
    assert BookCorrection.objects.filter(kind="AUTOMATIC").count() == 1


def test_four_times_thirty_in_a_day_goes_to_a_person_and_a_day_later_it_does_not(
    execute, paper, account, reconcile, quiet
):
    execute()
    reconcile()
    seen = []
    for number in range(4):
        paper.control.balance(LOGIN, "1")  # each as of another state of the broker
        shift_average("30")
        for _ in range(2):
            outcome = reconcile()
            assert outcome.findings, (number, outcome)
            seen.append(outcome.findings[0][1])

    assert seen == ["OBSERVED", "BROKER_SYNCED"] * 3 + ["REVIEW", "REVIEW"], number
    assert BookCorrection.objects.filter(kind="AUTOMATIC").count() == 3

    outcome = reconcile(later=timedelta(hours=24, minutes=1))

    assert outcome.findings[0][1] == "BROKER_SYNCED"
    assert Review.objects.get().state == "GONE"


def test_the_run_that_stops_is_no_look_after_the_stop(execute, paper, account, reconcile, quiet):
    execute()
    reconcile()
    shift_average("501")

    def has_passed() -> bool:
        row = TradingControl.objects.get(scope=ControlScope.ACCOUNT)
        checks = resuming.look(row, level=StopLevel.ACTIVE, at=now())
        return next(check.passed for check in checks if check.name == "RECONCILED")

    reconcile()
    assert stop_of(account) == StopLevel.REDUCE_ONLY
    assert not has_passed()  # the broker was asked before the stop
    reconcile()
    assert has_passed()


def test_a_stop_that_is_eased_while_a_run_concludes_is_set_again(
    execute, paper, account, reconcile, quiet, monkeypatch
):
    """Two people ease an older stop on what the run before has found, after this run has found it stopped already."""
    execute()
    reconcile()
    stop = control.set_level(
        scope=ControlScope.ACCOUNT, key=str(account.pk), level=StopLevel.HALTED, reason="A person did.",
        actor=Actor.system("tests"), at=now(),
    )  # fmt: skip
    concluded = concluding.conclude

    def conclude(*all_of_it: Any, **named: Any) -> Any:
        with transaction.atomic():
            row = TradingControl.objects.get(pk=stop.pk)
            control.ease(
                control_id=row.pk, version=row.version, level=StopLevel.ACTIVE, reason="Mended.",
                actor=Actor.system("tests"), at=now(),
            )  # fmt: skip
        return concluded(*all_of_it, **named)

    monkeypatch.setattr(concluding, "conclude", conclude)
    shift_average("501")

    reconcile()

    assert stop_of(account) == StopLevel.REDUCE_ONLY


def test_two_runs_within_seconds_are_one_sighting(execute, paper, account, reconcile, quiet):
    execute()
    reconcile()
    shift_average("30")
    began = now()

    seconds = (0, 1, 29, 31)
    actions = [reconcile(at=began + timedelta(seconds=each), at_once=True).findings[0][1] for each in seconds]

    assert actions == ["OBSERVED", "OBSERVED", "OBSERVED", "BROKER_SYNCED"]


def test_somebody_who_asks_again_and_again_uses_up_no_patience(paper, account, reconcile):
    delay_history(paper)
    paper.control.manual_trade(LOGIN, "EURUSD", mt5.ORDER_TYPE_BUY, "0.1")

    actions = {action for _ in range(6) for _, action in reconcile(at_once=True).findings}

    assert actions == {"EXCLUDED"}
    assert stop_of(account) is None


def test_a_difference_that_changes_is_a_new_one(execute, paper, account, reconcile, quiet):
    execute()
    reconcile()
    actions = []
    for _ in range(3):
        shift_average("10")
        actions.append(reconcile().findings[0][1])
    actions.append(reconcile().findings[0][1])

    assert actions == ["OBSERVED", "OBSERVED", "OBSERVED", "BROKER_SYNCED"]


def test_plus_and_minus_three_hundred_stop(execute, paper, account, reconcile, quiet, settings):
    settings.MAX_POSITION_SIZE = ROOM
    execute()
    execute(brief(entry_price=None))
    reconcile()
    first, second = BrokerPosition.objects.order_by("pk")
    shift_average("300", of=first)
    shift_average("-300", of=second)

    outcome = reconcile()

    assert outcome.discrepancy_usd == 600
    assert [action for _, action in outcome.findings] == ["TRADING_STOPPED"] * 2
    assert stop_of(account) == StopLevel.REDUCE_ONLY
    assert execute(brief(quantity=Decimal("0.01"))).reason == "TRADING_REDUCE_ONLY"


@pytest.mark.broker(currency="EUR")
def test_a_worth_is_written_down_and_answered_alike_and_never_as_less(paper, account, reconcile, quiet):
    origin = Origin(CorrectionKind.DECIDED, "A test.", Actor.system("tests"), "a test")
    _off_by(account, "-93.33333333", origin)

    outcome = reconcile()

    assert outcome.discrepancy_usd == Decimal("101.26666667")  # 101.26666666305
    assert Cycle.objects.get().discrepancy_usd == outcome.discrepancy_usd


@pytest.mark.broker(currency="EUR")
def test_an_account_in_euros_is_judged_in_dollars(paper, account, reconcile, quiet):
    origin = Origin(CorrectionKind.DECIDED, "A test.", Actor.system("tests"), "a test")
    _off_by(account, "-93", origin)

    outcome = reconcile()

    # 93 EUR at the ask of 1.08500 are 100.905 USD: a review, where 93 of a dollar account would be corrected.
    assert (outcome.discrepancy_usd, outcome.findings[0][1]) == (Decimal("100.905"), "REVIEW")
    assert ReconciliationLog.objects.get(key="CASH").cash_discrepancy == 93


def test_money_that_nothing_explains_is_corrected_once_seen_twice(paper, account, reconcile, quiet):
    origin = Origin(CorrectionKind.DECIDED, "A test.", Actor.system("tests"), "a test")
    _off_by(account, "40", origin)

    outcomes = [reconcile() for _ in range(3)]

    assert [[action for _, action in outcome.findings] for outcome in outcomes] == [
        ["OBSERVED"], ["BROKER_SYNCED"], [],
    ]  # fmt: skip
    entry = BookCorrection.objects.get(kind="AUTOMATIC")
    assert (entry.amount, entry.quantity, entry.venue_position_id) == (-40, 0, "")


def _off_by(account: TradingAccount, amount: str, origin: Origin) -> None:
    """Let our books expect so much more than there is."""
    with transaction.atomic():
        corrections.restate_cash(account, Decimal(amount), balance=Decimal(0), origin=origin, at=now())


def test_what_stood_before_us_is_the_opening_and_no_difference(paper, quiet):
    paper.control.manual_trade(LOGIN, "EURUSD", mt5.ORDER_TYPE_SELL, "0.5", sl="1.09")
    account = link(UserFactory.create())
    TradingAccount.objects.update(created_at=now() + timedelta(minutes=90))  # all of that is from before our time

    outcome = cycles.run(account_id=account.pk, trigger=Trigger.LINK, at=now())

    assert outcome.status == "CLEAN", outcome.detail
    assert outcome.discrepancy_usd == 0
    entries = BookCorrection.objects.order_by("pk").values_list("kind", "symbol", "quantity", "amount")
    assert list(entries) == [("OPENING", "", 0, 100_000), ("OPENING", "EURUSD", Decimal("-0.5"), 0)]
    assert found() == [("DIFFERENCE", BrokerPosition.objects.get().venue_position_id, "OPENED", "LOW")]
    assert watch.look(account_id=account.pk, at=now()) == 0  # and nobody books it a second time
    assert cycles.run(account_id=account.pk, trigger=Trigger.CLOCK, at=now()).status == "CLEAN"
    assert not Fill.objects.exists()
    assert not Alert.objects.exists()


def test_an_account_that_has_just_moved_is_not_opened(paper):
    account = link(UserFactory.create())
    AccountSight.objects.all().delete()
    delay_history(paper)
    paper.control.manual_trade(LOGIN, "EURUSD", mt5.ORDER_TYPE_SELL, "0.5", sl="1.09")

    outcome = cycles.run(account_id=account.pk, trigger=Trigger.LINK, at=now())

    assert (outcome.status, outcome.detail) == ("FAILED", "The account moves while it is looked at for the first time.")
    assert not BookCorrection.objects.exists()
    assert not AccountSight.objects.exists()  # and so nothing is admitted on it


def test_an_account_with_orders_of_ours_has_no_opening_of_positions(execute, paper, account, quiet):
    execute()
    shift_average("30")

    outcome = cycles.run(account_id=account.pk, trigger=Trigger.CLOCK, at=now())

    assert [action for _, action in outcome.findings] == ["OBSERVED"]


def test_corrections_turn_our_position_into_the_brokers(execute, paper, account, reconcile, quiet, settings):
    """Quantities are above every band here: what an automatic correction would do is done when the band allows it."""
    settings.RECONCILIATION_REVIEW_FROM = settings.RECONCILIATION_STOP_ABOVE = ROOM
    settings.MAX_DISCREPANCY_THRESHOLD = ROOM
    execute()
    reconcile()
    for ours in ("0.3", "-0.2", "0"):
        closed = None if Decimal(ours) else now()
        BrokerPosition.objects.update(quantity=Decimal(ours), price_open=Decimal("1.05"), closed_at=closed)
        paper.control.balance(LOGIN, "1")
        reconcile()

        outcome = reconcile()

        assert [action for _, action in outcome.findings] == ["BROKER_SYNCED"], ours
        after = BrokerPosition.objects.get()
        assert (after.quantity, after.price_open, after.closed_at) == (Decimal("0.1"), Decimal("1.085"), None)
    legs = BookCorrection.objects.filter(kind="AUTOMATIC").order_by("pk").values_list("quantity", "price")
    assert list(legs) == [
        (Decimal("-0.2"), Decimal("1.0325")),
        (Decimal("0.2"), Decimal("1.05")),
        (Decimal("0.1"), Decimal("1.085")),
        (Decimal("0.1"), Decimal("1.085")),
    ]
    # The books were moved by hand, so that their entries no longer add up; that is this test's own doing.
    BrokerPosition.objects.update(quantity=0, closed_at=now())
    with pytest.raises(AssertionError):
        _assert_added_up()
    BrokerPosition.objects.update(quantity=Decimal("0.3"), closed_at=None)


def _assert_added_up() -> None:
    from tests import invariants  # noqa: PLC0415

    invariants.assert_fills_and_positions([], list(Fill.objects.all()), list(BrokerPosition.objects.all()))


def test_a_symbol_without_a_mark_stops_as_what_is_too_much(paper, account, reconcile, quiet, monkeypatch):
    monkeypatch.setattr("tests.invariants.assert_books", lambda *_: None)  # no deal of this broker's
    none = Decimal(0)
    ghost = FillReport(
        "ghost", "", "g1", "", "GONEX", Side.BUY, Decimal(1), Decimal(1), none, none, none, none, FillKind.ORDER, now()
    )
    fills.ingest(account=account, reports=[ghost], at=now())

    outcome = reconcile()

    assert (outcome.is_unvalued, outcome.risk_impact) == (True, "HIGH")
    assert ReconciliationLog.objects.get(key="g1").value_usd is None
    assert stop_of(account) == StopLevel.REDUCE_ONLY
    assert Cycle.objects.get().is_unvalued


def test_the_discrepancies_of_all_accounts_together_stop_the_system(execute, paper, account, reconcile, quiet):
    execute()
    reconcile()
    shift_average("400")
    others = []
    for number in range(2):
        row = TradingAccount.objects.get(pk=account.pk)
        row.pk, row.public_id, row.venue_account = None, uuid.uuid4(), f"other{number}"
        row.save()
        others.append(Cycle.objects.create(account=row, due_at=now(), discrepancy_usd=300))

    reconcile()
    system = TradingControl.objects.get(scope=ControlScope.SYSTEM)
    assert (system.level, stop_of(account)) == (StopLevel.ACTIVE, None)  # 1,000 together: not above

    Cycle.objects.filter(pk=others[0].pk).update(discrepancy_usd=Decimal("300.01"))
    reconcile()

    assert TradingControl.objects.get(scope=ControlScope.SYSTEM).level == StopLevel.REDUCE_ONLY
    assert stop_of(account) is None
    assert Alert.objects.filter(kind="FLEET_DISCREPANCY", closed_at=None).exists()

    Cycle.objects.filter(pk=others[0].pk).update(discrepancy_usd=0)
    reconcile()
    assert not Alert.objects.filter(kind="FLEET_DISCREPANCY", closed_at=None).exists()


def test_a_fleet_that_is_off_is_told_also_where_all_trading_is_stopped_already(execute, account, reconcile, quiet):
    execute()
    reconcile()
    stops.put(StopLevel.HALTED)
    shift_average("400")
    row = TradingAccount.objects.get(pk=account.pk)
    row.pk, row.public_id, row.venue_account = None, uuid.uuid4(), "other"
    row.save()
    Cycle.objects.create(account=row, due_at=now(), discrepancy_usd=601)

    reconcile()

    assert Alert.objects.filter(kind="FLEET_DISCREPANCY", closed_at=None).exists()
    assert TradingControl.objects.get(scope=ControlScope.SYSTEM).level == StopLevel.HALTED


def test_a_stricter_stop_is_not_eased(execute, paper, account, reconcile, quiet):
    execute()
    reconcile()
    control.set_level(
        scope=ControlScope.ACCOUNT, key=str(account.pk), level=StopLevel.HALTED, reason="A person did.",
        actor=Actor.system("tests"), at=now(),
    )  # fmt: skip
    shift_average("600")

    reconcile()

    assert stop_of(account) == StopLevel.HALTED


def test_the_stop_stands_although_what_follows_fails(execute, paper, account, reconcile, quiet, monkeypatch):
    execute()
    reconcile()
    shift_average("600")

    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("the disk is full")

    monkeypatch.setattr("reconciliation.services.reviews.follow", fail)

    outcome = reconcile()

    assert (outcome.status, outcome.detail) == ("FAILED", "the disk is full")
    assert stop_of(account) == StopLevel.REDUCE_ONLY
    assert Cycle.objects.get().failures == 1
