"""Migrations go back as well as forth, and evidence does not go with them."""

from typing import Any

import pytest
from django.apps import apps
from django.core.management import call_command
from django.db import DatabaseError, connection, transaction
from django.db.models.signals import post_migrate, pre_migrate

from nexus.audit.services import trail
from nexus.audit.types import Actor, Target

pytestmark = pytest.mark.django_db


def test_models_and_migrations_agree():
    call_command("makemigrations", check=True, dry_run=True, verbosity=0)


def test_a_migration_takes_its_time_and_what_comes_after_it_does_not():
    def limits() -> list[str]:
        with connection.cursor() as cursor:
            names = ("statement_timeout", "idle_in_transaction_session_timeout")
            return [cursor.execute(f"SHOW {name}").fetchone()[0] for name in names]

    app = apps.get_app_config("risk")
    given: dict[str, Any] = {
        "sender": app,
        "app_config": app,
        "using": "default",
        "verbosity": 0,
        "plan": [],
        "apps": apps,
    }
    before = limits()
    pre_migrate.send(**given)
    during = limits()
    post_migrate.send(**given)

    assert before == ["15s", "2min"]  # of the tests: `tests.conftest`
    assert (during, limits()) == (["0", "0"], before)


def test_a_log_with_events_is_not_removed():
    with transaction.atomic():
        trail.record(action="tests.thing.done", actor=Actor.system("tests"), target=Target("x", "1"))

    with pytest.raises(DatabaseError, match="not removed by a migration"), transaction.atomic():
        _reverse_audit()


def test_an_empty_log_is_removed_and_made_again():
    sid = transaction.savepoint()
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE audit.event DISABLE TRIGGER USER; ALTER TABLE audit.pii DISABLE TRIGGER USER")
        cursor.execute("DELETE FROM audit.pii; DELETE FROM audit.event")
    _reverse_audit()
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_namespace WHERE nspname = 'audit'")
        left = cursor.fetchone()
    transaction.savepoint_rollback(sid)

    assert left == (0,)


def _reverse_audit() -> None:
    from importlib import import_module  # noqa: PLC0415

    operation = import_module("nexus.audit.migrations.0001_black_box").Migration.operations[0]
    assert apps.is_installed("nexus.audit")
    with connection.cursor() as cursor:
        cursor.execute(operation.reverse_sql)
