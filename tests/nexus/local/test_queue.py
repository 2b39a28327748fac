"""The queues in PostgreSQL: made once, and no job is lost with its worker."""

import threading
import warnings
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest
from kombu import Connection
from pgmq._sql import ENABLE_NOTIFY
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


@pytest.mark.parametrize("is_new", [True, False], ids=["first start", "later start"])
def test_processes_that_start_at_once_are_all_told_of_jobs(database, is_new):
    """Each makes the queue where it is not there, and asks to be told of its jobs."""
    queue.install(database, {})
    names = [f"at_once_{is_new}_{number}".lower() for number in range(5)]
    together = threading.Barrier(8)

    def start(_number: int) -> None:
        for name in names:
            together.wait(30)
            with psycopg.connect(database, autocommit=True) as connection:
                connection.execute("SELECT pgmq.create(%s)", [name])
                connection.execute("SELECT pgmq.send(%s, '{}')", [name])
                connection.execute(ENABLE_NOTIFY, [name, 0])

    if not is_new:
        with psycopg.connect(database, autocommit=True) as connection:
            for name in names:
                connection.execute("SELECT pgmq.create(%s)", [name])
                connection.execute(ENABLE_NOTIFY, [name, 0])
    with ThreadPoolExecutor(8) as processes:
        list(processes.map(start, range(8)))

    with psycopg.connect(database) as connection:
        triggers = connection.execute(
            "SELECT tgrelid::regclass::text FROM pg_trigger WHERE tgname = 'trigger_notify_queue_insert_listeners'"
        ).fetchall()
    assert {name for (name,) in triggers} >= {f"pgmq.q_{name}" for name in names}


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
