"""Millions of rows by a few statements: orders with their fills and events, and a sealed audit log.

The statements run inside the server; `rows.py` copies what a client has written, which takes several times as long.
What stands in the way of a bulk load (indexes, foreign keys, the dashboard's news) is taken away and put back.
"""

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg import sql
from psycopg.rows import dict_row

AT_ONCE = 500_000  # rows a statement: nobody waits an hour to learn that it does not work
PER_BATCH = 1_000  # leaves
HOT = 10  # one order in so many is the first trader's: a million of ten
RARE = 100_000  # one event in so many was denied: what somebody looks for is rare
# Of row n. The newest is a day old, so that nothing is in doubt; ten million are 23 days.
_AT = "(now() - interval '1 day' - (%(rows)s - n) * interval '0.2 seconds')"
_EVENTS = f"""
INSERT INTO audit.event OVERRIDING SYSTEM VALUE
SELECT %(top)s + n, at, action, outcome, 'user', actor, 'order', n::text, 'bench-' || n,
  format('{{"v": 1, "id": %%s, "action": "%%s", "detail": {{"after": "FILLED", "price": "1.08765", '
    '"before": "ACCEPTED", "account": "b7d6c4a2-0000-4000-8000-000000000042", "quantity": "0.10", '
    '"instrument": "EURUSD"}}, "db_user": "nexus", "outcome": "%%s", "actor_id": "%%s", '
    '"object_id": "%%s", "actor_type": "user", "pii_sha256": null,'
    ' "request_id": "bench-%%s", "object_type": "order", "occurred_at": "%%s", "recorded_at": "%%s"}}',
    %(top)s + n, action, outcome, actor, n, n, stamp, stamp)
FROM (SELECT n, at, to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') stamp,
    (%(actors)s::text[])[1 + n %% cardinality(%(actors)s::text[])] actor,
    (%(actions)s::text[])[1 + n / 7 %% cardinality(%(actions)s::text[])] action,
    CASE WHEN n %% {RARE} = 0 THEN 'denied' ELSE 'success' END outcome
  FROM (SELECT n, {_AT} at FROM generate_series(%(first)s, %(last)s) n) timed) named
"""  # noqa: S608 - our own words
_BATCHES = f"""
INSERT INTO audit.batch SELECT n, n * {PER_BATCH}, {PER_BATCH}, sha256(n::text::bytea), sha256(('p' || n)::bytea),
  now(), sha256(('b' || n)::bytea), 'bench', ''::bytea FROM generate_series(0, (%(rows)s - 1) / {PER_BATCH}) n
"""  # noqa: S608 - our own words
_LEAVES = f"""
INSERT INTO audit.leaf SELECT n - 1, %(top)s + n, (n - 1) / {PER_BATCH}, '\\x{"ab" * 32}'::bytea
FROM generate_series(%(first)s, %(last)s) n
"""  # noqa: S608 - our own words
ACTIONS = [
    "trading.order.filled", "trading.order.requested", "trading.order.sent", "auth.login.succeeded",
    "auth.token.refreshed", "trading.position.closed", "trading.order.canceled",
]  # fmt: skip


def load(database: str, *, rows: int, say: Callable[[str], None]) -> None:
    """Fill a database that nobody uses now, both of its halves at once."""
    faults: list[BaseException] = []

    def half(fill: Callable[[str, int, Callable[[str], None]], None]) -> None:
        try:
            fill(database, rows, say)
        except BaseException as exc:  # noqa: BLE001 - raised again below, in the thread that waits
            faults.append(exc)

    halves = [threading.Thread(target=half, args=(fill,)) for fill in (_ledger, _audit)]
    for each in halves:
        each.start()
    for each in halves:
        each.join()
    if faults:
        raise faults[0]


def _ledger(database: str, rows: int, say: Callable[[str], None]) -> None:
    tables = ("trade_ledger", "fill", "order_event")
    with _open(database) as connection:
        owners = connection.execute("SELECT id, user_id FROM trading_account ORDER BY id").fetchall()
        top = _one(connection, "SELECT max(id) AS id FROM trade_ledger")["id"]
        order = _one(connection, "SELECT * FROM trade_ledger WHERE status = 'FILLED' ORDER BY id LIMIT 1")
        fill = _one(connection, "SELECT * FROM fill WHERE order_id = %s", order["id"])
        event = _one(connection, "SELECT * FROM order_event WHERE order_id = %s ORDER BY id DESC", order["id"])
        given = {
            "top": top, "rows": rows, "hot": HOT, "accounts": [each["id"] for each in owners],
            "users": [each["user_id"] for each in owners],
        }  # fmt: skip
        # The arrays have to be read by the same number, or an order would be another's than its account is.
        place = "CASE WHEN n %% %(hot)s = 0 THEN 1 ELSE 1 + n %% cardinality(%(accounts)s::bigint[]) END"
        account, user = f"(%(accounts)s::bigint[])[{place}]", f"(%(users)s::bigint[])[{place}]"
        number = "%(top)s + n"
        # Ids that grow are stored at the end of their index; random ones would be half of the load's time.
        public = "('00000000-0000-4000-8000-' || lpad(to_hex(n), 12, '0'))::uuid"
        own: Mapping[str, Mapping[str, str]] = {
            "trade_ledger": {
                "id": number, "account_id": account, "user_id": user, "public_id": public,
                "client_order_id": "'m' || n", "venue_order_id": "'m' || n", "checks": "'[]'", "created_at": _AT,
                "sent_at": _AT, "closed_at": _AT,
            },
            "fill": {
                "account_id": account, "order_id": number, "venue_fill_id": "'m' || n", "venue_order_id": "'m' || n",
                "filled_at": _AT, "booked_at": _AT,
            },
            "order_event": {"order_id": number, "at": _AT},
        }  # fmt: skip
        likes = {"trade_ledger": order, "fill": fill, "order_event": event}
        with _bare(connection, *tables, news="trade_ledger", say=say):
            for table in tables:
                _repeat(connection, _like(table, likes[table]["id"], likes[table], own[table]), given)
                say(f"  {rows:,} rows of {table}")
        connection.execute("SELECT setval(pg_get_serial_sequence('trade_ledger', 'id'), max(id)) FROM trade_ledger")
        for table in tables:
            connection.execute(sql.SQL("VACUUM ANALYZE {}").format(sql.Identifier(table)))


def _audit(database: str, rows: int, say: Callable[[str], None]) -> None:
    with _open(database) as connection:
        actors = [str(each["public_id"]) for each in connection.execute("SELECT public_id FROM users ORDER BY id")]
        top = _one(connection, "SELECT max(id) AS id FROM audit.event")["id"]
        given = {"top": top, "rows": rows, "actors": actors, "actions": ACTIONS}
        with _bare(connection, "audit.event", "audit.leaf", say=say):
            _repeat(connection, _EVENTS, given)
            say(f"  {rows:,} rows of audit.event")
            connection.execute(_BATCHES, given)
            _repeat(connection, _LEAVES, given)
            say(f"  {rows:,} rows of audit.leaf")
        connection.execute("SELECT setval(pg_get_serial_sequence('audit.event', 'id'), max(id)) FROM audit.event")
        for table in ("event", "leaf", "batch"):
            connection.execute(sql.SQL("VACUUM ANALYZE audit.{}").format(sql.Identifier(table)))


def _open(database: str) -> psycopg.Connection[dict[str, Any]]:
    connection = psycopg.connect(database, row_factory=dict_row, autocommit=True)
    # Nothing here survives the run, so nobody waits for the disk.
    connection.execute("SET synchronous_commit = off; SET statement_timeout = 0; SET maintenance_work_mem = '512MB'")
    return connection


def _one(connection: psycopg.Connection[dict[str, Any]], query: str, *given: Any) -> dict[str, Any]:
    row = connection.execute(query, given).fetchone()
    assert row is not None, query
    return row


def _like(table: str, key: int, model: Mapping[str, Any], own: Mapping[str, str]) -> str:
    """Write the statement that repeats a row, but for what is each one's own."""
    columns = [name for name in model if name != "id" or "id" in own]
    names = ", ".join(f'"{name}"' for name in columns)
    values = ", ".join(own.get(name, f'model."{name}"') for name in columns)
    return (
        f"INSERT INTO {table} ({names}) SELECT {values} FROM {table} model, generate_series(%(first)s, %(last)s) n "  # noqa: S608
        f"WHERE model.id = {key}"
    )


def _repeat(connection: psycopg.Connection[dict[str, Any]], query: str, given: Mapping[str, Any]) -> None:
    for first in range(1, given["rows"] + 1, AT_ONCE):
        connection.execute(query, {**given, "first": first, "last": min(first + AT_ONCE - 1, given["rows"])})


@contextmanager
def _bare(
    connection: psycopg.Connection[dict[str, Any]], *tables: str, say: Callable[[str], None], news: str = ""
) -> Iterator[None]:
    """Take indexes, keys and the trigger away that would be kept up to date row by row, and put them back."""
    constraints = connection.execute(
        "SELECT conrelid::regclass::text AS owner, quote_ident(conname) AS name, pg_get_constraintdef(oid) AS words"
        " FROM pg_constraint WHERE conrelid = ANY(%s::regclass[]) AND contype IN ('f', 'c')", [list(tables)],
    ).fetchall()  # fmt: skip
    indexes = connection.execute(
        "SELECT indexrelid::regclass::text AS name, pg_get_indexdef(indexrelid) AS words FROM pg_index"
        " WHERE indrelid = ANY(%s::regclass[])"
        " AND NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = indexrelid)", [list(tables)],
    ).fetchall()  # fmt: skip
    for each in constraints:
        connection.execute(f"ALTER TABLE {each['owner']} DROP CONSTRAINT {each['name']}")
    for each in indexes:
        connection.execute(f"DROP INDEX {each['name']}")
    if news:
        connection.execute(f"ALTER TABLE {news} DISABLE TRIGGER news")
    yield
    for each in indexes:
        connection.execute(each["words"])
    say(f"  {len(indexes)} indexes of {', '.join(tables)}")
    for each in constraints:  # the rows were made to fit: nobody looks at ten million of them again
        connection.execute(f"ALTER TABLE {each['owner']} ADD CONSTRAINT {each['name']} {each['words']} NOT VALID")
    if news:
        connection.execute(f"ALTER TABLE {news} ENABLE TRIGGER news")
