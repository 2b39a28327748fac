"""The table as Parquet: every event exactly, compared by the verifier, and refused in words where it cannot be had."""

import importlib
import io
import json
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.utils.timezone import now

import nexus_audit_verify
from nexus.audit.models import Event, Export
from nexus.audit.rules import bundle
from nexus.audit.services import chosen, columns, exports
from nexus.audit.services.columns import ParquetMissing
from nexus.audit.types import Actor, Selection, Target
from tests.nexus.audit.bundles import forge, make, members, places, verify
from tests.nexus.audit.sealed import record, seal

pytestmark = pytest.mark.django_db

WHOLE = Selection(with_csv=True, with_parquet=True)


@pytest.fixture
def pyarrow() -> Any:
    """The extra. It is among the tools of the tests; who has installed less skips what needs it."""
    return pytest.importorskip("pyarrow.parquet")


@pytest.fixture
def without(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that has not installed the extra."""
    real = importlib.import_module

    def missing(name: str, package: str | None = None) -> Any:
        if name.startswith("pyarrow"):
            raise ImportError(name)
        return real(name, package)

    monkeypatch.setattr(importlib, "import_module", missing)


def rows_of(pyarrow: Any, made: bytes) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pyarrow.read_table(io.BytesIO(members(made)["events.parquet"])).to_pylist()
    return rows


def forged(pyarrow: Any, made: bytes, rows: list[dict[str, Any]]) -> bytes:
    """Put other rows into a bundle, with every checksum and hash made right again."""
    held, file = members(made), io.BytesIO()
    schema = pyarrow.read_schema(io.BytesIO(held["events.parquet"]))
    table = importlib.import_module("pyarrow").Table.from_pylist(rows, schema=schema)
    pyarrow.write_table(table, file)
    return forge(held | {"events.parquet": file.getvalue()})


@pytest.mark.parametrize("more", [{}, {"action": "tests.thing.done"}], ids=["range", "filtered"])
def test_it_holds_every_event_exactly_and_is_compared(log, tmp_path, pyarrow, more):
    record(target=Target("=cmd|'!A0", 'a,b\n"c"'), actor=Actor.user("@x"))
    seal()
    made = make(Selection(with_parquet=True, **more))

    rows = rows_of(pyarrow, made)

    events = {event.pk: event for event in Event.objects.order_by("id")}
    shown = [json.loads(line) for line in members(made)["events.jsonl"].splitlines()]
    assert [row["canonical"] for row in rows] == [events[each["id"]].canonical for each in shown]
    assert [row["id"] for row in rows] == [str(each["id"]) for each in shown]
    assert list(rows[-1]) == list(bundle.TABLE_HEAD)
    assert (rows[-1]["object_type"], rows[-1]["actor_id"], rows[-1]["pii_sha256"]) == ("=cmd|'!A0", "@x", None)
    report = verify(made, tmp_path)
    assert report.findings == []
    assert "not_compared" not in report.facts


def test_rows_of_many_small_batches_stand_in_few_groups(pyarrow, monkeypatch):
    for _ in range(9):
        record(2)
        seal()
    monkeypatch.setattr(chosen, "LEAVES_AT_ONCE", 3)
    monkeypatch.setattr(columns, "ROWS_AT_ONCE", 8)

    made = make(Selection(with_parquet=True))

    groups = pyarrow.ParquetFile(io.BytesIO(members(made)["events.parquet"])).metadata
    rows = groups.num_rows
    assert rows >= 18
    assert [groups.row_group(n).num_rows for n in range(groups.num_row_groups - 1)] == [8] * (rows // 8)


@pytest.mark.threat(23)
@pytest.mark.parametrize("column", ["canonical", "actor_id", "leaf_sha256", "log_index"])
def test_a_row_that_says_something_else_is_found_at_its_index(log, tmp_path, pyarrow, column):
    made = make(WHOLE)
    rows = rows_of(pyarrow, made)
    rows[3][column] = 7 if column == "log_index" else rows[3][column] + "0"

    assert places(verify(forged(pyarrow, made, rows), tmp_path)) == {("parquet_mismatch", 3)}


@pytest.mark.threat(23)
def test_rows_that_are_missing_too_many_or_unreadable_are_found(log, tmp_path, pyarrow):
    made = make(WHOLE)
    rows = rows_of(pyarrow, made)

    assert places(verify(forged(pyarrow, made, rows[:-1]), tmp_path)) == {("parquet_mismatch", len(rows) - 1)}
    assert places(verify(forged(pyarrow, made, [*rows, rows[0]]), tmp_path)) == {("parquet_mismatch", None)}
    broken = forge(members(made) | {"events.parquet": b"PAR1 is no table PAR1"})
    assert places(verify(broken, tmp_path)) == {("parquet_mismatch", None)}


def test_a_verifier_without_the_extra_says_what_it_has_not_compared(log, tmp_path, pyarrow, request):
    made = make(WHOLE)
    request.getfixturevalue("without")

    report = verify(made, tmp_path)

    assert report.findings == []
    assert report.facts["not_compared"] == ["events.parquet"]
    assert "NOT COMPARED: events.parquet" in nexus_audit_verify.words(report)


def test_a_worker_without_the_extra_fails_in_words_and_leaves_no_file(log, tmp_path, settings, without):
    settings.AUDIT_EXPORT_DIR = tmp_path / "exports"
    row = exports.request(selection=WHOLE, asked_by=Actor.user("x"), reason="yearly audit", at=now())

    exports.run(export_id=row.pk, clock=now)

    row = Export.objects.get(pk=row.pk)
    assert (row.state, row.with_parquet) == ("FAILED", True)
    assert "pip install --require-hashes -r requirements-parquet.txt" in row.fault
    assert list(settings.AUDIT_EXPORT_DIR.iterdir()) == []


def test_the_command_without_the_extra_refuses_in_words(log, tmp_path, without):
    path = tmp_path / "bundle.zip"

    with pytest.raises(CommandError, match=r"requirements-parquet\.txt"):
        call_command("audit_export", str(path), "--reason", "asked by the regulator", "--parquet")
    assert list(tmp_path.iterdir()) == []


def test_who_asks_for_none_needs_no_extra(log, tmp_path, without):
    assert verify(make(Selection(with_csv=True)), tmp_path).findings == []
    with pytest.raises(ParquetMissing):
        make(WHOLE)
