"""What became of a change can be read by its id, by whoever may see what it changes."""

import uuid
from typing import Any

import pytest
from django.utils.timezone import now

from accounts.states import Role
from tests.client import ApiClient
from tests.factories.accounts import UserFactory
from tests.trading.desk import LIMIT, MARKET, act, place, position_of
from tests.trading.test_keys import as_live, bot
from trading.models import ChangeRequest
from trading.services import changes, terms


def lost_stops(client: ApiClient, paper: Any) -> dict[str, Any]:
    place(client, MARKET)
    paper.control.inject("timeout_after_accept")
    path = f"/trading/positions/{position_of(client)['id']}"
    answer: dict[str, Any] = act(client, path, {"stop_loss": "1.0830"}, method="patch").json()
    return answer


def lost_terms(client: ApiClient, paper: Any) -> dict[str, Any]:
    order = place(client, LIMIT)
    paper.control.inject("timeout_after_accept")
    path = f"/trading/orders/{order['id']}"
    answer: dict[str, Any] = act(client, path, {"stop_loss": "1.0780"}, method="patch").json()
    return answer


@pytest.mark.parametrize("lost", [lost_stops, lost_terms])
def test_a_change_that_nobody_knew_of_is_read_until_it_is_known(client, paper, lost):
    told = lost(client, paper)
    path = f"/trading/changes/{told['id']}"
    assert (told["state"], client.get(path).json()) == ("UNKNOWN", told)

    changes.resolve(change_id=ChangeRequest.objects.get().pk, at=now())
    terms.resolve(change_id=ChangeRequest.objects.get().pk)

    found = client.get(path)
    assert (found.status_code, found.json()["state"]) == (200, "DONE")
    assert found.json()["settled_at"] is not None


@pytest.mark.parametrize("lost", [lost_stops, lost_terms])
def test_a_change_is_read_by_its_owner_and_by_operators_and_by_nobody_else(client, paper, lost):
    path = f"/trading/changes/{lost(client, paper)['id']}"
    person = {role: ApiClient().login(UserFactory.create(role=role)) for role in (Role.TRADER, Role.OPERATOR)}

    assert client.get(path).status_code == person[Role.OPERATOR].get(path).status_code == 200
    absent = person[Role.TRADER].get(f"/trading/changes/{uuid.uuid4()}")
    other = person[Role.TRADER].get(path)
    assert (other.status_code, other.json()["detail"]) == (absent.status_code, absent.json()["detail"])
    assert other.json()["code"] == "not_found"
    assert ApiClient().get(path).status_code == 401


@pytest.mark.parametrize("lost", [lost_stops, lost_terms])
def test_a_key_for_paper_alone_reads_no_change_of_a_live_account(client, paper, trader, account, lost):
    path, key = f"/trading/changes/{lost(client, paper)['id']}", bot(trader)
    assert key.get(path).status_code == 200

    as_live(account)

    assert (client.get(path).status_code, key.get(path).status_code) == (200, 404)
