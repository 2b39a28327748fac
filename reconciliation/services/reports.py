"""What reconciliation found, as a document for programs and as a file that people open elsewhere."""

import csv
import io
import json
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any

from django.db.models import QuerySet

from nexus.core import money
from reconciliation import selectors
from reconciliation.models import ReconciliationLog
from reconciliation.selectors import AccountState
from trading.services.accounts import Account

COLUMNS = (
    "at", "run_id", "entry", "account", "trigger", "status", "key", "symbol", "our_quantity", "broker_quantity",
    "quantity_discrepancy", "our_price", "broker_price", "cash_discrepancy", "value_usd", "risk_impact", "action",
    "reason", "made_by", "evidence",
)  # fmt: skip
SHOWN = tuple(name for name in COLUMNS if name != "made_by")  # whose id it is, is the operators' business
NUMBERS = frozenset(
    {
        "our_quantity", "broker_quantity", "quantity_discrepancy", "our_price", "broker_price", "cash_discrepancy",
        "value_usd",
    }
)  # fmt: skip
FORMULA = ("=", "+", "-", "@", "\t", "\r")  # with these a spreadsheet takes a text for a formula
CHUNK = 500


def document(accounts: Sequence[Account], *, hours: int, at: datetime, rows_max: int) -> dict[str, Any]:
    """Return how accounts stand and everything worth telling of the last hours, the newest first; numbers are texts."""
    since = at - timedelta(hours=hours)
    told = selectors.worth_telling(selectors.log_of(accounts, since=since, until=at))
    rows = list(told[: rows_max + 1])
    return {
        "hours": hours,
        "accounts": [_standing(each) for each in selectors.states(accounts, since=since, at=at)],
        "results": [{name: _plain(row, name) for name in SHOWN} for row in rows[:rows_max]],
        "has_more": len(rows) > rows_max,
    }


def _standing(state: AccountState) -> dict[str, Any]:
    return {
        "account": str(state.account.public_id),
        "name": state.account.name,
        "runs": state.runs,
        "failed_runs": state.failed_runs,
        "failures_in_row": state.failures_in_row,
        "last_success_at": None if state.last_success_at is None else _time(state.last_success_at),
        "age_s": None if state.age_s is None else money.as_text(state.age_s),
        "discrepancy_usd": money.as_text(state.discrepancy_usd),
        "is_unvalued": state.is_unvalued,
        "corrected_24h_usd": money.as_text(state.corrected_24h_usd),
        "reviews_open": state.reviews_open,
    }


def _plain(row: ReconciliationLog, name: str) -> Any:
    value: Any = row.account.public_id if name == "account" else getattr(row, name)
    if value is None or name == "evidence":
        return value
    if name in NUMBERS:
        return money.as_text(value)
    return _time(value) if name == "at" else str(value)


def _time(at: datetime) -> str:
    return at.isoformat().replace("+00:00", "Z")


def csv_lines(rows: QuerySet[ReconciliationLog]) -> Iterator[str]:
    """Write the header and every row, exact numbers as texts, without ever holding all of them."""
    yield _line(COLUMNS)
    for row in rows.iterator(chunk_size=CHUNK):
        yield _line([_cell(row, name) for name in COLUMNS])


def _cell(row: ReconciliationLog, name: str) -> str:
    value = _plain(row, name)
    if name == "evidence":
        return json.dumps(value, sort_keys=True)
    text = "" if value is None else str(value)
    return f"'{text}" if text.startswith(FORMULA) and name not in NUMBERS else text


def _line(cells: Any) -> str:
    held = io.StringIO()
    csv.writer(held).writerow(cells)
    return held.getvalue()
