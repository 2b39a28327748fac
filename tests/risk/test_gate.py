"""Every check of the gate, at its exact limit and just beyond it."""

from dataclasses import fields, is_dataclass, replace
from decimal import Decimal
from typing import Any

import pytest

from risk.rules import gate
from risk.states import Group, LimitKind, LimitScope, StopLevel, Suspicion
from risk.types import Limit, Unknown
from tests.risk.evidence import PASSING, check_of, evidence

D = Decimal
COOLING = {"usage__failures": 3}
ONE_WAY = {"exposure__venue_one_way_max": D(5)}
WINDOW = {"policy__duplicate_window_s": 2}

# name of the check, facts at the limit (passes), facts just beyond it (fails), reason
EDGES: list[tuple[str, dict[str, Any], dict[str, Any], str]] = [
    ("USER_ACTIVE", {}, {"access__user_is_active": False}, "USER_NOT_ACTIVE"),
    ("PERMISSION", {}, {"access__may_trade": False}, "ROLE_MAY_NOT_TRADE"),
    ("ACCOUNT", {}, {"access__account_is_usable": False}, "ACCOUNT_NOT_USABLE"),
    ("STEP_UP", {"access__account_is_live": True, "access__stepped_up": True, "access__is_armed": True},
     {"access__account_is_live": True, "access__is_armed": True}, "STEP_UP_REQUIRED"),
    ("ARMED", {"access__account_is_live": True, "access__is_armed": True, "access__stepped_up": True},
     {"access__account_is_live": True, "access__stepped_up": True}, "LIVE_NOT_ARMED"),
    ("TRADING_STATE", {}, {"stop__level": StopLevel.REDUCE_ONLY}, "TRADING_REDUCE_ONLY"),
    ("TRADING_STATE", {}, {"stop__level": StopLevel.HALTED}, "TRADING_HALTED"),
    ("BROKER_LINK", {}, {"freshness__broker_fault": "BROKER_UNAVAILABLE"}, "BROKER_UNAVAILABLE"),
    ("SNAPSHOT_AGE", {"freshness__snapshot_age_s": D(10)}, {"freshness__snapshot_age_s": D("10.000001")},
     "SNAPSHOT_STALE"),
    ("RECONCILIATION_AGE", {"freshness__sight_age_s": D(180)}, {"freshness__sight_age_s": D("180.000001")},
     "RECONCILIATION_STALE"),
    ("UNKNOWN_ORDERS", {}, {"freshness__lost_orders": "NX1"}, "UNKNOWN_ORDER_ON_INSTRUMENT"),
    ("SYMBOL_FORMAT", {}, {"shape__symbol_fault": "SYMBOL_MALFORMED"}, "SYMBOL_MALFORMED"),
    ("AMOUNT", {}, {"shape__quantity_fault": "QUANTITY_OFF_STEP"}, "QUANTITY_OFF_STEP"),
    ("PRICE", {}, {"shape__price_fault": "PRICE_OFF_TICK"}, "PRICE_OFF_TICK"),
    ("INSTRUMENT", {}, {"shape__instrument_is_tradable": False}, "INSTRUMENT_NOT_TRADABLE"),
    ("ENTRY", {}, {"shape__entry_fault": "ENTRY_PRICE_WRONG_SIDE"}, "ENTRY_PRICE_WRONG_SIDE"),
    ("STOPS", {}, {"shape__stops_fault": "STOP_LOSS_TOO_NEAR"}, "STOP_LOSS_TOO_NEAR"),
    ("DUPLICATE", {"usage__twins": D(1)}, WINDOW | {"usage__twins": D(1)}, "DUPLICATE_ORDER"),
    ("QUOTE", {}, {"market__quote_fault": "QUOTE_STALE"}, "QUOTE_STALE"),
    ("PLAUSIBLE", {}, {"market__implausible": "QUOTE_OUTSIDE_BAND"}, "QUOTE_OUTSIDE_BAND"),
    ("PRICE_COLLAR", {"market__collar_used": D("0.005")}, {"market__collar_used": D("0.00500001")},
     "PRICE_OUTSIDE_COLLAR"),
    ("CONVERSION", {}, {"market__conversion_fault": "CONVERSION_UNAVAILABLE"}, "CONVERSION_UNAVAILABLE"),
    ("ORDER_QUANTITY_MAX", {"exposure__order_quantity": D(50)}, {"exposure__order_quantity": D("50.01")},
     "ORDER_QUANTITY_MAX_EXCEEDS_LIMIT"),
    ("ORDER_QUANTITY_MAX", {"exposure__venue_quantity_max": D("0.1")}, {"exposure__venue_quantity_max": D("0.09")},
     "ORDER_QUANTITY_MAX_EXCEEDS_LIMIT"),
    ("TRADE_VALUE_MIN", {"exposure__order_value": D("0.01")}, {"exposure__order_value": D("0.00")},
     "TRADE_VALUE_BELOW_MINIMUM"),
    ("TRADE_VALUE_MAX", {"exposure__order_value": D(1_000_000)}, {"exposure__order_value": D("1000000.01")},
     "TRADE_VALUE_MAX_EXCEEDS_LIMIT"),
    ("REDUCTION", {}, {"shape__reduction_fault": "QUANTITY_EXCEEDS_POSITION"}, "QUANTITY_EXCEEDS_POSITION"),
    ("POSITION_SIZE", {"exposure__position_now": D(0)}, {"exposure__position_now": D("0.00000001")},
     "POSITION_SIZE_EXCEEDS_LIMIT"),
    ("ONE_WAY_QUANTITY", ONE_WAY | {"exposure__one_way_now": D("4.9")}, ONE_WAY | {"exposure__one_way_now": D("4.91")},
     "ONE_WAY_QUANTITY_EXCEEDS_LIMIT"),
    ("POSITION_COUNT", {"exposure__positions_now": D(199)}, {"exposure__positions_now": D(200)},
     "POSITION_COUNT_EXCEEDS_LIMIT"),
    ("BOUNDED_LOSS", {}, {"exposure__order_risk": Unknown("STOP_LOSS_REQUIRED")}, "STOP_LOSS_REQUIRED"),
    ("DAILY_LOSS", {"exposure__loss_today": D("941.70")}, {"exposure__loss_today": D("941.71")},
     "DAILY_LOSS_EXCEEDS_LIMIT"),
    ("DAILY_LOSS", {"exposure__open_risk": D("941.70")}, {"exposure__open_risk": D("941.71")},
     "DAILY_LOSS_EXCEEDS_LIMIT"),
    ("DAILY_LOSS", {"exposure__reserved": D("941.70")}, {"exposure__reserved": D("941.71")},
     "DAILY_LOSS_EXCEEDS_LIMIT"),
    ("DAILY_QUANTITY", {"usage__quantity_today": D("999.9")}, {"usage__quantity_today": D("999.91")},
     "DAILY_QUANTITY_EXCEEDS_LIMIT"),
    ("DAILY_VALUE", {"usage__value_today": D("9989147.80")}, {"usage__value_today": D("9989147.81")},
     "DAILY_VALUE_EXCEEDS_LIMIT"),
    ("ORDERS_PER_DAY", {"usage__orders_today": D(999)}, {"usage__orders_today": D(1000)},
     "ORDERS_PER_DAY_EXCEEDS_LIMIT"),
    ("ORDERS_PER_HOUR", {"usage__orders_this_hour": D(99)}, {"usage__orders_this_hour": D(100)},
     "ORDERS_PER_HOUR_EXCEEDS_LIMIT"),
    ("MARGIN", {"exposure__margin_required": D(90_000)}, {"exposure__margin_required": D("90000.01")},
     "MARGIN_EXCEEDS_FREE"),
    ("MARGIN", {"exposure__margin_working": D("89891.47")}, {"exposure__margin_working": D("89891.48")},
     "MARGIN_EXCEEDS_FREE"),
    ("ORDERS_PER_SECOND", {"usage__orders_last_second": D(9)}, {"usage__orders_last_second": D(10)},
     "ORDERS_PER_SECOND_EXCEEDS_LIMIT"),
    ("COOLDOWN", COOLING | {"usage__failed_ago_s": D(300)}, COOLING | {"usage__failed_ago_s": D("299.999999")},
     "COOLDOWN_NOT_OVER"),
    ("COOLDOWN", {"usage__failures": 2, "usage__failed_ago_s": D(0)}, COOLING | {"usage__failed_ago_s": D(0)},
     "COOLDOWN_NOT_OVER"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "fits", "breaks", "reason"), EDGES)
def test_passes_at_the_limit_and_fails_just_beyond(name, fits, breaks, reason):
    at_the_limit, beyond = gate.judge(evidence(**fits)), gate.judge(evidence(**breaks))

    assert check_of(at_the_limit.checks, name).passed
    assert at_the_limit.allowed
    assert not check_of(beyond.checks, name).passed
    assert not beyond.allowed
    assert beyond.reason == reason


def test_each_rule_of_the_gate_is_held_at_its_edge_here():
    ports = {"BALANCE"}  # no account is funded by a wallet yet
    told = {suspicion.value for suspicion in Suspicion}

    assert {rule.name for rule in gate.GATE} == {name for name, *_ in EDGES} | ports | told


def test_all_checks_are_evaluated_in_the_order_of_the_reference():
    verdict = gate.judge(evidence(stop__level=StopLevel.HALTED, usage__orders_today=D(1000)))

    groups = [rule.group for rule in gate.GATE]
    assert groups == sorted(groups)
    assert set(groups) == set(Group)
    assert [check.name for check in verdict.checks] == [rule.name for rule in gate.GATE]
    assert verdict.reason == "TRADING_HALTED"
    assert [check.reason for check in verdict.checks if not check.passed] == [
        "TRADING_HALTED",
        "ORDERS_PER_DAY_EXCEEDS_LIMIT",
    ]


def test_the_gate_of_real_money_is_in_the_table():
    names = [rule.name for rule in gate.GATE]

    assert set(gate.REAL_MONEY_GATE) <= set(names)
    assert len(gate.REAL_MONEY_GATE) == 11
    assert set(gate.LIMITS) <= set(names)


@pytest.mark.parametrize("kind", [kind for kind in LimitKind if kind is not LimitKind.ORDER_QUANTITY_MAX])
def test_a_limit_that_nobody_set_refuses(kind):
    verdict = gate.judge(evidence(limits={k: v for k, v in PASSING.limits.items() if k is not kind}))

    assert verdict.reason == f"{kind}_NOT_SET"


def test_without_a_limit_of_ours_the_venues_largest_order_is_the_limit():
    ours = {k: v for k, v in PASSING.limits.items() if k is not LimitKind.ORDER_QUANTITY_MAX}

    assert gate.judge(evidence(limits=ours, exposure__order_quantity=D(100))).allowed
    too_much = gate.judge(evidence(limits=ours, exposure__order_quantity=D("100.01")))
    assert too_much.reason == "ORDER_QUANTITY_MAX_EXCEEDS_LIMIT"
    nobody = gate.judge(evidence(limits=ours, exposure__venue_quantity_max=None))
    assert nobody.reason == "ORDER_QUANTITY_MAX_NOT_SET"


UNKNOWABLE = [
    f"{part}__{field.name}"
    for part in ("freshness", "market", "exposure", "usage")
    if is_dataclass(getattr(PASSING, part))
    for field in fields(getattr(PASSING, part))
    if "Figure" in str(field.type) or "Unknown" in str(field.type)
]


@pytest.mark.parametrize("fact", UNKNOWABLE)
def test_a_fact_that_nobody_knows_refuses_with_its_own_reason_and_never_crashes(fact):
    verdict = gate.judge(evidence(**{fact: Unknown("FACT_IS_MISSING", "why")}))

    assert not verdict.allowed
    assert verdict.reason == "FACT_IS_MISSING"
    assert len(verdict.checks) == len(gate.GATE)


def test_there_are_facts_that_can_be_missing():
    assert len(UNKNOWABLE) == 16


def test_nothing_known_at_all_is_a_refusal_with_every_check_in_it():
    facts = {fact: Unknown("BROKER_UNAVAILABLE") for fact in UNKNOWABLE}

    verdict = gate.judge(evidence(freshness__broker_fault="BROKER_UNAVAILABLE", **facts))

    assert verdict.reason == "BROKER_UNAVAILABLE"
    assert len(verdict.checks) == len(gate.GATE)
    assert all(check.reason == "BROKER_UNAVAILABLE" for check in verdict.checks if not check.passed)


REDUCING_HELD = [
    ({"access__user_is_active": False}, "USER_NOT_ACTIVE"),
    ({"stop__level": StopLevel.HALTED}, "TRADING_HALTED"),
    ({"freshness__broker_fault": "BROKER_UNAVAILABLE"}, "BROKER_UNAVAILABLE"),
    ({"shape__reduction_fault": "QUANTITY_EXCEEDS_POSITION"}, "QUANTITY_EXCEEDS_POSITION"),
    ({"market__quote_fault": "QUOTE_STALE"}, "QUOTE_STALE"),
    ({"usage__orders_last_second": D(10)}, "ORDERS_PER_SECOND_EXCEEDS_LIMIT"),
]


@pytest.mark.parametrize(("facts", "reason"), REDUCING_HELD)
def test_what_only_reduces_is_still_held_by(facts, reason):
    assert gate.judge(evidence(is_reducing=True, **facts)).reason == reason


@pytest.mark.parametrize(
    "facts",
    [
        {"freshness__lost_orders": "NX1"}, {"exposure__order_quantity": D(99)},
        {"stop__level": StopLevel.REDUCE_ONLY}, {"access__may_trade": False}, {"access__account_is_live": True},
        {"freshness__sight_age_s": D(1000)}, {"exposure__order_value": D("0.001")},
        {"exposure__loss_today": D(100_000)}, {"exposure__position_now": D(10**9)}, {"usage__value_today": D(10**9)},
        {"usage__quantity_today": D(10**9)}, {"usage__orders_today": D(10**9)}, {"usage__orders_this_hour": D(10**9)},
        {"exposure__margin_free": D(0)}, COOLING, {"exposure__order_risk": Unknown("STOP_LOSS_REQUIRED")},
    ],
)  # fmt: skip
def test_what_only_reduces_is_not_held_by(facts):
    verdict = gate.judge(evidence(is_reducing=True, **facts))

    assert verdict.allowed
    assert len(verdict.checks) == len(gate.GATE)


SUSPICIOUS: list[tuple[Suspicion, dict[str, Any], dict[str, Any]]] = [
    (Suspicion.BURST, {"usage__burst": 18}, {"usage__burst": 19}),
    (Suspicion.UNUSUAL_SIZE, {"usage__past_orders": 10, "usage__past_value": D("10852.20")},
     {"usage__past_orders": 10, "usage__past_value": D("10852.19")}),
    (Suspicion.UNUSUAL_SIZE, {"usage__past_orders": 9, "usage__past_value": D(9)},
     {"usage__past_orders": 10, "usage__past_value": D(10)}),
    (Suspicion.OPPOSITE_ORDERS, {}, {"usage__opposites": 1}),
    (Suspicion.NEW_NETWORK, {"access__knows_network": False, "exposure__order_value": D("49999.99")},
     {"access__knows_network": False, "exposure__order_value": D(50_000)}),
    (Suspicion.NEW_NETWORK, {"access__knows_network": True, "exposure__order_value": D(50_000)},
     {"access__knows_network": False, "exposure__order_value": D(50_000)}),
]  # fmt: skip


@pytest.mark.parametrize(("suspicion", "quiet", "loud"), SUSPICIOUS)
def test_a_suspicion_is_told_and_passes_unless_it_is_to_be_reviewed(suspicion, quiet, loud):
    assert gate.judge(evidence(**quiet)).suspicions == ()
    told = gate.judge(evidence(**loud))
    assert [check.suspicion for check in told.suspicions] == [suspicion]
    assert told.allowed

    reviewed = gate.judge(evidence(**loud, policy__reviewed=frozenset({suspicion})))
    assert reviewed.reason == "REVIEW_DEMANDED"
    assert [check.suspicion for check in reviewed.suspicions] == [suspicion]
    others = frozenset(Suspicion) - {suspicion}
    assert gate.judge(evidence(**loud, policy__reviewed=others)).allowed


def test_the_verdict_carries_every_limit_with_usage_and_headroom():
    verdict = gate.judge(
        evidence(exposure__loss_today=D(100), exposure__open_risk=D(200), exposure__reserved=D("0.5"))
    )  # fmt: skip

    loss = check_of(verdict.checks, "DAILY_LOSS").as_dict()
    assert (loss["limit"], loss["used"], loss["asked"], loss["headroom"]) == ("1000", "300.5", "58.3", "699.5")
    margin = check_of(verdict.checks, "MARGIN").as_dict()
    assert (margin["limit"], margin["used"], margin["asked"]) == ("90000", "0", "108.53")


def test_an_instruments_own_collar_is_the_tighter_one():
    own = Limit(LimitKind.PRICE_COLLAR, D("0.0005"), LimitScope.INSTRUMENT)

    verdict = gate.judge(replace(PASSING, limits={**PASSING.limits, LimitKind.PRICE_COLLAR: own}))

    assert verdict.reason == "PRICE_OUTSIDE_COLLAR"
    assert check_of(verdict.checks, "PRICE_COLLAR").scope == "INSTRUMENT"
