"""Whether one order may be sent: every check of the gate, judged under the lock of the user's day."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from nexus.alerts.services import alerts
from nexus.alerts.states import Severity
from risk.rules import gate
from risk.rules.limits import at_most, plus
from risk.services import limits, stats
from risk.states import LimitKind
from risk.types import Check, Verdict
from trading import selectors
from trading.models import TradeLedger, TradingAccount
from trading.services import evidence, exposure
from trading.services.evidence import Question
from trading.services.facts import Facts
from trading.types import Reservation


@dataclass(frozen=True, slots=True)
class Judgement:
    """The verdict with every check, and what to reserve when it allows the order."""

    verdict: Verdict
    reservation: Reservation | None


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
    ids = [each.account.pk for each in facts.accounts]
    starts = stats.equity_at_start(account_ids=ids, trading_date=at.date())
    stands = exposure.standing(facts, in_doubt=in_doubt, starts=starts, at=at)
    changing = selectors.changing_risk(user_id=account.user_id, since=facts.read_at)
    profile = limits.in_force(user_id=account.user_id, account_id=account.pk, symbol=symbol)
    used = plus(stands.loss_today, stands.open_risk, stands.reserved + changing)
    return at_most(profile, LimitKind.DAILY_LOSS, used=used, asked=extra)
