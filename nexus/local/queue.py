"""The Celery broker of the embedded run: queues in the embedded PostgreSQL, so that no further server is needed.

See docs/adr/0003. `CELERY_BROKER_URL` or `REDIS_URL` in the environment win over it.
"""

from collections.abc import Mapping

import psycopg
from pgmq.install import get_embedded_install_sql

URL = "pgmq://localhost"  # the true address is a socket, and reaches the transport by the settings
# Each process asks to be told of a queue's jobs as it starts, and pgmq drops the trigger that tells, and makes it. Of
# two at once one failed, by a deadlock or because there was one by then: a worker ended, and the installation with it.
# What is there already stays, and what is not is made by one at a time.
ASK_ONCE = """
ALTER FUNCTION pgmq.enable_notify_insert(text, integer) RENAME TO enable_notify_insert_anew;
CREATE FUNCTION pgmq.enable_notify_insert(queue_name text, throttle_interval_ms integer DEFAULT 250) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
  PERFORM pg_advisory_xact_lock(hashtextextended('pgmq notify', 0));
  IF NOT EXISTS (
    SELECT FROM pg_trigger
    JOIN pgmq.notify_insert_throttle kept ON kept.queue_name = enable_notify_insert.queue_name
     AND kept.throttle_interval_ms = enable_notify_insert.throttle_interval_ms
    WHERE tgname = 'trigger_notify_queue_insert_listeners'
      AND tgrelid = to_regclass(format('pgmq.%I', pgmq.format_table_name(enable_notify_insert.queue_name, 'q')))
  ) THEN
    PERFORM pgmq.enable_notify_insert_anew(queue_name, throttle_interval_ms);
  END IF;
END $$
"""


def url(environment: Mapping[str, str]) -> str:
    """Return the broker's address: the one that the person names, or the queues in the database."""
    return environment.get("CELERY_BROKER_URL") or environment.get("REDIS_URL") or URL


def install(database: str, environment: Mapping[str, str]) -> None:
    """Create the queues' tables and functions (schema `pgmq`, plain SQL) in `database` when they are not there yet."""
    if url(environment) != URL:
        return
    with psycopg.connect(database) as connection:  # one transaction: all of it, or nothing
        if not connection.execute("SELECT 1 FROM pg_namespace WHERE nspname = 'pgmq'").fetchone():
            connection.execute(get_embedded_install_sql())
        if not connection.execute("SELECT 1 FROM pg_proc WHERE proname = 'enable_notify_insert_anew'").fetchone():
            connection.execute(ASK_ONCE)
