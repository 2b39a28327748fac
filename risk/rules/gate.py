"""The gate: every pre-trade check, in the one order that decides which failure is named.

Source: execution reference §5. All are always evaluated; none accepts early; nothing is resized. Where a fact is
missing, its checks fail with the reason that it is missing for.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

from risk.rules import amounts, conduct, market
from risk.states import Group
from risk.types import Check, Evidence, Exposure, Verdict


class Rule(NamedTuple):
    """One named check. `holds_reducing` tells whether it also holds back what only reduces, `holds_change` whether it
    also judges new terms of an order that stands.
    """

    group: Group
    name: str
    judge: Callable[[Evidence], Check]
    holds_reducing: bool = True
    holds_change: bool = True


GATE: tuple[Rule, ...] = (
    Rule(Group.ACCESS, "USER_ACTIVE", market.user_active),
    Rule(Group.ACCESS, "PERMISSION", market.permission),
    Rule(Group.ACCESS, "ACCOUNT", market.account),
    Rule(Group.ACCESS, "STEP_UP", market.step_up),
    Rule(Group.ACCESS, "ARMED", market.armed),
    Rule(Group.STOP_STATE, "TRADING_STATE", market.stop_state),
    Rule(Group.FRESHNESS, "BROKER_LINK", market.broker_link),
    Rule(Group.FRESHNESS, "SNAPSHOT_AGE", market.snapshot_age),
    Rule(Group.FRESHNESS, "RECONCILIATION_AGE", market.sight_age, holds_reducing=False),
    Rule(Group.FRESHNESS, "UNKNOWN_ORDERS", market.lost_orders, holds_reducing=False),
    Rule(Group.SHAPE, "SYMBOL_FORMAT", market.symbol_format),
    Rule(Group.SHAPE, "AMOUNT", market.amount, holds_change=False),
    Rule(Group.SHAPE, "PRICE", market.price),
    Rule(Group.SHAPE, "INSTRUMENT", market.instrument, holds_reducing=False),
    Rule(Group.SHAPE, "ENTRY", market.entry),
    Rule(Group.SHAPE, "STOPS", market.stops),
    Rule(Group.DUPLICATES, "DUPLICATE", market.duplicate, holds_change=False),
    Rule(Group.QUOTE, "QUOTE", market.quote),
    Rule(Group.QUOTE, "PLAUSIBLE", market.plausible, holds_reducing=False),
    Rule(Group.QUOTE, "PRICE_COLLAR", market.price_collar),
    Rule(Group.QUOTE, "CONVERSION", market.conversion, holds_reducing=False),
    Rule(Group.ORDER_SIZE, "ORDER_QUANTITY_MAX", amounts.quantity_max, holds_reducing=False, holds_change=False),
    Rule(Group.ORDER_SIZE, "TRADE_VALUE_MIN", amounts.value_min, holds_reducing=False),
    Rule(Group.ORDER_SIZE, "TRADE_VALUE_MAX", amounts.value_max, holds_reducing=False),
    Rule(Group.POSITION, "REDUCTION", amounts.reduction, holds_change=False),
    Rule(Group.POSITION, "POSITION_SIZE", amounts.position_size, holds_reducing=False, holds_change=False),
    Rule(Group.POSITION, "ONE_WAY_QUANTITY", amounts.one_way, holds_reducing=False, holds_change=False),
    Rule(Group.POSITION, "POSITION_COUNT", amounts.position_count, holds_reducing=False, holds_change=False),
    Rule(Group.DAILY, "BOUNDED_LOSS", amounts.bounded_loss, holds_reducing=False),
    Rule(Group.DAILY, "DAILY_LOSS", amounts.daily_loss, holds_reducing=False),
    Rule(Group.DAILY, "DAILY_QUANTITY", amounts.daily_quantity, holds_reducing=False, holds_change=False),
    Rule(Group.DAILY, "DAILY_VALUE", amounts.daily_value, holds_reducing=False),
    Rule(Group.DAILY, "ORDERS_PER_DAY", amounts.orders_per_day, holds_reducing=False, holds_change=False),
    Rule(Group.DAILY, "ORDERS_PER_HOUR", amounts.orders_per_hour, holds_reducing=False, holds_change=False),
    Rule(Group.FUNDS, "BALANCE", amounts.balance, holds_reducing=False, holds_change=False),
    Rule(Group.FUNDS, "MARGIN", amounts.margin, holds_reducing=False),
    Rule(Group.CONDUCT, "ORDERS_PER_SECOND", conduct.orders_per_second, holds_change=False),
    Rule(Group.CONDUCT, "COOLDOWN", conduct.cooldown, holds_reducing=False, holds_change=False),
    Rule(Group.CONDUCT, "BURST", conduct.burst, holds_change=False),
    Rule(Group.CONDUCT, "UNUSUAL_SIZE", conduct.unusual_size, holds_change=False),
    Rule(Group.CONDUCT, "OPPOSITE_ORDERS", conduct.opposite_orders, holds_change=False),
    Rule(Group.CONDUCT, "NEW_NETWORK", conduct.new_network, holds_change=False),
)

# What the brief asks of every order with real money, by the names above, in the brief's own order.
REAL_MONEY_GATE = (
    "USER_ACTIVE", "AMOUNT", "PRICE", "SYMBOL_FORMAT", "DAILY_VALUE", "ORDERS_PER_HOUR", "COOLDOWN", "BALANCE",
    "BROKER_LINK", "TRADING_STATE", "STEP_UP",
)  # fmt: skip

# What `GET /trading/limits` shows: every check that has a limit to use up.
LIMITS = (
    "ORDER_QUANTITY_MAX", "TRADE_VALUE_MIN", "TRADE_VALUE_MAX", "PRICE_COLLAR", "POSITION_SIZE", "ONE_WAY_QUANTITY",
    "POSITION_COUNT", "DAILY_LOSS", "DAILY_QUANTITY", "DAILY_VALUE", "ORDERS_PER_DAY", "ORDERS_PER_HOUR", "MARGIN",
    "ORDERS_PER_SECOND", "COOLDOWN",
)  # fmt: skip


def judge(evidence: Evidence) -> Verdict:
    """Judge an order by every rule of the gate."""
    return Verdict(tuple(_apply(rule, evidence) for rule in GATE))


def judge_change(evidence: Evidence, *, added: Exposure) -> Verdict:
    """Judge new terms of an order that stands: as the order that it would be, and by what it adds to the day.

    Takes: `added`, the exposure with what the order would risk and be worth beyond what it does now.
    """
    day = replace(evidence, exposure=added)
    rules = (rule for rule in GATE if rule.holds_change)
    return Verdict(tuple(_apply(rule, day if rule.group is Group.DAILY else evidence) for rule in rules))


def _apply(rule: Rule, evidence: Evidence) -> Check:
    if evidence.is_reducing and not rule.holds_reducing:
        return Check(rule.name, "", passed=True, detail="does not hold back what only reduces")
    check = rule.judge(evidence)
    assert check.name == rule.name
    return check
