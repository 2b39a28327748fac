"""What stops trading by itself: at its level, with its reason in plain words, latched, and once."""

import json
import uuid
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import OperationalError
from django.utils.timezone import now

from nexus.alerts.models import Alert
from risk.models import TradingControl
from risk.services import changes, control
from risk.states import ControlScope, LimitKind, LimitScope, StopLevel, Sweep, Trigger
from risk.types import Unknown
from tests import stops
from tests.client import ApiClient
from tests.trading.conftest import TESTER, brief, limit
from tests.trading.desk import LIMIT, MARKET, act, place, position_of
from trading.brokers.mt5.adapter import Mt5Broker
from trading.brokers.mt5.emulator import constants as mt5
from trading.models import AccountFigures, Fill, TradeLedger
from trading.services import figures, triggers, watch
from trading.states import VenueState
from trading.tasks import follow_stops
from trading.types import OrderReport

SPEAKS_FOR_THE_BROKER = True  # some of its reports are made up
SMALL = brief(quantity=Decimal("0.01"))


def look(account: Any) -> None:
    watch.look(account_id=account.pk, at=now())


def row(scope: ControlScope, key: object) -> TradingControl | None:
    return TradingControl.objects.filter(scope=scope, key=str(key)).first()


def stopped(account: Any) -> tuple[str, str] | None:
    """Return the level and the reason of the account's own stop."""
    found = row(ControlScope.ACCOUNT, account.pk)
    return None if found is None else (StopLevel(found.level).name, found.reason)


@pytest.fixture
def losing(execute, paper, account, settings) -> Any:
    """An account that has lost 60 USD today, by a stop that was hit."""
    look(account)
    execute()
    paper.quote("EURUSD", "1.07900", "1.07910")
    return account


def test_the_watch_keeps_what_every_account_has_lost_and_may_lose(execute, paper, account):
    look(account)
    execute()
    look(account)

    figures = AccountFigures.objects.get(account=account)
    # bid 1.08490 of an entry at 1.08500 on 10,000 units; down to 1.08 · 0.9995
    assert (figures.equity, figures.loss_today, figures.open_risk) == (Decimal(99_999), Decimal(1), Decimal("54.40"))
    assert (figures.fault, figures.failing_since, figures.currency) == ("", None, "USD")
    assert figures.margin_level is not None


def test_the_loss_of_the_day_stops_its_user_once(losing, trader, new_events):
    limit(LimitKind.DAILY_LOSS, "60", user=trader)

    look(losing)
    look(losing)

    found = row(ControlScope.USER, trader.pk)
    assert found is not None
    assert (found.level, found.sweep, found.set_by) == (StopLevel.HALTED, Sweep.NONE, "trigger:daily_loss")
    assert found.reason.startswith("DAILY_LOSS: 60 USD are lost today, and the limit is 60 USD (user).")
    assert [event.action for event in new_events()].count("control.level_set") == 1
    assert Alert.objects.filter(kind="TRADING_STOPPED", severity="CRITICAL").count() == 1


def test_a_cent_below_the_limit_stops_nobody(losing, trader):
    limit(LimitKind.DAILY_LOSS, "60.01", user=trader)

    look(losing)

    assert row(ControlScope.USER, trader.pk) is None


def test_a_limit_of_the_account_stops_the_account_alone(losing, trader):
    changes.lower(
        scope=LimitScope.ACCOUNT, key=str(losing.pk), kind=LimitKind.DAILY_LOSS, value=Decimal(50), reason="A test.",
        actor=TESTER, at=now(),
    )  # fmt: skip

    look(losing)

    assert row(ControlScope.USER, trader.pk) is None
    assert (stopped(losing) or [""])[0] == "HALTED"


def test_the_kill_switch_may_sweep(losing, trader, settings):
    settings.DAILY_LOSS_SWEEP = "FLATTEN"
    limit(LimitKind.DAILY_LOSS, "60", user=trader)

    look(losing)

    found = row(ControlScope.USER, trader.pk)
    assert found is not None
    assert found.sweep == Sweep.FLATTEN


def test_a_trigger_that_is_off_only_tells(losing, trader, settings):
    settings.STOP_ON = settings.STOP_ON | {"DAILY_LOSS": "OFF"}
    limit(LimitKind.DAILY_LOSS, "60", user=trader)

    look(losing)

    assert row(ControlScope.USER, trader.pk) is None
    assert Alert.objects.get().kind == "STOP_DAILY_LOSS"


def test_what_a_trigger_that_is_off_has_told_is_over_with_its_cause(losing, trader, settings):
    settings.STOP_ON = settings.STOP_ON | dict.fromkeys(("DAILY_LOSS", "MARGIN_LEVEL", "EQUITY_UNUSABLE"), "OFF")
    settings.MARGIN_LEVEL_MIN = settings.MARGIN_LEVEL_ALARM = Decimal(10_000_000)
    limit(LimitKind.DAILY_LOSS, "60", user=trader)
    Alert.objects.all().delete()
    for trigger in (Trigger.EQUITY_UNUSABLE, Trigger.MARGIN_LEVEL, Trigger.UNKNOWN_ORDERS):
        triggers._tell_only(trigger, scope=ControlScope.ACCOUNT, key=str(losing.pk), reason="A test.", at=now())

    look(losing)
    assert open_stops() == ["STOP_DAILY_LOSS"]

    watch.look(account_id=losing.pk, at=now() + timedelta(days=1))
    assert open_stops() == []


def test_a_trigger_that_is_switched_on_again_tells_by_its_stop(losing, trader, settings):
    was = settings.STOP_ON
    limit(LimitKind.DAILY_LOSS, "60", user=trader)
    settings.STOP_ON = was | {"DAILY_LOSS": "OFF"}
    look(losing)
    settings.STOP_ON = was

    look(losing)

    assert open_stops() == []
    assert Alert.objects.get(closed_at=None).kind == "TRADING_STOPPED"


def open_stops() -> list[str]:
    rows = Alert.objects.filter(kind__startswith="STOP_", closed_at=None).order_by("kind")
    return list(rows.values_list("kind", flat=True))


def test_an_account_that_answers_and_cannot_be_valued_wakes_people(losing, monkeypatch):
    """Its loss is unknown, so no limit stops it: silence would look like safety."""
    with monkeypatch.context() as patch:
        patch.setattr(figures, "_standing", lambda *_, **__: (Unknown("CONVERSION_MISSING"), Unknown("-")))
        look(losing)
        assert not Alert.objects.filter(kind="ACCOUNT_NOT_WATCHED").exists()
        AccountFigures.objects.update(failing_since=now() - timedelta(seconds=61))
        look(losing)
    told = Alert.objects.get(kind="ACCOUNT_NOT_WATCHED")
    assert "cannot be valued. CONVERSION_MISSING" in told.text
    assert told.closed_at is None

    look(losing)

    told.refresh_from_db()
    assert told.closed_at is not None


def test_a_trigger_never_eases(losing, trader, settings):
    settings.STOP_ON = settings.STOP_ON | {"DAILY_LOSS": "REDUCE_ONLY"}
    limit(LimitKind.DAILY_LOSS, "60", user=trader)
    control.set_level(
        scope=ControlScope.USER, key=str(trader.pk), level=StopLevel.HALTED, reason="A person.", actor=TESTER, at=now()
    )

    look(losing)

    found = row(ControlScope.USER, trader.pk)
    assert found is not None
    assert (found.level, found.reason, found.version) == (StopLevel.HALTED, "A person.", 1)


def with_snapshot(monkeypatch: pytest.MonkeyPatch, **facts: Any) -> None:
    """Let the broker show other figures of the account."""
    real = Mt5Broker.snapshot

    def snapshot(self: Mt5Broker, **what: Any) -> Any:
        return replace(real(self, **what), **facts)

    monkeypatch.setattr(Mt5Broker, "snapshot", snapshot)


@pytest.mark.parametrize(
    ("equity", "words"),
    [("0", "is 0 USD"), ("-3.5", "is -3.5 USD"), ("NaN", "is no number"), ("Infinity", "is no number")],
)
def test_an_equity_that_is_no_number_above_zero_halts_the_account(paper, account, monkeypatch, equity, words):
    look(account)
    with_snapshot(monkeypatch, equity=Decimal(equity))

    look(account)

    level, reason = stopped(account) or ("", "")
    assert level == "HALTED"
    assert words in reason
    assert reason.startswith("EQUITY_UNUSABLE: ")


@pytest.mark.parametrize(
    ("used", "alerted", "level"),
    [("50000", False, None), ("50001", True, None), ("83333", True, None), ("83334", True, "REDUCE_ONLY")],
)
def test_the_margin_level_first_alarms_and_then_stops(paper, account, monkeypatch, used, alerted, level):
    """100,000 of equity: 200 % of 50,000, and 120 % of 83,333."""
    with_snapshot(monkeypatch, margin_used=Decimal(used))

    look(account)

    assert Alert.objects.filter(kind="MARGIN_LEVEL_LOW", closed_at=None).exists() is alerted
    assert (stopped(account) or (None,))[0] == level


def test_the_margin_alarm_closes_when_it_is_over(paper, account, monkeypatch):
    with monkeypatch.context() as patch:
        with_snapshot(patch, margin_used=Decimal(60_000))
        look(account)
    look(account)

    assert Alert.objects.get(kind="MARGIN_LEVEL_LOW").closed_at is not None


def test_lost_answers_in_a_row_stop_the_account_even_when_the_orders_were_found(execute, paper, account, settings):
    settings.UNKNOWN_ORDERS_MAX = 2
    for _ in range(2):
        assert stopped(account) is None
        paper.control.inject("timeout_after_accept")
        execute(SMALL, key=uuid.uuid4().hex)
        look(account)  # it finds the order, and sees that its answer was lost
        look(account)

    level, reason = stopped(account) or ("", "")
    assert level == "REDUCE_ONLY"
    assert "The answers to 2 orders" in reason


def test_what_was_before_the_release_is_not_held_against_it_again(execute, paper, account, settings):
    settings.UNKNOWN_ORDERS_MAX = 1
    paper.control.inject("timeout_after_accept")
    execute(SMALL)
    look(account)
    assert stopped(account) is not None

    stops.put(StopLevel.ACTIVE, scope=ControlScope.ACCOUNT, key=str(account.pk))
    look(account)

    assert (stopped(account) or [""])[0] == "ACTIVE"


def test_refusals_in_a_row_stop_the_account(execute, paper, account, settings):
    settings.REFUSALS_MAX, settings.COOLDOWN_FAILURES = 2, 100
    paper.control.inject("retcode", times=1)
    execute(SMALL, key=uuid.uuid4().hex)
    execute(SMALL, key=uuid.uuid4().hex)  # filled: the row is broken
    paper.control.inject("retcode", times=1)
    execute(SMALL, key=uuid.uuid4().hex)
    look(account)
    assert stopped(account) is None
    paper.control.inject("retcode", times=1)
    execute(SMALL, key=uuid.uuid4().hex)

    look(account)

    level, reason = stopped(account) or ("", "")
    assert level == "REDUCE_ONLY"
    assert "refused the last 2 orders" in reason


def test_a_refusal_of_everything_stops_the_account_at_once(execute, paper, account):
    paper.control.inject("retcode", retcode=mt5.TRADE_RETCODE_CLIENT_DISABLES_AT)

    order = execute(SMALL)

    level, reason = stopped(account) or ("", "")
    assert (order.status, level) == ("REJECTED", "REDUCE_ONLY")
    assert "refuses everything" in reason


def test_a_cancel_that_is_refused_with_everything_stops_the_account_too(trader, paper, account):
    client = ApiClient().login(trader)
    order = place(client, LIMIT)
    paper.control.inject("retcode", retcode=mt5.TRADE_RETCODE_CLIENT_DISABLES_AT)

    act(client, f"/trading/orders/{order['id']}/cancel", {"reason": "A test."})

    assert (stopped(account) or ("", ""))[0] == "REDUCE_ONLY"


def test_a_change_that_is_refused_with_everything_stops_the_account_too(trader, paper, account):
    client = ApiClient().login(trader)
    place(client, MARKET)
    paper.control.inject("retcode", retcode=mt5.TRADE_RETCODE_CLIENT_DISABLES_AT)

    act(client, f"/trading/positions/{position_of(client)['id']}", {"stop_loss": "1.0830"}, method="patch")

    assert (stopped(account) or ("", ""))[0] == "REDUCE_ONLY"


@pytest.mark.parametrize(("value", "level"), [("1085.01", None), ("1085", "REDUCE_ONLY")])
def test_a_late_fill_that_is_worth_it_stops_the_account(execute, paper, account, settings, value, level):
    order = execute(SMALL)
    worth = TradeLedger.objects.get(pk=order.pk).value
    settings.WRONG_FILL_VALUE = Decimal(value) - Decimal(1085) + worth
    TradeLedger.objects.filter(pk=order.pk).update(late_fill=True)

    look(account)

    assert (stopped(account) or (None,))[0] == level
    assert Fill.objects.filter(order=order).exists()


def test_an_account_that_stays_unread_wakes_people_and_stops_nobody(execute, account, settings):
    look(account)
    good, settings.MT5_GATEWAY_URL = settings.MT5_GATEWAY_URL, "http://127.0.0.1:1"
    look(account)
    figures = AccountFigures.objects.get(account=account)
    assert figures.failing_since is not None
    assert figures.equity == 100_000  # the last that was known
    assert not Alert.objects.exists()
    AccountFigures.objects.update(failing_since=figures.failing_since - timedelta(seconds=61))

    look(account)

    alert = Alert.objects.get()
    assert (alert.kind, alert.severity) == ("ACCOUNT_NOT_WATCHED", "CRITICAL")
    settings.MT5_GATEWAY_URL = good
    look(account)
    alert.refresh_from_db()
    assert alert.closed_at is not None
    assert AccountFigures.objects.get(account=account).failing_since is None
    assert stopped(account) is None


def test_trouble_in_our_own_books_is_seen_while_the_broker_is_gone(execute, paper, account, settings):
    settings.UNKNOWN_ORDERS_MAX = 1
    paper.control.inject("timeout_after_accept")
    execute(SMALL)
    good, settings.MT5_GATEWAY_URL = settings.MT5_GATEWAY_URL, "http://127.0.0.1:1"

    look(account)

    assert stopped(account) is not None
    settings.MT5_GATEWAY_URL = good
    look(account)


def test_others_pull_their_own_triggers_here(account, new_events):
    pulled = triggers.pull(
        Trigger.DISCREPANCY, scope=ControlScope.ACCOUNT, key=str(account.pk), reason="D is 500.01 USD.", at=now()
    )

    assert pulled is not None
    assert stopped(account) == ("REDUCE_ONLY", "DISCREPANCY: D is 500.01 USD.")
    (event,) = (each for each in new_events() if each.action == "control.level_set")
    assert json.loads(event.canonical)["actor_id"] == "trigger:discrepancy"


def test_a_database_that_fails_here_does_not_undo_what_was_booked(account, monkeypatch):
    def fail(**_: Any) -> None:
        raise OperationalError("gone")

    monkeypatch.setattr(control, "set_level", fail)
    report = OrderReport("1", VenueState.REJECTED, reason="off", code="10027", halts=True)

    triggers.account_refused(account, said=report, at=now())

    assert stopped(account) is None


def test_an_account_that_could_not_be_read_when_its_worker_died_is_told_by_another_one(account, settings):
    good, settings.MT5_GATEWAY_URL = settings.MT5_GATEWAY_URL, "http://127.0.0.1:1"
    look(account)
    follow_stops()
    assert not Alert.objects.exists()
    AccountFigures.objects.update(failing_since=now() - timedelta(seconds=61))

    for _ in range(2):
        follow_stops()

    alert = Alert.objects.get()
    assert (alert.kind, alert.severity, alert.seen_count) == ("ACCOUNT_NOT_WATCHED", "CRITICAL", 1)
    settings.MT5_GATEWAY_URL = good
    look(account)
    assert Alert.objects.get().closed_at is not None


def test_accounts_that_nobody_looks_at_are_told_by_another_worker(account):
    look(account)
    follow_stops()
    assert not Alert.objects.exists()
    AccountFigures.objects.update(read_at=now() - timedelta(seconds=61))

    follow_stops()

    alert = Alert.objects.get()
    assert (alert.kind, alert.severity) == ("HEALTH_DEGRADED", "CRITICAL")
    look(account)
    follow_stops()
    alert.refresh_from_db()
    assert alert.closed_at is not None
