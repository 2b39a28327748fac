"""An answer that comes after a search has settled its change, and another one was asked for since."""

from decimal import Decimal
from functools import partial
from typing import Any

import pytest
from django.utils.timezone import now

from tests.trading.change_ways import DONE, REFUSED, D, Desk, Send, StopsDesk, TermsDesk, lose
from trading.services import lost, watch

FIRST, SECOND = {"stop_loss": D("1.0760")}, {"stop_loss": D("1.0775")}


@pytest.fixture(params=[StopsDesk, TermsDesk])
def desk(request, execute, account, trader, paper, monkeypatch, settings) -> Any:
    """A desk of one kind, with something that stands, for whose trader no limit is ever near."""
    settings.UNSTOPPED_MOVE, settings.DAILY_LOSS_LIMIT = D("0.05"), D(100_000)
    settings.MAX_POSITION_SIZE = settings.DAILY_VALUE_LIMIT = D(10**9)
    found = request.param(execute, account, trader, paper, monkeypatch)
    found.stand()
    return found


def stop(desk: Desk) -> Decimal | None:
    found: Decimal | None = desk.stands()[0 if isinstance(desk, StopsDesk) else 2]
    return found


@pytest.mark.parametrize(("end", "stands"), [(DONE, SECOND), (REFUSED, FIRST)], ids=["done", "refused"])
@pytest.mark.parametrize("is_found", [False, True], ids=["answered", "found"])
def test_an_answer_that_comes_after_a_later_change_is_kept_and_takes_nothing_back(desk, end, stands, is_found):
    """What was sent later was done later; where it was not done, the earlier one stands, and no hand has set it."""
    rows = []

    def overtake(send: Send) -> None:
        desk.search()
        rows.append(desk.latest().pk)
        assert desk.latest().state == "REFUSED"
        if end.is_done:
            send()  # it has arrived at last, and its answer is on its way
        desk.ask(SECOND, partial(lose, end) if is_found else end.answer)
        if is_found:
            desk.search()
        if not end.is_done:
            send()

    desk.ask(FIRST, overtake)

    lost.tell(at=now())
    watch.look(account_id=desk.account.pk, at=now())
    first, second = desk.changes().order_by("pk")
    assert [first.pk] == rows
    assert (first.state, second.state) == ("DONE", "DONE" if end.is_done else "REFUSED")
    assert (stop(desk), desk.alerts()) == (stands["stop_loss"], [])
    assert desk.again() == "DONE"
