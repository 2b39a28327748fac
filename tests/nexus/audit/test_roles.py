"""Tampering as each role of production: what its rights refuse, and what they allow is found and named."""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module

import pytest
from django.db import DatabaseError, connection, transaction

from nexus.audit.models import Batch, Leaf
from nexus.audit.rules.findings import Verdict
from nexus.audit.services import sealing, trail
from nexus.audit.types import Actor, Target
from tests.nexus.audit.sealed import OTHER, places, record, run, seal, verify

pytestmark = [pytest.mark.django_db, pytest.mark.threat(23)]

ROLES = ("nexus_audit_owner", "nexus_app", "nexus_sealer", "nexus_auditor")

CHANGES = {
    "an event's text": "UPDATE audit.event SET canonical = canonical || ' '",
    "an event gone": "DELETE FROM audit.event",
    "all gone": "TRUNCATE audit.event CASCADE",
    "an event of any time": (
        "INSERT INTO audit.event OVERRIDING SYSTEM VALUE SELECT id + 1000, recorded_at, action, outcome, actor_type,"
        " actor_id, object_type, object_id, request_id, canonical FROM audit.event"
    ),
    "events copied in": "COPY audit.event FROM STDIN",
    "a leaf's hash": "UPDATE audit.leaf SET leaf_hash = sha256('x')",
    "a leaf gone": "DELETE FROM audit.leaf",
    "a seal's root": "UPDATE audit.batch SET merkle_root = sha256('x')",
    "a seal gone": "DELETE FROM audit.batch",
    "personal data": "UPDATE audit.pii SET data = '{}'",
    "personal data gone": "DELETE FROM audit.pii",
    "personal data invented": "INSERT INTO audit.pii SELECT id, 'salt', '{}' FROM audit.event",
    "the trigger off": "ALTER TABLE audit.event DISABLE TRIGGER ALL",
    "the trigger gone": "DROP TRIGGER no_change ON audit.event",
    "another function": "CREATE OR REPLACE FUNCTION audit.refuse() RETURNS trigger LANGUAGE sql AS 'SELECT 1'",
    "replication": "SET LOCAL session_replication_role = replica; DELETE FROM audit.event",
}
SEALS = {
    "a seal": "INSERT INTO audit.batch SELECT batch_no + 1000, 5000, 1, merkle_root, sha256('x'), sealed_at,"
    " sha256('y'), key_id, signature FROM audit.batch LIMIT 1",
    "a leaf": "INSERT INTO audit.leaf SELECT 5000, max(id), 0, sha256('x') FROM audit.event",
}


@pytest.fixture
def sealed_as_in_production(db: None) -> None:
    """Build the black box anew under production's roles, within this test's transaction, and seal a few events."""
    box = import_module("nexus.audit.migrations.0001_black_box")
    with connection.cursor() as cursor:
        cursor.execute("SELECT rolsuper OR rolcreaterole FROM pg_roles WHERE rolname = current_user")
        if not cursor.fetchone()[0]:
            pytest.skip("only a role that may make roles can try them")
        cursor.execute("DROP SCHEMA audit CASCADE")
        for role in ROLES:
            cursor.execute(f"DO $$ BEGIN CREATE ROLE {role}; EXCEPTION WHEN duplicate_object THEN NULL; END $$")
        cursor.execute(box.BEGIN + box.BLACK_BOX + box.GRANTS)
        reveal = import_module("nexus.audit.migrations.0007_reveal")
        cursor.execute(reveal.BEGIN + reveal.REVEAL)
    record(4, pii={"ip": "203.0.113.7"})
    seal()
    record()


@contextmanager
def as_role(role: str) -> Iterator[None]:
    """Be one of production's roles for a while."""
    run(f"SET LOCAL ROLE {role}")
    yield
    run("RESET ROLE")


@pytest.mark.threat(22)
@pytest.mark.usefixtures("sealed_as_in_production")
@pytest.mark.parametrize(
    ("role", "what"),
    [(role, what) for role in ROLES[1:] for what in CHANGES | SEALS if role != "nexus_sealer" or what not in SEALS],
)
def test_a_role_is_refused_what_is_not_its_work(role, what):
    with pytest.raises(DatabaseError, match=r"permission denied|must be owner"), transaction.atomic(), as_role(role):
        run((CHANGES | SEALS)[what])

    assert verify().counts == {}


@pytest.mark.usefixtures("sealed_as_in_production")
@pytest.mark.parametrize("role", ["nexus_app", "nexus_sealer"])
def test_only_the_auditor_reads_and_erases_personal_data(role):
    for statement in ("SELECT data FROM audit.pii", "SELECT audit.erase_pii(max(id), 'x', 'y') FROM audit.event"):
        with pytest.raises(DatabaseError, match="permission denied"), transaction.atomic(), as_role(role):
            run(statement)


@pytest.mark.usefixtures("sealed_as_in_production")
@pytest.mark.parametrize("role", ["nexus_app", "nexus_sealer"])
def test_only_the_application_may_reveal_and_only_after_an_event_that_is_committed(role):
    (event_id,) = run("SELECT event_id FROM audit.pii LIMIT 1")
    with transaction.atomic():
        look = trail.record(
            action="audit.pii_revealed", actor=Actor.user("an-officer"), target=Target("audit_event", str(event_id))
        )
    refused = "reveals nothing" if role == "nexus_app" else "permission denied"

    with pytest.raises(DatabaseError, match=refused), transaction.atomic(), as_role(role):
        run("SELECT audit.reveal_pii(%s)", [look])


@pytest.mark.usefixtures("sealed_as_in_production")
def test_the_auditors_erasure_says_so_itself_and_leaves_the_log_clean():
    with as_role("nexus_auditor"):
        run("SELECT audit.erase_pii(event_id, 'the-auditor', 'asked to') FROM audit.pii LIMIT 1")

    seal()

    assert verify().counts == {}
    assert run("SELECT actor_id FROM audit.event WHERE action = 'audit.pii_erased'") == ("the-auditor",)


@pytest.mark.usefixtures("sealed_as_in_production")
def test_the_sealers_role_without_its_key_seals_nothing_that_counts():
    with as_role("nexus_sealer"):
        list(sealing.seal_all(signer=OTHER))

    forged = Batch.objects.order_by("-batch_no")[0]
    assert places(verify()) == {("bad_signature", forged.batch_no, forged.first_index, None)}


@pytest.mark.usefixtures("sealed_as_in_production")
def test_leaves_that_the_sealers_role_invents_are_named():
    with as_role("nexus_sealer"):
        run(SEALS["a leaf"])

    (leaf,) = Leaf.objects.filter(log_index=5000)
    assert places(verify()) == {("leaf_index", None, 5000, leaf.event_id)}


@pytest.mark.usefixtures("sealed_as_in_production")
def test_a_batch_that_the_sealers_role_invents_is_named():
    with as_role("nexus_sealer"):
        run(SEALS["a seal"])

    assert {place[:2] for place in places(verify())} >= {("chain_break", 1), ("bad_signature", 1000)}


@pytest.mark.usefixtures("sealed_as_in_production")
def test_the_owner_of_the_tables_is_stopped_by_the_triggers_and_found_without_them():
    (changed,) = run("SELECT max(event_id) FROM audit.leaf")
    index = Leaf.objects.get(event_id=changed).log_index
    statement = "UPDATE audit.event SET canonical = canonical || ' ' WHERE id = %s"
    with pytest.raises(DatabaseError, match="append-only"), transaction.atomic(), as_role("nexus_audit_owner"):
        run(statement, [changed])
    assert verify().counts == {}

    with as_role("nexus_audit_owner"):
        run("SET CONSTRAINTS ALL IMMEDIATE")
        run("ALTER TABLE audit.event DISABLE TRIGGER no_change")
        run(statement, [changed])

    report = verify()
    assert ("event_modified", 0, index, changed) in places(report)
    assert report.verdict is Verdict.TAMPERED
