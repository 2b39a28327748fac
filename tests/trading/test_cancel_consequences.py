"""However a cancel is answered, and however the end of its order becomes known, the same comes of both: a matrix."""

import contextlib
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db.models import F
from django.utils.timezone import now

from nexus.core.errors import OutcomeUnknown, Refused, Unreachable
from risk.states import ControlScope
from tests.trading.conftest import TESTER
from tests.trading.ways import ENDS, OUTCOMES, Desk, Said, by_answer, decide, expected, told
from trading.brokers.mt5.adapter import Mt5Broker
from trading.models import ChangeRequest, TradeLedger
from trading.services import accounts, cancels, coverage, facts, fills, watch
from trading.states import CancelState, ChangeState, VenueState

SPEAKS_FOR_THE_BROKER = True  # its reports are made up: the paper broker has never heard of them


@pytest.fixture
def desk(execute: Any, account: Any, trader: Any, monkeypatch: pytest.MonkeyPatch) -> Desk:
    return Desk(execute, account, trader, monkeypatch)


class Died(BaseException):
    """A process that is killed runs nothing after it."""


# What is answered, and where it leaves the request and the cancel of an order that works.
ANSWERS: dict[str, tuple[BaseException | None, ChangeState, CancelState]] = {
    "taken": (None, ChangeState.DONE, CancelState.REQUESTED),
    "lost": (OutcomeUnknown("No answer."), ChangeState.UNKNOWN, CancelState.UNKNOWN),
    "too late": (Refused("Too late.", code="10013"), ChangeState.REFUSED, CancelState.REFUSED),
    "not now": (Refused("Frozen.", code="10029", retry_s=0), ChangeState.REFUSED, CancelState.REQUESTED),
    "not sent": (Unreachable("Nobody is there."), ChangeState.REFUSED, CancelState.REQUESTED),
    "died": (Died(), ChangeState.SENDING, CancelState.REQUESTED),
}
WORKS = OUTCOMES["working"]


def ask(desk: Desk, order: TradeLedger, answer: BaseException | None, *, shown: Said) -> None:
    """Cancel an order. Takes: what it is `shown` as at once."""

    def cancel(*_: Any, **__: Any) -> None:
        if answer is not None:
            raise answer

    desk.patch.setattr(Mt5Broker, "cancel", cancel)
    desk.patch.setattr(Mt5Broker, "order_report", lambda *_, **__: shown.report(order))
    with contextlib.suppress(Died):
        cancels.request(order_id=order.pk, actor=TESTER, reason="A test.", at=now())
    order.refresh_from_db()


# --- How its order's end becomes known ----------------------------------------------------------------------------
def at_once(desk: Desk, order: TradeLedger, answer: BaseException | None, said: Said) -> None:
    ask(desk, order, answer, shown=said)
    if isinstance(answer, Died):  # it asks no more: whoever comes next does
        desk.search(order, said)


def by_search(desk: Desk, order: TradeLedger, answer: BaseException | None, said: Said) -> None:
    ask(desk, order, answer, shown=WORKS)
    desk.search(order, said)


def before_its_answer(desk: Desk, order: TradeLedger, answer: BaseException | None, said: Said) -> None:
    """Others find the end out while the request is on its way."""

    def cancel(*_: Any, **__: Any) -> None:
        desk.search(order, said)
        if answer is not None:
            raise answer

    desk.patch.setattr(Mt5Broker, "cancel", cancel)
    with contextlib.suppress(Died):
        cancels.request(order_id=order.pk, actor=TESTER, reason="A test.", at=now())


def when_asked_anew(desk: Desk, order: TradeLedger, answer: BaseException | None, said: Said) -> None:
    ask(desk, order, answer, shown=WORKS)
    desk.patch.setattr(Mt5Broker, "order_report", lambda *_, **__: said.report(order))
    desk.patch.setattr(Mt5Broker, "cancel", lambda *_, **__: None)
    ChangeRequest.objects.update(sent_at=F("sent_at") - timedelta(seconds=25), retry_at=F("retry_at") - timedelta(5))
    cancels.again(order_id=order.pk, at=now())
    desk.search(order, said)


def by_history(desk: Desk, order: TradeLedger, answer: BaseException | None, said: Said) -> None:
    ask(desk, order, answer, shown=WORKS)
    fills.ingest(account=desk.account, reports=said.fills(order), at=now())
    if said.is_over:
        desk.search(order, said)


def by_reconciliation(desk: Desk, order: TradeLedger, answer: BaseException | None, said: Said) -> None:
    ask(desk, order, answer, shown=WORKS)
    read_at = facts.database_clock()
    shown = accounts.broker_of(desk.account).snapshot(symbols=[])
    watch.book(desk.account, shown, reports=said.fills(order), moved=[], read_at=read_at, at=now())
    if said.is_over:
        desk.search(order, said)


def by_operators(desk: Desk, order: TradeLedger, answer: BaseException | None, said: Said) -> None:
    """They decide an end, and never a fill, of an order that nobody finds any more."""
    ask(desk, order, answer, shown=WORKS)
    fills.ingest(account=desk.account, reports=said.fills(order), at=now())
    desk.search_in_vain(order)
    decide(order, said)


Tell = Callable[[Desk, TradeLedger, BaseException | None, Said], None]
ASKED: list[Tell] = [at_once, by_search, before_its_answer, when_asked_anew]
HEARD: list[Tell] = [by_history, by_reconciliation]  # what lists fills and no end
NAMES = [
    "filled", "working", "working, a part filled", "canceled", "canceled, a part filled", "expired, a part filled",
    "rejected",
]  # fmt: skip
WHOLE_ROWS = ("filled", "working, a part filled", "canceled")  # the others need no second answer of a kind


def tells(said: Said) -> list[Tell]:
    return ASKED + (HEARD if said.parts else []) + ([by_operators] if said.state in ENDS else [])


def cancel_of(name: str, tell: Tell, said: Said) -> CancelState:
    """Return where the cancel stands when that much is known of its order."""
    stands = ANSWERS[name][2]
    if tell is when_asked_anew and stands is not CancelState.REFUSED:
        stands = CancelState.REQUESTED  # and taken, this time
    if not said.is_over:
        return stands
    if said.state is VenueState.FILLED:
        return CancelState.REFUSED  # filled wins
    if tell is before_its_answer:
        return CancelState.DONE  # nothing is left to cancel, whatever is answered then
    # What was refused for good has canceled nothing: the order has ended by somebody else's hand.
    return CancelState.REFUSED if stands is CancelState.REFUSED else CancelState.DONE


MATRIX = [
    pytest.param(name, tell, answer, id=f"{name}-{tell.__name__}-{answer}")
    for name in NAMES
    for tell in tells(OUTCOMES[name])
    for answer in ANSWERS
    if name in WHOLE_ROWS or answer in ("taken", "lost", "too late")
]


@pytest.mark.parametrize(("name", "tell", "answer"), MATRIX)
def test_a_cancel_takes_nothing_from_what_its_order_has_come_to(desk, new_events, name, tell, answer):
    said = OUTCOMES[name]
    order = by_answer(desk, WORKS)

    tell(desk, order, ANSWERS[answer][0], said)

    wanted = expected(said)
    changed: dict[str, Any] = {"cancel": cancel_of(answer, tell, said), "ticket": "77"}
    if tell is by_operators:
        changed |= {
            "refused": ("BROKER" if said.state is VenueState.REJECTED else "", "DECIDED_BY_OPERATORS"),
            "stops awaited": bool(said.parts),
        }
    elif tell in HEARD:
        changed |= {"stops awaited": True}
    found = told(order, desk, new_events())
    moves = found.pop("moves in the audit"), wanted.pop("moves in the audit")
    assert found == wanted | changed
    assert moves[0] >= moves[1]
    assert coverage.changes_under(ControlScope.SYSTEM, "").exists() == (
        not said.is_over and tell is not when_asked_anew and answer in ("lost", "died")
    )
