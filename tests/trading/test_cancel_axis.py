"""What has become of a wish to cancel moves along its own table, and by compare-and-set, as an order's state does."""

from collections.abc import Iterator
from itertools import product

import pytest
from django.utils.timezone import now

from tests.trading.desk import LIMIT, place
from trading.models import IllegalTransition, TradeLedger
from trading.states import CANCEL_TRANSITIONS, CANCELED, CancelState


@pytest.fixture
def order(client) -> Iterator[TradeLedger]:
    """An order that waits. What a test has written without a broker's word is undone: the invariants hold."""
    place(client, LIMIT)
    yield TradeLedger.objects.get()
    TradeLedger.objects.update(cancel=CancelState.NONE)


def test_every_state_is_in_the_table():
    assert set(CANCEL_TRANSITIONS) == set(CancelState)


def test_only_the_moves_of_the_table_are_made(order):
    for came_from, to in product(CancelState, CancelState):
        TradeLedger.objects.update(cancel=came_from)
        order.refresh_from_db()
        allowed = to == came_from or to in CANCEL_TRANSITIONS[came_from]
        if allowed:
            order.wish(to)
        else:
            with pytest.raises(IllegalTransition):
                order.wish(to)
        order.refresh_from_db()
        assert order.cancel == (to if allowed else came_from), (came_from, to)


def test_whoever_comes_second_changes_nothing(order):
    TradeLedger.objects.update(cancel=CancelState.REFUSED)  # somebody was faster

    with pytest.raises(IllegalTransition):
        order.wish(CancelState.REQUESTED)

    order.refresh_from_db()
    assert order.cancel == CancelState.REFUSED


def test_an_order_does_not_end_with_a_move_of_its_cancel_that_nobody_knows(order):
    TradeLedger.objects.update(cancel=CancelState.DONE)
    order.refresh_from_db()

    with pytest.raises(IllegalTransition):
        order.move(CANCELED, at=now(), facts={"cancel": CancelState.UNKNOWN})

    order.refresh_from_db()
    assert order.delivery == "ACKED"
