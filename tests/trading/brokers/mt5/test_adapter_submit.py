"""An order is sent once, believed only by its deals, and every other answer is one of three."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from nexus.core.errors import OutcomeUnknown, Refused, Unreachable
from trading.brokers import ids
from trading.brokers.base import Side, VenueState
from trading.brokers.mt5 import adapter, outcomes, search


def test_reports_filled_from_the_deals(broker, terminal, order):
    wanted = order()

    report = broker.submit(wanted)

    (fill,) = report.fills
    assert (report.state, report.client_order_id) == (VenueState.FILLED, wanted.client_order_id)
    assert (fill.quantity, fill.price, fill.commission) == (Decimal("0.1"), Decimal("1.10012"), Decimal("-0.35"))
    assert (fill.side, fill.client_order_id) == (Side.BUY, wanted.client_order_id)
    assert fill.venue_order_id == report.venue_order_id == str(terminal.closed[0].ticket)
    (sent,) = terminal.sent
    assert (sent["magic"], sent["comment"]) == (ids.magic(wanted.client_order_id), wanted.client_order_id)
    assert (sent["type_filling"], sent["sl"], sent["tp"]) == (0, 1.095, 1.105)


def test_sends_the_same_order_once_however_often_it_is_submitted(broker, terminal, order):
    wanted = order()
    broker.snapshot(symbols=["EURUSD"])  # as every order is preceded by one; it learns the server's clock

    reports = [broker.submit(wanted) for _ in range(3)]

    assert reports[0] == reports[1] == reports[2]
    assert len(terminal.sent) == 1


def counted(terminal, name):
    """Count the calls of one function from now on."""
    real, calls = getattr(terminal, name), []

    def count(*args):
        calls.append(args)
        return real(*args)

    setattr(terminal, name, count)
    return calls


def test_is_sent_into_the_market_that_was_read_a_moment_ago(broker, terminal, order):
    broker.submit(order())  # the first order learns the symbol's rules
    read = broker.snapshot(symbols=["EURUSD"])
    ticks, rules = counted(terminal, "symbol_info_tick"), counted(terminal, "symbol_info")

    broker.submit(order())

    assert (len(ticks), rules) == (1, [])  # the gateway's own look, when the order's turn has come
    assert Decimal(str(terminal.sent[-1]["price"])) == read.quotes["EURUSD"].ask


def test_reads_the_market_again_when_it_was_read_too_long_ago(broker, terminal, order, monkeypatch):
    broker.submit(order())
    broker.snapshot(symbols=["EURUSD"])
    ticks, rules = counted(terminal, "symbol_info_tick"), counted(terminal, "symbol_info")
    monkeypatch.setattr(adapter, "QUOTE_KEPT_S", 0)

    broker.submit(order())

    assert (len(ticks), len(rules)) == (2, 1)


def test_a_fill_is_confirmed_by_the_deals_of_these_moments_alone(broker, terminal, order):
    broker.submit(order())
    broker.snapshot(symbols=["EURUSD"])  # it learns the server's clock
    windows, orders = counted(terminal, "history_deals_get"), counted(terminal, "history_orders_get")

    report = broker.submit(order())

    assert report.state is VenueState.FILLED
    ((since, until),) = windows
    assert until - since <= 2 * search.NEAR_S + 2
    assert orders == []


def test_a_deal_that_these_moments_do_not_hold_is_searched_for_in_full(broker, terminal, order):
    broker.submit(order())
    broker.snapshot(symbols=["EURUSD"])

    def an_hour_off(request):
        answer = terminal.fill(request)
        terminal.deals[-1] = terminal.deals[-1]._replace(time=terminal.deals[-1].time - 3600)
        return answer

    terminal.next_send = an_hour_off
    windows = counted(terminal, "history_deals_get")
    report = broker.submit(order())

    assert report.state is VenueState.FILLED
    assert [until - since > 24 * 3600 for since, until in windows] == [False, True]


def test_a_deal_that_the_broker_made_twice_is_seen_at_once(broker, terminal, order):
    broker.submit(order())
    broker.snapshot(symbols=["EURUSD"])
    terminal.next_send = lambda request: terminal.fill(request, parts=(0.1, 0.1))

    assert [fill.quantity for fill in broker.submit(order()).fills] == [Decimal("0.1")] * 2


def test_sums_the_deals_of_one_order(broker, terminal, order):
    terminal.next_send = lambda request: terminal.fill(request, parts=(0.03, 0.07))

    report = broker.submit(order())

    assert report.state is VenueState.FILLED
    assert [fill.quantity for fill in report.fills] == [Decimal("0.03"), Decimal("0.07")]


def test_reports_the_canceled_rest_of_a_partial_fill(broker, terminal, order):
    terminal.next_send = lambda request: terminal.fill(request, parts=(0.04,), rest=0.06)

    report = broker.submit(order())

    assert report.state is VenueState.CANCELED
    assert [fill.quantity for fill in report.fills] == [Decimal("0.04")]


@pytest.mark.parametrize("retcode", [10008, 10009, 10010])
def test_believes_no_success_without_deals(broker, terminal, order, retcode):
    terminal.next_send = lambda _: terminal.answer(retcode, order=2**53 + 7)

    report = broker.submit(order())

    assert (report.state, report.fills, report.venue_order_id) == (VenueState.WORKING, (), str(2**53 + 7))


def test_an_accepted_order_is_working_when_the_venue_cannot_be_read_afterwards(broker, terminal, order):
    def accept_and_break(request):
        terminal.none_from.add("history_deals_get")
        return terminal.answer(10009, order=99)

    terminal.next_send = accept_and_break

    report = broker.submit(order())

    assert (report.state, report.venue_order_id) == (VenueState.WORKING, "99")


REFUSALS = sorted(code for code, outcome in outcomes.RETCODES.items() if outcome.is_refusal)
UNKNOWNS = [0, 1, 9999, *sorted(code for code, out in outcomes.RETCODES.items() if out is outcomes.Outcome.UNKNOWN)]


@pytest.mark.parametrize("retcode", REFUSALS)
def test_raises_refused_for_every_code_that_refuses(broker, terminal, order, retcode):
    terminal.next_send = lambda _: terminal.answer(retcode, comment="No")

    with pytest.raises(Refused) as refused:
        broker.submit(order())
    assert (refused.value.code, str(refused.value)) == (str(retcode), "No")


@pytest.mark.parametrize("retcode", UNKNOWNS)
def test_raises_unknown_for_every_code_that_proves_nothing(broker, terminal, order, retcode):
    terminal.next_send = lambda _: terminal.answer(retcode)

    with pytest.raises(OutcomeUnknown):
        broker.submit(order())


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        ((-2, 'Invalid "volume" argument'), Refused),
        ((-8, "Auto-Trading using Python API disabled in Terminal"), Refused),
        ((-10004, "No IPC connection"), Refused),
        ((-10001, "IPC send failed"), OutcomeUnknown),
        ((-10002, "IPC recv failed"), OutcomeUnknown),
        ((-10005, "IPC timeout"), OutcomeUnknown),
        ((-1, "Terminal: Call failed"), OutcomeUnknown),
        ((1, "Success"), OutcomeUnknown),
    ],
)
def test_reads_a_missing_answer_by_its_error(broker, terminal, order, error, expected):
    def silent(request):
        terminal.error = error

    terminal.next_send = silent

    with pytest.raises(expected) as raised:
        broker.submit(order())
    if expected is Refused:
        assert raised.value.code == str(error[0])


def test_a_request_that_could_not_be_built_is_refused(broker, terminal, order):
    def explode(request):
        raise SystemError("returned a result with an exception set")

    terminal.next_send = explode

    with pytest.raises(Refused) as refused:
        broker.submit(order())
    assert refused.value.code == "SystemError"


def test_an_answer_that_cannot_be_read_is_unknown_whatever_went_wrong(broker, terminal, order):
    class Broken:
        def _asdict(self):
            raise SystemError("broken structure")

    terminal.next_send = lambda _: Broken()

    with pytest.raises(OutcomeUnknown):
        broker.submit(order())


def test_a_failed_check_is_refused_and_nothing_is_sent(broker, terminal, order):
    terminal.check_retcode, terminal.check_comment = 10019, "No money"

    with pytest.raises(Refused) as refused:
        broker.submit(order())
    assert (refused.value.code, str(refused.value)) == ("10019", "No money")
    assert terminal.sent == []


def test_our_own_refusal_is_final(broker, terminal, order, sent_at):
    wanted = order(reference_price=Decimal("1.05"))

    with pytest.raises(Refused) as refused:
        broker.submit(wanted)
    assert refused.value.code == "PRICE_OUTSIDE_COLLAR"

    with pytest.raises(Refused) as refused:
        broker.submit(order(client_order_id=wanted.client_order_id))
    assert refused.value.code == "NEVER_SENT"
    assert terminal.sent == []


def test_our_own_refusal_does_not_deny_an_order_that_was_sent_before(broker, terminal, order):
    wanted = order()
    broker.submit(wanted)

    again = broker.submit(order(client_order_id=wanted.client_order_id, reference_price=Decimal("1.05")))

    assert again.state is VenueState.FILLED
    assert len(terminal.sent) == 1


def test_our_own_refusal_says_nothing_of_an_order_whose_call_has_no_answer(running, broker, terminal, order):
    wanted = order()
    running.journal.receive(wanted.client_order_id, {"volume": 0.1}, correlation_id="")
    running.journal.claim(wanted.client_order_id, {"volume": 0.1}, called_utc=1.0)

    with pytest.raises(OutcomeUnknown):
        broker.submit(order(client_order_id=wanted.client_order_id, reference_price=Decimal("1.05")))


@pytest.mark.parametrize("text", ["", "N1", "nonsense", ids.client_order_id(tag=8, number=1)])
def test_sends_no_order_whose_name_is_not_ours(broker, terminal, order, text):
    with pytest.raises(Refused):
        broker.submit(order(client_order_id=text))
    assert terminal.sent == []


def test_sends_no_order_for_a_symbol_that_the_venue_does_not_know(broker, terminal, order):
    with pytest.raises(Refused) as refused:
        broker.submit(order(symbol="EURUSD.m"))
    assert refused.value.code == "SYMBOL_UNKNOWN"


def test_follows_the_policy_of_the_link_for_fillings(running, connect, terminal, order):
    yen = order(symbol="USDJPY")
    with pytest.raises(Refused) as refused:
        connect(running).submit(yen)
    assert refused.value.code == "FILLING_NOT_OFFERED"

    connect(running, fillings="FOK,IOC").submit(order(symbol="USDJPY"))

    assert [request["type_filling"] for request in terminal.sent] == [1]


@pytest.mark.parametrize(
    "trouble", [{"connected": False}, {"login_now": 5002}, {"none_from": {"symbol_info_tick"}}, {"server_now": "X"}]
)
def test_is_unreachable_and_sends_nothing_when_the_terminal_cannot_trade(broker, terminal, order, trouble):
    for name, value in trouble.items():
        setattr(terminal, name, value)

    with pytest.raises(Unreachable):
        broker.submit(order())
    assert terminal.sent == []


def test_a_late_answer_is_unknown_and_found_afterwards(running, connect, terminal, order, sent_at):
    wanted = order()
    terminal.hang.clear()

    with pytest.raises(OutcomeUnknown):
        connect(running, deadline_s="0.1").submit(wanted)
    terminal.hang.set()

    report = connect(running).order_report(
        client_order_id=wanted.client_order_id, symbol=wanted.symbol, sent_at=sent_at
    )
    while report.state is VenueState.NO_TRACE:
        report = connect(running).order_report(
            client_order_id=wanted.client_order_id, symbol=wanted.symbol, sent_at=sent_at
        )
    assert report.state is VenueState.FILLED
    assert len(terminal.sent) == 1


@pytest.mark.parametrize("is_local", [True, False])
def test_a_journal_younger_than_the_order_proves_nothing_about_an_earlier_send(
    running, broker, terminal, order, is_local
):
    young = datetime.fromtimestamp(running.journal.created_at, UTC)
    wanted = order(sent_at=young - timedelta(seconds=1))
    if is_local:
        wanted = replace(wanted, symbol="NOWHERE")  # we refuse this by ourselves
    else:
        running.journal.settle(wanted.client_order_id)

    with pytest.raises(OutcomeUnknown):
        broker.submit(wanted)
    with pytest.raises(Refused):
        broker.submit(replace(wanted, sent_at=young + timedelta(seconds=1)))
    assert terminal.sent == []
