"""What a run leaves behind, in one transaction: corrections, the log, sightings, reviews, alerts, the account's state.

`fail` is the same for a run that came to nothing.
"""

import uuid
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from django.conf import settings
from django.db import transaction

from nexus.alerts.services import alerts
from nexus.alerts.states import Severity
from nexus.audit.types import Actor
from nexus.core import money
from reconciliation import rules
from reconciliation.models import Cycle, ReconciliationLog, Sighting
from reconciliation.services import policy, reviews, stops
from reconciliation.states import Action, Entry, Impact, Status, Trigger
from reconciliation.types import Finding, Outcome, Verdict
from risk.services import sights
from trading.services import comparison, corrections
from trading.services.accounts import Account
from trading.services.corrections import BooksMoved, NoPrice, Origin
from trading.states import CorrectionKind
from trading.types import Difference

FLEET_KEY = "fleet-discrepancy"


@dataclass(frozen=True, slots=True)
class Run:
    """One run: of which account, who made it, and as of which broker state."""

    account: Account
    run_id: uuid.UUID
    trigger: Trigger
    at: datetime
    actor: Actor
    as_of: str = ""
    read_at: datetime | None = None  # the database's clock before the broker was asked
    full_at: datetime | None = None  # when the whole history was read
    new_fills: int = 0


@transaction.atomic(durable=True)
def open_books(run: Run, differences: list[Difference], *, missing: Decimal, balance: Decimal) -> list[Difference]:
    """Book what stood at the broker before us, once for an account; return the differences that this does not explain.

    Where we have sent orders already, a position that no deal explains is a difference like any other.
    """
    account = run.account
    origin = Origin(CorrectionKind.OPENING, "It stood at the broker before us.", run.actor, run.as_of or "opening")
    corrections.restate_cash(account, missing, balance=balance, origin=origin, at=run.at)
    if not corrections.is_untouched(account):
        return differences
    rows = []
    for each in differences:
        corrections.restate(account, each, origin=origin, at=run.at)
        finding = Finding(each.key, each.symbol, each, rules.ZERO, None)
        rows.append(_row(run, finding, Action.OPENED, reason=origin.reason, impact=Impact.LOW))
    ReconciliationLog.objects.bulk_create(rows)
    return []


@transaction.atomic(durable=True)
def conclude(run: Run, findings: list[Finding], verdict: Verdict, *, balance: Decimal) -> Outcome:
    """Write down a complete run and do what its verdict says, all of it or nothing."""
    account, at = run.account, run.at
    cycle = _locked_cycle(account, at=at)
    done = [
        (finding, *_act(run, finding, action, balance=balance))
        for finding, action in zip(findings, verdict.actions, strict=True)
    ]
    pairs = [(finding, action) for finding, action, _, _ in done]
    impact = rules.impact(None if verdict.is_unvalued else verdict.total, policy=policy.current())
    ReconciliationLog.objects.bulk_create(
        [
            *(_row(run, finding, action, reason=why, correction_ids=made) for finding, action, why, made in done),
            _run_row(run, pairs, verdict, impact=impact),
        ]
    )
    _remember(account, pairs, at=at)
    reviews.follow(account, pairs, run_id=run.run_id, at=at)
    cycle.failures, cycle.last_run, cycle.succeeded_at, cycle.ran_at = 0, run.run_id, at, _served(cycle, at)
    cycle.discrepancy_usd, cycle.is_unvalued = verdict.total, verdict.is_unvalued
    cycle.full_at = run.full_at
    cycle.save()
    found = None if verdict.is_unvalued else verdict.total
    sights.note(account_id=account.pk, seen_at=run.read_at, discrepancy=found)
    _tell(run, pairs, verdict)
    return Outcome(
        account.pk,
        account.public_id,
        Status.DIFFERENT if findings else Status.CLEAN,
        run.run_id,
        discrepancy_usd=verdict.total,
        is_unvalued=verdict.is_unvalued,
        risk_impact=impact,
        new_fills=run.new_fills,
        findings=tuple(pairs),
    )


def fail(run: Run, *, detail: str) -> Outcome:
    """Count a run that came to nothing; the third in a row stops trading on the account."""
    return _failed(run, _fail(run, detail=detail, ended_at=run.at), detail=detail)


def miss(run: Run, *, detail: str) -> Outcome:
    """Count a slot that nobody ran to its end, as a failure like any other."""
    return _failed(run, _fail(run, detail=detail, ended_at=None), detail=detail)


def _failed(run: Run, failures: int, *, detail: str) -> Outcome:
    account = run.account
    is_too_many = failures >= settings.MAX_CONSECUTIVE_FAILURES
    if is_too_many:
        reason = f"Reconciliation failed {failures} times in a row: {detail}"[:500]
        stops.stop_for_failures(account, reason=reason, at=run.at)
    impact = Impact.HIGH if is_too_many else Impact.MEDIUM
    return Outcome(account.pk, account.public_id, Status.FAILED, run.run_id, detail=detail, risk_impact=impact)


@transaction.atomic(durable=True)
def _fail(run: Run, *, detail: str, ended_at: datetime | None) -> int:
    account, at = run.account, run.at
    cycle = _locked_cycle(account, at=at)
    cycle.failures += 1
    cycle.ran_at = cycle.ran_at if ended_at is None else _served(cycle, ended_at)
    cycle.save(update_fields=["failures", "ran_at"])
    stops_now = cycle.failures >= settings.MAX_CONSECUTIVE_FAILURES
    ReconciliationLog.objects.create(
        run_id=run.run_id, entry=Entry.RUN, account=account, trigger=run.trigger, status=Status.FAILED,
        risk_impact=Impact.HIGH if stops_now else Impact.MEDIUM,
        action=Action.TRADING_STOPPED if stops_now else Action.NONE, reason=detail[:500],
        evidence={"failures": cycle.failures}, made_by=run.actor.id, at=at,
    )  # fmt: skip
    alerts.open_alert(
        severity=Severity.CRITICAL if stops_now else Severity.WARNING,
        kind="RECONCILIATION_STOPPED" if stops_now else "RECONCILIATION_FAILED",
        dedupe_key=f"reconciliation-{'stopped' if stops_now else 'failed'}:{account.pk}",
        text=f"{account}: reconciliation failed, {cycle.failures} in a row. {detail}",
        object_type="trading_account",
        object_id=str(account.public_id),
        at=at,
    )
    return cycle.failures


@transaction.atomic(durable=True)
def tell_fleet(*, is_off: bool, at: datetime) -> None:
    """Alert people that the sum of all discrepancies stops all trading, until it no longer would."""
    if not is_off:
        alerts.close_alert(dedupe_key=FLEET_KEY, at=at)
        return
    alerts.open_alert(
        severity=Severity.CRITICAL, kind="FLEET_DISCREPANCY", dedupe_key=FLEET_KEY, at=at,
        text="All accounts together differ from their brokers by too much: all trading is stopped.",
    )  # fmt: skip


def _locked_cycle(account: Account, *, at: datetime) -> Cycle:
    Cycle.objects.bulk_create([Cycle(account=account, due_at=at)], ignore_conflicts=True)
    return Cycle.objects.select_for_update(of=("self",), no_key=True).get(account=account)


def _served(cycle: Cycle, at: datetime) -> datetime:
    """Return what a run that has ended just now counts as begun: the slot that came meanwhile found it under way."""
    return at if cycle.handed_at is None else max(at, cycle.handed_at)


def _act(run: Run, finding: Finding, action: Action, *, balance: Decimal) -> tuple[Action, str, list[str]]:
    """Correct what is to be corrected; return what was done, why not, and the entries that were made."""
    if action is not Action.BROKER_SYNCED:
        return action, "", []
    origin = Origin(CorrectionKind.AUTOMATIC, "The same in two complete runs.", run.actor, run.as_of)
    try:
        if finding.position is None:
            if comparison.has_told_late(run.account, since=run.at):
                return Action.EXCLUDED, "Money was booked meanwhile that may be this very difference.", []
            made = [corrections.restate_cash(run.account, finding.amount, balance=balance, origin=origin, at=run.at)]
        else:
            made = corrections.restate(run.account, finding.position, origin=origin, at=run.at)
    except BooksMoved as exc:
        return Action.EXCLUDED, exc.detail, []
    except NoPrice as exc:
        return Action.REVIEW, exc.detail, []
    made = [name for name in made if name]
    if not made:
        return Action.REVIEW, "This very correction was booked before, and has not helped.", []
    return action, origin.reason, made


def _row(
    run: Run,
    finding: Finding,
    action: Action,
    *,
    reason: str = "",
    correction_ids: list[str] | None = None,
    impact: Impact | None = None,
) -> ReconciliationLog:
    sides = finding.position
    return ReconciliationLog(
        run_id=run.run_id,
        entry=Entry.DIFFERENCE,
        account=run.account,
        trigger=run.trigger,
        status=Status.DIFFERENT,
        key=finding.key,
        symbol=finding.symbol,
        our_quantity=None if sides is None else sides.quantity,
        broker_quantity=None if sides is None else sides.venue_quantity,
        quantity_discrepancy=rules.ZERO if sides is None else sides.missing,
        our_price=None if sides is None else sides.price,
        broker_price=None if sides is None else sides.venue_price,
        cash_discrepancy=finding.amount,
        value_usd=_stored(finding.value),
        risk_impact=impact or rules.impact(finding.value, policy=policy.current()),
        action=action,
        reason=reason,
        evidence={
            **reviews.evidence(finding),
            "sightings": finding.sightings,
            "as_of": run.as_of,
            "corrections": correction_ids or [],
        },
        made_by=run.actor.id,
        at=run.at,
    )


def _run_row(run: Run, pairs: list[tuple[Finding, Action]], verdict: Verdict, *, impact: Impact) -> ReconciliationLog:
    found = {action for _, action in pairs}
    strongest = next((each for each in _STRONGEST if each in found), Action.NONE)
    equity = rules.equity_missing(finding for finding, _ in pairs)
    missing = (abs(finding.position.missing) for finding, _ in pairs if finding.position is not None)
    return ReconciliationLog(
        run_id=run.run_id,
        entry=Entry.RUN,
        account=run.account,
        trigger=run.trigger,
        status=Status.DIFFERENT if pairs else Status.CLEAN,
        quantity_discrepancy=sum(missing, start=rules.ZERO),
        cash_discrepancy=sum((finding.amount for finding, _ in pairs), start=rules.ZERO),
        value_usd=None if verdict.is_unvalued else _stored(verdict.total),
        risk_impact=impact,
        action=strongest,
        evidence={
            "as_of": run.as_of,
            "new_fills": run.new_fills,
            "full": run.full_at == run.at,
            "differences": len(pairs),
            "equity_missing": None if equity is None else money.as_text(equity),
        },
        made_by=run.actor.id,
        at=run.at,
    )


_STRONGEST = (
    Action.TRADING_STOPPED, Action.REVIEW, Action.BROKER_SYNCED, Action.OBSERVED, Action.EXCLUDED, Action.KEPT,
)  # fmt: skip


def _stored(worth: Decimal | None) -> Decimal | None:
    return None if worth is None else money.half_even_to(worth, Decimal("1E-8"))


def _remember(account: Account, pairs: list[tuple[Finding, Action]], *, at: datetime) -> None:
    """Keep what this run saw for the next; what it did not see has passed."""
    known = {row.key: row for row in Sighting.objects.filter(account=account)}
    Sighting.objects.filter(account=account).exclude(key__in=[finding.key for finding, _ in pairs]).delete()
    for finding, action in pairs:
        row = known.get(finding.key) or Sighting(account=account, key=finding.key)
        begins_anew = action in (Action.EXCLUDED, Action.BROKER_SYNCED)
        row.excluded = _left_out(row.excluded, finding, action)
        row.counted_at = at if finding.is_apart else row.counted_at
        row.sightings = 0 if begins_anew else finding.sightings
        row.signature = "" if begins_anew else finding.signature
        row.save()


def _left_out(before: int, finding: Finding, action: Action) -> int:
    """Return how many runs in a row have left a difference out; one that counts and is still busy is not left out anew.

    A difference that is left out after it has counted is another one: its runs are counted from the beginning.
    """
    if action is not Action.EXCLUDED:
        return rules.EXCLUDED_MAX if finding.is_busy else 0
    return (before if before < rules.EXCLUDED_MAX else 0) + finding.is_apart


def _tell(run: Run, pairs: list[tuple[Finding, Action]], verdict: Verdict) -> None:
    """Open the alerts that hold now, and close those that no longer do."""
    account, at = run.account, run.at
    worth = "an amount that nobody can value" if verdict.is_unvalued else f"{verdict.total:.2f} USD"
    actions = {action for _, action in pairs}
    keys = ", ".join(sorted(finding.key for finding, action in pairs if action in reviews.WAITING))
    conditions = {
        "DISCREPANCY_STOPPED": (Severity.CRITICAL, verdict.stops, f"trading is stopped ({keys})"),
        "DISCREPANCY_REVIEW": (Severity.WARNING, Action.REVIEW in actions, f"somebody has to decide ({keys})"),
    }
    for kind, (severity, holds, words) in conditions.items():
        key = f"{kind.lower()}:{account.pk}"
        if not holds:
            alerts.close_alert(dedupe_key=key, at=at)
            continue
        alerts.open_alert(
            severity=severity,
            kind=kind,
            dedupe_key=key,
            text=f"{account}: our books differ from the broker's by {worth}: {words}.",
            object_type="trading_account",
            object_id=str(account.public_id),
            at=at,
        )
    for passed in ("failed", "stopped", "stale"):
        alerts.close_alert(dedupe_key=f"reconciliation-{passed}:{account.pk}", at=at)
