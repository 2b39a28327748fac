"""The broker's own word counts over what two operators have decided of a change, whenever it comes."""

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db.models import F
from django.utils.timezone import now

from nexus.alerts.models import Alert
from nexus.audit.types import Actor
from nexus.core.errors import Refused
from risk.models import RiskAdjustment
from risk.states import AdjustmentKind
from tests.threads import together
from tests.trading.desk import LIMIT, MARKET, act, place, position_of
from tests.trading.test_change_decisions import adjusted, decide, propose, reserved, settled
from trading.brokers.mt5.adapter import Mt5Broker
from trading.models import BrokerPosition, ChangeDecision, ChangeRequest, TradeLedger
from trading.services import cancels, changes, resolution, settlements, terms, watch
from trading.services.change_decisions import ChangeNotUndecided
from trading.states import CancelState, ChangeState

DONE, REFUSED = ChangeState.DONE, ChangeState.REFUSED


@pytest.mark.parametrize(("to", "arrives"), [(DONE, False), (REFUSED, True)])
def test_a_broker_that_comes_back_and_shows_other_stops_is_believed(lose, people, account, settings, to, arrives):
    change = settled(lose("STOPS", arrives=arrives), to, people)
    changes.resolve(change_id=change.pk, at=now())  # nobody asks for it any more

    watch.look(account_id=account.pk, at=now())

    assert BrokerPosition.objects.get().stop_loss == Decimal("1.0790" if arrives else "1.0800")
    last = RiskAdjustment.objects.latest("pk")
    assert last.kind == AdjustmentKind.EXTERNAL
    assert Alert.objects.filter(kind="TERMS_MOVED").exists() is arrives  # told where more may be lost than decided


@pytest.mark.parametrize(("to", "arrives"), [(DONE, False), (REFUSED, True)])
def test_a_broker_that_comes_back_and_shows_other_terms_is_believed(lose, people, account, to, arrives):
    change = settled(lose("TERMS", arrives=arrives), to, people)

    watch.look(account_id=account.pk, at=now())

    order, shown = TradeLedger.objects.get(), change.after if arrives else change.before
    assert (order.limit_price, order.stop_loss) == (Decimal(shown["limit_price"]), Decimal(shown["stop_loss"]))
    assert order.risk == order.reserved == Decimal(change.after["risk"])  # the worse of both


def test_an_order_that_ends_after_its_cancel_was_given_up_has_ended(lose, people, paper):
    settled(lose("CANCEL"), REFUSED, people)
    (ticket,) = (each["ticket"] for each in paper.truth()["working"])

    paper.control.manual_cancel(paper.login, ticket)
    resolution.resolve(order_id=TradeLedger.objects.get().pk, at=now())

    order = TradeLedger.objects.get()
    assert (order.status, order.delivery, order.reserved) == ("CANCELED", "DONE", 0)


@pytest.fixture
def late(monkeypatch, people):
    """Let two operators decide while the broker's own answer is on its way."""

    def late(name: str, to: ChangeState, answer: Exception | None) -> None:
        def slow(_broker: Mt5Broker, _request: Any) -> None:
            ChangeRequest.objects.update(sent_at=F("sent_at") - timedelta(seconds=65))
            settled(ChangeRequest.objects.get(), to, people)
            if answer is not None:
                raise answer

        monkeypatch.setattr(Mt5Broker, name, slow)

    return late


SAYS_NO = Refused("The dealer refuses it.")


@pytest.mark.parametrize(("to", "answer", "state"), [
    (DONE, None, DONE), (DONE, SAYS_NO, REFUSED), (REFUSED, None, DONE), (REFUSED, SAYS_NO, REFUSED),
])  # fmt: skip
def test_an_answer_about_stops_that_comes_after_all_is_believed(client, late, to, answer, state):
    place(client, MARKET)
    path = f"/trading/positions/{position_of(client)['id']}"
    late("change_stops", to, answer)

    assert act(client, path, {"stop_loss": "1.0790"}, method="patch").json()["state"] == state

    change = ChangeRequest.objects.get()
    assert BrokerPosition.objects.get().stop_loss == Decimal("1.0790" if state is DONE else "1.0800")
    once, back = (change.risk_before, change.risk_after), (change.risk_after, change.risk_before)
    assert adjusted() == ([once, back] if (to, state) == (DONE, REFUSED) else [once] if state is DONE else [])


def test_a_refusal_takes_nothing_back_that_was_set_anew_since(client, people, monkeypatch):
    place(client, MARKET)
    path = f"/trading/positions/{position_of(client)['id']}"
    real = Mt5Broker.change_stops

    def slow(_broker: Mt5Broker, _request: Any) -> None:
        ChangeRequest.objects.update(sent_at=F("sent_at") - timedelta(seconds=65))
        settled(ChangeRequest.objects.get(), DONE, people)
        monkeypatch.setattr(Mt5Broker, "change_stops", real)
        assert act(client, path, {"stop_loss": "1.0790"}, method="patch").json()["state"] == DONE
        raise SAYS_NO

    monkeypatch.setattr(Mt5Broker, "change_stops", slow)

    assert act(client, path, {"stop_loss": "1.0790"}, method="patch").json()["state"] == REFUSED

    once, again = ((each.risk_before, each.risk_after) for each in ChangeRequest.objects.order_by("pk"))
    assert (adjusted(), BrokerPosition.objects.get().stop_loss) == ([once, again], Decimal("1.0790"))


@pytest.mark.parametrize(("to", "answer", "state"), [
    (DONE, None, DONE), (DONE, SAYS_NO, REFUSED), (REFUSED, None, DONE), (REFUSED, SAYS_NO, REFUSED),
])  # fmt: skip
def test_an_answer_about_terms_that_comes_after_all_is_believed(client, late, to, answer, state):
    path = f"/trading/orders/{place(client, LIMIT)['id']}"
    late("change_order", to, answer)

    wanted = {"limit_price": "1.08300", "stop_loss": "1.07700"}
    assert act(client, path, wanted, method="patch").json()["state"] == state

    change = ChangeRequest.objects.get()
    held = change.after if state is DONE else change.before
    order = TradeLedger.objects.get()
    assert (order.limit_price, order.stop_loss) == (Decimal(held["limit_price"]), Decimal(held["stop_loss"]))
    assert reserved() == (Decimal(held["risk"]),) * 2 + (Decimal(held["value"]),) * 2
    assert len(adjusted()) == {(DONE, DONE): 1, (DONE, REFUSED): 2, (REFUSED, DONE): 1}.get((to, state), 0)


@pytest.mark.parametrize("arrives", [True, False])
def test_a_cancel_that_was_given_up_while_it_was_on_its_way_ends_its_order_if_it_arrives(
    client, monkeypatch, people, arrives
):
    order, real = place(client, LIMIT), Mt5Broker.cancel

    def slow(broker: Mt5Broker, **what: Any) -> None:
        ChangeRequest.objects.update(sent_at=F("sent_at") - timedelta(seconds=65))
        settled(ChangeRequest.objects.get(), REFUSED, people)
        if not arrives:
            raise SAYS_NO
        real(broker, **what)

    monkeypatch.setattr(Mt5Broker, "cancel", slow)
    answer = act(client, f"/trading/orders/{order['id']}/cancel").json()

    row = TradeLedger.objects.get()
    assert answer["status"] == row.status == ("CANCELED" if arrives else "PENDING")
    assert (row.cancel, ChangeRequest.objects.get().state) == (CancelState.REFUSED, REFUSED)


@pytest.mark.parametrize("round_", range(3))
@pytest.mark.parametrize("other", ["ended", "sent anew"])
def test_a_cancel_is_given_up_at_the_very_instant_in_which_its_order_ends_or_it_is_sent_anew(
    lose, people, paper, other, round_
):
    change = lose("CANCEL")
    decision = propose(change, REFUSED, people[0])
    order = TradeLedger.objects.get()
    if other == "ended":
        (ticket,) = (each["ticket"] for each in paper.truth()["working"])
        paper.control.manual_cancel(paper.login, ticket)

    def do(number: int) -> str:
        if number == 0 and other == "ended":
            resolution.resolve(order_id=order.pk, at=now())
        elif number == 0:
            cancels.request(order_id=order.pk, actor=Actor.system("tests"), reason="Again.", at=now())
        else:
            try:
                return decide(decision, people[1]).state
            except ChangeNotUndecided:
                return "STALE"
        return ""

    _, decided = together(2, do)

    order.refresh_from_db()
    change.refresh_from_db()
    assert (order.status, order.delivery, order.reserved) == ("CANCELED", "DONE", 0)
    assert ChangeDecision.objects.get().state == decided
    assert change.state == REFUSED or other == "ended"
    assert order.cancel == (CancelState.REFUSED if decided == "APPLIED" and other == "ended" else CancelState.DONE)


def test_a_position_that_is_gone_says_nothing_against_a_decision(lose, client, people, monkeypatch):
    """A search that began before the decision ends after it, and found the position closed: nobody knows."""
    change = lose("STOPS")
    assert act(client, f"/trading/positions/{position_of(client)['id']}/close").json()["status"] == "FILLED"
    real = changes._settle

    def decided_first(row: ChangeRequest, **what: Any) -> ChangeRequest:
        settled(change, DONE, people)
        return real(row, **what)

    monkeypatch.setattr(changes, "_settle", decided_first)
    changes.resolve(change_id=change.pk, at=now())

    change.refresh_from_db()
    assert change.state == DONE


@pytest.mark.parametrize("round_", range(3))
@pytest.mark.parametrize(("kind", "to", "arrives"), [
    ("STOPS", REFUSED, True), ("STOPS", DONE, True), ("TERMS", DONE, False), ("TERMS", REFUSED, True),
])  # fmt: skip
def test_at_the_same_instant_the_broker_s_word_stands_and_all_is_settled_once(
    lose, people, settings, kind, to, arrives, round_
):
    settings.CHANGE_PROOF_S = 0
    change = lose(kind, arrives=arrives)
    decision = propose(change, to, people[0])

    def do(number: int) -> str:
        if number == 0 and kind == "STOPS":
            changes.resolve(change_id=change.pk, at=now())
        elif number == 0:
            terms.resolve(change_id=change.pk)
        else:
            try:
                return decide(decision, people[1]).state
            except ChangeNotUndecided:
                return "STALE"
        return ""

    _, decided = together(2, do)

    change.refresh_from_db()
    assert ChangeDecision.objects.get().state == decided
    # Where the decision was first and the search began after it, nobody asked: the next look shows it.
    is_searched = change.answer != settlements.DECIDED
    assert change.state == (DONE if arrives else REFUSED) or not is_searched
    count = {DONE: 1}.get(ChangeState(change.state), 0)
    assert len(adjusted()) in ({count} if decided == "STALE" else {count, 2})
    if kind == "TERMS":
        held = change.after if change.state == DONE else change.before
        assert reserved() == (Decimal(held["risk"]),) * 2 + (Decimal(held["value"]),) * 2
    else:
        stands = "1.0790" if change.state == DONE else "1.0800"
        assert BrokerPosition.objects.get().stop_loss == Decimal(stands)
