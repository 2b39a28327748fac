"""What became of an order: found, proven never sent, or nothing yet; a search that failed proves nothing."""

import time
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from nexus.core.errors import OutcomeUnknown, Refused, Unreachable
from trading.brokers import ids
from trading.brokers.base import FillKind, VenueState


@pytest.fixture
def old_journal(running):
    running.journal.created_at -= 60


@pytest.fixture
def report(broker, sent_at):
    return lambda wanted: broker.order_report(
        client_order_id=wanted.client_order_id, symbol=wanted.symbol, sent_at=sent_at
    )


@pytest.fixture
def lost(running, broker, terminal, order):
    """Send an order whose answer never came; `play` decides what the broker did with it."""

    def lost(play, **changes):
        wanted = order(**changes)

        def send(request):
            play(request)
            terminal.error = (-10002, "IPC recv failed")

        terminal.next_send = send
        with pytest.raises(OutcomeUnknown):
            broker.submit(wanted)
        return wanted

    return lost


def test_proves_that_an_order_was_never_sent_and_never_will_be(old_journal, broker, report, terminal, order):
    wanted = order()

    assert report(wanted).state is VenueState.NEVER_SENT

    with pytest.raises(Refused):
        broker.submit(wanted)
    assert report(wanted).state is VenueState.NEVER_SENT
    assert terminal.sent == []


@pytest.mark.parametrize(("age_s", "state"), [(4.0, VenueState.NO_TRACE), (6.0, VenueState.NEVER_SENT)])
def test_a_journal_younger_than_the_order_proves_nothing(running, report, order, sent_at, age_s, state):
    running.journal.created_at = sent_at.timestamp() - age_s

    assert report(order()).state is state


def test_finds_an_order_that_a_lost_journal_does_not_know(running, broker, report, terminal, order):
    wanted = order()
    broker.submit(wanted)
    running.journal._database.execute("DELETE FROM intents")

    assert report(wanted).state is VenueState.FILLED


def test_repeats_what_was_recorded(broker, report, terminal, order):
    wanted = order()
    first = broker.submit(wanted)

    assert report(wanted) == first


def test_reports_recorded_refusals_as_rejected(broker, report, terminal, order):
    checked, refused = order(), order()
    terminal.check_retcode, terminal.check_comment = 10019, "No money"
    with pytest.raises(Refused):
        broker.submit(checked)
    terminal.check_retcode = 0
    terminal.next_send = lambda _: terminal.answer(10006, comment="Request rejected")
    with pytest.raises(Refused):
        broker.submit(refused)

    assert (report(checked).state, report(checked).code) == (VenueState.REJECTED, "10019")
    assert (report(refused).state, report(refused).reason) == (VenueState.REJECTED, "Request rejected")


def test_finds_an_executed_order_whose_answer_was_lost(lost, report, terminal):
    wanted = lost(terminal.fill)

    found = report(wanted)

    assert (found.state, len(found.fills), len(terminal.sent)) == (VenueState.FILLED, 1, 1)


def test_finds_it_by_the_deals_alone_by_the_order_alone_and_by_the_position_alone(lost, report, terminal):
    by_deal = lost(terminal.fill)
    terminal.closed.clear()
    terminal.positions.clear()
    assert report(by_deal).state is VenueState.FILLED

    by_order = lost(terminal.fill)
    terminal.deals.clear()
    terminal.positions.clear()
    assert report(by_order).state is VenueState.WORKING  # FILLED says the order, its deals are on their way

    by_position = lost(terminal.fill)
    terminal.deals.clear()
    terminal.closed.clear()
    assert report(by_position).state is VenueState.WORKING


@pytest.mark.parametrize("changes", [{"magic": 0}, {"comment": ""}, {"comment": "replaced by the broker"}])
def test_finds_it_when_the_broker_changed_one_of_its_names(lost, report, terminal, changes):
    wanted = lost(terminal.fill)
    for listing in (terminal.deals, terminal.closed, terminal.positions):
        listing[:] = [entry._replace(**changes) for entry in listing]

    assert report(wanted).state is VenueState.FILLED


def test_finds_deals_without_a_name_by_the_ticket_of_their_order(lost, report, terminal):
    wanted = lost(terminal.fill)
    terminal.deals[:] = [deal._replace(magic=0, comment="") for deal in terminal.deals]

    assert report(wanted).state is VenueState.FILLED


@pytest.mark.parametrize(
    ("state", "volume_current", "expected"),
    [
        (2, 0.1, VenueState.CANCELED),
        (5, 0.1, VenueState.REJECTED),
        (6, 0.1, VenueState.EXPIRED),
        (4, 0.0, VenueState.WORKING),
        (3, 0.04, VenueState.WORKING),
        (3, 0.1, VenueState.WORKING),
        (2, 0.04, VenueState.WORKING),
        (0, 0.1, VenueState.WORKING),
        (9, 0.1, VenueState.WORKING),
    ],
)
def test_reads_the_end_of_an_order_without_deals(lost, report, terminal, state, volume_current, expected):
    wanted = lost(terminal.fill)
    terminal.deals.clear()
    terminal.positions.clear()
    terminal.closed[:] = [order._replace(state=state, volume_current=volume_current) for order in terminal.closed]

    assert report(wanted).state is expected


def test_reports_a_working_order_with_the_fills_so_far(lost, report, terminal):
    wanted = lost(lambda request: terminal.fill(request, parts=(0.04,), rest=0.06))
    terminal.working, terminal.closed = [order._replace(state=3) for order in terminal.closed], []

    found = report(wanted)

    assert (found.state, [fill.quantity for fill in found.fills]) == (VenueState.WORKING, [Decimal("0.04")])


def test_counts_a_deal_listed_twice_once_and_two_deals_twice(lost, report, terminal):
    wanted = lost(terminal.fill)
    terminal.deals *= 2
    assert len(report(wanted).fills) == 1

    doubled = lost(lambda request: (terminal.fill(request), terminal.fill(request)))
    assert [fill.quantity for fill in report(doubled).fills] == [Decimal("0.1")] * 2


@pytest.mark.parametrize("reason", [4, 5, 6])
def test_does_not_take_the_stop_of_a_position_for_a_fill_of_its_order(lost, broker, report, terminal, sent_at, reason):
    wanted = lost(terminal.fill)
    (entry,) = terminal.deals
    terminal.deals.append(entry._replace(ticket=1, order=2, reason=reason, type=1, entry=1))
    terminal.closed.append(terminal.closed[0]._replace(ticket=2, reason=reason, type=1))

    assert [fill.kind for fill in report(wanted).fills] == [FillKind.ORDER]
    kinds = {fill.venue_fill_id: (fill.kind, fill.client_order_id) for fill in broker.fills_since(sent_at)}
    assert kinds["1"] == ({4: FillKind.STOP_LOSS, 5: FillKind.TAKE_PROFIT, 6: FillKind.STOP_OUT}[reason], "")
    assert kinds[str(entry.ticket)] == (FillKind.ORDER, wanted.client_order_id)


def test_does_not_take_the_order_of_a_stop_for_the_order_itself(lost, report, terminal):
    wanted = lost(lambda request: terminal.fill(request, parts=(0.04,), rest=0.06))
    (closed,) = terminal.closed
    stop = closed._replace(ticket=1, reason=4, type=1, state=4, volume_initial=0.04, volume_current=0.0)
    terminal.closed.insert(0, stop)

    found = report(wanted)

    assert (found.state, found.venue_order_id) == (VenueState.CANCELED, str(closed.ticket))


def test_one_empty_search_is_no_trace(lost, report):
    assert report(lost(lambda _: None)).state is VenueState.NO_TRACE


@pytest.mark.parametrize(
    "trouble",
    [{"none_from": {name}} for name in ("orders_get", "history_orders_get", "history_deals_get", "positions_get")]
    + [{"none_from": {"terminal_info"}}, {"none_from": {"account_info"}}, {"connected": False}, {"login_now": 1}],
)
def test_a_search_that_was_not_complete_proves_nothing(lost, report, terminal, trouble):
    wanted = lost(lambda _: None)
    for name, value in trouble.items():
        setattr(terminal, name, value)

    with pytest.raises(Unreachable):
        report(wanted)


def test_a_search_behind_a_price_as_old_as_the_order_proves_nothing(lost, broker, report, terminal):
    broker.snapshot(symbols=["EURUSD"])  # the server's clock is learned from a price that moves
    wanted = lost(lambda _: None)

    terminal.ticked_at = time.time() - 10
    with pytest.raises(Unreachable, match="no price of EURUSD newer"):
        report(wanted)
    terminal.ticked_at = None

    assert report(wanted).state is VenueState.NO_TRACE


@pytest.mark.parametrize(
    ("sent_ago_s", "price_after_s", "is_proof"),
    [(200, 30, False), (200, 59, False), (200, 61, True), (90, 25, False), (90, 31, True), (50, 1, True)],
)
def test_a_price_is_newer_only_by_more_than_clocks_differ(
    running, broker, terminal, order, sent_ago_s, price_after_s, is_proof
):
    """A server's clock that is fast makes a price of before the order look like one of after it."""
    broker.snapshot(symbols=["EURUSD"])
    broker.snapshot(symbols=["EURUSD"])
    running.journal.created_at = time.time()  # the journal cannot swear: only a search can tell
    wanted, sent_at = order(), datetime.now(UTC) - timedelta(seconds=sent_ago_s)
    terminal.ticked_at = sent_at.timestamp() + price_after_s

    def report():
        return broker.order_report(client_order_id=wanted.client_order_id, symbol=wanted.symbol, sent_at=sent_at)

    if is_proof:
        assert report().state is VenueState.NO_TRACE
    else:
        with pytest.raises(Unreachable, match="newer than the order"):
            report()


def test_finds_an_order_though_prices_stand_still(lost, report, terminal):
    wanted = lost(terminal.fill)

    terminal.ticked_at = time.time() - 10

    assert report(wanted).state is VenueState.FILLED


def test_searches_a_window_wide_enough_for_every_zone(lost, report, terminal):
    wanted = lost(terminal.fill)
    for hours in (-12, 14):
        at = int(time.time()) + hours * 3600
        terminal.deals[:] = [deal._replace(time=at, time_msc=at * 1000) for deal in terminal.deals]
        terminal.closed[:] = [order._replace(time_done=at) for order in terminal.closed]

        assert report(wanted).state is VenueState.FILLED


def test_reads_fills_of_others_and_leaves_out_movements_of_money(broker, terminal, order, sent_at):
    wanted = order()
    broker.submit(wanted)
    (ours,) = terminal.deals
    terminal.deals += [
        ours._replace(ticket=1, magic=0, comment="", reason=0),
        ours._replace(ticket=2, magic=ids.magic(ids.client_order_id(tag=8, number=1)), comment=""),
        ours._replace(ticket=3, type=2, symbol="", volume=0.0, profit=500.0, magic=0),
    ]

    fills = broker.fills_since(sent_at)

    assert {fill.venue_fill_id: fill.client_order_id for fill in fills} == {
        "1": "",
        "2": "",
        str(ours.ticket): wanted.client_order_id,
    }


def test_reads_no_fills_of_long_ago(broker, terminal, order, sent_at):
    broker.submit(order())

    assert broker.fills_since(sent_at + timedelta(hours=5)) == []
    assert len(broker.fills_since(sent_at - timedelta(days=30))) == 1


def test_looks_at_the_venue_for_an_order_whose_words_the_journal_has_forgotten(
    running, broker, report, terminal, order
):
    wanted = order()
    broker.submit(wanted)
    running.journal.forget(done_before=float("inf"))

    assert report(wanted).state is VenueState.FILLED
    with pytest.raises(OutcomeUnknown):
        broker.submit(wanted)
    assert len(terminal.sent) == 1


@pytest.mark.parametrize(
    ("parts", "rest", "gone", "state", "kept"),
    [
        ((), 0.0, 1, VenueState.CANCELED, "0"),
        ((0.06, 0.04), 0.0, 1, VenueState.CANCELED, "0.06"),
        ((0.06, 0.04, 0.05), 0.0, 1, VenueState.FILLED, "0.1"),  # it was one too many
        ((0.06,), 0.04, 1, VenueState.CANCELED, "0"),
    ],
)
def test_an_order_whose_deal_was_taken_back_has_ended_with_what_is_left(
    lost, report, terminal, parts, rest, gone, state, kept
):
    wanted = lost(lambda request: terminal.fill(request, parts=parts, rest=rest))
    deal = terminal.deals[-1]
    terminal.deals[-1] = deal._replace(type=13, profit=0.0)

    terminal.positions[-1] = terminal.positions[-1]._replace(sl=0.0)

    found = report(wanted)

    assert (found.state, found.stops_missing) == (state, Decimal(kept) > 0)  # of its own fills, if any stand
    busts = [fill for fill in found.fills if fill.kind is FillKind.BUST]
    assert [fill.reverses for fill in busts] == [str(deal.ticket)] * gone
    told = sum(fill.quantity for fill in found.fills if fill.kind is FillKind.ORDER)
    assert told - sum(fill.quantity for fill in busts) == Decimal(kept)
