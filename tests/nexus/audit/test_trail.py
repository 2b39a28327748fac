"""The black box: what goes in stays in, exactly once, exactly as it was."""

import hashlib
import json
from datetime import UTC, datetime
from decimal import Decimal
from importlib import import_module
from uuid import UUID

import pytest
from django.db import DatabaseError, connection, transaction

from nexus.audit.models import Event, Pii
from nexus.audit.services import trail
from nexus.audit.types import Actor, Outcome, Target
from nexus.core.logs import correlated

pytestmark = pytest.mark.django_db

ACTOR = Actor.system("tests")
TARGET = Target("order", "42")


def _record(**given) -> Event:
    with transaction.atomic():
        pk = trail.record(**{"action": "tests.thing.done", "actor": ACTOR, "target": TARGET, **given})
    return Event.objects.get(pk=pk)


def test_an_event_says_who_did_what_to_what_and_for_which_request():
    with correlated(request_id="7d6f9a52-9d0c-4a3e-9d4e-6a8b5f1f0c11"):
        event = _record(detail={"before": "A", "after": "B"}, outcome=Outcome.DENIED)

    said = json.loads(event.canonical)
    assert (event.action, event.outcome, event.actor_type, event.actor_id) == (
        "tests.thing.done", "denied", "system", "tests",
    )  # fmt: skip
    assert (event.object_type, event.object_id) == ("order", "42")
    assert event.request_id == said["request_id"] == "7d6f9a52-9d0c-4a3e-9d4e-6a8b5f1f0c11"
    assert said["detail"] == {"before": "A", "after": "B"}
    assert said["id"] == event.pk


def test_values_are_written_as_plain_text():
    event = _record(
        detail={
            "amount": Decimal("1000.50"),
            "tiny": Decimal("0.00000001"),
            "at": datetime(2026, 1, 5, 12, tzinfo=UTC),
            "id": UUID(int=7),
            "kind": Outcome.SUCCESS,
            "rows": [Decimal("1E+3"), {"deep": (1, None, True)}],
            "hostile": "a\x00b\ud800c",
        }
    )

    assert json.loads(event.canonical)["detail"] == {
        "amount": "1000.5",
        "tiny": "0.00000001",
        "at": "2026-01-05T12:00:00+00:00",
        "id": "00000000-0000-0000-0000-000000000007",
        "kind": "success",
        "rows": ["1000", {"deep": [1, None, True]}],
        "hostile": "a�b�c",
    }


def test_a_float_is_refused():
    with pytest.raises(TypeError, match="float"):
        _record(detail={"amount": 0.1})


def test_an_outside_time_stands_beside_ours():
    event = _record(occurred_at=datetime(2026, 1, 5, 12, tzinfo=UTC))

    assert json.loads(event.canonical)["occurred_at"] == "2026-01-05T12:00:00.000000Z"
    assert event.recorded_at.year >= 2026


def test_a_detail_too_large_is_cut_and_says_so():
    event = _record(detail={"small": "kept", "large": "x" * 40_000, "last": "kept too", "quotes": '"' * 30_000})

    assert json.loads(event.canonical)["detail"] == {"truncated": True, "small": "kept", "last": "kept too"}


def test_a_rollback_leaves_no_event(new_events):
    with transaction.atomic():
        trail.record(action="tests.thing.done", actor=ACTOR, target=TARGET)
        assert len(new_events()) == 1
        transaction.set_rollback(True)

    assert not new_events()


@pytest.mark.django_db(transaction=True)
def test_an_event_needs_an_open_transaction(new_events):
    with pytest.raises(AssertionError):
        trail.record(action="tests.thing.done", actor=ACTOR, target=TARGET)

    assert not new_events()


@pytest.mark.django_db(transaction=True)
def test_a_denied_act_commits_by_itself_and_never_inside_another(new_events):
    trail.record_denied(action="tests.thing.denied", actor=ACTOR, target=TARGET)
    with pytest.raises(RuntimeError), transaction.atomic():
        trail.record_denied(action="tests.thing.denied", actor=ACTOR, target=TARGET)

    assert [event.outcome for event in new_events()] == ["denied"]


def test_the_commitment_matches_the_personal_data_which_stands_apart():
    event = _record(pii={"ip": "203.0.113.7", "name": "José"})

    pii = Pii.objects.get(event=event)
    assert json.loads(event.canonical)["pii_sha256"] == hashlib.sha256(bytes(pii.salt) + pii.data.encode()).hexdigest()
    assert len(bytes(pii.salt)) == 32
    assert json.loads(pii.data) == {"ip": "203.0.113.7", "name": "José"}
    assert "203.0.113.7" not in event.canonical


def test_personal_data_can_be_erased_and_the_erasure_is_an_event(new_events):
    event = _record(pii={"ip": "203.0.113.7"})

    with connection.cursor() as cursor:
        cursor.execute("SELECT audit.erase_pii(%s, %s, %s)", [event.pk, "someone", "asked to"])

    assert not Pii.objects.filter(event=event).exists()
    assert [item.action for item in new_events()] == ["tests.thing.done", "audit.pii_erased"]


@pytest.mark.threat(22)
@pytest.mark.parametrize("replica", [False, True])
@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit.event SET outcome = 'failure' WHERE id = %(id)s",
        "DELETE FROM audit.event WHERE id = %(id)s",
        "TRUNCATE audit.event CASCADE",
        "UPDATE audit.pii SET data = '{}' WHERE event_id = %(id)s",
        "TRUNCATE audit.pii",
        "TRUNCATE audit.batch CASCADE",
        "TRUNCATE audit.leaf",
    ],
)
def test_what_is_written_stays_written(statement, replica):
    event = _record(pii={"ip": "203.0.113.7"})

    if replica:
        statement = f"SET LOCAL session_replication_role = replica; {statement}"
    with pytest.raises(DatabaseError, match="append-only"), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(statement % {"id": event.pk})

    assert Event.objects.get(pk=event.pk).canonical == event.canonical
    assert Pii.objects.filter(event=event).exists()


@pytest.mark.parametrize(
    ("field", "value"),
    [("action", "Done"), ("action", "done"), ("actor", Actor("robot", "1"))],  # type: ignore[arg-type]
)
def test_the_database_refuses_unknown_words(field, value):
    with pytest.raises((DatabaseError, AttributeError)):
        _record(**{field: value})


def test_the_production_roles_get_exactly_their_rights():
    box = import_module("nexus.audit.migrations.0001_black_box")
    roles = ["nexus_audit_owner", "nexus_app", "nexus_sealer", "nexus_auditor"]
    sid = transaction.savepoint()
    with connection.cursor() as cursor:
        cursor.execute("SELECT rolsuper OR rolcreaterole FROM pg_roles WHERE rolname = current_user")
        if not cursor.fetchone()[0]:
            pytest.skip("only a superuser may make roles to try")
        cursor.execute("DROP SCHEMA audit CASCADE")
        for role in roles:
            cursor.execute(f"DO $$ BEGIN CREATE ROLE {role}; EXCEPTION WHEN duplicate_object THEN NULL; END $$")
        cursor.execute(box.BEGIN + box.BLACK_BOX + box.GRANTS)
        cursor.execute(
            "SELECT grantee || ' ' || lower(privilege_type) || ' ' || table_name"
            " FROM information_schema.table_privileges"
            " WHERE table_schema = 'audit' AND grantee <> 'nexus_audit_owner' ORDER BY 1"
        )
        tables = [row[0] for row in cursor.fetchall()]
        cursor.execute(
            "SELECT r || ' ' || f FROM unnest(%s::text[]) r, unnest(ARRAY['append', 'erase_pii']) f"
            " WHERE has_function_privilege(r, (SELECT p.oid FROM pg_proc p JOIN pg_namespace n ON n.oid = pronamespace"
            " WHERE nspname = 'audit' AND proname = f), 'EXECUTE') ORDER BY 1",
            [roles[1:]],
        )
        functions = [row[0] for row in cursor.fetchall()]
        cursor.execute("SELECT DISTINCT tableowner FROM pg_tables WHERE schemaname = 'audit'")
        owners = cursor.fetchall()
        cursor.execute("SELECT current_user = session_user")
        back_to_ourselves = cursor.fetchone()[0]
    transaction.savepoint_rollback(sid)

    assert owners == [("nexus_audit_owner",)]
    assert back_to_ourselves
    assert tables == [
        "nexus_app select batch", "nexus_app select event", "nexus_app select leaf",
        "nexus_auditor select batch", "nexus_auditor select event", "nexus_auditor select leaf",
        "nexus_auditor select pii",
        "nexus_sealer insert batch", "nexus_sealer insert leaf",
        "nexus_sealer select batch", "nexus_sealer select event", "nexus_sealer select leaf",
    ]  # fmt: skip
    assert functions == ["nexus_app append", "nexus_auditor append", "nexus_auditor erase_pii", "nexus_sealer append"]
