"""The request is complete, exact, and never worse for the client than what was asked."""

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from nexus.core.errors import Refused
from tests.trading.brokers.mt5.fake_terminal import SYMBOL
from trading.brokers import ids
from trading.brokers.base import OrderType, Quote, Side, TimeInForce, VenuePosition
from trading.brokers.mt5 import wire
from trading.brokers.mt5.orders import Held, check_time, market, pending
from trading.brokers.mt5.terms import Execution, Filling, Terms, choose_filling

TERMS = Terms(
    execution=Execution.MARKET,
    filling_bits=3,
    point=Decimal("0.00001"),
    tick_size=Decimal("0.00001"),
    quantity_min=Decimal("0.01"),
    quantity_max=Decimal(100),
    quantity_step=Decimal("0.01"),
    order_types=frozenset(OrderType),
    times_in_force=frozenset(TimeInForce),
    offers_close_by=True,
)
QUOTE = Quote("EURUSD", Decimal("1.10000"), Decimal("1.10012"), at=datetime(2026, 7, 1, tzinfo=UTC))


def test_builds_every_key_with_its_type(order):
    wanted = order()

    request = market(wanted, terms=TERMS, quote=QUOTE, policy=[Filling.FOK])

    assert request == {
        "action": 1, "symbol": "EURUSD", "volume": 0.1, "type": 0, "price": 1.10012, "sl": 1.095, "tp": 1.105,
        "deviation": 98, "type_filling": 0, "type_time": 0, "magic": ids.magic(wanted.client_order_id),
        "comment": wanted.client_order_id,
    }  # fmt: skip
    assert {key for key, value in request.items() if type(value) is float} == {"volume", "price", "sl", "tp"}
    assert len(request["comment"]) == 14


def test_sells_at_the_bid_and_sends_absent_stops_as_zero(order):
    wanted = order(side=Side.SELL, stop_loss=None, take_profit=None)

    request = market(wanted, terms=TERMS, quote=QUOTE, policy=[Filling.FOK])

    assert (request["type"], request["price"], request["sl"], request["tp"]) == (1, 1.1, 0.0, 0.0)


@pytest.mark.parametrize(
    ("side", "stop_loss", "take_profit"),
    [(Side.BUY, 1.0955, 1.1045), (Side.SELL, 1.095, 1.105)],
)
def test_rounds_stops_so_that_the_risk_does_not_grow(order, side, stop_loss, take_profit):
    terms = replace(TERMS, tick_size=Decimal("0.0005"))
    stops = {"stop_loss": Decimal("1.09501"), "take_profit": Decimal("1.10499")}

    request = market(order(side=side, **stops), terms=terms, quote=QUOTE, policy=[Filling.FOK])

    assert (request["sl"], request["tp"]) == (stop_loss, take_profit)


@pytest.mark.parametrize(
    ("side", "reference", "deviation", "points"),
    [
        (Side.BUY, "1.10012", "0", 0),
        (Side.BUY, "1.10012", "0.000019", 1),
        (Side.BUY, "1.10000", "0.00012", 0),
        (Side.BUY, "1.10020", "0.00002", 10),
        (Side.SELL, "1.10000", "0.00003", 3),
        (Side.SELL, "1.09990", "0.00003", 13),
    ],
)
def test_leaves_as_much_room_as_the_collar_has_left(order, side, reference, deviation, points):
    wanted = order(side=side, reference_price=Decimal(reference), deviation=Decimal(deviation))

    assert market(wanted, terms=TERMS, quote=QUOTE, policy=[Filling.FOK])["deviation"] == points


@pytest.mark.parametrize(("side", "reference"), [(Side.BUY, "1.09999"), (Side.SELL, "1.10013")])
def test_refuses_a_price_outside_the_collar(order, side, reference):
    wanted = order(side=side, reference_price=Decimal(reference), deviation=Decimal("0.00012"))

    with pytest.raises(Refused) as refused:
        market(wanted, terms=TERMS, quote=QUOTE, policy=[Filling.FOK])
    assert refused.value.code == "PRICE_OUTSIDE_COLLAR"


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"quantity": Decimal("0.015")}, "QUANTITY_OFF_STEP"),
        ({"quantity": Decimal("0.001")}, "QUANTITY_OUT_OF_RANGE"),
        ({"quantity": Decimal("100.01")}, "QUANTITY_OUT_OF_RANGE"),
        ({"quantity": Decimal("NaN")}, "QUANTITY_OUT_OF_RANGE"),
        ({"stop_loss": Decimal("NaN")}, "PRICE_NOT_VALID"),
        ({"take_profit": Decimal(0)}, "PRICE_NOT_VALID"),
        ({"reference_price": Decimal("Infinity")}, "PRICE_NOT_VALID"),
        ({"deviation": Decimal("Infinity")}, "DEVIATION_NOT_VALID"),
        ({"deviation": Decimal(-1)}, "DEVIATION_NOT_VALID"),
    ],
)
def test_refuses_what_the_venue_must_not_see(order, changes, code):
    with pytest.raises(Refused) as refused:
        market(order(**changes), terms=TERMS, quote=QUOTE, policy=[Filling.FOK])
    assert refused.value.code == code


FOK, IOC, RETURN = Filling.FOK, Filling.IOC, Filling.RETURN


@pytest.mark.parametrize(
    ("execution", "bits", "policy", "chosen"),
    [
        (Execution.MARKET, 1, [FOK], FOK),
        (Execution.MARKET, 2, [FOK], None),
        (Execution.MARKET, 2, [FOK, IOC], IOC),
        (Execution.MARKET, 3, [FOK, IOC], FOK),
        (Execution.MARKET, 0, [FOK, IOC, RETURN], None),
        (Execution.EXCHANGE, 0, [FOK, IOC, RETURN], RETURN),
        (Execution.EXCHANGE, 0, [FOK, IOC], None),
        (Execution.EXCHANGE, 2, [FOK, IOC, RETURN], IOC),
        (Execution.INSTANT, 0, [FOK], FOK),
        (Execution.REQUEST, 0, [FOK], FOK),
        (Execution.INSTANT, 0, [IOC], None),
        (Execution.INSTANT, 0, [RETURN], None),
    ],
)
def test_chooses_only_a_filling_that_is_offered_and_allowed(execution, bits, policy, chosen):
    terms = replace(TERMS, execution=execution, filling_bits=bits)

    if chosen is None:
        with pytest.raises(Refused) as refused:
            choose_filling(terms, policy)
        assert refused.value.code == "FILLING_NOT_OFFERED"
    else:
        assert choose_filling(terms, policy) is chosen


def test_does_not_guess_an_execution_mode_that_it_does_not_know():
    entry = {"point": Decimal("0.1"), "trade_exemode": 9}

    with pytest.raises(wire.BadAnswer):
        Terms.of_symbol(entry)


def held(**changes):
    position = VenuePosition(
        venue_position_id="900", symbol="EURUSD", side=Side.BUY, quantity=Decimal("0.5"), price_open=Decimal("1.1"),
        price_current=Decimal("1.1"), stop_loss=None, take_profit=None, profit=Decimal(0), swap=Decimal(0),
        client_order_id="", opened_at=datetime(2026, 7, 1, tzinfo=UTC),
    )  # fmt: skip
    return Held(901, replace(position, **changes))


CLOSE = {"side": Side.SELL, "stop_loss": None, "take_profit": None, "venue_position_id": "900"}


@pytest.mark.parametrize("quantity", ["0.1", "0.5"])
def test_closes_with_an_opposite_deal_that_names_the_ticket_of_the_position(order, quantity):
    wanted = order(**CLOSE, quantity=Decimal(quantity))

    request = market(wanted, terms=TERMS, quote=QUOTE, policy=[Filling.FOK], held=held())

    assert (request["position"], request["type"], request["volume"]) == (901, 1, float(quantity))
    assert (request["price"], request["sl"], request["tp"]) == (1.1, 0.0, 0.0)


def test_closes_the_whole_of_a_position_that_has_fallen_between_the_steps(order):
    wanted = order(**CLOSE, quantity=Decimal("0.005"))

    assert market(wanted, terms=TERMS, quote=QUOTE, policy=[Filling.FOK], held=held(quantity=Decimal("0.005")))

    with pytest.raises(Refused) as refused:
        market(wanted, terms=TERMS, quote=QUOTE, policy=[Filling.FOK], held=held(quantity=Decimal("0.006")))
    assert refused.value.code == "QUANTITY_OUT_OF_RANGE"


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"quantity": Decimal("0.51")}, "QUANTITY_EXCEEDS_POSITION"),
        ({"quantity": Decimal("NaN")}, "QUANTITY_EXCEEDS_POSITION"),
        ({"side": Side.BUY}, "POSITION_DOES_NOT_MATCH"),
        ({"symbol": "USDJPY"}, "POSITION_DOES_NOT_MATCH"),
        ({"stop_loss": Decimal("1.2")}, "STOPS_ON_CLOSE"),
        ({"take_profit": Decimal("1.0")}, "STOPS_ON_CLOSE"),
    ],
)
def test_refuses_a_close_that_would_do_more_than_reduce(order, changes, code):
    with pytest.raises(Refused) as refused:
        market(order(**(CLOSE | changes)), terms=TERMS, quote=QUOTE, policy=[FOK], held=held())
    assert refused.value.code == code


@pytest.mark.parametrize(("time", "filling"), [(TimeInForce.FOK, 0), (TimeInForce.IOC, 1)])
def test_lets_the_order_s_own_word_decide_the_filling(order, time, filling):
    wanted = order(time_in_force=time)

    assert market(wanted, terms=TERMS, quote=QUOTE, policy=[FOK])["type_filling"] == filling
    with pytest.raises(Refused) as refused:
        market(wanted, terms=replace(TERMS, filling_bits=0), quote=QUOTE, policy=[FOK, IOC])
    assert refused.value.code == "FILLING_NOT_OFFERED"


@pytest.mark.parametrize("time", [TimeInForce.GTC, TimeInForce.DAY, TimeInForce.GTD])
def test_refuses_a_market_order_that_would_rest(order, time):
    with pytest.raises(Refused) as refused:
        market(order(time_in_force=time), terms=TERMS, quote=QUOTE, policy=[FOK])
    assert refused.value.code == "TIME_IN_FORCE_NOT_OFFERED"


LIMIT, STOP, STOP_LIMIT = OrderType.LIMIT, OrderType.STOP, OrderType.STOP_LIMIT


@pytest.mark.parametrize(
    ("side", "order_type", "limit", "stop", "type_", "price", "stoplimit"),
    [
        (Side.BUY, LIMIT, "1.09007", None, 2, 1.09, 0.0),
        (Side.SELL, LIMIT, "1.11003", None, 3, 1.1101, 0.0),
        (Side.BUY, STOP, None, "1.11003", 4, 1.1101, 0.0),
        (Side.SELL, STOP, None, "1.09007", 5, 1.09, 0.0),
        (Side.BUY, STOP_LIMIT, "1.10507", "1.11003", 6, 1.1101, 1.105),
        (Side.SELL, STOP_LIMIT, "1.10503", "1.09007", 7, 1.09, 1.1051),
    ],
)
def test_builds_resting_orders_and_rounds_them_away_from_the_market(
    order, side, order_type, limit, stop, type_, price, stoplimit
):
    prices = {"limit_price": limit and Decimal(limit), "stop_price": stop and Decimal(stop)}
    wanted = order(
        side=side, order_type=order_type, time_in_force=TimeInForce.GTD, stop_loss=None, take_profit=None, **prices
    )

    request = pending(wanted, terms=replace(TERMS, tick_size=Decimal("0.0001")), expiration=1_800_000_000)

    assert request == {
        "action": 5, "symbol": "EURUSD", "volume": 0.1, "type": type_, "price": price, "stoplimit": stoplimit,
        "sl": 0.0, "tp": 0.0, "deviation": 100, "type_filling": 2, "type_time": 2, "expiration": 1_800_000_000,
        "magic": ids.magic(wanted.client_order_id), "comment": wanted.client_order_id,
    }  # fmt: skip


@pytest.mark.parametrize(("time", "type_time"), [(TimeInForce.GTC, 0), (TimeInForce.DAY, 1), (TimeInForce.GTD, 2)])
def test_names_the_time_that_an_order_rests(order, time, type_time):
    wanted = order(order_type=LIMIT, limit_price=Decimal("1.09"), time_in_force=time)

    assert pending(wanted, terms=TERMS, expiration=0)["type_time"] == type_time


RESTING = {"order_type": LIMIT, "limit_price": Decimal("1.09"), "time_in_force": TimeInForce.GTC}


@pytest.mark.parametrize(
    ("changes", "terms", "code"),
    [
        ({}, {"order_types": frozenset({OrderType.MARKET})}, "ORDER_TYPE_NOT_OFFERED"),
        ({"limit_price": None}, {}, "PRICES_DO_NOT_FIT_TYPE"),
        ({"stop_price": Decimal(1)}, {}, "PRICES_DO_NOT_FIT_TYPE"),
        ({"order_type": STOP}, {}, "PRICES_DO_NOT_FIT_TYPE"),
        ({"order_type": STOP_LIMIT}, {}, "PRICES_DO_NOT_FIT_TYPE"),
        ({"limit_price": Decimal(-1)}, {}, "PRICE_NOT_VALID"),
        ({"limit_price": Decimal("NaN")}, {}, "PRICE_NOT_VALID"),
        ({"quantity": Decimal("0.015")}, {}, "QUANTITY_OFF_STEP"),
        ({"venue_position_id": "900"}, {}, "CLOSE_NOT_AT_MARKET"),
    ],
)
def test_refuses_a_resting_order_that_the_symbol_does_not_take(order, changes, terms, code):
    with pytest.raises(Refused) as refused:
        pending(order(**(RESTING | changes)), terms=replace(TERMS, **terms), expiration=0)
    assert refused.value.code == code


def test_refuses_a_market_order_with_a_price_of_its_own_or_where_there_are_none(order):
    for changes, terms, code in (
        ({"limit_price": Decimal(1)}, TERMS, "PRICES_DO_NOT_FIT_TYPE"),
        ({}, replace(TERMS, order_types=frozenset({LIMIT})), "ORDER_TYPE_NOT_OFFERED"),
    ):
        with pytest.raises(Refused) as refused:
            market(order(**changes), terms=terms, quote=QUOTE, policy=[FOK])
        assert refused.value.code == code


NOON = datetime(2026, 7, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("time", "expires_at", "code"),
    [
        (TimeInForce.GTC, None, ""),
        (TimeInForce.DAY, None, ""),
        (TimeInForce.GTD, NOON.replace(minute=1), ""),
        (TimeInForce.GTD, NOON, "EXPIRY_NOT_VALID"),
        (TimeInForce.GTD, None, "EXPIRY_NOT_VALID"),
        (TimeInForce.GTC, NOON.replace(minute=1), "EXPIRY_NOT_VALID"),
        (TimeInForce.IOC, None, "TIME_IN_FORCE_NOT_OFFERED"),
        (None, None, "TIME_IN_FORCE_NOT_OFFERED"),
    ],
)
def test_takes_only_times_that_are_offered_and_still_to_come(time, expires_at, code):
    if not code:
        check_time(time, expires_at, now_s=NOON.timestamp(), terms=TERMS)
        return
    with pytest.raises(Refused) as refused:
        check_time(time, expires_at, now_s=NOON.timestamp(), terms=TERMS)
    assert refused.value.code == code


def test_takes_no_time_that_the_symbol_lacks():
    with pytest.raises(Refused):
        check_time(TimeInForce.DAY, None, now_s=0, terms=replace(TERMS, times_in_force=frozenset({TimeInForce.GTC})))


@pytest.mark.parametrize(
    ("changes", "lost"),
    [
        ({}, set()),
        ({"expiration_mode": 1}, {TimeInForce.DAY, TimeInForce.GTD}),
        ({"expiration_mode": 6}, {TimeInForce.GTC}),
        ({"order_gtc_mode": 1}, {TimeInForce.GTC}),
        ({"filling_mode": 2}, {TimeInForce.FOK}),
        ({"filling_mode": 1}, {TimeInForce.IOC}),
        ({"filling_mode": 2, "trade_exemode": 1}, set()),
        ({"order_mode": 127 - 2}, set()),
    ],
)
def test_reads_what_the_symbol_offers_from_its_bits(changes, lost):
    entry = {name: Decimal(str(value)) if isinstance(value, float) else value for name, value in SYMBOL.items()}

    terms = Terms.of_symbol(entry | changes)

    assert terms.times_in_force == set(TimeInForce) - lost
    assert terms.order_types == set(OrderType) - ({LIMIT} if "order_mode" in changes else set())
