"""A connection is used again only while the server is at its other end."""

import psycopg
import pytest
from django.db import connection

pytestmark = pytest.mark.django_db(transaction=True)


def end(pid: int) -> None:
    """End a session of the server, as its restart would."""
    given = connection.get_connection_params()
    words = {name: given[name] for name in ("dbname", "user", "password", "host", "port") if given.get(name)}
    with psycopg.connect(**words, autocommit=True) as another:
        another.execute("SELECT pg_terminate_backend(%s)", [pid])
        while another.execute("SELECT 1 FROM pg_stat_activity WHERE pid = %s", [pid]).fetchone():
            pass


def test_a_connection_that_lives_is_not_asked(django_assert_num_queries):
    connection.ensure_connection()

    with django_assert_num_queries(0):
        assert connection.is_usable()


def test_a_connection_that_the_server_has_ended_is_opened_anew():
    connection.ensure_connection()
    first = connection.connection.info.backend_pid
    end(first)
    assert not connection.is_usable()

    connection.errors_occurred = True  # as after a statement that failed with it
    connection.close_if_unusable_or_obsolete()
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        assert cursor.fetchone()[0] != first


def test_a_closed_connection_is_not_usable():
    connection.ensure_connection()
    connection.connection.close()

    assert not connection.is_usable()
    connection.close()
