"""What stops trading by itself. Each trigger has its level in the settings, and writes its reason in plain words.

A stop is latched: once it stands, a trigger that holds on changes nothing, and only two people ease it. What happened
before the last release is not held against an account again.
"""

from datetime import datetime, timedelta
from decimal import Decimal

import structlog
from django.conf import settings
from django.db import InterfaceError, OperationalError, transaction
from django.db.models import Q

from nexus.alerts.services import alerts
from nexus.alerts.states import Severity
from nexus.audit.types import Actor
from nexus.core import money
from nexus.core.errors import OutsideError, Refused
from risk.services import control, releases
from risk.services.control import Switch
from risk.states import ControlScope, StopLevel, Sweep, Trigger
from trading.models import Fill, OrderEvent, TradeLedger, TradingAccount
from trading.states import UNKNOWN, Delivery, FillKind, RejectedBy
from trading.types import OrderReport

log = structlog.get_logger(__name__)


def pull(
    trigger: Trigger, *, scope: ControlScope, key: str, reason: str, at: datetime, sweep: Sweep = Sweep.NONE
) -> Switch | None:
    """Stop what the trigger is about, as far as the settings say. None when it is stopped as far already, or is off.

    Never inside a transaction. Reconciliation pulls its own triggers here too.
    """
    wanted = settings.STOP_ON[trigger.value]
    if wanted == "OFF":
        _tell_only(trigger, scope=scope, key=key, reason=reason, at=at)
        return None
    passed((trigger, scope, key), at=at)  # whoever has switched it on again is told by the stop
    level = StopLevel[wanted]
    sweep = sweep if level is StopLevel.HALTED else Sweep.NONE
    if _is_stopped(scope, key, level=level, sweep=sweep):
        releases.wait_for_decisions(scope=scope, key=key)  # two people may be easing it just now
        if _is_stopped(scope, key, level=level, sweep=sweep):
            return None
    log.error("trading.trigger.pulled", trigger=trigger.value, scope=scope.value, key=key, level=level.name)
    return control.set_level(
        scope=scope, key=key, level=level, sweep=sweep, reason=f"{trigger.value}: {reason}",
        actor=Actor.system(f"trigger:{trigger.value.lower()}"), at=at,
    )  # fmt: skip


def _is_stopped(scope: ControlScope, key: str, *, level: StopLevel, sweep: Sweep) -> bool:
    row = control.find(scope=scope, key=key)
    return row is not None and row.level >= level and Sweep(row.sweep).strength >= sweep.strength


def passed(*pulled: tuple[Trigger, ControlScope, str], at: datetime) -> None:
    """End what people were told of triggers that are off, and whose cause is gone. A stop stays: people ease it."""
    alerts.close_alerts(dedupe_keys=[_told_key(*each) for each in pulled], at=at)


def account_refused(account: TradingAccount, *, said: OrderReport | OutsideError, at: datetime) -> None:
    """Stop an account of which its broker says that nothing will be accepted until somebody acts.

    What was reported is booked by now, and stays booked: a database that fails here is logged, with the alert standing.
    Takes: `said`, whatever the broker answered; most of it halts nothing.
    """
    if isinstance(said, OrderReport):
        halts, words, code = said.halts, said.reason, said.code
    else:
        halts, words = isinstance(said, Refused) and said.halts, str(said)
        code = said.code if isinstance(said, Refused) else ""
    is_defect = isinstance(said, Refused) and said.is_defect  # an order's report tells by itself
    if not halts and not is_defect:
        return
    reason = f"The broker refuses everything on {account} until somebody acts: {words} ({code})."
    try:
        if is_defect:
            _tell_of_defect(account, words=words, code=code, at=at)
            return
        pull(Trigger.ACCOUNT_REFUSED, scope=ControlScope.ACCOUNT, key=str(account.pk), reason=reason, at=at)
    except (OperationalError, InterfaceError) as exc:
        log.error("trading.trigger.not_pulled", account_id=account.pk, error=str(exc))  # noqa: TRY400


@transaction.atomic
def _tell_of_defect(account: TradingAccount, *, words: str, code: str, at: datetime) -> None:
    alerts.open_alert(
        severity=Severity.WARNING,
        kind="REQUEST_NOT_VALID",
        dedupe_key=f"request_not_valid:{account.pk}:{code}",
        text=f"A cancel or a change on {account} was not valid as it was sent, says the broker: {words} ({code}).",
        object_type="trading_account",
        object_id=str(account.public_id),
        at=at,
    )


def examine(account: TradingAccount, *, at: datetime, clock: datetime) -> None:
    """Look at what an account's own books say of trouble: lost answers, refusals in a row, wrong fills. Database only.

    Takes: `clock`, the database's.
    """
    since = clock - timedelta(seconds=settings.TROUBLE_WINDOW_S)
    row = control.find(scope=ControlScope.ACCOUNT, key=str(account.pk))
    if row is not None and row.changed_at is not None:
        since = max(since, row.changed_at)
    scope, key = ControlScope.ACCOUNT, str(account.pk)
    reasons = {
        Trigger.UNKNOWN_ORDERS: _lost(account, since=since),
        Trigger.REFUSALS: _refused(account, since=since),
        Trigger.WRONG_FILL: _wrongly_filled(account, since=since),
    }
    passed(*((trigger, scope, key) for trigger, reason in reasons.items() if not reason), at=at)
    for trigger, reason in reasons.items():
        if reason:
            pull(trigger, scope=scope, key=key, reason=reason, at=at)


def _lost(account: TradingAccount, *, since: datetime) -> str:
    """Say how many orders were sent since then whose answer was lost, also where they were found later."""
    lost = OrderEvent.objects.filter(
        order__account=account, order__created_at__gte=since, order__sent_at__gte=since, to=str(UNKNOWN)
    )
    count = lost.values("order").distinct().count()
    if count < settings.UNKNOWN_ORDERS_MAX:
        return ""
    return f"The answers to {count} orders on {account} were lost since {since:%H:%M:%S} UTC."


def _refused(account: TradingAccount, *, since: datetime) -> str:
    """Say so when the newest orders, one after the other, were all refused by the broker."""
    ended = TradeLedger.objects.filter(
        account=account, created_at__gte=since, sent_at__gte=since, attempts=1, delivery=Delivery.DONE
    ).exclude(rejected_by=RejectedBy.LOCAL)  # fmt: skip
    newest = list(ended.order_by("-closed_at", "-pk").values_list("rejected_by", "reason")[: settings.REFUSALS_MAX])
    if len(newest) < settings.REFUSALS_MAX or any(by != RejectedBy.BROKER for by, _ in newest):
        return ""
    return f"The broker refused the last {len(newest)} orders on {account}, the newest with {newest[0][1]}."


def _wrongly_filled(account: TradingAccount, *, since: datetime) -> str:
    """Name an order that filled after it was closed, or for more than it asked, where that is worth a stop."""
    wrong = Fill.objects.filter(
        Q(order__late_fill=True) | Q(order__overfill_quantity__gt=0),
        account=account, booked_at__gte=since, kind=FillKind.ORDER,
    ).select_related("order")  # fmt: skip
    for fill in wrong.order_by("-pk")[:100]:
        order = fill.order
        assert order is not None
        part = order.filled_quantity if order.late_fill else order.overfill_quantity
        worth = Decimal(order.value) * part / order.quantity
        if worth >= settings.WRONG_FILL_VALUE:
            how = "filled after it was closed" if order.late_fill else "filled for more than it asked"
            return f"Order {order} on {account} {how}, for {money.as_text(money.ceil_to(worth, money.CENT))} USD."
    return ""


@transaction.atomic(durable=True)
def _tell_only(trigger: Trigger, *, scope: ControlScope, key: str, reason: str, at: datetime) -> None:
    alerts.open_alert(
        severity=Severity.CRITICAL,
        kind=f"STOP_{trigger.value}",
        dedupe_key=_told_key(trigger, scope, key),
        text=f"{reason} Its stop is switched off in the settings: nothing was stopped.",
        object_type="trading_control",
        object_id=f"{scope} {key}".strip(),
        at=at,
    )


def _told_key(trigger: Trigger, scope: ControlScope, key: str) -> str:
    return f"trigger:{trigger.value}:{scope}:{key}"
