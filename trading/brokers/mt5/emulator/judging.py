"""Judge a request: its code, and what is to be done if the code says that it is done."""

from dataclasses import replace

from trading.brokers.mt5.emulator import checks, orders, pending
from trading.brokers.mt5.emulator import constants as mt5
from trading.brokers.mt5.emulator.books import Plan
from trading.brokers.mt5.emulator.case import LIMITS, Case
from trading.brokers.mt5.emulator.matching import Execution
from trading.brokers.mt5.emulator.rates import NoRateError
from trading.brokers.mt5.emulator.records import WorkingOrder
from trading.brokers.mt5.emulator.scene import Scene

DONE = (mt5.TRADE_RETCODE_DONE, mt5.TRADE_RETCODE_DONE_PARTIAL, mt5.TRADE_RETCODE_PLACED)
ABOUT_ORDERS = (mt5.TRADE_ACTION_MODIFY, mt5.TRADE_ACTION_REMOVE)
RESTS = (mt5.ORDER_FILLING_RETURN, mt5.ORDER_FILLING_BOC)
Verdict = tuple[int, Plan]


def judge(case: Case, scene: Scene, reason: int) -> Verdict:
    """Return the code of a request and its plan; a refusal's plan is empty."""
    refusal = checks.first_refusal(case)
    if refusal is not None:
        return refusal, Plan()
    if case.is_removal:
        return _remove(case, scene)
    if case.is_about_order:
        return _modify(case)
    try:
        if case.is_deal:
            return _trade(case, scene, orders.from_request(case, scene, reason))
        if case.is_pending:
            return _place(case, scene, orders.from_request(case, scene, reason))
        if case.is_close_by:
            execution = Execution(scene, case.profile, case.symbol)
            plan = execution.close_by(orders.close_by(case, scene, reason), case.target, case.counterpart)
            return mt5.TRADE_RETCODE_DONE, plan
        return _move_stops(case, scene)
    except NoRateError:
        return mt5.TRADE_RETCODE_PRICE_OFF, Plan()


def _trade(case: Case, scene: Scene, order: WorkingOrder) -> Verdict:
    """Execute a market order, or the part of a limit order that crosses the market."""
    fills = scene.fills(order, case.quote, limit=pending.limit_of(order))
    rest = order.volume_current - sum(each.volume for each in fills)
    rest_works = order.type_filling in RESTS or order.type in LIMITS
    if not rest_works and (not fills or (rest and order.type_filling == mt5.ORDER_FILLING_FOK)):
        return mt5.TRADE_RETCODE_REJECT, Plan()
    execution = Execution(scene, case.profile, case.symbol)
    plan = execution.plan(order, case.position, fills, rest_works=rest_works)
    if not scene.is_affordable(case.books, plan):
        return mt5.TRADE_RETCODE_NO_MONEY, Plan()
    if rest:
        return (mt5.TRADE_RETCODE_DONE_PARTIAL if fills else mt5.TRADE_RETCODE_PLACED), plan
    return mt5.TRADE_RETCODE_DONE, plan


def _place(case: Case, scene: Scene, order: WorkingOrder) -> Verdict:
    if order.type in LIMITS and pending.crosses(order, case.quote):
        if order.type_filling == mt5.ORDER_FILLING_BOC:
            return mt5.TRADE_RETCODE_REJECT, Plan()
        return _trade(case, scene, order)
    plan = Plan(working=order)
    if not scene.is_affordable(case.books, plan):
        return mt5.TRADE_RETCODE_NO_MONEY, Plan()
    return mt5.TRADE_RETCODE_DONE, plan


def _modify(case: Case) -> Verdict:
    order = orders.changed(case)
    if order == case.waiting:
        return mt5.TRADE_RETCODE_NO_CHANGES, Plan()
    return mt5.TRADE_RETCODE_DONE, Plan(working=order)


def _remove(case: Case, scene: Scene) -> Verdict:
    execution = Execution(scene, case.profile, case.symbol)
    order = execution.finished(case.waiting, mt5.ORDER_STATE_CANCELED)
    return mt5.TRADE_RETCODE_DONE, Plan(order=order, gone=(order.ticket,))


def _move_stops(case: Case, scene: Scene) -> Verdict:
    position, (sl, tp) = case.target, case.stops
    if (position.sl, position.tp) == (sl, tp):
        return mt5.TRADE_RETCODE_NO_CHANGES, Plan()
    return mt5.TRADE_RETCODE_DONE, Plan(kept=(replace(position, sl=sl, tp=tp, update_us=scene.now_us),))
