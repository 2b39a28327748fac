"""What a caller may ask for does not grow with what there is: memory, rows of an answer, seconds of a statement."""

import tempfile
import tracemalloc
from datetime import UTC, datetime
from pathlib import Path

import pytest
from django.db import OperationalError, connection

from nexus.audit.services import bundling, verification
from nexus.audit.types import Selection
from tests.bench import auditing
from tests.nexus.audit.sealed import KNOWN, run, seal

GROWTH_MB_MAX = 4
BATCH = 1_000
EVENTS = (6_000, 18_000)  # `make bench` does the same with a million


def append(first: int, last: int) -> None:
    for start in range(first, last, BATCH):
        run(auditing._APPEND, [start, start + BATCH - 1])
        seal()
    run("ANALYZE audit.event, audit.leaf, audit.batch")


def heaviest(act) -> float:
    """Return how many MB it held at once at most."""
    tracemalloc.start()
    try:
        act()
        return tracemalloc.get_traced_memory()[1] / 2**20
    finally:
        tracemalloc.stop()


def export() -> None:
    with tempfile.TemporaryDirectory() as folder, (Path(folder) / "bundle.zip").open("w+b") as file:
        made = bundling.write(
            Selection(with_csv=True), file, folder=Path(folder), asked_by="tests", at=datetime.now(UTC),
            progress=lambda _done, _total: None, using="default",
        )  # fmt: skip
    assert made.events >= EVENTS[0]


@pytest.mark.threat(27)
@pytest.mark.django_db
@pytest.mark.parametrize("act", [export, lambda: verification.verify(trusted=KNOWN)], ids=["export", "verify"])
def test_memory_does_not_grow_with_the_audit_log(act):
    append(1, EVENTS[0])
    act()  # whatever is loaded once is loaded by now
    small = heaviest(act)
    append(EVENTS[0] + 1, EVENTS[1])

    large = heaviest(act)

    assert large - small < GROWTH_MB_MAX, f"{small:.1f} MB, then {large:.1f} MB"


@pytest.mark.threat(27)
@pytest.mark.django_db
def test_a_statement_that_never_ends_is_ended_by_the_server():
    with connection.cursor() as cursor:
        cursor.execute("SELECT setting::int FROM pg_settings WHERE name = 'statement_timeout'")
        (allowed_ms,) = cursor.fetchone()
        assert 0 < allowed_ms <= 15_000
        cursor.execute("SET LOCAL statement_timeout = 50")
        with pytest.raises(OperationalError, match="statement timeout"):
            cursor.execute("SELECT pg_sleep(60)")
