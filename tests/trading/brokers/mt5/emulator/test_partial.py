"""Orders take only what a tick offers; what becomes of the rest depends on their filling."""

import pytest

from tests.trading.brokers.mt5.emulator.world import build
from trading.brokers.mt5.emulator import constants as mt5

FOK, IOC, RETURN = mt5.ORDER_FILLING_FOK, mt5.ORDER_FILLING_IOC, mt5.ORDER_FILLING_RETURN
BUY_LIMIT, BUY_STOP, SELL_STOP = 2, 4, 5


def thin(world, bid="5500.0", ask="5500.5", *, lots="1.0", levels=2):
    world.control.tick("US500", bid, ask, bid_vol=lots, ask_vol=lots, levels=levels)


def test_one_deal_per_level_and_an_average_price(hedger):
    thin(hedger)

    result = hedger.buy("US500", 1.5, type_filling=FOK)

    assert (result.retcode, result.volume) == (mt5.TRADE_RETCODE_DONE, 1.5)
    assert result.price == 5500.7
    deals = hedger.deals()
    assert [(deal.volume, deal.price, deal.entry) for deal in deals] == [(1.0, 5500.5, 0), (0.5, 5501.0, 0)]
    assert {(deal.order, deal.position_id) for deal in deals} == {(result.order, result.order)}
    (position,) = hedger.mt5.positions_get()
    assert (position.volume, position.price_open) == (1.5, pytest.approx(5500.666666666667))
    assert hedger.finished(result.order).state == mt5.ORDER_STATE_FILLED


def test_liquidity_is_taken_until_the_next_tick(hedger):
    thin(hedger, levels=1)
    assert hedger.buy("US500", 0.7, type_filling=IOC).retcode == mt5.TRADE_RETCODE_DONE

    assert hedger.buy("US500", 0.7, type_filling=IOC).volume == 0.3
    assert hedger.buy("US500", 0.1, type_filling=IOC).retcode == mt5.TRADE_RETCODE_REJECT
    assert hedger.sell("US500", 1.0, type_filling=IOC).volume == 1.0
    thin(hedger, levels=1)
    assert hedger.buy("US500", 0.1, type_filling=IOC).volume == 0.1


def test_taken_liquidity_survives_a_restart(tmp_path):
    world = build(path=tmp_path / "b.sqlite3")
    thin(world, levels=1)
    world.buy("US500", 0.7, type_filling=IOC)
    world.broker.close()

    world = build(path=tmp_path / "b.sqlite3")

    assert world.buy("US500", 0.7, type_filling=IOC).volume == 0.3


def test_fok_takes_all_or_nothing(hedger):
    thin(hedger)
    before = hedger.truth()

    result = hedger.buy("US500", 2.1, type_filling=FOK)

    assert (result.retcode, result.deal, result.order) == (mt5.TRADE_RETCODE_REJECT, 0, 0)
    assert result.comment == "No liquidity"
    assert hedger.truth() == before


def test_rest_of_ioc_is_canceled(hedger):
    thin(hedger)

    result = hedger.buy("US500", 5.0, type_filling=IOC)

    assert (result.retcode, result.volume) == (mt5.TRADE_RETCODE_DONE_PARTIAL, 2.0)
    order = hedger.finished(result.order)
    assert (order.state, order.volume_initial, order.volume_current) == (mt5.ORDER_STATE_CANCELED, 5.0, 3.0)
    assert hedger.mt5.orders_get() == ()
    assert hedger.mt5.positions_get()[0].volume == 2.0


@pytest.mark.parametrize("world_of", ["hedger", "netter"])
def test_rest_of_return_works_on(request, world_of):
    world = request.getfixturevalue(world_of)
    thin(world)

    result = world.buy("US500", 3.0, type_filling=RETURN)

    assert (result.retcode, result.volume) == (mt5.TRADE_RETCODE_DONE_PARTIAL, 2.0)
    (order,) = world.mt5.orders_get()
    assert (order.ticket, order.state, order.volume_current) == (result.order, mt5.ORDER_STATE_PARTIAL, 1.0)
    thin(world, "5510.0", "5510.5")
    assert world.mt5.orders_get() == ()
    assert [deal.price for deal in world.deals()] == [5500.5, 5501.0, 5510.5]
    (position,) = world.mt5.positions_get()
    assert (position.ticket, position.volume) == (result.order, 3.0)
    order = world.finished(result.order)
    assert (order.state, order.volume_current, order.price_open) == (mt5.ORDER_STATE_FILLED, 0.0, 5504.0)


def test_rest_can_be_removed_but_not_changed(hedger):
    thin(hedger)
    ticket = hedger.buy("US500", 3.0, type_filling=RETURN).order
    assert hedger.modify(ticket, 5000.0).retcode == mt5.TRADE_RETCODE_INVALID

    assert hedger.remove(ticket).retcode == mt5.TRADE_RETCODE_DONE

    order = hedger.finished(ticket)
    assert (order.state, order.volume_current) == (mt5.ORDER_STATE_CANCELED, 1.0)
    thin(hedger)
    assert hedger.mt5.positions_get()[0].volume == 2.0


def test_limit_order_takes_only_levels_at_its_price_or_better(netter):
    ticket = netter.place("US500", BUY_LIMIT, 2.0, 5490.0).order

    thin(netter, "5489.0", "5489.5", lots="0.7", levels=5)

    (order,) = netter.mt5.orders_get()
    assert (order.ticket, order.volume_current, order.price_open) == (ticket, 0.6, 5490.0)
    assert [deal.price for deal in netter.deals()] == [5489.5, 5490.0]
    thin(netter, "5495.0", "5495.5")
    assert netter.mt5.orders_total() == 1
    thin(netter, "5489.5", "5490.0")
    assert netter.finished(ticket).state == mt5.ORDER_STATE_FILLED


def test_triggered_stop_goes_on_filling_when_the_price_turns(netter):
    ticket = netter.place("US500", BUY_STOP, 1.5, 5510.0).order

    thin(netter, "5509.5", "5510.0", levels=1)
    thin(netter, "5500.0", "5500.5", levels=1)

    assert [(deal.price, deal.volume) for deal in netter.deals()] == [(5510.0, 1.0), (5500.5, 0.5)]
    assert netter.finished(ticket).state == mt5.ORDER_STATE_FILLED


@pytest.mark.parametrize(("filling", "volume", "left"), [(FOK, 0.0, 1.5), (IOC, 1.0, 0.5)])
def test_triggered_stop_obeys_its_filling(netter, filling, volume, left):
    ticket = netter.place("US500", SELL_STOP, 1.5, 5490.0, type_filling=filling).order

    thin(netter, "5490.0", "5490.5", levels=1)

    assert sum(deal.volume for deal in netter.deals()) == volume
    order = netter.finished(ticket)
    assert (order.state, order.volume_current) == (mt5.ORDER_STATE_CANCELED, left)


def test_stop_loss_closes_in_parts_until_the_position_is_gone(hedger):
    ticket = hedger.buy("US500", 3.0, sl=5490.0, magic=4).order

    thin(hedger, "5489.0", "5489.5")
    assert hedger.mt5.positions_get()[0].volume == 1.0
    thin(hedger, "5480.0", "5480.5")

    assert hedger.mt5.positions_get() == ()
    outs = hedger.mt5.history_deals_get(position=ticket)[1:]
    assert [(deal.volume, deal.price) for deal in outs] == [(1.0, 5489.0), (1.0, 5488.5), (1.0, 5480.0)]
    assert {(deal.reason, deal.magic, deal.comment) for deal in outs} == {(4, 4, "[sl 5490.0]")}
    hedger.control.verify()


def test_reversal_in_levels_ends_on_the_other_side(netter):
    old = netter.buy("US500", 1.5).order
    thin(netter, "5499.0", "5499.5")

    result = netter.sell("US500", 2.0, type_filling=FOK)

    assert [(deal.entry, deal.volume) for deal in netter.deals()[1:]] == [(1, 1.0), (2, 1.0)]
    (position,) = netter.mt5.positions_get()
    assert (position.ticket, position.identifier, position.type, position.volume) == (result.order, old, 1, 0.5)
    netter.control.verify()


def test_level_that_ends_exactly_at_flat_opens_a_new_position(netter):
    old = netter.buy("US500", 1.0).order
    thin(netter, "5499.0", "5499.5")

    result = netter.sell("US500", 2.0, type_filling=FOK)

    assert [(deal.entry, deal.position_id) for deal in netter.deals()[1:]] == [(1, old), (0, result.order)]
    assert netter.mt5.positions_get()[0].identifier == result.order
    netter.control.verify()


def test_check_does_not_ask_for_liquidity(hedger):
    thin(hedger)

    assert hedger.mt5.order_check(action=1, symbol="US500", volume=5.0, type_filling=FOK).retcode == 0
