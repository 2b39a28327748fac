"""Whether one order may be sent: every check of the gate, judged under the lock of the user's day."""

from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal

from nexus.alerts.services import alerts
from nexus.alerts.states import Severity
from risk.rules import gate
from risk.rules.limits import at_most, plus
from risk.services import limits
from risk.states import LimitKind
from risk.types import Check, Figure, Unknown, Verdict
from trading.models import TradeLedger, TradingAccount
from trading.rules import ZERO
from trading.services import aside, balances, books, evidence, exposure
from trading.services.evidence import Question
from trading.services.facts import Facts
from trading.types import OrderIntent, Reservation


@dataclass(frozen=True, slots=True)
class Judgement:
    """The verdict with every check, and what to reserve when it allows the order."""

    verdict: Verdict
    reservation: Reservation | None
    adds_nothing: bool = False  # of a change: what holds new exposure back does not hold it


def judge(question: Question) -> Judgement:
    """Judge an order and tell people what looks suspicious about it.

    The caller holds the user's day; what it guards is read here, in later statements. The stop is read once more, under
    its own lock, before anything is marked.
    """
    found, reservation = evidence.gather(question)
    verdict = gate.judge(found)
    for check in verdict.suspicions:
        alerts.open_alert(
            severity=Severity.WARNING,
            kind=f"SUSPICION_{check.name}",
            dedupe_key=f"suspicion:{check.name}:{question.user.public_id}",
            text=f"{question.account}, {question.intent.symbol}: {check.detail}.",
            object_type="user",
            object_id=str(question.user.public_id),
            at=question.at,
        )
    return Judgement(verdict, reservation if verdict.allowed else None)


def judge_change(question: Question, *, order: TradeLedger) -> Judgement:
    """Judge new terms of a working order by the gate's rules: whole where a rule looks at one order, and by what they
    add where it looks at the day. The caller holds the same locks, and the order's.

    What leaves the price it waits at and adds no risk only reduces: what holds new exposure back does not hold it.
    """
    found, reservation = evidence.gather(replace(question, changed_id=order.pk))
    if reservation is None:
        return Judgement(gate.judge_change(found, added=found.exposure), None)
    reservation = _as_it_stands(reservation, wanted=question.intent, order=order)
    risk: Figure = max(ZERO, reservation.risk - order.risk)
    if isinstance(found.exposure.order_risk, Unknown):
        risk = found.exposure.order_risk  # it has no bound
    is_moved = _is_moved(question.intent, order=order)
    found = replace(
        found,
        is_reducing=not is_moved and risk == ZERO and not found.market.conversion_fault,
        exposure=replace(
            found.exposure,
            order_value=reservation.value,
        ),
        market=found.market if is_moved else replace(found.market, collar_used=ZERO),
    )
    added = replace(found.exposure, order_risk=risk, order_value=max(ZERO, reservation.value - order.value))
    verdict = gate.judge_change(found, added=added)
    return Judgement(verdict, reservation if verdict.allowed else None, adds_nothing=found.is_reducing)


def _as_it_stands(reservation: Reservation, *, wanted: OrderIntent, order: TradeLedger) -> Reservation:
    """Leave what the change does not touch as it was reserved: a market that has moved is no part of the change."""
    if _is_moved(wanted, order=order):
        return reservation
    if wanted.stop_loss == order.stop_loss:
        reservation = replace(reservation, risk=order.risk, restopped=order.restopped)
    return replace(reservation, value=order.value)


def _is_moved(wanted: OrderIntent, *, order: TradeLedger) -> bool:
    """Tell whether an order is to wait at another price; a trigger that was touched is wanted by nobody any more."""
    is_triggered = wanted.stop_price is None
    return wanted.limit_price != order.limit_price or not (is_triggered or wanted.stop_price == order.stop_price)


def judge_more_risk(
    *,
    account: TradingAccount,
    extra: Decimal,
    symbol: str,
    facts: Facts,
    in_doubt: list[TradeLedger],
    at: datetime,
) -> Check:
    """Judge whether the day's loss has room for `extra` USD more, as for an order. The caller holds the same locks."""
    starts = balances.starts(facts, at=at)
    stands = exposure.standing(facts, in_doubt=in_doubt, starts=starts, at=at)
    changing = books.changing_risk(user_id=account.user_id, facts=facts, in_doubt=in_doubt)
    profile = limits.in_force(user_id=account.user_id, account_id=account.pk, symbol=symbol)
    seen = [each.account.pk for each in facts.accounts]
    put_aside = aside.cost(user_id=account.user_id, trading_date=at.date(), seen=seen)
    used = plus(stands.loss_today, stands.open_risk, stands.reserved + changing, put_aside)
    return at_most(profile, LimitKind.DAILY_LOSS, used=used, asked=extra)
