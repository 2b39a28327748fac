"""What somebody moves by hand at the terminal is counted anew, kept, and people are told where it may cost more."""

from decimal import Decimal
from typing import Any

import pytest

from tests.trading.desk import LIMIT, place
from tests.trading.test_exposure import daily_loss
from trading.models import TradeLedger

# R = (1.08400 − 1.07900·0.9995)·1000 + 0.07 of fees, rounded up.
R = "5.61"


@pytest.fixture
def working(client, paper) -> int:
    """A working order, and its ticket."""
    place(client, LIMIT)
    (order,) = paper.truth()["working"]
    ticket: int = order["ticket"]
    return ticket


def move(paper: Any, ticket: int, **terms: str) -> None:
    """Move a working order by hand; what is not named stays."""
    usual = {"price": "1.08400", "sl": "1.07900", "tp": "1.09000"}
    paper.control.manual_modify(paper.login, ticket, **(usual | terms))


def test_a_working_order_as_it_was_accepted_counts_its_r(client, working):
    assert daily_loss(client)["used"] == R


@pytest.mark.parametrize(
    ("terms", "used"),
    [
        ({"sl": "1.06000"}, "24.6"),  # 1.08400 − 1.06000·0.9995 = 0.02453 on a thousand, and the fees
        ({"sl": "1.08000"}, R),  # tighter: no less than R
        ({"price": "1.08450", "sl": "1.07900"}, "6.11"),
        ({"price": "1.08300"}, R),
    ],
)
def test_a_working_order_moved_by_hand_counts_the_worse_of_both(client, paper, working, terms, used):
    move(paper, working, **terms)

    assert daily_loss(client)["used"] == used


def test_a_working_order_whose_stop_was_taken_away_has_no_bound(client, paper, working):
    move(paper, working, sl="0")

    assert daily_loss(client)["reason"] == "OPEN_RISK_NOT_BOUNDED"


def test_without_its_stop_the_configured_move_bounds_it(client, paper, working, settings):
    settings.UNSTOPPED_MOVE = Decimal("0.1")
    move(paper, working, sl="0")

    assert daily_loss(client)["used"] == "108.47"  # a tenth of 1,084 USD, and the fees
