"""Make the orders that the broker executes: from a request, or to close a position by its own rules."""

from dataclasses import replace

from trading.brokers.mt5.emulator import constants as mt5
from trading.brokers.mt5.emulator.case import Case
from trading.brokers.mt5.emulator.records import SELL, Position, WorkingOrder
from trading.brokers.mt5.emulator.scene import Scene


def from_request(case: Case, scene: Scene, reason: int) -> WorkingOrder:
    """Return a new order, before anything of it is filled."""
    request, (sl, tp) = case.request, case.stops
    is_pending = case.is_pending
    if case.is_deal and case.is_closing:
        sl = tp = 0
    return WorkingOrder(
        ticket=scene.next_order, login=case.profile.login, setup_us=scene.now_us, done_us=0, type=request.type,
        type_filling=request.type_filling, type_time=request.type_time, state=mt5.ORDER_STATE_PLACED,
        magic=request.magic, position_id=0, reason=reason, volume_initial=case.volume, volume_current=case.volume,
        price=case.price if is_pending else 0, sl=sl, tp=tp, symbol=request.symbol,
        comment=case.profile.keep_comment(request.comment), visible_us=scene.now_us,
        stoplimit=case.stoplimit if is_pending else 0, expires_us=case.expires_us if is_pending else 0,
    )  # fmt: skip


def changed(case: Case) -> WorkingOrder:
    """Return a working order with the levels and the expiry of a request to modify it."""
    order, (sl, tp) = case.waiting, case.stops
    return replace(
        order, price=case.price, stoplimit=case.stoplimit, sl=sl, tp=tp, type_time=case.request.type_time,
        expires_us=case.expires_us,
    )  # fmt: skip


def close_by(case: Case, scene: Scene, reason: int) -> WorkingOrder:
    """Return the order that closes two positions against each other."""
    first, second = case.target, case.counterpart
    volume = min(first.volume, second.volume)
    return WorkingOrder(
        ticket=scene.next_order, login=case.profile.login, setup_us=scene.now_us, done_us=0,
        type=mt5.ORDER_TYPE_CLOSE_BY, type_filling=0, type_time=0, state=mt5.ORDER_STATE_PLACED,
        magic=case.request.magic, position_id=first.identifier, reason=reason, volume_initial=volume,
        volume_current=volume, price=0, sl=0, tp=0, symbol=first.symbol,
        comment=case.profile.keep_comment(case.request.comment), visible_us=scene.now_us,
        position_by_id=second.identifier,
    )  # fmt: skip


def closing(position: Position, scene: Scene, *, reason: int, comment: str, keeps_magic: bool) -> WorkingOrder:
    """Return the order that closes a whole position, under the position's own magic or, at some brokers, under none."""
    return WorkingOrder(
        ticket=scene.next_order, login=position.login, setup_us=scene.now_us, done_us=0, type=SELL - position.type,
        type_filling=mt5.ORDER_FILLING_IOC, type_time=mt5.ORDER_TIME_GTC, state=mt5.ORDER_STATE_PLACED,
        magic=position.magic if keeps_magic else 0, position_id=position.identifier, reason=reason,
        volume_initial=position.volume,
        volume_current=position.volume, price=0, sl=0, tp=0, symbol=position.symbol, comment=comment,
        visible_us=scene.now_us,
    )  # fmt: skip
