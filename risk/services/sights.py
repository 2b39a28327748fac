"""When each account was last looked at with success."""

from datetime import datetime
from decimal import Decimal

from django.db import connection

from nexus.core import statements
from nexus.core.statements import Part, Row
from risk.types import Figure, Unknown

ZERO = Decimal(0)
AGE = Part(
    "SELECT (SELECT extract(epoch FROM clock_timestamp() - seen_at) FROM account_sight WHERE account_id = %(account)s)",
    width=1,
)


def note(*, account_id: int, seen_at: datetime | None = None, discrepancy: Decimal | None = ZERO) -> None:
    """Note that the account was compared with its broker completely.

    Takes: the database's clock before the broker was asked, now where it is not told: what came after it was not seen;
    `discrepancy`: what our books and the broker's differ by, in USD, None when some of it cannot be valued.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            """
            INSERT INTO account_sight (account_id, seen_at, discrepancy)
            VALUES (%s, coalesce(%s, clock_timestamp()), %s)
            ON CONFLICT (account_id) DO UPDATE SET seen_at = excluded.seen_at, discrepancy = excluded.discrepancy
            """,
            [account_id, seen_at, discrepancy],
        )


def forget(*, account_id: int) -> None:
    """Let the account be as one that was never compared: nobody has looked at it for a while."""
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM account_sight WHERE account_id = %s", [account_id])


def seen_at(*, account_id: int) -> datetime | None:
    """Return when the account was last read completely, by the database's clock, or None when it never was."""
    row = statements.fetch_one("SELECT seen_at FROM account_sight WHERE account_id = %s", [account_id])
    return None if row is None else row[0]


def discrepancy(*, account_id: int) -> Figure | None:
    """Return by how much our books and the broker's differed when they were compared last, in USD; None before that."""
    row = statements.fetch_one("SELECT discrepancy FROM account_sight WHERE account_id = %s", [account_id])
    if row is None:
        return None
    return Unknown("DISCREPANCY_UNVALUED", "A difference cannot be valued.") if row[0] is None else row[0]


def age_s(*, account_id: int) -> Figure:
    """Return how many seconds ago the account was last looked at, or unknown when it never was."""
    return as_age(statements.fetch_only(AGE.query, {"account": account_id}))


def as_age(row: Row) -> Figure:
    """Return what a row of `AGE` says."""
    age: Decimal | None = row[0]
    return Unknown("RECONCILIATION_STALE", "The account has never been looked at.") if age is None else age
