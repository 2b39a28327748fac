"""The physical limit: pgbench with the rows and the two commits of one order, as plain prepared statements.

The rows are copied from an order that the real code has made, so a new column or a longer text is counted here too.
"""

import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

# What differs from order to order, in pgbench's words. `n` is drawn anew for each.
KEY = "'k' || :n::text || '-' || :client_id::text"
PUBLIC_ID = "md5(:n::text)::uuid"
NAME = "'n' || :n::text"
FILL_NAME = "'f' || :n::text"
COUNT = (
    "UPDATE user_daily_stats SET orders_admitted = orders_admitted + 1, value_admitted = value_admitted + 1,"
    " quantity_admitted = quantity_admitted + 1 WHERE user_id = :user AND trading_date = current_date"
)
FINISH = (
    "UPDATE trade_ledger SET status = 'FILLED', delivery = 'DONE', reserved = 0, filled_quantity = quantity,"
    " average_price = 1, closed_at = now(), venue_order_id = 'f' || :n::text WHERE id = :id"
)
CLOSE = "UPDATE idempotency_record SET expires_at = now() WHERE object_id = (md5(:n::text)::uuid)::text"


@dataclass(frozen=True)
class Limit:
    """What pgbench reached. Units: orders a second, ms an order and ms its first transaction (means)."""

    per_second: float
    latency_ms: float
    first_ms: float
    count: int


def write_script(database: str, path: Path, *, hot: bool) -> None:
    """Write the script. Takes: a database in which order number one has been filled by the real code."""
    with psycopg.connect(database, row_factory=dict_row) as connection:
        row = connection.execute("SELECT * FROM trade_ledger ORDER BY id LIMIT 1").fetchone()
        assert row is not None
        span = connection.execute(
            "SELECT min(user_id) - 1 AS user0, min(id) - 1 AS account0, count(*) AS users"
            " FROM trading_account WHERE venue_account LIKE 'direct-%%'"
        ).fetchone()
        assert span is not None
        script = _script(connection, row, span, users=1 if hot else span["users"])
    path.write_text(script, encoding="utf-8")


def run(
    program: str, database: str, script: Path, *, clients: int, seconds: int, environment: Mapping[str, str]
) -> Limit:
    """Run pgbench over the script with prepared statements."""
    command = [program, "-n", "-r", "-M", "prepared", "-c", str(clients), "-j", str(min(2, clients))]
    command += ["-T", str(seconds), "-f", str(script), database]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=dict(environment))
    found = re.search(r"^tps = ([0-9.]+) \(without", done.stdout, re.MULTILINE)
    latency = re.search(r"^latency average = ([0-9.]+) ms", done.stdout, re.MULTILINE)
    count = re.search(r"^number of transactions actually processed: ([0-9]+)", done.stdout, re.MULTILINE)
    steps = re.findall(r"^ +([0-9.]+) +\d+ +(.*)$", done.stdout, re.MULTILINE)
    if done.returncode or not (found and latency and count) or " 0 (0.000%)" not in done.stdout:
        raise RuntimeError(f"pgbench failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    ends = [text for _, text in steps].index("COMMIT;")
    first_ms = sum(float(each) for each, _ in steps[: ends + 1])
    return Limit(float(found[1]), float(latency[1]), round(first_ms, 3), int(count[1]))


def _script(connection: psycopg.Connection[Any], row: dict[str, Any], span: dict[str, Any], *, users: int) -> str:
    order = {**row, "public_id": _raw(PUBLIC_ID), "account_id": _raw(":account"), "user_id": _raw(":user"),
             "client_order_id": _raw(NAME), "created_at": _raw("now()")}  # fmt: skip
    sent = {**order, "status": "PENDING", "delivery": "SENDING", "reserved": row["risk"], "filled_quantity": 0,
            "average_price": None, "venue_order_id": "", "closed_at": None,
            "sent_at": _raw("clock_timestamp()")}  # fmt: skip
    events = _rows(connection, "order_event", "order_id = %s ORDER BY id", [row["id"]])
    fill = _rows(connection, "fill", "order_id = %s", [row["id"]])[0]
    position = _rows(connection, "broker_positions", "account_id = %s", [row["account_id"]])[0]
    record = _rows(connection, "idempotency_record", "object_id = %s", [str(row["public_id"])])[0]
    appends = _appends(connection, str(row["public_id"]))
    of_order = {"order_id": _raw(":id")}
    statements = [
        "BEGIN",
        _insert("idempotency_record", {**record, "key": _raw(KEY), "object_id": _raw(f"({PUBLIC_ID})::text"),
                                       "created_at": _raw("now()"), "expires_at": None}),
        "SELECT pg_advisory_xact_lock_shared(42)",
        "SELECT id FROM user_daily_stats WHERE user_id = :user AND trading_date = current_date FOR NO KEY UPDATE",
        "SELECT id, risk, quantity, side FROM trade_ledger WHERE user_id = :user AND reserved > 0",
        "SELECT level, scope, reason FROM trading_control WHERE scope = 'SYSTEM' AND key = ''",
        "SELECT kind, value FROM risk_limit WHERE scope = 'USER' AND key = (:user)::text AND ended_at IS NULL",
        "SELECT equity_start FROM account_day WHERE account_id = :account AND trading_date = current_date",
        COUNT,
        _insert("trade_ledger", sent) + " RETURNING id \\gset",
        _insert("order_event", *({**each, **of_order} for each in events[:-1])),
        appends[0],
        "COMMIT",
        "BEGIN",
        "SELECT id FROM trade_ledger WHERE id = :id FOR NO KEY UPDATE",
        _insert("fill", {**fill, **of_order, "account_id": _raw(":account"), "venue_fill_id": _raw(FILL_NAME)}),
        _insert("broker_positions", {**position, "public_id": _raw("gen_random_uuid()"),
                                     "account_id": _raw(":account")})
        + " ON CONFLICT (account_id, venue_position_id) DO UPDATE SET quantity = broker_positions.quantity + 1",
        FINISH,
        _insert("order_event", {**events[-1], **of_order}),
        appends[-1],
        CLOSE,
        "COMMIT",
    ]  # fmt: skip
    head = [
        f"\\set u random(1, {users})",
        f"\\set user {span['user0']} + :u",
        f"\\set account {span['account0']} + :u",
        "\\set n random(1, 9000000000000000000)",
    ]
    body = [each if each.endswith("\\gset") else f"{each};" for each in statements]
    return "\n".join([*head, *body]) + "\n"


def _raw(text: str) -> sql.SQL:
    return sql.SQL(text)  # the texts of this module, never anybody else's


def _rows(connection: psycopg.Connection[Any], table: str, where: str, given: list[Any]) -> list[dict[str, Any]]:
    found = connection.execute(f"SELECT * FROM {table} WHERE {where}", given).fetchall()  # noqa: S608
    return [dict(each) for each in found]


def _appends(connection: psycopg.Connection[Any], public_id: str) -> list[str]:
    """Return the calls that append the order's audit events, with details as long as the real ones."""
    found = connection.execute(
        "SELECT action, canonical::jsonb -> 'detail' AS detail FROM audit.event WHERE object_id = %s ORDER BY id",
        [public_id],
    ).fetchall()
    return [
        f"SELECT audit.append({_literal(each['action'])}, 'success', 'user', 'bench', 'order', ({PUBLIC_ID})::text, '',"
        f" {_literal(each['detail'])}::jsonb)"
        for each in found
    ]


def _insert(table: str, *rows: Mapping[str, Any]) -> str:
    columns = [name for name in rows[0] if name != "id"]
    values = ", ".join("(" + ", ".join(_literal(row[name]) for name in columns) + ")" for row in rows)
    names = ", ".join(f'"{name}"' for name in columns)
    return f"INSERT INTO {table} ({names}) VALUES {values}"  # noqa: S608


def _literal(value: Any) -> str:
    """Write a value for pgbench: one line, and nothing in it that looks like a variable of its own."""
    if isinstance(value, sql.SQL):
        return value.as_string()
    if isinstance(value, dict | list):
        value = Jsonb(value)
    return re.sub(r":(?=[A-Za-z_])(?<!::)", ": ", sql.Literal(value).as_string().replace("\n", " "))
