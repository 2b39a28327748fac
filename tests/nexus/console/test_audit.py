"""The black box at the console: what is found, what an event shows, how it verifies, and bundles that are taken."""

import re
from datetime import timedelta

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from django.utils.timezone import now

from accounts.models import User
from accounts.states import Role
from nexus.audit.models import Event, Export, Verification
from nexus.audit.services import exports, searching, trail
from nexus.audit.services.searching import Search
from nexus.audit.types import Actor, Outcome, Target
from tests.nexus.audit.sealed import record, seal, tamper
from tests.nexus.console.people import confirm, seen, text
from tests.threads import together

AT = "/admin/audit/"


@pytest.fixture(autouse=True)
def folder(tmp_path, settings):
    settings.AUDIT_EXPORT_DIR = tmp_path / "exports"


@pytest.fixture
def asker(officer) -> Actor:
    """The officer, as the log names her."""
    return Actor.user(User.objects.get(role=Role.COMPLIANCE).public_id)


def actions(page) -> list[str]:
    """Return what a page of the search lists."""
    return re.findall(r'audit/events/\d+/">([^<]+)</a>', page.content.decode())


def test_events_are_found_by_actor_action_object_and_outcome(console, operator):
    first, *_ = record(1, action="tests.search.one", target=Target("thing", "4711"))
    record(1, action="tests.search.two", actor=Actor.user(operator.public_id), outcome=Outcome.DENIED)

    assert actions(console.get(AT, {"act": "tests.search.one"})) == ["tests.search.one"]
    assert actions(console.get(AT, {"object_type": "thing", "object_id": "4711"})) == ["tests.search.one"]
    by_person = {"actor": operator.email, "outcome": "denied"}
    assert actions(console.get(AT, by_person)) == ["tests.search.two"]
    assert operator.email in text(console.get(AT, by_person))
    assert actions(console.get(AT, {"act": "tests.search.one", "outcome": "denied"})) == []
    assert f"events/{first}/" in text(console.get(AT, {"act": "tests.search.one"}))


def test_half_an_object_and_a_time_that_runs_backwards_are_said_and_find_nothing(console):
    record(1)
    for given in (
        {"object_type": "thing"},
        {"from_at": "2026-01-02T00:00", "to_at": "2026-01-01T00:00"},
        {"from_at": "yesterday"},
    ):
        page = console.get(AT, given)
        assert page.status_code == 200, given
        assert "errorlist" in text(page), given
        assert actions(page) == [], given
    assert console.get(AT, {"before": "x"}).status_code == 422


@pytest.mark.parametrize("year", ["0001", "9999"])
def test_a_time_with_which_nobody_can_reckon_is_said(console, year):
    for asked in (f"from_at={year}-01-01T00:00", f"to_at={year}-12-31T23:59:59"):
        page = console.get(f"{AT}?{asked}")
        assert (page.status_code, "Enter a valid date/time" in text(page)) == (200, True), asked


def test_a_time_takes_the_events_of_its_own_and_no_others(floor, monkeypatch):
    monkeypatch.setattr(searching, "SLACK", timedelta(0))
    ids = [record(1, action="tests.time")[0] for _ in range(6)]
    at = dict(Event.objects.filter(pk__in=ids).values_list("pk", "recorded_at"))

    for number, each in enumerate(ids):
        assert searching.first_since(at[each]) == each
        found = searching.search(Search(action="tests.time", from_at=at[each])).rows
        assert [row.pk for row in found] == ids[number:][::-1]
        found = searching.search(Search(from_at=at[ids[0]], to_at=at[each], action="tests.time")).rows
        assert [row.pk for row in found] == ids[:number][::-1]
    assert searching.first_since(now() + timedelta(days=1)) > ids[-1]
    assert searching.first_since(now() - timedelta(days=9999)) <= ids[0]


def test_the_search_is_turned_by_its_keys_and_counts_nothing(console, monkeypatch):
    monkeypatch.setattr(searching, "PAGE", 3)
    ids = record(7, action="tests.turned")
    shown, path = [], f"{AT}?act=tests.turned"
    while path:
        with CaptureQueriesContext(connection) as asked:
            page = console.get(path)
        assert not [each["sql"] for each in asked if "COUNT(" in each["sql"] or "OFFSET" in each["sql"]]
        shown += [int(each) for each in re.findall(r"audit/events/(\d+)/", page.content.decode())]
        path = AT + page.context["older"] if page.context["older"] else ""
    assert shown == ids[::-1]


def test_what_no_index_tells_is_sifted_so_far_and_says_that_it_goes_on(console, monkeypatch):
    monkeypatch.setattr(searching, "SIFTED", 5)
    (wanted,) = record(1, action="tests.sift", outcome=Outcome.DENIED)
    record(5, action="tests.sift")
    path = f"{AT}?act=tests.sift&outcome=denied"

    page = console.get(path)
    assert actions(page) == []
    assert "There may be more behind them" in text(page)
    page = console.get(AT + page.context["older"])
    assert f"events/{wanted}/" in text(page)
    assert not page.context["older"]


def test_an_event_shows_its_words_its_seal_and_no_personal_data(console):
    (event,) = record(1, detail={"before": {"role": "TRADER"}, "amount": "12.50"}, pii={"ip": "203.0.113.99"})
    waiting = text(console.get(f"{AT}events/{event}/"))
    assert "It waits for its seal" in waiting
    seal()

    page = text(console.get(f"{AT}events/{event}/"))

    assert "The text is the one that was sealed" in page
    assert "before › role</dt><dd>TRADER" in page
    assert "kept apart, and not shown here" in page
    assert "203.0.113.99" not in page
    older = Event.objects.filter(id__lt=event).latest("id").pk
    assert f'href="{AT}events/{older}/" rel="next" data-next' in page
    assert console.get(f"{AT}events/{event + 10**9}/").status_code == 404


@pytest.mark.django_db(transaction=True)
def test_an_event_that_was_tampered_with_says_so(console):
    (event,) = record(1)
    seal()
    with transaction.atomic():
        tamper("UPDATE audit.event SET canonical = replace(canonical, 'tests', 'tasts') WHERE id = %s", [event])
    try:
        assert "THE TEXT IS NOT WHAT WAS SEALED" in text(console.get(f"{AT}events/{event}/"))
    finally:
        with transaction.atomic():
            tamper("UPDATE audit.event SET canonical = replace(canonical, 'tasts', 'tests') WHERE id = %s", [event])


def verdict(**changes) -> Verification:
    return Verification.objects.create(
        **{
            "started_at": now(), "finished_at": now(), "asked_by": "verifier", "verdict": "clean", "to_batch": 3,
            "batches": 4, "events": 14, "unsealed": 0, "counts": {}, "findings": [], "notes": [],
        } | changes
    )  # fmt: skip


def test_the_front_page_and_the_page_of_verification_say_the_last_verdict_and_the_lag(console, officer):
    assert "never: no verification has run yet" in text(console.get("/admin/"))
    verdict()
    record(1)
    seal()
    home = text(console.get("/admin/"))
    assert re.search(r'mark-ok">clean</span> \S+ s ago, 14 events', home)
    assert "nothing for long" in home

    verdict(
        verdict="tampered", counts={"event_modified": 2}, notes=["No anchor can be read here."],
        findings=[{"kind": "event_modified", "index": 7}],
    )  # fmt: skip
    page = text(officer.get(f"{AT}verification/"))
    assert 'mark-late">tampered' in page
    assert 'event_modified</td><td class="num">2' in page
    assert "index: 7" in page
    assert "No anchor can be read here" in page
    assert 'mark-late">tampered' in text(console.get("/admin/"))


def test_what_waits_for_its_seal_for_over_a_minute_is_late(console, monkeypatch):
    seal()
    monkeypatch.setattr("nexus.audit.selectors.oldest_unsealed", lambda: now() - timedelta(seconds=75))

    assert re.search(r">[^<]*\b\d+ s: LATE", text(console.get("/admin/")))


def test_compliance_asks_sees_how_far_it_is_and_takes_the_bundle_once_it_is_there(officer, asker, console, new_events):
    record(3, action="tests.export")
    seal()

    answer = confirm(officer, f"{AT}exports/ask/", act="tests.export", with_csv="on")
    row = Export.objects.latest("pk")
    assert (answer.status_code, answer.url) == (302, f"{AT}exports/{row.pk}/")
    assert (row.action, row.with_csv, row.with_pii, row.asked_by) == ("tests.export", True, False, asker.id)
    waiting = text(officer.get(answer.url))
    assert "It waits for the worker" in waiting
    assert f'data-live="{AT}exports/{row.pk}/live/"' in waiting
    assert "It has no file" in text(officer.get(f"{AT}exports/{row.pk}/take/"))
    exports.run(export_id=row.pk, clock=now)

    assert "Take the file…" in text(officer.get(answer.url))
    taken = confirm(officer, f"{AT}exports/{row.pk}/take/")
    assert taken.headers["Content-Disposition"] == f'attachment; filename="nexus-audit-{row.pk}.zip"'
    assert b"".join(taken.streaming_content).startswith(b"PK")
    assert [each.action for each in new_events() if each.action.startswith("audit.export")] == [
        "audit.export_requested", "audit.exported", "audit.export_taken",
    ]  # fmt: skip
    assert "It was taken, and its file is gone" in text(officer.get(answer.url))
    assert "It has no file: it is TAKEN" in text(officer.get(f"{AT}exports/{row.pk}/take/"))
    assert confirm(officer, f"{AT}exports/{row.pk}/take/", version="x").status_code == 409
    assert "Take the file…" not in text(console.get(answer.url))  # an operator sees it, and takes nothing
    assert confirm(console, f"{AT}exports/{row.pk}/take/", version="x").status_code == 403
    assert confirm(console, f"{AT}exports/ask/", version="x").status_code == 403


def test_a_bundle_needs_a_code_to_be_asked_for_and_another_to_be_taken(officer):
    record(1)
    seal()
    path = f"{AT}exports/ask/"
    form = {"reason": "A yearly audit, as the law asks.", "version": seen(officer, path)}
    assert officer.post(path, form).status_code == 401
    assert not Export.objects.exists()
    confirm(officer, path)
    row = Export.objects.get()
    exports.run(export_id=row.pk, clock=now)
    path = f"{AT}exports/{row.pk}/take/"

    assert officer.post(path, {"version": seen(officer, path)}).status_code == 401
    assert not Event.objects.filter(action="audit.export_taken", object_id=str(row.pk)).exists()


def test_of_two_forms_at_once_one_is_an_export_and_the_other_is_told(officer, monkeypatch):
    record(1)
    seal()
    path = f"{AT}exports/ask/"
    version = seen(officer, path)
    monkeypatch.setattr("accounts.services.step_up.require_typed", lambda *_, **__: None)  # one code is accepted once

    answers = together(2, lambda _: confirm(officer, path, version=version).status_code)

    assert sorted(answers) == [302, 409]
    assert Export.objects.count() == 1


def test_five_an_hour_and_the_file_must_be_there(officer, asker):
    record(1)
    seal()
    rows = []
    for _ in range(exports.ASKED_AN_HOUR_MAX):
        assert confirm(officer, f"{AT}exports/ask/").status_code == 302
        rows.append(Export.objects.latest("pk"))
        exports.run(export_id=rows[-1].pk, clock=now)

    answer = confirm(officer, f"{AT}exports/ask/")
    assert answer.status_code == 429
    assert "within an hour" in text(answer)
    exports._path(rows[0]).unlink()
    answer = confirm(officer, f"{AT}exports/{rows[0].pk}/take/")
    assert answer.status_code == 409
    assert "is not where AUDIT_EXPORT_DIR says" in text(answer)
    assert not Event.objects.filter(action="audit.export_taken", object_id=str(rows[0].pk)).exists()


def test_words_in_the_log_are_text_and_never_a_script(console):
    nasty = "<script>alert(1)</script>"
    with transaction.atomic():
        event = trail.record(action="tests.nasty", actor=Actor.system(nasty), target=Target("thing", nasty),
                             detail={nasty: nasty})  # fmt: skip

    for path in (f"{AT}?act=tests.nasty", f"{AT}events/{event}/", f"{AT}?actor=%3Cscript%3Ealert(1)%3C/script%3E"):
        assert "<script>alert" not in console.get(path).content.decode(), path
