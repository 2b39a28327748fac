"""The log of reconciliation forgets clean runs in time, failed ones after a year, and nothing else ever."""

import uuid
from datetime import timedelta
from typing import Any

import pytest
from django.db import DatabaseError, connection, transaction
from django.utils.timezone import now

from reconciliation.models import ReconciliationLog
from reconciliation.services import retention
from reconciliation.states import Entry, Status

LOG_DAYS, FAILURES_DAYS = timedelta(days=90), timedelta(days=400)


@pytest.fixture
def row(account: Any) -> Any:
    def make(entry: Entry = Entry.RUN, status: Status = Status.CLEAN, *, age: timedelta) -> ReconciliationLog:
        return ReconciliationLog.objects.create(
            run_id=uuid.uuid4(), entry=entry, account=account, trigger="CLOCK", status=status, risk_impact="LOW",
            action="NONE", made_by="tests", at=now() - age,
        )  # fmt: skip

    return make


def test_only_old_runs_that_found_nothing_or_failed_go(row, monkeypatch):
    monkeypatch.setattr(retention, "BATCH", 2)
    for _ in range(2):
        row(age=LOG_DAYS + timedelta(minutes=1))
    row(status=Status.FAILED, age=FAILURES_DAYS + timedelta(minutes=1))
    kept = [
        row(age=LOG_DAYS - timedelta(minutes=1)),
        row(status=Status.DIFFERENT, age=LOG_DAYS * 2),
        row(status=Status.FAILED, age=FAILURES_DAYS - timedelta(minutes=1)),
        row(Entry.DIFFERENCE, Status.DIFFERENT, age=LOG_DAYS * 2),
        row(Entry.DECISION, Status.DIFFERENT, age=LOG_DAYS * 2),
    ]

    assert [retention.purge(at=now()) for _ in range(3)] == [2, 1, 0]

    assert set(ReconciliationLog.objects.values_list("pk", flat=True)) == {each.pk for each in kept}


@pytest.mark.parametrize(
    ("entry", "status", "days"),
    [(Entry.RUN, Status.CLEAN, 29), (Entry.RUN, Status.FAILED, 364), (Entry.DECISION, Status.DIFFERENT, 400)],
)
def test_the_database_keeps_what_has_to_stay(row, entry, status, days):
    made = row(entry, status, age=timedelta(days=days))

    for statement in (
        "DELETE FROM reconciliation_log WHERE id = %s",
        "UPDATE reconciliation_log SET reason = 'x' WHERE id = %s",
    ):
        with pytest.raises(DatabaseError, match="append-only"), transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(statement, [made.pk])
