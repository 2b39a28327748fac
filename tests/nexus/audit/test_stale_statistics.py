"""What waits for its seal is found by as many rows as there are, whatever the planner believes of the log."""

import json
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection

from nexus.audit.services import sealing, verification
from tests.nexus.audit.sealed import as_superuser, record, run, seal, verify

LOADED = 3_000


FORGET = """
DELETE FROM pg_statistic WHERE starelid IN ('audit.event'::regclass, 'audit.leaf'::regclass);
UPDATE pg_class SET reltuples = 0, relpages = 100 WHERE oid IN ('audit.event'::regclass, 'audit.leaf'::regclass)
"""


@pytest.fixture
def loaded(db: None) -> dict[str, Any]:
    """A log that was analysed while its load was not committed yet; its last hundred events wait."""
    record(1)
    seal()
    (low,) = run("SELECT max(id) FROM audit.event")
    _load(LOADED - 100)
    seal()
    _load(100)
    (high,) = run("SELECT max(id) FROM audit.event")
    with as_superuser():
        run(FORGET)
    return {"above": low, "to": high, "most": high, "stale": timedelta(minutes=10), "limit": sealing.BATCH_SIZE}


def _load(count: int) -> None:
    run(
        "SELECT count(audit.append('tests.loaded', 'success', 'system', 'tests', 'thing', '1', '', '{}'))"
        " FROM generate_series(1, %s)",
        [count],
    )


def _rows(plan: dict[str, Any]) -> int:
    """Return how many rows a plan has passed from step to step, with those that it threw away."""
    names = ("Actual Rows", "Rows Removed by Filter", "Rows Removed by Join Filter")
    own = sum(plan.get(name, 0) for name in names) * plan["Actual Loops"]
    return int(own) + sum(_rows(each) for each in plan.get("Plans", []))


@pytest.mark.parametrize("query", [verification._UNSEALED, sealing._UNSEALED], ids=["verifying", "sealing"])
def test_the_search_goes_through_each_row_a_few_times(loaded, query):
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL plan_cache_mode = force_custom_plan")
        cursor.execute(f"EXPLAIN (ANALYZE, TIMING OFF, FORMAT JSON) {query}", loaded)
        (found,) = cursor.fetchone()
    plan = (json.loads(found) if isinstance(found, str) else found)[0]["Plan"]

    assert _rows(plan) < 20 * LOADED


def test_what_waits_is_counted_and_then_sealed_once(loaded):
    assert verify().unsealed == 100
    assert sum(each.count for each in seal()) == 100
    assert verify().unsealed == 0
