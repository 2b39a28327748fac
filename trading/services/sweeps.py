"""The sweeps of stops as rows: one for each account that a stop covers. The row is the queue, and the proof."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from django.db import connection, transaction
from django.db.models import F, Func

from nexus.alerts.services import alerts
from nexus.alerts.states import Severity
from nexus.audit.services import trail
from nexus.audit.types import Actor, Target
from nexus.core import metrics
from risk.services import control
from risk.services.control import CLOCK, Switch
from risk.states import ControlScope, Sweep
from trading.models import SweepRun, TradingAccount
from trading.services import coverage, facts
from trading.states import SweepState
from trading.types import AccountSnapshot

SWEEPER = Actor.system("sweep")
DETAIL_LENGTH_MAX = 500
BACKOFF_S_MAX = 60
UNPROVEN_AFTER = timedelta(seconds=30)  # then people are woken


def begin(switch: Switch, *, at: datetime) -> None:
    """Have every account swept that the stop covers. A sweep that runs already takes up what is asked for now.

    Runs in the caller's transaction; safe to repeat.
    """
    assert connection.in_atomic_block
    if switch.sweep == Sweep.NONE:
        return
    scope, key = ControlScope(switch.scope), switch.key
    for account in coverage.accounts_to_sweep(scope, key):
        running = SweepRun.objects.filter(account=account, scope=scope, key=key, state=SweepState.RUNNING)
        if not running.update(**_asked(switch), failures=0, due_at=CLOCK):
            _start(switch, account, at=at)


def renew(account: TradingAccount, snapshot: AccountSnapshot, *, read_at: datetime, at: datetime) -> None:
    """Sweep an account anew that shows something again though a stop that stands has swept it, or never met it.

    Takes: a complete look at the broker, and the database's clock before it: a proof that is newer knows better.
    """
    for switch in control.stops():
        if switch.sweep != Sweep.NONE and any(
            coverage.left(snapshot, kind=Sweep(switch.sweep), symbol=_symbol(switch))
        ):
            _renew(switch, account, read_at=read_at, at=at)


@transaction.atomic(durable=True)
def _renew(switch: Switch, account: TradingAccount, *, read_at: datetime, at: datetime) -> None:
    scope, key = ControlScope(switch.scope), switch.key
    is_followed = control.hold_followed(switch, before=read_at)
    if not is_followed or not coverage.accounts_to_sweep(scope, key).filter(pk=account.pk).exists():
        return
    newest = SweepRun.objects.filter(account=account, scope=scope, key=key).order_by("-pk").first()
    if newest is None or (newest.ended_at is not None and newest.ended_at < read_at):
        _start(switch, account, at=at)


def _start(switch: Switch, account: TradingAccount, *, at: datetime) -> None:
    sweep = SweepRun.objects.create(
        account=account, scope=switch.scope, key=switch.key, symbol=_symbol(switch), state=SweepState.RUNNING,
        started_at=CLOCK, due_at=CLOCK, **_asked(switch),
    )  # fmt: skip
    asked = {"kind": sweep.kind, "version": switch.version, "reason": switch.reason}
    tell(sweep, "sweep.started", asked, at=at)


def _asked(switch: Switch) -> dict[str, Any]:
    return {
        "version": switch.version, "kind": switch.sweep, "reason": switch.reason, "requested_by": switch.set_by,
    }  # fmt: skip


def _symbol(switch: Switch) -> str:
    return switch.key if switch.scope == ControlScope.INSTRUMENT else ""


def due() -> list[tuple[int, str]]:
    """Return the sweeps that wait for a round, those that get on first, each with the gateway that it asks: the one of
    its venue in the settings, where its account names none.
    """
    rows = SweepRun.objects.filter(state=SweepState.RUNNING, due_at__lte=CLOCK).order_by("failures", "due_at", "pk")
    asked = rows.values_list("pk", "account__gateway_url", "account__venue")
    return [(pk, gateway or venue) for pk, gateway, venue in asked]


def overdue(before: datetime) -> int:
    """Return how many sweeps have been waiting for a round since then."""
    return SweepRun.objects.filter(state=SweepState.RUNNING, due_at__lt=before).count()


def of_stop(switch: Switch) -> list[SweepRun]:
    """Return the sweeps of a stop: the newest of each account."""
    rows = SweepRun.objects.filter(scope=switch.scope, key=switch.key).select_related("account")
    return list(rows.order_by("account_id", "-pk").distinct("account_id")) if switch.sweep != Sweep.NONE else []


def running(switch: Switch, accounts: list[TradingAccount]) -> list[SweepRun]:
    """Return the sweeps of a stop on some accounts that are not over."""
    ids = [account.pk for account in accounts]
    rows = SweepRun.objects.filter(scope=switch.scope, key=switch.key, state=SweepState.RUNNING, account__in=ids)
    return list(rows.select_related("account").order_by("pk"))


@transaction.atomic(durable=True)
def note_round(
    sweep: SweepRun, *, done: list[str], left: Mapping[str, Any], detail: str, got_on: bool, at: datetime
) -> None:
    """Keep what a round has done and left, and when the next is due. What changed is told; what lasts wakes people."""
    detail = detail[:DETAIL_LENGTH_MAX]
    failures = 0 if got_on else sweep.failures + 1
    wait_s = 1 if got_on else min(2 ** min(failures, 10), BACKOFF_S_MAX)
    is_canceled = not left.get("orders", True)
    rows = SweepRun.objects.filter(pk=sweep.pk, state=SweepState.RUNNING)
    rows.update(
        rounds=F("rounds") + 1, failures=failures, left=dict(left), detail=detail, due_at=_in(wait_s),
        **({"canceled_at": CLOCK} if is_canceled and sweep.canceled_at is None else {}),
    )  # fmt: skip
    if done or detail != sweep.detail:
        tell(sweep, "sweep.round", {"done": done, "left": dict(left), "detail": detail}, at=at)
    if failures > 1 and facts.database_clock() - sweep.started_at > UNPROVEN_AFTER:
        alerts.open_alert(
            severity=Severity.CRITICAL,
            kind="SWEEP_NOT_PROVEN",
            dedupe_key=_alert_key(sweep),
            text=f"{sweep.account} is not {'flat' if sweep.kind == Sweep.FLATTEN else 'free of orders'} yet. {detail}",
            object_type="trading_account",
            object_id=str(sweep.account.public_id),
            at=at,
        )
    sweep.refresh_from_db()


@transaction.atomic(durable=True)
def prove(sweep: SweepRun, *, proof: Mapping[str, Any], at: datetime) -> bool:
    """End a sweep by what the broker itself showed. False when more was asked of it meanwhile."""
    rows = SweepRun.objects.filter(pk=sweep.pk, state=SweepState.RUNNING, version=sweep.version)
    if not rows.update(
        state=SweepState.PROVEN, proof=dict(proof), left={}, detail="", rounds=F("rounds") + 1, ended_at=CLOCK,
        canceled_at=sweep.canceled_at or CLOCK,
    ):  # fmt: skip
        return False
    tell(sweep, "sweep.proven", proof, at=at)
    alerts.close_alert(dedupe_key=_alert_key(sweep), at=at)
    sweep.refresh_from_db()
    if sweep.canceled_at and sweep.ended_at:
        metrics.SWEEP_CANCELED.observe((sweep.canceled_at - sweep.started_at).total_seconds())
        metrics.SWEEP_PROVEN.labels(sweep.kind).observe((sweep.ended_at - sweep.started_at).total_seconds())
    return True


def abandon(switch: Switch, *, at: datetime) -> None:
    """Give up what is still running of a stop that is being eased: its accounts stay stopped by another.

    Runs in the caller's transaction.
    """
    rows = SweepRun.objects.filter(scope=switch.scope, key=switch.key, state=SweepState.RUNNING)
    for sweep in rows.select_related("account").order_by("pk"):
        SweepRun.objects.filter(pk=sweep.pk).update(state=SweepState.ABANDONED, ended_at=CLOCK)
        tell(sweep, "sweep.abandoned", {"left": sweep.left, "detail": sweep.detail}, at=at)
        alerts.close_alert(dedupe_key=_alert_key(sweep), at=at)


def tell(sweep: SweepRun, action: str, detail: Mapping[str, Any], *, at: datetime) -> None:
    """Keep a step of a sweep in the black box, in the caller's transaction."""
    trail.record(
        action=action,
        actor=SWEEPER,
        target=Target("trading_account", str(sweep.account.public_id)),
        detail={"sweep": sweep.pk, "stop": f"{sweep.scope}:{sweep.key}", "round": sweep.rounds, **detail},
        occurred_at=at,
    )


def _in(seconds: int) -> Func:
    return Func(template=f"clock_timestamp() + interval '{seconds} seconds'")


def _alert_key(sweep: SweepRun) -> str:
    return f"sweep:{sweep.scope}:{sweep.key}:{sweep.account_id}"
