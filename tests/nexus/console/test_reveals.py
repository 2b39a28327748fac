"""Personal data of one event: shown to compliance, once, and only after an event that says who, what and why."""

import json
from importlib import import_module
from typing import Any

import pytest
from django.db import DatabaseError, transaction

from accounts.models import User
from accounts.states import Role
from nexus.audit.models import Event
from nexus.audit.selectors import REVEALED
from nexus.audit.services import trail
from nexus.audit.types import Actor, Target
from nexus.console.acts import version_of
from tests.nexus.audit.sealed import record, run
from tests.nexus.console.people import REASON, code_of, confirm, seen, text

pytestmark = pytest.mark.django_db(transaction=True)  # what is shown must have been committed before

IP = "203.0.113.99"


@pytest.fixture
def event() -> int:
    """An event with personal data."""
    return record(1, pii={"ip": IP, "names": {"typed": "stranger@example.test"}})[0]


def path_of(event_id: int) -> str:
    return f"/admin/audit/events/{event_id}/reveal/"


def looks(event_id: int) -> list[Event]:
    return list(Event.objects.filter(action=REVEALED, object_type="audit_event", object_id=str(event_id)))


def test_it_is_shown_once_and_the_log_says_who_what_and_why(officer, event):
    assert f'href="{path_of(event)}"' in text(officer.get(f"/admin/audit/events/{event}/"))
    version = seen(officer, path_of(event))
    assert IP not in text(officer.get(path_of(event)))
    assert looks(event) == []  # asking is no look

    answer = confirm(officer, path_of(event))

    assert answer.status_code == 200
    assert f"<dt>ip</dt><dd><code>{IP}</code>" in text(answer)
    assert "names › typed</dt><dd><code>stranger@example.test" in text(answer)
    assert "no-store" in answer["Cache-Control"]
    (look,) = looks(event)
    assert look.actor_id == str(User.objects.get(role=Role.COMPLIANCE).public_id)
    assert json.loads(look.canonical)["detail"] == {"reason": REASON}
    assert IP not in look.canonical
    for page in (officer.get(path_of(event)), officer.get(f"/admin/audit/events/{event}/")):
        assert IP not in text(page)
    again = confirm(officer, path_of(event), version=version)  # the same form once more
    assert (again.status_code, IP in text(again), len(looks(event))) == (409, False, 1)


def test_without_a_code_or_a_reason_nothing_is_shown_and_nothing_recorded(officer, event):
    form = {"reason": REASON, "version": seen(officer, path_of(event))}
    silent = {"reason": "", "otp": code_of(officer), "version": form["version"]}

    for given, status in ((form, 401), (form | {"otp": "000000"}, 401), (silent, 422)):
        answer = officer.post(path_of(event), given)
        assert (answer.status_code, IP in text(answer)) == (status, False), given
    assert looks(event) == []


def test_an_operator_is_offered_nothing_and_refused(console, event):
    assert "/reveal/" not in text(console.get(f"/admin/audit/events/{event}/"))
    assert console.get(path_of(event)).status_code == 403
    answer = confirm(console, path_of(event), version="x")
    assert (answer.status_code, IP in text(answer)) == (403, False)
    assert looks(event) == []


def test_what_was_erased_and_what_never_was_is_said_and_not_recorded(officer, event):
    run("SELECT audit.erase_pii(%s, 'someone', 'asked to')", [event])
    (bare,) = record(1)

    assert "<dt>Personal data</dt><dd>erased" in text(officer.get(f"/admin/audit/events/{event}/"))
    for event_id, words in ((event, "was erased"), (bare, "has no personal data")):
        assert words in text(officer.get(path_of(event_id)))
        answer = confirm(officer, path_of(event_id), version=version_of(event=event_id, last=0))
        assert (answer.status_code, words in text(answer)) == (409, True)
        assert looks(event_id) == []
    assert officer.get(path_of(10**15)).status_code == 404


def test_no_event_no_data(officer, event, monkeypatch):
    def broken(**_: object) -> int:
        raise RuntimeError("the log is gone")

    officer.raise_request_exception = False
    version, code = seen(officer, path_of(event)), code_of(officer)
    whole = trail.record
    monkeypatch.setattr(trail, "record", lambda **given: broken() if given["action"] == REVEALED else whole(**given))
    answer = officer.post(path_of(event), {"reason": REASON, "otp": code, "version": version})

    assert answer.status_code == 500
    assert IP.encode() not in answer.content


def look_at(event_id: int, **given: Any) -> int:
    by: dict[str, Any] = {
        "action": REVEALED,
        "actor": Actor.user("an-officer"),
        "target": Target("audit_event", str(event_id)),
    }
    return trail.record(**{**by, **given})


def test_the_database_gives_nothing_for_an_event_that_could_still_be_rolled_back(event):
    with transaction.atomic():
        with transaction.atomic():  # a savepoint: another id of a transaction, and not committed all the same
            inner = look_at(event)
        with pytest.raises(DatabaseError, match="reveals nothing"), transaction.atomic():
            run("SELECT audit.reveal_pii(%s)", [inner])
    with transaction.atomic():
        look = look_at(event)

    assert json.loads(run("SELECT audit.reveal_pii(%s)", [look])[0])["ip"] == IP


@pytest.mark.parametrize(
    "given",
    [
        {"action": "tests.other"},
        {"actor": Actor.system("somebody")},
        {"target": Target("thing", "1")},
    ],
)
def test_the_database_gives_nothing_for_another_event(event, given):
    with transaction.atomic():
        other = look_at(event, **given)

    with pytest.raises(DatabaseError, match="reveals nothing"):
        run("SELECT audit.reveal_pii(%s)", [other])


def test_a_look_is_over_after_a_minute(event):
    with transaction.atomic():
        look = look_at(event)
    sql = import_module("nexus.audit.migrations.0007_reveal").REVEAL
    with transaction.atomic():
        run("DROP FUNCTION audit.reveal_pii(bigint)")
        run(sql.replace("interval '1 minute'", "interval '0 minutes'"))
        with pytest.raises(DatabaseError, match="reveals nothing"), transaction.atomic():
            run("SELECT audit.reveal_pii(%s)", [look])
        transaction.set_rollback(True)
