"""What an order in doubt counts: never less than its R, and more where its position can cost more."""

from typing import Any

import pytest

from tests.client import ApiClient
from tests.trading.desk import LIMIT, MARKET, act, ask_about_everything, place, position_of
from trading.models import TradeLedger

THREE = LIMIT | {"quantity": "0.03"}  # R = (1.08400 − 1.07900·0.9995)·3000 + 0.21 of fees = 16.83
OTHER = MARKET | {"quantity": "0.01"}


def fill_a_third(client: ApiClient, paper) -> None:
    """Let a resting order of three fill one of them."""
    place(client, THREE)
    paper.control.tick("EURUSD", "1.08390", "1.08400", bid_vol="0.01", ask_vol="0.01")
    ask_about_everything()
    paper.quote("EURUSD", "1.08420", "1.08430")
    assert TradeLedger.objects.get().status == "PARTIALLY_FILLED"


def daily_loss(client: ApiClient) -> dict[str, Any]:
    """Return how the next order is held against the daily loss."""
    found: dict[str, Any] = next(check for check in place(client, OTHER)["checks"] if check["name"] == "DAILY_LOSS")
    return found


def test_a_partly_filled_order_counts_its_whole_r(client, paper):
    fill_a_third(client, paper)

    assert daily_loss(client)["used"] == "16.83"


def test_a_stop_widened_on_the_filled_part_counts_as_it_is_now(client, paper):
    fill_a_third(client, paper)

    answer = act(client, f"/trading/positions/{position_of(client)['id']}", {"stop_loss": "1.0600"}, method="patch")

    assert answer.json()["state"] == "DONE"
    # 24.53 from 1.08400 to 1.0600·0.9995 on a thousand units, and two thirds of R: 24.53 + 11.22
    assert daily_loss(client)["used"] == "35.75"


@pytest.fixture
def lost(client, paper) -> int:
    """An order of 0.03 whose answer was lost, filled at 1.08500, and the ticket of its position. R = 17.49."""
    paper.control.inject("timeout_after_accept")
    place(client, MARKET)
    (held,) = paper.truth()["positions"]
    ticket: int = held["ticket"]
    return ticket


def test_a_loss_that_floats_counts_beside_what_a_stop_moved_at_the_terminal_leaves_open(client, paper, lost):
    assert daily_loss(client)["used"] == "17.49"
    paper.control.manual_modify(paper.login, lost, sl="1.0600")
    paper.quote("EURUSD", "1.06490", "1.06500")

    # 60.30 have floated from 1.08500 to 1.06490, and 16.29 are left to 1.0600·0.9995
    assert daily_loss(client)["used"] == "76.59"


def test_a_tighter_stop_counts_no_less_than_r(client, paper, lost):
    paper.control.manual_modify(paper.login, lost, sl="1.0840")

    assert daily_loss(client)["used"] == "17.49"


def test_a_stop_taken_away_at_the_terminal_has_no_bound(client, paper, lost):
    paper.control.manual_modify(paper.login, lost)

    assert daily_loss(client)["reason"] == "OPEN_RISK_NOT_BOUNDED"
