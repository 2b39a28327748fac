"""What every answer means for every purpose, when stops are missing, and what the venue calculates."""

from dataclasses import replace
from decimal import Decimal
from itertools import count

import pytest

from nexus.core.errors import OutcomeUnknown, OutsideError, Refused, Unreachable
from trading.brokers.base import MarginQuestion, OrderChange, OrderType, Side, StopsChange, TimeInForce, VenueState
from trading.brokers.mt5.gateway.throttle import Throttle
from trading.brokers.mt5.outcomes import RETCODES, Outcome, Purpose, of_retcode

_names = count(1)


def change(venue_order_id, **changes):
    usual = OrderChange(
        change_id=f"change-{next(_names)}", venue_order_id=venue_order_id, limit_price=Decimal("1.08"), stop_price=None,
        stop_loss=Decimal("1.07"), take_profit=None, time_in_force=TimeInForce.DAY,
    )  # fmt: skip
    return replace(usual, **changes)


def stops(position_id, **changes):
    usual = StopsChange(f"stops-{next(_names)}", position_id, "EURUSD", Decimal("1.09"), None)
    return replace(usual, **changes)


@pytest.fixture
def attempts(broker, order, resting, closing, opened):
    """Return one attempt of each purpose, ready to be made."""
    position_id, other_id = opened(), opened(side=Side.SELL, stop_loss=None, take_profit=None)
    ticket = broker.submit(resting()).venue_order_id
    return {
        Purpose.OPEN: lambda: broker.submit(order()),
        Purpose.PENDING: lambda: broker.submit(resting()),
        Purpose.CLOSE: lambda: broker.submit(closing(position_id)),
        Purpose.CANCEL: lambda: broker.cancel(cancel_id=f"cancel-{next(_names)}", venue_order_id=ticket),
        Purpose.CHANGE: lambda: broker.change_order(change(ticket)),
        "stops": lambda: broker.change_stops(stops(position_id)),
        "close by": lambda: broker.close_by(
            client_order_id=order().client_order_id, venue_position_id=position_id, other_position_id=other_id
        ),
    }


PURPOSES: dict[str, Purpose] = {purpose.value: purpose for purpose in Purpose}
PURPOSES |= {"stops": Purpose.CHANGE, "close by": Purpose.CLOSE}


@pytest.mark.parametrize("name", PURPOSES)
def test_every_answer_means_what_the_table_says_whatever_was_asked(running, attempts, terminal, name):
    running.desk.throttle = Throttle(pauses_s=[0])
    for retcode in [0, 9999, *RETCODES]:
        outcome = of_retcode(retcode, PURPOSES[name])
        terminal.next_send = lambda _, code=retcode: terminal.answer(code, comment="No")
        calls = len(terminal.sent)
        raised: OutsideError | None = None
        try:
            attempts[name]()
        except OutsideError as exc:
            raised = exc
        assert len(terminal.sent) == calls + 1
        if outcome.is_refusal:
            assert isinstance(raised, Refused)
            assert (raised.code, raised.halts) == (str(retcode), outcome is Outcome.HALT)
            assert raised.is_defect is (retcode in {10013, 10014, 10015, 10016, 10030})
            assert raised.retry_s == (0 if outcome is Outcome.RETRY else None)
        elif outcome is Outcome.UNKNOWN:
            assert isinstance(raised, OutcomeUnknown)
        else:
            assert raised is None


@pytest.mark.parametrize("retcode", [10009, 10008, 10035, 10028])
def test_repeating_a_cancel_repeats_what_is_known_of_it(broker, terminal, resting, retcode):
    outcome = of_retcode(retcode, Purpose.CANCEL)
    ticket = broker.submit(resting()).venue_order_id
    terminal.next_send = lambda _: terminal.answer(retcode)

    for _ in range(2):
        if outcome.is_refusal or outcome is Outcome.UNKNOWN:
            with pytest.raises(Refused if outcome.is_refusal else OutcomeUnknown):
                broker.cancel(cancel_id="c-1", venue_order_id=ticket)
        else:
            broker.cancel(cancel_id="c-1", venue_order_id=ticket)
    assert len(terminal.sent) == 2


def test_an_id_that_named_another_request_is_refused_and_not_taken_for_done(broker, terminal, resting, opened):
    wanted = resting()
    ticket = broker.submit(wanted).venue_order_id
    position_id = opened()
    broker.cancel(cancel_id="c-1", venue_order_id=broker.submit(resting()).venue_order_id)

    for attempt in (
        lambda: broker.cancel(cancel_id=wanted.client_order_id, venue_order_id=ticket),
        lambda: broker.cancel(cancel_id="c-1", venue_order_id=ticket),
        lambda: broker.change_stops(stops(position_id, change_id="c-1")),
    ):
        with pytest.raises(Refused) as refused:
            attempt()
        assert refused.value.code == "ID_IN_USE"
    assert len(terminal.working) == 1


@pytest.mark.parametrize("other", [{"quantity": Decimal("0.02")}, {"side": Side.SELL}])
def test_what_another_order_of_the_same_number_has_done_is_not_taken_for_this_one_s(broker, terminal, order, other):
    wanted = order(stop_loss=None, take_profit=None)
    first, sent = broker.submit(wanted), len(terminal.sent)
    assert broker.submit(wanted).fills[0].venue_fill_id == first.fills[0].venue_fill_id  # its own is

    with pytest.raises(Refused) as refused:
        broker.submit(replace(wanted, **other))

    assert refused.value.code == "ID_IN_USE"
    assert len(terminal.sent) == sent


@pytest.mark.parametrize("code", [-2, -8, -10004, -10002, 1])
def test_reads_the_silence_after_a_cancel_by_its_error(broker, terminal, resting, code):
    ticket = broker.submit(resting()).venue_order_id

    def silent(_):
        terminal.error = (code, "silence")

    terminal.next_send = silent
    with pytest.raises(OutsideError) as raised:
        broker.cancel(cancel_id="c-1", venue_order_id=ticket)

    assert isinstance(raised.value, Refused) is (code in {-2, -8, -10004})
    assert getattr(raised.value, "halts", None) is {-2: False, -8: True, -10004: False}.get(code)


@pytest.mark.parametrize(
    ("trouble", "code"),
    [({"trade_allowed": False}, "10017")],
)
def test_sends_nothing_while_trading_is_switched_off_and_says_that_the_account_must_stop(
    broker, terminal, order, sent_at, trouble, code
):
    wanted = order()
    for name, value in trouble.items():
        setattr(terminal, name, value)

    with pytest.raises(Refused) as refused:
        broker.submit(wanted)

    assert (refused.value.code, refused.value.halts) == (code, True)
    report = broker.order_report(client_order_id=wanted.client_order_id, symbol=wanted.symbol, sent_at=sent_at)
    assert (report.state, report.halts) == (VenueState.REJECTED, True)
    assert terminal.sent == []


@pytest.mark.parametrize(
    ("asked", "standing", "missing"),
    [
        ({}, {}, False),
        ({}, {"sl": 0.0}, True),
        ({}, {"tp": 0.0}, True),
        ({"stop_loss": None}, {"tp": 1.105}, False),
        ({"stop_loss": None, "take_profit": None}, {}, False),
        ({"take_profit": None}, {"sl": 0.0}, True),
    ],
)
def test_says_when_a_stop_that_was_asked_for_does_not_stand(broker, terminal, order, sent_at, asked, standing, missing):
    def fill(request):
        answer = terminal.fill(request)
        # As on a netting account: the position has another name than the order.
        terminal.positions[0] = terminal.positions[0]._replace(magic=0, comment="", **standing)
        return answer

    terminal.next_send = fill
    wanted = order(**asked)

    sent = broker.submit(wanted)
    found = broker.order_report(client_order_id=wanted.client_order_id, symbol=wanted.symbol, sent_at=sent_at)

    assert (sent.stops_missing, found.stops_missing) == (missing, missing)
    wants_stops = bool(wanted.stop_loss or wanted.take_profit)
    assert (sent.stops_unseen, found.stops_unseen) == (not wants_stops, not wants_stops)  # else nobody looks for it


def test_misses_no_stops_of_a_position_that_is_closed_or_of_somebody_else(broker, terminal, order, opened, sent_at):
    wanted = order()
    broker.submit(wanted)
    terminal.positions.clear()
    opened(stop_loss=None, take_profit=None)

    found = broker.order_report(client_order_id=wanted.client_order_id, symbol=wanted.symbol, sent_at=sent_at)

    assert (found.stops_missing, found.stops_unseen) == (False, True)


def test_asks_the_venue_for_margin_and_profit(broker):
    amounts = {"symbol": "EURUSD", "side": Side.SELL, "quantity": Decimal("0.1")}

    margin = broker.margin(**amounts, price=Decimal("1.1"))
    profit = broker.profit(**amounts, price_open=Decimal("1.1"), price_close=Decimal("1.101"))

    assert (margin, profit) == (Decimal(110), Decimal(-10))


def test_answers_a_question_on_margin_in_the_reading_itself(broker, terminal):
    question = MarginQuestion("EURUSD", Side.SELL, Decimal("0.1"), Decimal("1.1"))
    now = replace(question, price=None)

    assert broker.snapshot(symbols=["EURUSD"]).margin_asked is None
    assert broker.snapshot(symbols=["EURUSD"], margin=question).margin_asked == Decimal(110)
    asked = broker.snapshot(symbols=["USDJPY", "EURUSD"], margin=now)
    assert asked.margin_asked == broker.margin(
        symbol="EURUSD", side=Side.SELL, quantity=Decimal("0.1"), price=asked.quotes["EURUSD"].bid
    )
    bought = broker.snapshot(symbols=["EURUSD"], margin=replace(now, side=Side.BUY))
    assert bought.margin_asked > asked.margin_asked  # the ask is above the bid


def test_a_question_on_margin_that_the_venue_cannot_answer_leaves_the_reading_whole(broker, terminal):
    terminal.none_from.add("order_calc_margin")

    read = broker.snapshot(
        symbols=["EURUSD"], margin=MarginQuestion("EURUSD", Side.BUY, Decimal("0.1"), Decimal("1.1"))
    )

    assert (read.margin_asked, read.equity) == (None, Decimal("10000.10"))


def test_refuses_margin_of_an_unknown_symbol_and_takes_no_failure_for_nothing(broker, terminal):
    amounts = {"side": Side.BUY, "quantity": Decimal("0.1"), "price": Decimal("1.1")}
    with pytest.raises(Refused):
        broker.margin(symbol="NONE", **amounts)
    terminal.none_from.add("order_calc_margin")

    with pytest.raises(Unreachable):
        broker.margin(symbol="EURUSD", **amounts)


def test_describes_what_an_instrument_takes(broker, terminal):
    terminal.symbols["EURUSD"] |= {"order_mode": 1 + 2, "expiration_mode": 2, "filling_mode": 1}

    instrument = broker.instrument(symbol="EURUSD")

    assert instrument.order_types == {OrderType.MARKET, OrderType.LIMIT}
    assert instrument.times_in_force == {TimeInForce.DAY, TimeInForce.FOK}
    assert instrument.freeze_distance == Decimal("0.00005")
