"""History in bulk, by COPY: orders that were filled long ago, with all that belongs to each."""

import itertools
import uuid
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
from psycopg import sql
from psycopg.rows import dict_row

BATCH = 1_000
AGE = timedelta(days=30)  # of the newest row: nothing here is in doubt, or counts today


def load(database: str, *, orders: int, with_checks: bool = True, of_one: bool = False) -> None:
    """Copy filled orders, their fills, last events and keys, spread over the direct traders, or all `of_one`.

    The checks are most of an order's size and stand in no index: a million rows go without them.
    """
    with psycopg.connect(database, row_factory=dict_row) as connection:
        owners = connection.execute(
            "SELECT id AS account_id, user_id FROM trading_account WHERE venue_account NOT LIKE 'behind-%%' ORDER BY id"
        ).fetchall()[: 1 if of_one else None]
        order = _one(connection, "SELECT * FROM trade_ledger WHERE status = 'FILLED' ORDER BY id LIMIT 1")
        order["checks"] = order["checks"] if with_checks else []
        fill = _one(connection, "SELECT * FROM fill WHERE order_id = %s", order["id"])
        event = _one(connection, "SELECT * FROM order_event WHERE order_id = %s ORDER BY id DESC", order["id"])
        record = _one(connection, "SELECT * FROM idempotency_record WHERE object_id = %s", str(order["public_id"]))
        top = _one(connection, "SELECT coalesce(max(id), 0) AS id FROM trade_ledger")["id"]
        numbers = range(top + 1, top + 1 + orders)
        first_at = datetime.now(UTC) - AGE - timedelta(seconds=orders)
        at = {number: first_at + timedelta(seconds=number - top) for number in numbers}
        _copy(
            connection,
            "trade_ledger",
            order,
            (
                {
                    **owners[n % len(owners)],
                    "id": n,
                    "public_id": uuid.uuid4(),
                    "client_order_id": f"h{n}",
                    "venue_order_id": f"h{n}",
                    "created_at": at[n],
                    "sent_at": at[n],
                    "closed_at": at[n],
                }
                for n in numbers
            ),
        )
        _copy(
            connection,
            "fill",
            fill,
            (
                {
                    "account_id": owners[n % len(owners)]["account_id"],
                    "order_id": n,
                    "venue_fill_id": f"h{n}",
                    "filled_at": at[n],
                    "booked_at": at[n],
                }
                for n in numbers
            ),
        )
        _copy(connection, "order_event", event, ({"order_id": n, "at": at[n]} for n in numbers))
        _copy(connection, "idempotency_record", record, (
            {"key": f"h{n}", "object_id": str(uuid.uuid4()), "created_at": at[n], "expires_at": at[n] + AGE}
            for n in numbers))  # fmt: skip
        connection.execute("SELECT setval(pg_get_serial_sequence('trade_ledger', 'id'), max(id)) FROM trade_ledger")
    _settle(database)


def hold(database: str, *, venue_account: str, positions: int) -> None:
    """Give an account open positions, named as the broker names them."""
    with psycopg.connect(database) as connection:
        connection.execute(
            "INSERT INTO broker_positions (public_id, account_id, venue_position_id, symbol, quantity, price_open,"
            " opened_at) SELECT gen_random_uuid(), id, n::text, 'EURUSD', 0.01, 1.085, now()"
            " FROM trading_account, generate_series(1, %s) n WHERE venue_account = %s",
            [positions, venue_account],
        )


def clone(database: str, *, name: str, source: str = "nexus") -> str:
    """Copy a database that nobody uses now, and return the copy's address."""
    with psycopg.connect(database.replace(f"/{source}?", "/postgres?"), autocommit=True) as connection:
        connection.execute(
            sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(name), sql.Identifier(source))
        )
    return database.replace(f"/{source}?", f"/{name}?")


def _one(connection: psycopg.Connection[Any], query: str, *given: Any) -> dict[str, Any]:
    row = connection.execute(query, given).fetchone()
    assert row is not None, query
    return dict(row)


def _copy(
    connection: psycopg.Connection[Any], table: str, like: Mapping[str, Any], rows: Iterator[dict[str, Any]]
) -> None:
    """Copy rows that differ from `like` only in what each names. Without an id of its own a row takes the next.

    The model goes out once in COPY's own text, and each row is that text with its own words put in: to adapt fifty
    columns a million times would take longer than to store them.
    """
    first = next(rows)
    columns = [name for name in like if name != "id" or "id" in first]
    names = sql.SQL(", ").join(map(sql.Identifier, columns))
    usual = _text(connection, table, names, like["id"])
    if like.get("checks") == []:
        usual[columns.index("checks")] = "[]"
    places = [(columns.index(name), name) for name in first]
    batch: list[str] = []
    with connection.cursor().copy(sql.SQL("COPY {} ({}) FROM STDIN").format(sql.Identifier(table), names)) as copy:
        for row in itertools.chain([first], rows):
            for place, name in places:
                usual[place] = str(row[name])
            batch.append("\t".join(usual))
            if len(batch) == BATCH:
                copy.write("\n".join(batch) + "\n")
                batch.clear()
        copy.write("".join(f"{line}\n" for line in batch))


def _text(connection: psycopg.Connection[Any], table: str, names: sql.Composed, key: int) -> list[str]:
    query = sql.SQL("COPY (SELECT {} FROM {} WHERE id = {}) TO STDOUT").format(names, sql.Identifier(table), key)
    with connection.cursor().copy(query) as copy:
        return b"".join(bytes(part) for part in copy).decode().rstrip("\n").split("\t")


def _settle(database: str) -> None:
    """Do at once what autovacuum would do soon, so that it does not do it while something is measured."""
    with psycopg.connect(database, autocommit=True) as connection:
        for table in ("trade_ledger", "fill", "order_event", "idempotency_record"):
            connection.execute(sql.SQL("VACUUM ANALYZE {}").format(sql.Identifier(table)))
