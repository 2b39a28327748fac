"""What the machine of what stands may draw: sides, lots, prices, and what becomes of a request."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, NamedTuple

import hypothesis.strategies as st

from tests.model.floor import PRICES
from trading.brokers.mt5.emulator import constants as mt5
from trading.states import OrderType, Side, TimeInForce


class Market(NamedTuple):
    """An instrument as its broker has it: the prices that it moves between, its digits, what a lot is, and how far its
    prices are apart beside those of EURUSD.
    """

    prices: Mapping[str, tuple[str, str]]
    digits: int
    lot: int
    scale: int


MARKETS = {
    "EURUSD": Market(PRICES, digits=5, lot=100_000, scale=1),
    "USDJPY": Market(
        {"low": ("148.990", "149.000"), "middle": ("149.990", "150.000"), "high": ("150.990", "151.000")},
        digits=3, lot=100_000, scale=100,
    ),
    "XAUUSD": Market(
        {"low": ("2390.00", "2390.20"), "middle": ("2400.00", "2400.20"), "high": ("2410.00", "2410.20")},
        digits=2, lot=100, scale=1000,
    ),
}  # fmt: skip
BESIDE = ["", "", "USDJPY", "XAUUSD"]  # what else a life trades
LATE_S = 0.2  # how late a terminal may list things: less than lists are not believed for (`conftest.LISTED_WITHIN`)
# What may become of one request. What is accepted later is so within the time that lists are late anyway.
FAULTS: dict[str, tuple[str, dict[str, Any]]] = {
    "": ("", {}),
    "lost on the way": ("timeout_before_accept", {}),
    "answer lost": ("timeout_after_accept", {}),
    "late": ("accept_late", {"seconds": 0.2}),
    "refused": ("retcode", {}),
    "pipe cut before": ("pipe_cut", {"point": "before"}),
    "pipe cut, not arrived": ("pipe_cut", {"point": "during", "executed": False}),
    "pipe cut, arrived": ("pipe_cut", {"point": "during", "executed": True}),
    "pipe cut after": ("pipe_cut", {"point": "after"}),
    "without its stops": ("stops_dropped", {}),
    "in part": ("partial", {"volume": "0.01"}),
}
LOST = ["lost on the way", "pipe cut before", "pipe cut, not arrived"]
# What happens to a request, and whether what became of it is asked for at once: most go well, as what comes after one
# of which nobody knows is refused.
faults = st.tuples(st.sampled_from([""] * len(FAULTS) * 2 + sorted(FAULTS)), st.sampled_from([True, True, False]))
Fault = tuple[str, bool]
RARE = [
    "flatten",
    "sweep",
    "ease",
    "ease",
    "restart",
    "let_lists_come",
    "find",
    "dispatch",
    "end_day",
    "reconcile",
    "charge_night",
    "flatten_all",
]
STRANGE = ["trade", "trade", "restop", "restop", "close", "rest", "reterm", "cancel"]
PUT = ["execute", "execute", "accept"]
kinds = st.sampled_from([OrderType.LIMIT, OrderType.LIMIT, OrderType.STOP, OrderType.STOP_LIMIT])
lives = st.sampled_from([TimeInForce.GTC, TimeInForce.GTC, TimeInForce.DAY, TimeInForce.GTD])
WITHIN = Decimal("0.0010")  # how much better than its trigger the limit of a stop limit is
sides = st.sampled_from(Side)
lots = st.sampled_from([Decimal(each) for each in ("0.01", "0.02", "0.05", "0.5")])
# How far from the price: hit by the next move, by the one after it, by none.
far = st.sampled_from([Decimal(each) for each in ("0.0030", "0.0150", "0.0500")])
depths = st.sampled_from(["0", "0", "0", "0.01"])  # lots that a quote offers, without an end or few
which_one = st.sampled_from([0, 0, 1])  # of the instruments of a life
near = st.sampled_from([Decimal(each) for each in ("0.0010", "0.0030", "0.0050")])  # within the collar
maybe_far = st.none() | far
named = st.sets(st.sampled_from(["stop_loss", "take_profit"]), min_size=1)
amounts = st.sampled_from([Decimal(each) for each in ("0.01", "50", "500", "5000", "-0.01", "-50", "-500", "-5000")])
PAID_IN = [mt5.DEAL_TYPE_BALANCE, mt5.DEAL_TYPE_CREDIT, mt5.DEAL_TYPE_BONUS]  # no result, whoever pays it
EARNED = [mt5.DEAL_TYPE_CHARGE, mt5.DEAL_TYPE_INTEREST]
