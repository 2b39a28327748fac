"""What the night has done, judged inside the installation: by its broker's books, its answers and its own proofs."""

import json
import time
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db.models import Q
from django.utils.timezone import now

from nexus.alerts.models import Alert
from nexus.alerts.rules import has_happened
from nexus.audit.rules.findings import Verdict
from nexus.audit.services import verification
from nexus.audit.types import Actor
from nexus.idempotency.models import IdempotencyRecord
from reconciliation.models import ReconciliationLog
from reconciliation.services import cycles
from reconciliation.states import Entry, Status, Trigger
from tests.chaos.books import Books
from tests.invariants import assert_always_true
from trading.models import AccountFigures, BookCorrection, TradeLedger, TradingAccount
from trading.states import CancelState, CorrectionKind, Delivery, OrderStatus

SETTLES_S = 240.0  # a lost cancel is sent again after 1, 2, 4 … leases
LOOKS, BETWEEN_S = 6, 5.0  # the market goes on: what is wrong in one look is a fault when it is in every one
TOLD = {OrderStatus.FILLED, OrderStatus.REJECTED}  # what an answer says for good
MADE = {200, 201, 202}


def main(answers: str) -> None:
    """Print every fault as one line of JSON."""
    heard = json.loads(Path(answers).read_text(encoding="utf-8"))
    faults = [*_settled(), *_answered(heard), *_corrected()]
    books = Books(settings.PAPER_CONTROLS, settings.PAPER_CONTROL_TOKEN)
    account = TradingAccount.objects.get(venue_account=str(books.login))
    for look in (
        lambda: assert_always_true(books, account_id=account.pk),
        lambda: _reconciled(account),
        _audited,
        books.verify,
        lambda: _closed(books),
    ):
        faults += _in_every(look)
    print(json.dumps({"faults": faults}))


def _settled() -> list[str]:
    """Nothing stays lost, everybody works, nobody is told of anything any more: wait for it, and say what is not so."""
    begun, until = now(), time.monotonic() + SETTLES_S
    while (left := [*_under_way(), *_idle(begun), *_told()]) and time.monotonic() < until:
        time.sleep(1)
    return [f"after {SETTLES_S:.0f} s of peace {each}" for each in left]


def _under_way() -> list[str]:
    lost = Q(delivery__in=[Delivery.QUEUED, Delivery.SENDING, Delivery.UNKNOWN])
    lost |= Q(cancel__in=[CancelState.REQUESTED, CancelState.UNKNOWN])
    return [f"{each} is {each.state}, cancel {each.cancel}" for each in TradeLedger.objects.filter(lost)]


def _idle(begun: datetime) -> list[str]:
    """The clock and the worker: accounts are looked at, and reconciled by the minute."""
    looks = AccountFigures.objects.filter(read_at__gt=begun, failing_since__isnull=True)
    runs = ReconciliationLog.objects.filter(trigger=Trigger.CLOCK, entry=Entry.RUN, at__gt=begun)
    return [
        f"{what} since"
        for what, rows in (("nobody has looked at an account", looks), ("nothing was reconciled", runs))
        if not rows
    ]


def _told() -> list[str]:
    """Alerts of what goes on, but for the stop that the night ends with."""
    alerts = Alert.objects.filter(closed_at__isnull=True).exclude(kind="TRADING_STOPPED")
    return [f"people are still told {each.kind}: {each.text}" for each in alerts if not has_happened(each.kind)]


def _answered(heard: Mapping[str, Any]) -> list[str]:
    """One key made one order, which is the one that its client was told of, and has become nothing else since."""
    made = {key: each["body"] for key, each in heard.items() if each["status_code"] in MADE}
    kept = dict(IdempotencyRecord.objects.filter(object_type="order").values_list("key", "object_id"))
    orders = {str(each.public_id): each for each in TradeLedger.objects.all()}
    told_twice = [name for name, count in Counter(body["id"] for body in made.values()).items() if count > 1]
    faults = [f"{name} was the answer of more than one key" for name in told_twice]
    for key, body in made.items():
        order = orders.get(body["id"])
        if order is None or kept.get(key) != body["id"]:
            faults.append(f"key {key} was answered {body['id']}, and made {kept.get(key)}")
        elif body["status"] in TOLD and order.public_status != body["status"]:
            faults.append(f"{order} was answered as {body['status']}, and is {order.public_status}")
    return faults


def _corrected() -> list[str]:
    """Whatever happened, our books were right by themselves: reconciliation would put a small difference right."""
    entries = BookCorrection.objects.exclude(kind=CorrectionKind.OPENING)
    return [f"the books were corrected by {each}" for each in entries]


def _closed(books: Books) -> None:
    assert books.is_flat, "something is held or waits at the broker, and everything was stopped and flattened"


def _reconciled(account: TradingAccount) -> None:
    outcome = cycles.run(account_id=account.pk, trigger=Trigger.COMMAND, at=now(), actor=Actor.system("chaos"))
    assert outcome.status == Status.CLEAN, f"reconciliation: {outcome.status} {outcome.findings} {outcome.detail}"


def _audited() -> None:
    report = verification.verify(using=settings.AUDIT_READER)
    assert report.verdict is Verdict.CLEAN, f"the audit log: {report.verdict} {dict(report.counts)}"


def _in_every(look: Callable[[], object]) -> list[str]:
    for number in range(LOOKS):
        try:
            look()
        except Exception as exc:  # noqa: BLE001 - told as a fault
            found = f"{type(exc).__name__}: {exc}"
        else:
            return []
        if number < LOOKS - 1:
            time.sleep(BETWEEN_S)
    return [found]
