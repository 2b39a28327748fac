"""Changes and cancels whose answer was lost: people are told after a minute, until it is known what became of them."""

import uuid
from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from functools import partial
from typing import Any

import pytest
from django.db import OperationalError
from django.db.models import F
from django.utils.timezone import now

from nexus.alerts.models import Alert
from risk.models import RiskAdjustment
from tests.trading.desk import LIMIT, MARKET, act, place, position_of
from tests.trading.rounds import rounds
from trading import tasks
from trading.brokers.mt5.adapter import Mt5Broker
from trading.models import AccountFigures, BrokerPosition, ChangeRequest, TradeLedger, TradingAccount
from trading.services import cancels, changes, lost, orders, protection, resolution, settlements, terms
from trading.states import CancelState
from trading.types import StopsChange


def standing() -> list[str]:
    """Look as the worker does, and return what stands of it."""
    lost.tell(at=now())
    rows = Alert.objects.filter(kind="CHANGE_UNKNOWN", closed_at__isnull=True).order_by("pk")
    return list(rows.values_list("text", flat=True))


def let_pass(seconds: int) -> None:
    ChangeRequest.objects.update(sent_at=F("sent_at") - timedelta(seconds=seconds))


@pytest.fixture
def stops(client, paper) -> ChangeRequest:
    """A change of a position's stops whose answer is lost; it has not arrived."""
    place(client, MARKET)
    paper.control.inject("timeout_before_accept")
    answer = act(client, f"/trading/positions/{position_of(client)['id']}", {"stop_loss": "1.0830"}, method="patch")
    assert answer.json()["state"] == "UNKNOWN"
    return ChangeRequest.objects.get()


def test_of_lost_stops_people_are_told_after_a_minute_until_the_broker_shows_them(stops, account):
    let_pass(55)
    assert standing() == []

    let_pass(10)
    (text,) = standing()
    assert text.startswith(f"{account}: nobody knows what became of a STOPS request for BUY 0.03 EURUSD.")
    assert standing() == [text]
    let_pass(3600)
    changes.resolve(change_id=stops.pk, at=now())

    assert ChangeRequest.objects.get().state == "REFUSED"
    assert standing() == []


@pytest.mark.parametrize("is_changed_since", [False, True])
def test_an_answer_that_comes_after_its_change_was_taken_for_lost_is_believed(
    client, paper, settings, monkeypatch, is_changed_since
):
    """But it takes nothing back that was set since: the terminal has done one after the other."""
    place(client, MARKET)
    path = f"/trading/positions/{position_of(client)['id']}"
    settings.CHANGE_PROOF_S = 0
    real = Mt5Broker.change_stops

    def slow(broker: Mt5Broker, request: StopsChange) -> None:
        monkeypatch.setattr(Mt5Broker, "change_stops", real)
        changes.resolve(change_id=ChangeRequest.objects.get().pk, at=now())
        assert ChangeRequest.objects.get().state == "REFUSED"
        real(broker, request)
        if is_changed_since:
            assert act(client, path, {"stop_loss": "1.0840"}, method="patch").json()["state"] == "DONE"

    monkeypatch.setattr(Mt5Broker, "change_stops", slow)
    answer = act(client, path, {"stop_loss": "1.0830"}, method="patch").json()

    assert answer["state"] == "DONE"
    shown = Decimal("1.0840" if is_changed_since else "1.0830")
    assert BrokerPosition.objects.get().stop_loss == shown
    assert {held["sl"] for held in paper.truth()["positions"]} == {int(shown * 100_000)}  # in points


def test_a_list_without_the_position_says_nothing_of_its_stops(stops, paper, monkeypatch):
    monkeypatch.setattr(paper.desk._hands.module, "positions_get", lambda *_, **__: ())
    let_pass(3600)

    changes.resolve(change_id=stops.pk, at=now())

    assert ChangeRequest.objects.get().state == "UNKNOWN"
    monkeypatch.undo()
    changes.resolve(change_id=stops.pk, at=now())
    assert ChangeRequest.objects.get().state == "REFUSED"


def test_of_a_position_that_is_closed_nobody_knows_what_its_stops_were(stops, client):
    """It may have gone with the old ones: nothing says that what it could lose was another."""
    assert act(client, f"/trading/positions/{position_of(client)['id']}/close").json()["status"] == "FILLED"

    changes.resolve(change_id=stops.pk, at=now())

    stops.refresh_from_db()
    assert (stops.state, stops.answer) == ("REFUSED", settlements.CLOSED)
    assert not RiskAdjustment.objects.exists()
    assert standing() == []


def test_what_nobody_settled_because_its_process_is_gone_is_lost_too(stops):
    let_pass(65)
    ChangeRequest.objects.update(state="SENDING")

    assert len(standing()) == 1


def test_while_the_broker_is_silent_people_go_on_being_told(stops, settings):
    settings.MT5_GATEWAY_URL = "http://127.0.0.1:9"
    let_pass(3600)

    changes.resolve(change_id=stops.pk, at=now())

    assert len(standing()) == 1


def test_lost_terms_of_an_order_are_told_and_end_with_it(client, paper):
    path = f"/trading/orders/{place(client, LIMIT)['id']}"
    paper.control.inject("timeout_after_accept")
    assert act(client, path, {"limit_price": "1.08300"}, method="patch").json()["state"] == "UNKNOWN"
    let_pass(65)
    (text,) = standing()
    assert "a TERMS request for N" in text

    terms.resolve(change_id=ChangeRequest.objects.get().pk)

    assert standing() == []


def test_a_lost_cancel_is_told_while_its_order_works_and_no_longer(client, paper):
    order = place(client, LIMIT)
    paper.control.inject("timeout_before_accept")
    act(client, f"/trading/orders/{order['id']}/cancel")
    pk = TradeLedger.objects.get(cancel=CancelState.UNKNOWN).pk
    let_pass(65)
    (text,) = standing()
    assert "a CANCEL request for N" in text
    (ticket,) = (each["ticket"] for each in paper.truth()["working"])

    paper.control.manual_cancel(paper.login, ticket)  # somebody does it by hand
    resolution.resolve(order_id=pk, at=now())

    assert standing() == []


def test_the_worker_looks_each_time_it_asks(stops, monkeypatch):
    let_pass(65)
    monkeypatch.setattr(tasks, "enqueue", lambda *_, **__: None)

    tasks.resolve_orders()

    assert Alert.objects.filter(kind="CHANGE_UNKNOWN").count() == 1


def test_telling_comes_last_and_keeps_nothing_from_being_asked_about(stops, monkeypatch):
    sent = []
    monkeypatch.setattr(tasks, "enqueue", lambda name, **_: sent.append(name))

    def fail(**_: object) -> None:
        raise RuntimeError("nobody can be told")

    monkeypatch.setattr(lost, "tell", fail)

    with pytest.raises(RuntimeError):
        tasks.resolve_orders()
    assert "trading.resolve_change" in sent


def test_a_cancel_that_the_broker_took_and_does_not_carry_out_is_told(client, paper, monkeypatch):
    """Its exchange may refuse it after it was accepted: the order goes on working."""
    order = place(client, LIMIT)
    with monkeypatch.context() as patched:
        patched.setattr(Mt5Broker, "cancel", lambda *_, **__: None)
        act(client, f"/trading/orders/{order['id']}/cancel")
    row = TradeLedger.objects.get(cancel=CancelState.REQUESTED)
    assert ChangeRequest.objects.get().state == "DONE"
    let_pass(55)
    assert standing() == []

    let_pass(10)

    (text,) = standing()
    assert "a CANCEL request for N" in text
    act(client, f"/trading/orders/{order['id']}/cancel")  # once more: it can cancel nothing else
    assert resolution.resolve(order_id=row.pk, at=now()).cancel == CancelState.DONE
    assert standing() == []


@pytest.mark.parametrize("broken", [resolution, cancels, changes, protection])
def test_an_error_about_one_kind_keeps_no_other_from_being_asked_about(stops, monkeypatch, broken):
    looked, told = [], []
    kinds = (resolution, cancels, changes, protection)

    def due(kind: Any) -> list[int]:
        if kind is broken:
            raise OperationalError("canceling statement due to statement timeout")
        looked.append(kind)
        return []

    for kind in kinds:
        monkeypatch.setattr(kind, "due", partial(due, kind))
    monkeypatch.setattr(lost, "tell", lambda **_: told.append(True))

    with pytest.raises(OperationalError):
        tasks.resolve_orders()

    assert (looked, told) == ([kind for kind in kinds if kind is not broken], [True])


@pytest.fixture
def many(account) -> Iterator[list[ChangeRequest]]:
    """Three lost changes of one account, and after them one of another. Nobody has ever traded what they are of."""
    other = TradingAccount.objects.get(pk=account.pk)
    other.pk, other.public_id, other.venue_account = None, uuid.uuid4(), "5002"
    other.save()
    yield [lost_change(each, name) for each, name in ((account, "1"), (account, "2"), (account, "3"), (other, "4"))]
    ChangeRequest.objects.all().delete()
    BrokerPosition.objects.all().delete()


def lost_change(of: TradingAccount, name: str) -> ChangeRequest:
    position = BrokerPosition.objects.create(
        account=of, venue_position_id=name, symbol="EURUSD", quantity=0, price_open=1, opened_at=now(), closed_at=now()
    )
    return ChangeRequest.objects.create(
        change_id=f"lost-{name}", kind="STOPS", state="UNKNOWN", position=position, requested_by="tests",
        requested_at=now(), sent_at=now(),
    )  # fmt: skip


def test_every_account_has_its_turn_before_the_second_of_any(many, monkeypatch):
    first, second, third, others = (each.pk for each in many)
    assert changes.due() == [first, others, second, third]

    monkeypatch.setattr(changes, "BATCH", 2)

    assert changes.due() == [first, others]


def test_many_accounts_whose_brokers_do_not_answer_keep_no_other_from_its_turn(many, account, monkeypatch):
    monkeypatch.setattr(changes, "BATCH", 1)
    since = now() - timedelta(minutes=1)
    AccountFigures.objects.create(account=account, failing_since=since, read_at=since)

    found = rounds(monkeypatch, changes.due)

    assert ({each[0] for each in found}, sorted(map(len, found))) == ({many[3].pk}, [1, 1, 2])


def test_of_an_account_whose_looks_fail_each_has_its_turn(many, account, monkeypatch):
    """Its lists may answer, and tell of the second what they will never tell of the first."""
    since = now() - timedelta(minutes=1)
    AccountFigures.objects.create(account=account, failing_since=since, read_at=since)

    asked = {pk for _ in range(60) for found in rounds(monkeypatch, changes.due) for pk in found}

    assert asked == {each.pk for each in many}


def test_of_an_account_whose_broker_does_not_answer_one_is_asked_about(many, account, monkeypatch):
    """Each would wait for its whole deadline, before the looks at all other accounts."""
    since = now() - timedelta(minutes=1)
    AccountFigures.objects.create(account=account, failing_since=since, read_at=since)

    found = rounds(monkeypatch, changes.due)
    assert (sorted(map(len, found)), all(many[3].pk in each for each in found)) == ([1, 1, 2], True)


@pytest.mark.parametrize("what", ["stops", "terms"])
def test_a_change_that_was_held_up_until_it_may_be_taken_for_lost_is_sent_no_more(client, paper, monkeypatch, what):
    """Its process froze: what it adds is not reserved any more, and nobody would judge it anew."""
    order = place(client, MARKET if what == "stops" else LIMIT)
    monkeypatch.setattr(orders, "SEND_WITHIN_S", 0.0)

    path = f"/trading/positions/{position_of(client)['id']}" if what == "stops" else f"/trading/orders/{order['id']}"
    answer = act(client, path, {"stop_loss": "1.0780"}, method="patch")

    assert (answer.json()["state"], ChangeRequest.objects.get().answer.count("held up")) == ("REFUSED", 1)
    (stands,) = paper.truth()["positions" if what == "stops" else "working"]
    assert stands["sl"] == (108000 if what == "stops" else 107900)  # points, as before


@pytest.mark.parametrize("what", ["order", "resting", "close", "close by"])
def test_an_order_that_was_held_up_for_too_long_is_not_sent(client, paper, monkeypatch, what):
    """Its account may have another gateway by now, whose journal swore that it was never sent."""
    place(client, MARKET)
    place(client, MARKET | {"action": "SELL", "quantity": "0.02", "stop_loss": "1.0900"})
    bought, sold = sorted(client.get("/trading/positions").json()["results"], key=lambda row: row["side"])
    before = paper.truth()
    monkeypatch.setattr(orders, "SEND_WITHIN_S", 0.0)

    match what:
        case "order" | "resting":
            answer = place(client, MARKET if what == "order" else LIMIT)
        case _:
            against = {"against": sold["id"]} if what == "close by" else {}
            answer = act(client, f"/trading/positions/{bought['id']}/close", against).json()

    assert (answer["status"], answer["reason"], answer["reserved"]) == ("REJECTED", "BROKER_UNREACHABLE", "0")
    assert [paper.truth()[name] for name in ("positions", "working")] == [before["positions"], before["working"]]
