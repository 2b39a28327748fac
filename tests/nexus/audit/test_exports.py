"""Exports as jobs, and by hand: progress, one worker at a time, what dead ones leave, every step in the log."""

import json
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from django.utils.timezone import now

from nexus.audit import selectors
from nexus.audit.models import Export
from nexus.audit.services import bundling, chosen, exports
from nexus.audit.services.exports import ExportNotReady, SelectionEmpty
from nexus.audit.types import Actor, Selection
from nexus.celery import app
from nexus.core.errors import NotFound
from tests.nexus.audit.bundles import members, verify
from tests.nexus.audit.sealed import record, seal
from tests.threads import together

pytestmark = pytest.mark.django_db

PERSON = Actor.user("the-auditor")


@pytest.fixture(autouse=True)
def folder(tmp_path, settings):
    settings.AUDIT_EXPORT_DIR = tmp_path / "exports"
    return settings.AUDIT_EXPORT_DIR


def ask(**selection) -> Export:
    return exports.request(selection=Selection(**selection), asked_by=PERSON, reason="yearly audit", at=now())


def test_a_bundle_that_was_asked_for_is_written_and_every_step_stands_in_the_log(log, folder, tmp_path, new_events):
    row = ask(with_csv=True)
    assert (row.state, row.progress) == ("QUEUED", 0.0)

    exports.run(export_id=row.pk, clock=now)

    row.refresh_from_db()
    assert (row.state, row.progress, row.events, row.attempts, row.fault) == ("READY", 1.0, 14, 1, "")
    (path,) = folder.iterdir()
    mode, size = path.stat().st_mode, path.stat().st_size
    with exports.take(export_id=row.pk, by=PERSON) as file:
        bundle = file.read()
    assert list(folder.iterdir()) == []
    row.refresh_from_db()
    assert (row.state, row.progress) == ("TAKEN", 1.0)
    assert selectors.exports() == [selectors.export(row.pk)] == [row]
    assert mode & 0o777 == 0o600
    assert row.size == size == len(bundle)
    report = verify(bundle, tmp_path)
    assert report.findings == []
    assert report.facts["manifest_sha256"] == row.manifest_sha256
    manifest = json.loads(members(bundle)["manifest.json"])
    assert manifest["asked_by"] == "the-auditor"
    events = [(event.action, event.actor_id, event.outcome) for event in new_events()]
    assert events == [
        ("audit.export_requested", "the-auditor", "success"),
        ("audit.exported", "exporter", "success"),
        ("audit.export_taken", "the-auditor", "success"),
    ]
    detail = json.loads(new_events()[1].canonical)["detail"]
    assert (detail["manifest_sha256"], detail["reason"]) == (row.manifest_sha256, "yearly audit")


def test_what_makes_no_sense_is_refused_and_nothing_is_written():
    at = now()
    for given in ({"from_at": at, "to_at": at}, {"object_id": "7"}):
        with pytest.raises(SelectionEmpty):
            ask(**given)
    with pytest.raises(SelectionEmpty):
        exports.request(selection=Selection(), asked_by=PERSON, reason=" ", at=at)

    assert not Export.objects.exists()


def test_progress_is_told_while_it_is_written_and_holds_the_lease(log, monkeypatch):
    monkeypatch.setattr(chosen, "LEAVES_AT_ONCE", 4)
    row, seen, at = ask(), [], now()

    def clock():
        seen.append((found := Export.objects.get(pk=row.pk)).done)
        assert found.lease_until is None or found.lease_until > at + timedelta(seconds=2 * len(seen) - 4)
        return at + timedelta(seconds=2 * len(seen))

    exports.run(export_id=row.pk, clock=clock)

    assert seen == [0, 0, 0, 4, 8, 12, 14]
    assert Export.objects.get(pk=row.pk).total == 14


def test_a_job_that_comes_twice_writes_once(log):
    row = ask()

    exports.run(export_id=row.pk, clock=now)
    exports.run(export_id=row.pk, clock=now)
    exports.run(export_id=row.pk + 99, clock=now)

    assert Export.objects.get(pk=row.pk).attempts == 1


@pytest.mark.django_db(transaction=True)
def test_of_six_workers_at_once_one_writes_it(new_events):
    seal()
    row = ask()

    together(6, lambda _number: exports.run(export_id=row.pk, clock=now))

    row.refresh_from_db()
    assert (row.state, row.attempts) == ("READY", 1)
    assert [event.action for event in new_events() if event.action == "audit.exported"] == ["audit.exported"]


def test_what_a_dead_worker_left_is_written_by_the_next_and_given_up_after_three(log, folder, monkeypatch):
    row, at = ask(), now()
    monkeypatch.setattr(bundling, "write", _die)
    for attempt in range(3):
        with pytest.raises(SystemExit):
            exports.run(export_id=row.pk, clock=partial(_still, at))
        assert exports.due(at=at) == []
        at += exports.LEASE + timedelta(seconds=1)
        assert exports.due(at=at) == [row.pk], attempt
    folder.joinpath("nexus-audit-1.zip.0.part").touch()
    exports.run(export_id=row.pk, clock=lambda: at)

    row.refresh_from_db()
    assert (row.state, row.attempts) == ("FAILED", 3)
    assert "died" in row.fault
    assert exports.due(at=at + timedelta(days=1)) == []


def _still(at: datetime) -> datetime:
    return at


def _die(*_args, **_given):
    raise SystemExit


def test_a_worker_whose_lease_went_to_another_stops_and_leaves_the_row_alone(log, folder, monkeypatch):
    row, whole = ask(), bundling.write

    def taken_over(*args, **given):
        Export.objects.filter(pk=row.pk).update(attempts=2)
        return whole(*args, **given)

    monkeypatch.setattr(bundling, "write", taken_over)
    exports.run(export_id=row.pk, clock=now)

    row.refresh_from_db()
    assert (row.state, row.attempts, row.done, list(folder.iterdir())) == ("RUNNING", 2, 0, [])


def test_what_cannot_be_exported_fails_in_words_and_leaves_no_file(log, folder, new_events):
    row = ask(from_at=now() + timedelta(days=1))

    exports.run(export_id=row.pk, clock=now)

    row.refresh_from_db()
    assert (row.state, row.fault) == ("FAILED", "Nothing of that time has been sealed.")
    assert list(folder.iterdir()) == []
    assert [(event.action, event.outcome) for event in new_events()][-1] == ("audit.exported", "failure")
    with pytest.raises(ExportNotReady):
        exports.take(export_id=row.pk, by=PERSON)
    with pytest.raises(NotFound):
        exports.take(export_id=row.pk + 99, by=PERSON)


def test_a_lost_job_is_handed_out_again(log, monkeypatch):
    row, handed = ask(), []
    monkeypatch.setattr(exports, "enqueue", lambda name, **given: handed.append((name, given["export_id"])))

    exports.sweep(at=row.asked_at + timedelta(seconds=30))
    assert handed == []
    exports.sweep(at=row.asked_at + timedelta(seconds=61))
    assert handed == [("audit.export", row.pk)]


@pytest.mark.django_db(transaction=True)
def test_of_six_who_take_it_at_once_one_has_it(folder, new_events):
    record(3)
    seal()
    row = ask()
    exports.run(export_id=row.pk, clock=now)

    def take(_number: int) -> bytes | str:
        try:
            with exports.take(export_id=row.pk, by=PERSON) as file:
                return file.read()
        except ExportNotReady as exc:
            return exc.code

    answers = together(6, take)

    refused = [each for each in answers if isinstance(each, str)]
    assert refused == ["audit_export_not_ready"] * 5
    (bundle,) = (each for each in answers if isinstance(each, bytes))
    assert len(bundle) == Export.objects.get(pk=row.pk).size
    assert [each.action for each in new_events()].count("audit.export_taken") == 1
    assert list(folder.iterdir()) == []


def test_what_a_crash_left_of_a_taken_file_is_removed_with_the_others(log, folder, settings, monkeypatch):
    row = ask()
    exports.run(export_id=row.pk, clock=now)
    (path,) = folder.iterdir()
    exports.take(export_id=row.pk, by=PERSON).close()
    path.write_bytes(b"left behind")

    exports.sweep(at=now() + timedelta(hours=settings.AUDIT_EXPORT_KEEP_HOURS + 1))

    assert list(folder.iterdir()) == []
    row.refresh_from_db()
    assert row.state == "EXPIRED"


def test_a_file_is_removed_when_it_was_kept_long_enough(log, folder, settings):
    row = ask()
    exports.run(export_id=row.pk, clock=now)

    exports.sweep(at=now() + timedelta(hours=settings.AUDIT_EXPORT_KEEP_HOURS - 1))
    assert len(list(folder.iterdir())) == 1
    exports.sweep(at=now() + timedelta(hours=settings.AUDIT_EXPORT_KEEP_HOURS + 1))

    assert list(folder.iterdir()) == []
    row.refresh_from_db()
    assert (row.state, row.progress) == ("EXPIRED", 1.0)


def test_the_jobs_are_known_and_have_the_audits_own_queue(log):
    row = ask()
    app.loader.import_default_modules()

    app.tasks["audit.export"].apply(kwargs={"export_id": row.pk}, throw=True)
    app.tasks["audit.sweep_exports"].apply(throw=True)

    assert Export.objects.get(pk=row.pk).state == "READY"
    for name in ("audit.export", "audit.sweep_exports", "audit.verify_log"):
        assert app.conf.task_routes[name] == {"queue": "audit"}


# --- By hand ----------------------------------------------------------------------------------------------------------
def test_the_command_writes_a_file_and_says_so_in_the_log(log, tmp_path, capsys, new_events):
    path = tmp_path / "bundle of mine.zip"

    call_command("audit_export", str(path), "--reason", "asked by the regulator", "--from", "2020-01-01", "--csv")

    assert verify(path.read_bytes(), tmp_path).findings == []
    said = capsys.readouterr()
    (event,) = new_events()
    detail = json.loads(event.canonical)["detail"]
    assert detail["manifest_sha256"] in said.out
    assert "14 of 14" in said.err
    assert (event.action, event.object_id) == ("audit.exported", "bundle of mine.zip")
    assert detail["reason"] == "asked by the regulator"


def test_the_command_refuses_in_words_and_leaves_no_file(log, tmp_path, new_events):
    path = tmp_path / "bundle.zip"
    act = partial(call_command, "audit_export")
    with pytest.raises(CommandError, match="Nothing of that time"):
        act(str(path), "--reason", "x", "--to", "2020-01-01T00:00:00Z")
    with pytest.raises(CommandError, match="no moment"):
        act(str(path), "--reason", "x", "--to", "yesterday")
    with pytest.raises(CommandError, match="No such file"):
        act(str(tmp_path / "absent" / "bundle.zip"), "--reason", "x")
    path.touch()
    with pytest.raises(CommandError, match="exists already"):
        act(str(path), "--reason", "x")

    assert [each.name for each in tmp_path.iterdir()] == [path.name]
    assert Path(path).stat().st_size == 0
    assert new_events() == []
