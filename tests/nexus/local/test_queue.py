"""The queues in PostgreSQL: made once, and no job is lost with its worker."""

import warnings

import psycopg
import pytest
from kombu import Connection
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from nexus.local import postgres, queue

JOB = {"job": "trading.resolve_orders"}


@pytest.fixture(scope="module")
def database():
    """A server of its own: the queues are the local run's, and the tests' database knows nothing of them."""
    with postgres.temporary() as url:
        yield url


def connect(database: str) -> Connection:
    options = {
        "conn_string": make_conninfo("", **conninfo_to_dict(database)),
        "init_extension": False,
        "visibility_timeout": 1,
        "wait_time_seconds": 0,
        "pool_size": 1,
    }
    return Connection(queue.URL, transport_options=options)


def test_makes_its_tables_once_and_keeps_what_they_hold(database):
    queue.install(database, {})
    with psycopg.connect(database) as connection:
        connection.execute("SELECT pgmq.create('kept')")
        connection.execute("SELECT pgmq.send('kept', '{}')")

    queue.install(database, {})

    with psycopg.connect(database) as connection:
        assert connection.execute("SELECT count(*) FROM pgmq.q_kept").fetchone() == (1,)


def test_delivers_a_job_again_when_nobody_acknowledged_it(database, eventually):
    queue.install(database, {})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # the client says that its list of queues may change one day
        with connect(database) as connection, connection.SimpleQueue("jobs") as jobs:
            jobs.put(JOB)
            assert jobs.get_nowait().payload == JOB  # and dies without a word

            def arrives_again() -> bool:
                try:
                    message = jobs.get_nowait()
                except jobs.Empty:
                    return False
                message.ack()
                return bool(message.payload == JOB)

            assert eventually(arrives_again)

    with psycopg.connect(database) as reader:
        assert reader.execute("SELECT count(*) FROM pgmq.q_jobs").fetchone() == (0,)


@pytest.mark.parametrize("name", ["CELERY_BROKER_URL", "REDIS_URL"])
def test_gives_way_to_the_broker_that_the_person_names(name):
    assert queue.url({name: "redis://mine"}) == "redis://mine"
    queue.install("postgresql://nobody@127.0.0.1:1/nowhere", {name: "redis://mine"})  # connects to nothing
