"""Lost changes at the console: the queue, what one operator proposes and another agrees to."""

import re
from datetime import timedelta

import pytest
from django.db.models import F

from accounts.models import ApprovalRequest
from tests.client import ApiClient
from tests.nexus.console.people import confirm, text
from tests.trading.desk import LIMIT, MARKET, act, place, position_of
from trading.models import ChangeDecision, ChangeRequest, TradeLedger
from trading.states import CancelState

SAID = "Their desk says so on the phone."
QUEUE = "/admin/orders/unknown/"


@pytest.fixture
def client(trader) -> ApiClient:
    return ApiClient().login(trader)


def lost() -> ChangeRequest:
    ChangeRequest.objects.update(sent_at=F("sent_at") - timedelta(seconds=65))
    change = ChangeRequest.objects.get()
    assert change.state == "UNKNOWN"
    return change


@pytest.fixture
def stops(client, paper) -> ChangeRequest:
    """A change of stops whose answer was lost."""
    place(client, MARKET)
    paper.control.inject("timeout_before_accept")
    act(client, f"/trading/positions/{position_of(client)['id']}", {"stop_loss": "1.0790"}, method="patch")
    return lost()


def at(change) -> str:
    return f"/admin/changes/{change.public_id}/decide/"


def approve(console):
    return confirm(console, f"/admin/approvals/{ApprovalRequest.objects.get().public_id}/approve/")


def test_two_operators_decide_lost_stops(stops, console, other_console):
    home = text(console.get("/admin/"))
    assert re.search(r"Lost changes</a>.{0,200}?>1<", home), home
    page = text(console.get(QUEUE))
    assert f'href="{at(stops)}"' in page
    assert "STOPS: BUY 0.03 EURUSD" in page
    plan = text(console.get(at(stops)))
    assert "Stop-loss 1.08," in plan
    assert "Stop-loss 1.079," in plan

    assert confirm(console, at(stops), outcome="REFUSED", reason=SAID).status_code == 302

    stops.refresh_from_db()
    assert stops.state == "UNKNOWN"
    assert "a second operator decides" in text(console.get(QUEUE))
    assert "is open already" in text(other_console.get(at(stops)))
    asked = text(other_console.get(f"/admin/approvals/{ApprovalRequest.objects.get().public_id}/"))
    assert "Say what became of a lost change" in asked
    assert f'href="{at(stops)}"' in asked
    assert approve(other_console).status_code == 302
    stops.refresh_from_db()
    assert stops.state == "REFUSED"
    assert "No change is lost." in text(console.get(QUEUE))
    assert confirm(console, at(stops), outcome="REFUSED", reason=SAID, version="UNKNOWN").status_code == 409


def test_a_cancel_can_only_be_given_up(client, paper, console, other_console):
    order = place(client, LIMIT)
    paper.control.inject("timeout_before_accept")
    act(client, f"/trading/orders/{order['id']}/cancel")
    change = lost()
    page = text(console.get(at(change)))
    assert "it is given up, and the order works on" in page
    assert 'value="DONE"' not in page

    assert confirm(console, at(change), outcome="DONE", reason=SAID).status_code == 422
    assert confirm(console, at(change), outcome="REFUSED", reason=SAID).status_code == 302
    assert approve(other_console).status_code == 302

    row = TradeLedger.objects.get()
    assert (row.cancel, row.delivery) == (CancelState.REFUSED, "ACKED")
    assert "change.decision_applied" in text(console.get(f"/admin/orders/{row.public_id}/"))


def test_who_proposes_does_not_agree(stops, console):
    confirm(console, at(stops), outcome="DONE", reason=SAID)

    answer = confirm(console, f"/admin/approvals/{ApprovalRequest.objects.get().public_id}/approve/", version="")

    assert answer.status_code in (403, 409)
    assert ChangeDecision.objects.get().state == "PROPOSED"


def test_compliance_reads_the_queue_and_proposes_nothing(stops, officer):
    page = text(officer.get(QUEUE))

    assert "STOPS: BUY 0.03 EURUSD" in page
    assert at(stops) not in page
    assert officer.get(at(stops)).status_code == 403


def test_a_change_that_is_not_there_is_not_found(console, floor):
    assert console.get("/admin/changes/00000000-0000-0000-0000-000000000000/decide/").status_code == 404
