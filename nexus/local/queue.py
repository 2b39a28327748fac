"""The Celery broker of the embedded run: queues in the embedded PostgreSQL, so that no further server is needed.

See docs/adr/0003. `CELERY_BROKER_URL` or `REDIS_URL` in the environment win over it.
"""

from collections.abc import Mapping

import psycopg
from pgmq.install import get_embedded_install_sql

URL = "pgmq://localhost"  # the true address is a socket, and reaches the transport by the settings


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
