"""A position without the stops its order asked for is given them, or closed; it never stands there silently."""

from datetime import timedelta
from decimal import Decimal

import pytest
from django.utils.timezone import now

from nexus.alerts.models import Alert
from nexus.core.errors import Refused, Unreachable
from nexus.idempotency.models import IdempotencyRecord
from risk.models import TradingControl
from risk.states import ControlScope, StopLevel
from tests import stops
from tests.trading.conftest import brief
from tests.trading.rounds import rounds
from trading.brokers.mt5.adapter import Mt5Broker
from trading.brokers.mt5.emulator import constants as mt5
from trading.models import AccountFigures, BrokerPosition, ChangeRequest, TradeLedger
from trading.services import protection, triggers
from trading.states import ChangeState, OrderStatus, Side

SLTP_REFUSED = {"retcode": mt5.TRADE_RETCODE_INVALID_STOPS}


def bare(execute, paper):
    """Return an order that was filled without its stops."""
    paper.control.inject("stops_dropped")
    order = execute()
    assert (order.status, protection.due()) == (OrderStatus.FILLED, [order.pk])
    assert paper.truth()["positions"][0]["sl"] == 0
    return order


def protect(order, *, later_s=0):
    protection.protect(order_id=order.pk, at=now() + timedelta(seconds=later_s))


def closes():
    return list(TradeLedger.objects.exclude(venue_position_id="").order_by("pk").values_list("status", flat=True))


def test_the_stops_are_set_as_they_were_asked_for_and_the_alert_ends(execute, paper):
    order = bare(execute, paper)

    protect(order)

    (held,) = paper.truth()["positions"]
    assert (held["sl"], held["tp"]) == (108000, 109000)
    assert BrokerPosition.objects.get().stop_loss == order.stop_loss
    assert ChangeRequest.objects.get().requested_by == "protection"
    protect(order)
    assert protection.due() == []
    assert Alert.objects.get(kind=protection.KIND).closed_at is not None
    assert ChangeRequest.objects.count() == 1


def test_a_list_without_the_position_protects_nothing_and_ends_no_alert(execute, paper, monkeypatch):
    order = bare(execute, paper)
    monkeypatch.setattr(paper.desk._hands.module, "positions_get", lambda *_, **__: ())

    protect(order)

    assert protection.due() == [order.pk]
    monkeypatch.undo()
    protect(order)
    assert paper.truth()["positions"][0]["sl"] == 108000


def test_a_position_that_refuses_its_stops_twice_is_closed_once(execute, paper):
    order = bare(execute, paper)
    paper.control.inject("retcode", times=2, **SLTP_REFUSED)

    for _ in range(2):
        protect(order)
        assert len(paper.truth()["positions"]) == 1
    for _ in range(3):
        protect(order)

    assert paper.truth()["positions"] == []
    assert [each.state for each in ChangeRequest.objects.all()] == [ChangeState.REFUSED] * 2
    assert TradeLedger.objects.count() == 2
    assert protection.due() == []


def instrument_stop():
    found = TradingControl.objects.filter(scope=ControlScope.INSTRUMENT).first()
    return None if found is None else (found.key, StopLevel(found.level), found.reason)


def test_a_stop_loss_that_the_broker_refuses_stops_its_instrument_and_what_reduces_passes(execute, paper, account):
    order = bare(execute, paper)
    paper.control.inject("retcode", **SLTP_REFUSED)

    protect(order)

    answer = ChangeRequest.objects.get().answer
    words = f"The broker refused the stop-loss of a position in EURUSD on {account}: {answer}."
    assert instrument_stop() == ("EURUSD", StopLevel.REDUCE_ONLY, f"STOP_LOSS_REFUSED: {words}")
    assert Alert.objects.filter(kind="TRADING_STOPPED", closed_at=None).count() == 1
    assert execute().reason == "TRADING_REDUCE_ONLY"
    protect(order)
    assert paper.truth()["positions"][0]["sl"] == 108000  # the second try is no new exposure
    held = BrokerPosition.objects.get().venue_position_id
    close = brief(side=Side.SELL, stop_loss=None, take_profit=None, venue_position_id=held)
    assert execute(close).status == OrderStatus.FILLED


def test_a_target_that_is_refused_stops_nothing(execute, paper):
    order = bare(execute, paper)
    (held,) = paper.truth()["positions"]
    paper.control.manual_modify(paper.login, held["ticket"], sl="1.0800")
    paper.control.inject("retcode", **SLTP_REFUSED)

    protect(order)

    assert ChangeRequest.objects.get().state == ChangeState.REFUSED
    assert instrument_stop() is None


def test_a_trigger_that_is_off_only_tells_of_it(execute, paper, settings):
    settings.STOP_ON = settings.STOP_ON | {"STOP_LOSS_REFUSED": "OFF"}
    order = bare(execute, paper)
    paper.control.inject("retcode", **SLTP_REFUSED)

    protect(order)

    assert instrument_stop() is None
    assert Alert.objects.filter(kind="STOP_STOP_LOSS_REFUSED").count() == 1


def test_what_never_left_us_is_no_refusal_of_the_broker_s(execute, paper, monkeypatch):
    order = bare(execute, paper)

    def cut(self, change):
        raise Unreachable("the gateway is away")

    with monkeypatch.context() as away:
        away.setattr(Mt5Broker, "change_stops", cut)
        for _ in range(4):
            protect(order)
    assert {each.answer for each in ChangeRequest.objects.all()} == {"Not sent: the gateway is away"}
    assert instrument_stop() is None

    protect(order)

    (held,) = paper.truth()["positions"]
    assert held["sl"] == 108000
    assert closes() == []


def test_only_as_much_is_closed_as_the_order_has_made(execute, paper, monkeypatch):
    order = bare(execute, paper)
    TradeLedger.objects.filter(pk=order.pk).update(filled_quantity=Decimal("0.04"))
    paper.control.inject("retcode", times=2, **SLTP_REFUSED)

    for _ in range(4):
        protect(order)

    assert [Decimal(each["volume"]).scaleb(-8) for each in paper.truth()["positions"]] == [Decimal("0.06")]
    assert protection.due() == [order.pk]  # it still stands there: people are told
    TradeLedger.objects.filter(pk=order.pk).update(filled_quantity=Decimal("0.1"))


def test_a_close_that_was_refused_is_tried_again_and_not_every_few_seconds(execute, paper):
    order = bare(execute, paper)
    paper.control.inject("retcode", times=3, **SLTP_REFUSED)  # the stops twice, and the first close

    for _ in range(5):
        protect(order)
    assert closes() == [OrderStatus.REJECTED]
    assert len(paper.truth()["positions"]) == 1

    for _ in range(3):
        protect(order, later_s=protection.PAUSE_S + 1)

    assert closes() == [OrderStatus.REJECTED, OrderStatus.FILLED]
    assert paper.truth()["positions"] == []
    assert protection.due() == []


def test_a_close_is_the_process_s_own_act_and_waits_for_no_owner(execute, paper, account, new_events):
    order = bare(execute, paper)
    paper.control.inject("retcode", times=2, **SLTP_REFUSED)
    protect(order)
    protect(order)
    type(account.user).objects.filter(pk=account.user_id).update(is_active=False)

    protect(order)

    assert paper.truth()["positions"] == []
    *_, admitted = [event for event in new_events() if event.action == "order.admitted"]
    assert (admitted.actor_type, admitted.actor_id) == ("system", "protection")


def test_what_has_been_closed_is_not_closed_again_when_its_key_is_forgotten(execute, paper):
    order = bare(execute, paper)
    TradeLedger.objects.filter(pk=order.pk).update(filled_quantity=Decimal("0.04"))
    paper.control.inject("retcode", times=2, **SLTP_REFUSED)
    for _ in range(3):
        protect(order)

    IdempotencyRecord.objects.all().delete()
    protect(order)

    assert [Decimal(each["volume"]).scaleb(-8) for each in paper.truth()["positions"]] == [Decimal("0.06")]
    TradeLedger.objects.filter(pk=order.pk).update(filled_quantity=Decimal("0.1"))


def test_a_lost_answer_is_no_refusal_and_nothing_is_sent_beside_it(execute, paper):
    order = bare(execute, paper)
    paper.control.inject("timeout_before_accept")

    for _ in range(4):
        protect(order)

    assert [each.state for each in ChangeRequest.objects.all()] == [ChangeState.UNKNOWN]
    assert len(paper.truth()["positions"]) == 1
    assert protection.due() == [order.pk]


@pytest.mark.parametrize("level", [StopLevel.REDUCE_ONLY, StopLevel.HALTED])
def test_no_stop_holds_back_a_missing_stop_loss(execute, paper, level):
    order = bare(execute, paper)
    stops.put(level)

    protect(order)

    (held,) = paper.truth()["positions"]
    assert (held["sl"], held["tp"]) == (108000, 109000)


def test_a_halt_holds_back_the_close_of_what_refuses_its_stops(execute, paper):
    order = bare(execute, paper)
    stops.put(StopLevel.HALTED)
    paper.control.inject("retcode", times=2, **SLTP_REFUSED)

    for _ in range(3):
        protect(order)

    assert len(paper.truth()["positions"]) == 1
    assert protection.due() == [order.pk]


def test_a_broker_that_cannot_be_asked_changes_nothing(execute, paper, settings):
    order = bare(execute, paper)
    settings.MT5_GATEWAY_URL = "http://127.0.0.1:1"

    protect(order)

    assert protection.due() == [order.pk]


def test_a_change_that_is_not_valid_as_such_is_told_to_people(account):
    said = Refused("Invalid stops", code="10016", is_defect=True)

    for _ in range(2):
        triggers.account_refused(account, said=said, at=now())
    triggers.account_refused(account, said=Refused("Market closed", code="10018"), at=now())

    alert = Alert.objects.get()
    assert (alert.kind, alert.severity, alert.closed_at) == ("REQUEST_NOT_VALID", "WARNING", None)
    assert "Invalid stops (10016)" in alert.text


def test_a_broker_that_does_not_answer_is_asked_in_one_of_three_rounds(execute, paper, account, monkeypatch):
    """What is asked there keeps a worker for its whole deadline."""
    order = bare(execute, paper)
    assert rounds(monkeypatch, protection.due) == [[order.pk]] * 3
    since = now() - timedelta(minutes=1)
    AccountFigures.objects.update_or_create(account=account, defaults={"failing_since": since, "read_at": since})

    assert sorted(rounds(monkeypatch, protection.due)) == [[], [], [order.pk]]
