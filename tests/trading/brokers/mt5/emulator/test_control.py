"""Other people, other programs and the broker itself do things too."""

import json

import pytest

from tests.trading.brokers.mt5.emulator.world import EVER, HEDGER, NETTER, TERMINAL, build, quote_all
from trading.brokers.mt5.emulator import Control, facade
from trading.brokers.mt5.emulator import constants as mt5
from trading.brokers.mt5.emulator.store import StoreMismatchError

DONE = mt5.TRADE_RETCODE_DONE


@pytest.mark.parametrize("reason", [0, 1, 2])
def test_people_trade_without_magic_at_their_own_desk(hedger, reason):
    hedger.control.inject("retcode", times=None)
    hedger.control.terminal(TERMINAL).algo_trading = False

    answer = hedger.control.manual_trade(HEDGER, "EURUSD", 0, "0.3", reason=reason)
    hedger.control.manual_close(HEDGER, answer.order, "0.1", reason=reason)
    hedger.control.manual_modify(HEDGER, answer.order, sl="1.08", reason=reason)
    order = hedger.control.manual_order(HEDGER, "EURUSD", 2, "0.1", "1.07", reason=reason).order
    hedger.control.manual_modify(HEDGER, order, price="1.06", sl="1.05")

    (position,) = hedger.mt5.positions_get()
    assert (position.volume, position.sl, position.magic, position.reason) == (0.2, 1.08, 0, reason)
    assert {(deal.reason, deal.magic) for deal in hedger.deals()} == {(reason, 0)}
    assert hedger.mt5.orders_get()[0].price_open == 1.06
    assert hedger.control.manual_cancel(HEDGER, order).retcode == DONE
    assert hedger.control.manual_close(HEDGER, answer.order).retcode == DONE
    assert hedger.control.manual_close(HEDGER, answer.order).retcode == mt5.TRADE_RETCODE_POSITION_CLOSED
    assert hedger.mt5.positions_get() == ()


def test_other_programs_have_their_own_magic(hedger):
    hedger.control.foreign_program_trade(HEDGER, "EURUSD", 1, "0.1", magic=31337)

    (deal,) = hedger.deals()
    assert (deal.reason, deal.magic, deal.comment) == (mt5.DEAL_REASON_EXPERT, 31337, "other program")


def test_dividend_is_paid_to_who_is_long(hedger):
    hedger.buy("US500", 3.0)
    hedger.sell("US500", 1.0)
    hedger.control.manual_trade(NETTER, "US500", 1, "2.0")

    tickets = hedger.control.dividend("US500", "1.25")

    deal = hedger.mt5.history_deals_get(*EVER)[-1]
    assert (deal.type, deal.profit, deal.comment, deal.symbol) == (15, 2.5, "Dividend US500", "")
    assert hedger.control.truth(NETTER)["deals"][-1]["profit"] == -250_000_000
    assert len(tickets) == 2


def test_split_multiplies_lots_and_divides_prices(hedger):
    ticket = hedger.buy("US500", 3.0, sl=5400.0, tp=5600.0, magic=8).order
    waiting = hedger.place("US500", 2, 1.0, 5300.0).order
    before = hedger.mt5.account_info().balance

    assert hedger.control.split("US500", 4) == 1
    hedger.control.tick("US500", "1375.0", "1375.5")

    (position,) = hedger.mt5.positions_get()
    assert (position.ticket, position.volume, position.price_open) == (ticket, 12.0, 1375.0)
    assert (position.sl, position.tp, position.magic) == (1350.0, 1400.0, 8)
    assert [(deal.entry, deal.volume, deal.reason) for deal in hedger.deals()[1:]] == [(1, 3.0, 9), (0, 12.0, 9)]
    assert hedger.mt5.account_info().balance == before
    assert hedger.finished(waiting).state == mt5.ORDER_STATE_CANCELED
    with pytest.raises(ValueError, match="split"):
        hedger.control.split("US500", 1, 7)
    hedger.control.verify()


def test_leverage_changes_for_good(tmp_path):
    world = quote_all(build(path=tmp_path / "b.sqlite3"))
    world.buy("EURUSD", 1.0)
    world.control.set_leverage(HEDGER, 30)
    margin = world.mt5.account_info().margin
    world.broker.close()

    world = build(path=tmp_path / "b.sqlite3")
    assert world.mt5.account_info().margin == margin == 3617.0
    assert world.mt5.account_info().leverage == 30


def test_deleted_symbol_is_gone_but_its_past_is_not(tmp_path):
    world = quote_all(build(path=tmp_path / "b.sqlite3"))
    ticket = world.buy("EURUSD", 0.1).order
    with pytest.raises(ValueError, match="positions"):
        world.control.delete_symbol("EURUSD")
    world.sell("EURUSD", 0.1, position=ticket)
    world.control.delete_symbol("EURUSD")
    world.broker.close()

    world = build(path=tmp_path / "b.sqlite3")
    assert world.mt5.symbol_info("EURUSD") is None
    assert world.mt5.last_error()[0] == -4
    assert world.mt5.symbols_total() == 7
    assert world.buy("EURUSD", 0.1).retcode == mt5.TRADE_RETCODE_INVALID
    assert len(world.deals()) == 2


def test_restored_broker_stands_where_the_snapshot_was(hedger, tmp_path):
    hedger.buy("EURUSD", 0.1)
    hedger.place("EURUSD", 2, 0.1, 1.07)
    hedger.control.inject("retcode", nth=5)
    before = hedger.control.truth(HEDGER)
    hedger.control.snapshot(str(tmp_path / "before"))
    hedger.control.set_leverage(HEDGER, 5)
    hedger.control.advance(3_600)
    hedger.control.tick("EURUSD", "1.06000", "1.06010")
    hedger.buy("USDJPY", 0.1)

    hedger.control.restore(str(tmp_path / "before"))

    assert hedger.control.truth(HEDGER) == before
    assert hedger.mt5.symbol_info_tick("EURUSD").bid == 1.085
    assert hedger.buy("EURUSD", 0.1).retcode == DONE
    with pytest.raises(FileExistsError):
        hedger.control.snapshot(str(tmp_path / "before"))
    with pytest.raises(StoreMismatchError):
        build(seed=2).control.restore(str(tmp_path / "before"))


@pytest.mark.parametrize("path", [":memory:", "file"])
def test_forked_brokers_go_their_own_ways(tmp_path, path):
    world = quote_all(build(path=path if path == ":memory:" else tmp_path / "one"))
    ticket = world.buy("EURUSD", 0.1, sl=1.08).order

    other = world.control.fork(str(tmp_path / "two"))
    Control(other).tick("EURUSD", "1.07000", "1.07010")
    world.control.tick("EURUSD", "1.09000", "1.09010")

    assert [row["ticket"] for row in world.control.truth(HEDGER)["positions"]] == [ticket]
    assert Control(other).truth(HEDGER)["positions"] == []
    mine, theirs = facade.module(world.broker, TERMINAL), facade.module(other, TERMINAL)
    assert mine.initialize(TERMINAL)
    assert theirs.initialize(TERMINAL) is False  # its terminal is a new one, and nobody has logged in
    other.close()


def test_same_fork_and_script_give_the_same_truth(tmp_path):
    world = build(quotes="generated")
    world.buy("EURUSD", 0.1, sl=1.08)
    twins = [world.control.fork(str(tmp_path / name)) for name in ("a", "b")]
    truths = []
    for broker in twins:
        Control(broker).advance(5_000)
        Control(broker).manual_trade(HEDGER, "XAUUSD", 1, "0.1")
        truths.append(json.dumps(Control(broker).truth(HEDGER)))
        broker.close()

    assert truths[0] == truths[1]


def test_a_canceled_deal_keeps_its_place_and_its_result_is_paid_back(tmp_path):
    world = quote_all(build(path=tmp_path / "b.sqlite3", account={"commission_per_lot": "7"}))
    ticket = world.buy("EURUSD", 0.2, sl=1.08, magic=8).order
    world.control.tick("EURUSD", "1.09500", "1.09510")
    world.sell("EURUSD", 0.1, position=ticket)
    opened, closed = world.deals()
    balance = world.mt5.account_info().balance
    assert (closed.profit, closed.commission) == (99.0, opened.commission / 2)

    told = world.control.cancel_deal(HEDGER, closed.ticket)

    shown = world.mt5.history_deals_get(ticket=closed.order)[0]
    assert shown._asdict() == closed._asdict() | {"type": mt5.DEAL_TYPE_SELL_CANCELED, "profit": 0.0}
    paid = world.mt5.history_deals_get(*EVER)[-1]
    assert (paid.type, paid.profit, str(paid.ticket)) == (mt5.DEAL_TYPE_BALANCE, -99.0, told["payment"])
    assert world.mt5.account_info().balance == balance - 99.0
    (position,) = world.mt5.positions_get()
    assert (position.ticket, position.volume, position.price_open, position.sl) == (ticket, 0.2, 1.0851, 1.08)
    world.control.verify()
    with pytest.raises(ValueError, match="canceled already"):
        world.control.cancel_deal(HEDGER, closed.ticket)
    before = world.truth()
    world.broker.close()

    world = build(path=tmp_path / "b.sqlite3", account={"commission_per_lot": "7"})
    assert world.truth() == before
    world.control.cancel_deal(HEDGER, opened.ticket)
    assert world.mt5.positions_get() == ()
    assert world.mt5.account_info().balance == balance - 99.0  # an opening deal has no result
    world.control.verify()


def test_a_position_comes_back_with_its_closing_taken_back_and_nothing_rests_on_what_is_gone(hedger):
    ticket = hedger.buy("EURUSD", 0.2, sl=1.08, magic=8).order
    hedger.sell("EURUSD", 0.2, position=ticket)
    opened, closed = hedger.deals()

    with pytest.raises(ValueError, match="later deals rest on"):
        hedger.control.cancel_deal(HEDGER, opened.ticket)
    hedger.control.cancel_deal(HEDGER, closed.ticket)

    (position,) = hedger.mt5.positions_get()
    assert (position.ticket, position.identifier, position.magic, position.sl) == (ticket, ticket, 8, 0.0)
    with pytest.raises(ValueError, match="no trade"):
        hedger.control.cancel_deal(HEDGER, 1)  # the deposit


def test_a_netted_position_is_what_its_other_deals_make_of_it():
    world = quote_all(build(NETTER))
    world.buy("EURUSD", 0.1)
    world.control.tick("EURUSD", "1.09500", "1.09510")
    world.buy("EURUSD", 0.1)
    world.sell("EURUSD", 0.5)
    _, second, turned = world.deals()

    world.control.cancel_deal(NETTER, turned.ticket)
    assert [(each.type, each.volume, each.price_open) for each in world.mt5.positions_get()] == [(0, 0.2, 1.0901)]
    world.control.cancel_deal(NETTER, second.ticket)
    assert [(each.type, each.volume, each.price_open) for each in world.mt5.positions_get()] == [(0, 0.1, 1.0851)]
    world.control.verify()
