"""The request is complete, exact, and never worse for the client than what was asked."""

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from nexus.core.errors import Refused
from trading.brokers import ids
from trading.brokers.base import OrderType, Quote, Side, TimeInForce
from trading.brokers.mt5 import wire
from trading.brokers.mt5.orders import market
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
