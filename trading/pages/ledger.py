"""The ledger: every order, narrowed by what somebody looks for, page by page, and as a file."""

import csv
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.utils import timezone

from accounts.services import pages
from accounts.services.pages import page, person
from nexus.core.errors import Invalid
from nexus.core.money import as_text
from trading import selectors
from trading.models import TradeLedger
from trading.pages.forms import LedgerForm

PAGE = 50
COLUMNS = (
    "id", "account", "live", "created_at", "symbol", "side", "type", "quantity", "limit_price", "stop_price",
    "stop_loss", "take_profit", "status", "rejected_by", "reason", "reason_detail", "filled_quantity",
    "average_price", "worst_case_usd", "value_usd", "sent_at", "closed_at", "client_order_id", "venue_order_id",
)  # fmt: skip
DANGEROUS = ("=", "+", "-", "@", "\t", "\r")  # what a spreadsheet would take for a formula


@page("ORDER_READ")
def ledger(request: HttpRequest) -> HttpResponse:
    """Show a page of orders, the newest first."""
    form = LedgerForm(request.GET)
    orders: list[TradeLedger] = []
    following = None
    if form.is_valid():
        orders, following = selectors.ledger_page(
            person(request), limit=PAGE, before=form.cleaned_data["before"], **_filters(form)
        )
    kept = request.GET.copy()
    kept.pop("before", None)
    context = {
        "nav": "ledger",
        "form": form,
        "orders": orders,
        "query": kept.urlencode(),
        "following": following,
        "is_first": not request.GET.get("before"),
        "is_narrowed": any(value for name, value in kept.items()),
    }
    return pages.render(request, "trading/ledger.html", context, status=200 if form.is_valid() else 400)


@page("ORDER_READ")
def export(request: HttpRequest) -> HttpResponseBase:
    """Hand out every order that the filters leave, as CSV: times in UTC, numbers with a point, in every language."""
    form = LedgerForm(request.GET)
    if not form.is_valid():
        raise Invalid("The filters cannot be read.")
    rows = selectors.ledger_rows(person(request), **_filters(form))
    name = f"orders-{timezone.now():%Y%m%dT%H%M%SZ}.csv"
    return StreamingHttpResponse(
        _lines(rows),
        content_type="text/csv; charset=utf-8",
        headers={"Content-Disposition": f'attachment; filename="{name}"'},
    )


def _filters(form: LedgerForm) -> dict[str, Any]:
    data = form.cleaned_data
    until: date | None = data["until"]
    return {
        "symbol": data["symbol"] or None,
        "status": data["status"] or None,
        "created_from": _midnight(data["since"]),
        "created_to": _midnight(until + timedelta(days=1)) if until else None,
    }


def _midnight(day: date | None) -> datetime | None:
    """Return the beginning of a day in the reader's zone."""
    return None if day is None else datetime.combine(day, time.min, tzinfo=timezone.get_current_timezone())


class _Line:
    """What `csv` writes to: it hands back each line instead of keeping it."""

    def write(self, text: str) -> str:
        return text


def _lines(orders: Iterator[TradeLedger]) -> Iterator[str]:
    writer = csv.writer(_Line())
    yield writer.writerow(COLUMNS)
    for order in orders:
        yield writer.writerow([_cell(value) for value in _row(order)])


def _row(order: TradeLedger) -> list[Any]:
    return [
        order.public_id, order.account.name, "yes" if order.account.is_live else "no", order.created_at, order.symbol,
        order.side, order.order_type, order.quantity, order.limit_price, order.stop_price, order.stop_loss,
        order.take_profit, order.public_status, order.rejected_by, order.reason, order.reason_detail,
        order.filled_quantity, order.average_price, order.risk, order.value, order.sent_at, order.closed_at,
        order.client_order_id, order.venue_order_id,
    ]  # fmt: skip


def _cell(value: Any) -> str:
    match value:
        case None:
            return ""
        case datetime():
            return value.astimezone(UTC).isoformat()
        case str():
            return f"'{value}" if value.startswith(DANGEROUS) else str(value)
        case Decimal():
            return as_text(value)
    return str(value)
