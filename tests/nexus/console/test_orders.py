"""One order on one line of time, and the queue of those that nobody can find."""

from decimal import Decimal

import pytest
from django.utils.timezone import now

from accounts.models import ApprovalRequest
from tests.fakes.paper import LOGIN
from tests.nexus.console.people import confirm, seen, text
from tests.threads import together
from tests.trading.conftest import brief
from trading.models import Fill, OrderDecision, TradeLedger
from trading.services import history, watch
from trading.states import Delivery

EVIDENCE = "The dealer has looked, and has no trace of it."


@pytest.fixture
def unknown(operators, execute, paper) -> TradeLedger:
    """An order of which nobody knows whether it arrived."""
    paper.control.inject("timeout_before_accept")
    order: TradeLedger = execute()
    assert order.delivery == Delivery.UNKNOWN
    return order


def at(order, rest=""):
    return f"/admin/orders/{order.public_id}/{rest}"


def test_a_filled_order_tells_its_whole_story_in_order(operators, execute, console, trader):
    order = execute()

    lines = history.of(TradeLedger.objects.get(pk=order.pk)).lines

    kinds = [line.kind for line in lines]
    assert kinds[:2] == ["request", "checks"]
    assert {"request", "checks", "state", "sent", "answer", "fill", "audit"} == set(kinds)
    assert [line.at for line in lines] == sorted(line.at for line in lines)
    page = text(console.get(at(order)))
    assert trader.email in page
    for word in ("POSITION_SIZE", "PENDING/QUEUED → PENDING/SENDING", "order.admitted", "marked as sent"):
        assert word in page


def test_what_refused_an_order_stands_first_with_its_figures(operators, execute, console):
    order = execute(brief(quantity=Decimal(2)))

    page = text(console.get(at(order)))

    assert order.rejected_by == "LOCAL"
    assert "FAILED POSITION_SIZE_EXCEEDS_LIMIT" in page
    assert page.index("FAILED") < page.index('"passed"')


def test_two_operators_close_an_unknown_order(unknown, console, other_console):
    assert str(unknown) in text(console.get("/admin/orders/unknown/"))

    assert confirm(console, at(unknown, "end/"), to="REJECTED", reason=EVIDENCE).status_code == 302
    assert TradeLedger.objects.get().delivery == Delivery.UNKNOWN
    assert (
        confirm(other_console, f"/admin/approvals/{ApprovalRequest.objects.get().public_id}/approve/").status_code
        == 302
    )

    order = TradeLedger.objects.get()
    assert (order.status, order.delivery) == ("REJECTED", Delivery.DONE)
    page = text(console.get(at(order)))
    assert EVIDENCE in page
    assert "order.decision_applied" in page


def test_a_deal_that_may_be_the_order_stands_in_the_queue_and_on_its_page(unknown, console, paper, account):
    assert "May be it" in text(console.get("/admin/orders/unknown/"))
    paper.control.manual_trade(LOGIN, "EURUSD", 0, f"{unknown.quantity.normalize():f}")
    watch.look(account_id=account.pk, at=now())
    deal = Fill.objects.get().venue_fill_id

    assert f"deal {deal} of" in text(console.get("/admin/orders/unknown/"))
    page = text(console.get(at(unknown)))
    assert "May be this order, without its mark" in page
    assert page.count(deal) >= 2


def test_an_order_that_has_ended_meanwhile_is_not_decided_again(unknown, console, other_console):
    version = seen(console, at(unknown, "end/"))
    confirm(console, at(unknown, "end/"), to="REJECTED", reason=EVIDENCE)
    confirm(other_console, f"/admin/approvals/{ApprovalRequest.objects.get().public_id}/approve/")

    answer = confirm(console, at(unknown, "end/"), to="CANCELED", reason=EVIDENCE, version=version)

    assert answer.status_code == 409
    assert "no longer unknown" in text(answer)
    assert OrderDecision.objects.count() == 1


def test_of_two_who_propose_at_once_one_has_proposed(unknown, console, other_console):
    version = seen(console, at(unknown, "end/"))
    people = (console, other_console)

    answers = together(
        2,
        lambda n: confirm(people[n], at(unknown, "end/"), to="REJECTED", reason=EVIDENCE, version=version).status_code,
    )

    assert sorted(answers) == [302, 409]
    assert OrderDecision.objects.count() == 1


def test_a_fill_cannot_be_decided(unknown, console):
    assert confirm(console, at(unknown, "end/"), to="FILLED", reason=EVIDENCE).status_code == 422
    assert not OrderDecision.objects.exists()


def test_compliance_reads_and_proposes_nothing(unknown, officer):
    assert "Propose how" not in text(officer.get(at(unknown)))
    assert confirm(officer, at(unknown, "end/"), to="REJECTED", reason=EVIDENCE, version="").status_code == 403


def test_an_order_that_is_not_there_is_not_found(console, floor):
    assert console.get("/admin/orders/00000000-0000-0000-0000-000000000000/").status_code == 404
