"""What stands behind a test that has committed: tables without rows, and a connection that holds no lock.

Django's own flush truncates every table, which makes hundreds of files anew, looks up each permission, and closes the
connection, so that every statement is planned anew: more than half of what such a test took.
"""

from functools import cache
from typing import Any

from django.db import connections, transaction
from django.test import TransactionTestCase

STAYING = frozenset({"django_content_type", "auth_permission"})  # they stand for the models, whatever a test did


def use() -> None:
    """Let every test with transactions be emptied behind so."""
    whole: Any = TransactionTestCase
    whole._fixture_teardown, whole._should_reload_connections = _fixture_teardown, _should_reload_connections


def _fixture_teardown(self: TransactionTestCase) -> None:
    for alias in self._databases_names(include_mirrors=False):  # type: ignore[attr-defined]
        empty(alias)


def _should_reload_connections(self: TransactionTestCase) -> bool:
    return False


def empty(alias: str) -> None:
    """Leave no row in any table of a model, and no lock of this connection's. Who still writes is waited for."""
    tables, guarded = _tables(alias)
    with transaction.atomic(using=alias), connections[alias].cursor() as cursor:
        cursor.execute("SELECT pg_advisory_unlock_all()")
        cursor.execute(f"LOCK TABLE {', '.join(tables)} IN SHARE ROW EXCLUSIVE MODE")
        cursor.execute(" UNION ALL ".join(f"(SELECT '{name}' FROM {name} LIMIT 1)" for name in tables))  # noqa: S608
        filled = [name for (name,) in cursor.fetchall()]
        kept = [name for name in filled if name in guarded]
        if kept:
            cursor.execute(f"TRUNCATE {', '.join(kept)} CASCADE")
        if others := [name for name in filled if name not in guarded]:
            cursor.execute("; ".join(f"DELETE FROM {name}" for name in others))  # noqa: S608


@cache
def _tables(alias: str) -> tuple[list[str], frozenset[str]]:
    """Return the tables of our models, and those among them whose triggers let no row be deleted."""
    connection = connections[alias]
    names = connection.introspection.django_table_names(only_existing=True, include_views=False)
    with connection.cursor() as cursor:
        cursor.execute("SELECT tgrelid::regclass::text FROM pg_trigger WHERE NOT tgisinternal AND tgtype & 8 > 0")
        guarded = frozenset(name for (name,) in cursor.fetchall())
    return sorted(set(names) - STAYING), guarded
