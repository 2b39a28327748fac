"""A broker that asks for fewer requests is left alone for 1, 5 and 30 seconds, and what is frozen is not touched."""

from contextlib import nullcontext
from decimal import Decimal
from itertools import count

import pytest

from nexus.core.errors import Refused
from tests.trading.brokers.mt5.fake_terminal import ASK, BID, SERVER_OFFSET_S
from tests.trading.brokers.mt5.gateway_in_thread import gateway
from trading.brokers.base import OrderChange, OrderType, Side, StopsChange, TimeInForce, VenueState
from trading.brokers.mt5.gateway.calls import Answer
from trading.brokers.mt5.gateway.throttle import CALM_S, Throttle

TOO_MANY, DONE, SILENCE = (Answer(result, 1, "") for result in ({"retcode": 10024}, {"retcode": 10009}, None))
_names = count(1)


@pytest.fixture
def clock():
    return [1000.0]


@pytest.fixture
def throttle(clock):
    return Throttle(lambda: clock[0])


@pytest.fixture
def paced(running, throttle):
    running.desk.throttle = throttle
    return throttle


def test_each_refusal_in_a_row_makes_the_pause_longer(throttle, clock):
    pauses = []
    for _ in range(5):
        pauses.append(throttle.note(TOO_MANY))
        clock[0] += pauses[-1]
        assert throttle.left_s() == 0

    assert pauses == [1, 5, 30, 30, 30]


def test_another_answer_or_a_calm_minute_ends_the_row_and_silence_does_not(throttle, clock):
    throttle.note(TOO_MANY)
    clock[0] += 1
    throttle.note(SILENCE)
    assert throttle.note(TOO_MANY) == 5
    clock[0] += 5
    throttle.note(DONE)
    assert throttle.note(TOO_MANY) == 1
    clock[0] += 1
    assert throttle.note(TOO_MANY) == 5
    clock[0] += 5 + CALM_S + 0.1
    assert throttle.note(TOO_MANY) == 1


def test_an_answer_to_what_was_sent_before_does_not_end_a_pause(throttle, clock):
    throttle.note(TOO_MANY)
    clock[0] += 0.4

    assert throttle.note(DONE) == 0.6


def test_what_takes_risk_away_is_tried_once_in_a_pause_and_makes_it_no_longer(throttle, clock):
    first, second = ("position", 7), ("order", 7)
    throttle.note(TOO_MANY)
    assert (throttle.may_send(), throttle.may_send(first), throttle.may_send(second)) == (False, True, True)

    clock[0] += 0.75
    assert throttle.note(TOO_MANY, first) == 1
    assert (throttle.may_send(first), throttle.may_send(second)) == (False, True)
    throttle.note(DONE, second)
    assert (throttle.may_send(), throttle.may_send(second)) == (False, True)  # what is new waits for the whole of it

    clock[0] += 1
    assert (throttle.may_send(), throttle.may_send(first)) == (True, True)
    assert throttle.note(TOO_MANY, second) == 1  # the broker has taken something in between
    assert (throttle.may_send(first), throttle.may_send(second)) == (True, False)


def test_a_close_and_a_cancel_reach_the_broker_in_a_pause_and_wait_when_it_says_so_again(
    broker, terminal, order, resting, opened, closing, paced, clock
):
    ticket, position = broker.submit(resting()).venue_order_id, opened()
    terminal.next_send = lambda _: terminal.answer(10024)
    with pytest.raises(Refused):
        broker.submit(order())
    sent = len(terminal.sent)

    terminal.next_send = lambda _: terminal.answer(10024)
    for cancel_id, code in (("c-1", "10024"), ("c-2", "ACCOUNT_PAUSED")):
        with pytest.raises(Refused) as refused:
            broker.cancel(cancel_id=cancel_id, venue_order_id=ticket)
        assert (refused.value.code, refused.value.retry_s) == (code, 1)
    assert broker.submit(closing(position)).state is VenueState.FILLED
    with pytest.raises(Refused) as refused:
        broker.submit(order())

    assert refused.value.code == "ACCOUNT_PAUSED"
    assert [each["action"] for each in terminal.sent[sent:]] == [8, 1]
    clock[0] += 1
    broker.cancel(cancel_id="c-3", venue_order_id=ticket)
    assert terminal.working == []


def test_nothing_new_reaches_the_broker_until_the_pause_is_over(broker, terminal, order, resting, paced, clock):
    ticket = broker.submit(resting()).venue_order_id
    terminal.next_send = lambda _: terminal.answer(10024)
    with pytest.raises(Refused) as refused:
        broker.submit(order())
    assert (refused.value.code, refused.value.retry_s) == ("10024", 1)
    sent = len(terminal.sent)

    clock[0] += 0.75
    kept = order()
    change = OrderChange("t-0", ticket, Decimal("1.08"), None, None, None, TimeInForce.GTC)
    for attempt in (lambda: broker.submit(kept), lambda: broker.change_order(change)):
        with pytest.raises(Refused) as refused:
            attempt()
        assert (refused.value.code, refused.value.retry_s) == ("ACCOUNT_PAUSED", 0.25)
    assert broker.snapshot(symbols=[]).pause_s == 0.25
    assert len(terminal.sent) == sent

    clock[0] += 0.25
    broker.cancel(cancel_id="c-2", venue_order_id=ticket)
    assert broker.submit(order()).state is VenueState.FILLED
    with pytest.raises(Refused):  # it was refused for good: it is never sent after all
        broker.submit(kept)
    assert len(terminal.sent) == sent + 2
    assert broker.snapshot(symbols=[]).pause_s == 0


def test_a_gateway_that_is_started_anew_goes_on_with_the_pause(connect, terminal, order, tmp_path):
    path = tmp_path / "paused.db"
    with gateway(terminal, path) as running:
        running.desk.throttle = Throttle(pauses_s=(30,))
        terminal.next_send = lambda _: terminal.answer(10024)
        with pytest.raises(Refused):
            connect(running).submit(order())
    sent = len(terminal.sent)

    with gateway(terminal, path) as running:
        broker = connect(running)
        with pytest.raises(Refused) as refused:
            broker.submit(order())
        assert refused.value.code == "ACCOUNT_PAUSED"
        assert 0 < broker.snapshot(symbols=[]).pause_s <= 30
        assert len(terminal.sent) == sent
        running.journal.note_pause(0, until=0)
    with gateway(terminal, path) as running:
        assert connect(running).submit(order()).state is VenueState.FILLED


def test_a_pause_that_is_long_over_is_none_and_no_clock_makes_one_longer(throttle):
    throttle.resume(3, left_s=-CALM_S)
    assert (throttle.left_s(), throttle.note(TOO_MANY)) == (0, 1)
    throttle.resume(2, left_s=86_400)
    assert throttle.left_s() == 30


def test_a_check_that_says_too_many_is_heard_too(broker, terminal, order, paced):
    terminal.check_retcode = 10024
    with pytest.raises(Refused) as refused:
        broker.submit(order())

    assert (refused.value.code, refused.value.retry_s) == ("10024", 1)
    assert paced.left_s() == 1
    assert terminal.sent == []


@pytest.fixture
def frozen(broker, running, terminal):
    """Let the market freeze what is within 200 points of it, where the server's clock is known."""
    terminal.symbols["EURUSD"]["trade_freeze_level"] = 200
    broker.snapshot(symbols=["EURUSD"])
    assert running.desk.clock.offset_s == SERVER_OFFSET_S


def _level(position):
    return StopsChange(f"s-{next(_names)}", position, "EURUSD", Decimal("1.05"), None)


@pytest.mark.parametrize(
    ("side", "held", "is_frozen"),
    [
        (Side.BUY, {"sl": BID - 0.002, "tp": 0.0}, True),
        (Side.BUY, {"sl": BID - 0.00201, "tp": 0.0}, False),
        (Side.BUY, {"sl": 0.0, "tp": BID + 0.002}, True),
        (Side.BUY, {"sl": 0.0, "tp": 0.0}, False),
        (Side.SELL, {"sl": ASK + 0.002, "tp": 0.0}, True),
        (Side.SELL, {"sl": BID + 0.00213, "tp": 0.0}, False),
    ],
)
def test_a_position_whose_stop_is_reached_nearly_is_not_changed_and_its_close_is_the_broker_s_to_decide(
    broker, terminal, opened, closing, order, frozen, side, held, is_frozen
):
    far = {"stop_loss": Decimal("1.05"), "take_profit": None, "reference_price": Decimal("1.1")}
    position = (
        opened(side=side, **far) if side is Side.BUY else opened(side=side, **far | {"stop_loss": Decimal("1.2")})
    )
    terminal.positions[0] = terminal.positions[0]._replace(**{name: round(level, 5) for name, level in held.items()})
    sent = len(terminal.sent)

    with pytest.raises(Refused) if is_frozen else nullcontext() as refused:
        broker.change_stops(_level(position))
    broker.submit(closing(position, side=Side.SELL if side is Side.BUY else Side.BUY))

    if refused is not None:
        assert (refused.value.code, refused.value.retry_s) == ("FREEZE_DISTANCE", 0)
    assert len(terminal.sent) == sent + (1 if is_frozen else 2)


@pytest.mark.parametrize(
    ("side", "price", "is_frozen"),
    [
        (Side.BUY, ASK - 0.002, True),
        (Side.BUY, ASK - 0.00201, False),
        (Side.SELL, BID + 0.002, True),
        (Side.SELL, BID + 0.00201, False),
    ],
)
def test_an_order_that_is_filled_nearly_is_not_changed_and_its_cancel_is_the_broker_s_to_decide(
    broker, terminal, resting, frozen, side, price, is_frozen
):
    price = Decimal(str(round(price, 5)))
    ticket = broker.submit(
        resting(side=side, limit_price=price, stop_loss=None, take_profit=None, order_type=OrderType.LIMIT)
    ).venue_order_id
    change = OrderChange(f"t-{next(_names)}", ticket, price, None, None, None, TimeInForce.GTC)

    with pytest.raises(Refused) if is_frozen else nullcontext() as refused:
        broker.change_order(change)
    broker.cancel(cancel_id=f"c-{next(_names)}", venue_order_id=ticket)

    if refused is not None:
        assert (refused.value.code, refused.value.retry_s) == ("FREEZE_DISTANCE", 0)
    assert len(terminal.sent) == (2 if is_frozen else 3)


@pytest.mark.parametrize("why", ["the price is old", "there is no price", "the server's clock is not known"])
def test_what_cannot_be_told_to_be_frozen_is_left_to_the_broker(broker, running, terminal, resting, frozen, why):
    ticket = broker.submit(
        resting(limit_price=Decimal("1.1"), stop_loss=None, take_profit=None, order_type=OrderType.LIMIT)
    ).venue_order_id
    match why:
        case "the price is old":
            terminal.ticked_at = running.desk.now() - 61
        case "there is no price":
            terminal.none_from = {"symbol_info_tick"}
        case _:
            running.desk.clock = type(running.desk.clock)()

    broker.change_order(OrderChange(f"t-{next(_names)}", ticket, Decimal("1.0999"), None, None, None, TimeInForce.GTC))

    assert len(terminal.sent) == 2


def test_a_symbol_that_freezes_nothing_is_not_held_back(broker, terminal, resting):
    terminal.symbols["EURUSD"]["trade_freeze_level"] = 0
    ticket = broker.submit(
        resting(limit_price=Decimal("1.1"), stop_loss=None, take_profit=None, order_type=OrderType.LIMIT)
    ).venue_order_id

    broker.change_order(OrderChange(f"t-{next(_names)}", ticket, Decimal("1.0999"), None, None, None, TimeInForce.GTC))

    assert len(terminal.sent) == 2
