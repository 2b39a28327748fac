"""Make one real trade through the public HTTP API, as any bot would, and show what it left behind."""

import json
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import httpx

from nexus.local.folder import Folder, write_private

# The brief's own request. Its prices are moved, all by the same amount, when the paper market is elsewhere.
SYMBOL = "EURUSD"
QUANTITY = Decimal("0.1")
ENTRY = Decimal("1.0850")
STOP_LOSS = Decimal("1.0800")
TAKE_PROFIT = Decimal("1.0900")
ENTRY_TOLERANCE = Decimal("0.0010")  # a market nearer than this needs no moving
PRICE_STEP = Decimal("0.00001")
TIMEOUT_S = 20.0
FINAL = frozenset({"FILLED", "REJECTED", "CANCELED", "EXPIRED"})
LEDGER_COLUMNS = (
    "id",
    "symbol",
    "action",
    "quantity",
    "status",
    "average_price",
    "stop_loss",
    "take_profit",
    "created_at",
)
FILL_COLUMNS = ("id", "side", "quantity", "price", "commission", "position", "filled_at")
RECONCILIATION_COLUMNS = ("account", "status", "discrepancy_usd", "risk_impact", "new_fills", "detail")
POSITION_COLUMNS = (
    "id",
    "symbol",
    "side",
    "quantity",
    "price_open",
    "price_current",
    "profit",
    "stop_loss",
    "take_profit",
)
FRESH = timedelta(seconds=5)


class TradeFailed(Exception):
    """The first trade did not come to its end; the message holds what the API said."""


@dataclass(frozen=True)
class Person:
    """A demo person's way in."""

    email: str
    password: str


class Client:
    """The few calls of the public API that a first trade needs."""

    def __init__(self, base: str, person: Person, *, transport: httpx.BaseTransport | None = None) -> None:
        self._http = httpx.Client(base_url=f"{base}/api/v1", timeout=TIMEOUT_S, trust_env=False, transport=transport)
        answer = self._call("POST", "/auth/login", json={"email": person.email, "password": person.password})
        self._http.headers["Authorization"] = f"Bearer {answer['access_token']}"

    def _call(self, method: str, path: str, **arguments: Any) -> Any:
        try:
            answer = self._http.request(method, path, **arguments)
        except httpx.HTTPError as exc:
            raise TradeFailed(f"{method} {path}: {exc}") from exc
        if answer.is_error:
            raise TradeFailed(f"{method} {path} answered {answer.status_code}: {answer.text[:500]}")
        return json.loads(answer.text, parse_float=Decimal)

    def quote(self, account: str | None) -> tuple[Decimal, Decimal]:
        """Return the market's bid and ask. Takes: the account, which who has but one need not name.

        Waits for a fresh one: until a price has moved, nobody knows the clock of a server that was just started.
        """
        deadline = time.monotonic() + TIMEOUT_S
        while True:
            answer = self._call("GET", f"/trading/quotes/{SYMBOL}", params={"account": account} if account else {})
            age = datetime.now(UTC) - datetime.fromisoformat(answer["at"])
            if age < FRESH or time.monotonic() > deadline:
                break
            time.sleep(0.2)
        return Decimal(str(answer["bid"])), Decimal(str(answer["ask"]))

    def execute(self, body: Mapping[str, Any], *, key: str) -> dict[str, Any]:
        """Send one order. The key makes a repetition harmless."""
        headers = {"Idempotency-Key": key, "Content-Type": "application/json"}
        answer: dict[str, Any] = self._call("POST", "/trading/execute", content=_as_json(body), headers=headers)
        return answer

    def order(self, order_id: object) -> dict[str, Any]:
        """Return one row of the ledger."""
        answer: dict[str, Any] = self._call("GET", f"/trading/ledger/{order_id}")
        return answer

    def reconcile(self) -> list[dict[str, Any]]:
        """Compare one's accounts with their brokers now, and return how each stands."""
        answer: dict[str, Any] = self._call("POST", "/trading/reconcile", json={})
        results: list[dict[str, Any]] = answer["results"]
        return results

    def rows(self, path: str) -> list[dict[str, Any]]:
        """Return a list of rows, paged or not."""
        answer = self._call("GET", path)
        found: list[dict[str, Any]] = answer.get("results", []) if isinstance(answer, dict) else answer
        return found


def _as_json(body: Mapping[str, Any]) -> str:
    """Write prices as JSON numbers, digit by digit as they are, which a float would not promise."""
    parts = (
        f"{json.dumps(name)}: {value if isinstance(value, Decimal) else json.dumps(value)}"
        for name, value in body.items()
    )
    return "{" + ", ".join(parts) + "}"


def request_at(ask: Decimal) -> tuple[dict[str, Any], Decimal]:
    """Return the brief's request, and by how much its prices had to be moved to be near the market's ask."""
    distance = ask - ENTRY
    moved = distance.quantize(PRICE_STEP) if abs(distance) > ENTRY_TOLERANCE else Decimal(0)
    body = {
        "symbol": SYMBOL,
        "action": "BUY",
        "quantity": QUANTITY,
        "entry_price": ENTRY + moved,
        "stop_loss": STOP_LOSS + moved,
        "take_profit": TAKE_PROFIT + moved,
    }
    return body, moved


def run(folder: Folder, base: str, *, transport: httpx.BaseTransport | None = None) -> None:
    """Trade once, or show the trade of an earlier run while its position stands. Raises: TradeFailed.

    Where an earlier run has traded, our own refusal is no failure: a stop or a limit holds, and who is to ease it needs
    what runs here.
    """
    has_traded = folder.traded.exists()
    note = json.loads(folder.demo.read_text(encoding="utf-8"))
    trader = note["people"]["trader"]
    client = Client(base, Person(trader["email"], trader["password"]), transport=transport)
    positions = _open_positions(client)
    if positions:
        print(
            "    The demo trader already holds a position, and the default limit allows no second: here is the first."
        )
        order = _earlier_order(client, folder)
    else:
        order = _trade(client, folder, account=note["account"] if note.get("more_accounts") else None)
        positions = _open_positions(client)
    show(order, positions)
    print(table("Reconciliation", client.reconcile(), RECONCILIATION_COLUMNS))
    if order is not None and order.get("status") != "FILLED":
        why = " ".join(str(order.get(name) or "") for name in ("rejected_by", "reason", "reason_detail"))
        if not has_traded or order.get("rejected_by") != "LOCAL":
            raise TradeFailed(f"The order is {order.get('status')}, not FILLED: {why}")
        print(f"    Nothing was traded this time: {why.strip()} (docs/refusals.md). An earlier run has.")


def _open_positions(client: Client) -> list[dict[str, Any]]:
    return [row for row in client.rows("/trading/positions") if row.get("symbol") == SYMBOL]


def _earlier_order(client: Client, folder: Folder) -> dict[str, Any] | None:
    """Find the order of an earlier run: the noted one, else the newest FILLED one."""
    if folder.traded.exists():
        return client.order(json.loads(folder.traded.read_text(encoding="utf-8"))["order"])
    filled = client.rows(f"/trading/ledger?symbol={SYMBOL}&status=FILLED&limit=1")
    return client.order(filled[0]["id"]) if filled else None


def _trade(client: Client, folder: Folder, *, account: str | None) -> dict[str, Any]:
    bid, ask = client.quote(account)
    body, moved = request_at(ask)
    if account:
        body["account"] = account
    print(f"    {SYMBOL} is quoted at {bid} / {ask}.")
    if moved:
        print(f"    The brief's prices are moved by {moved:+} to stand where the market is.")
    print(f"    POST /api/v1/trading/execute {_as_json(body)}")
    order = client.execute(body, key=str(uuid.uuid4()))
    deadline = time.monotonic() + TIMEOUT_S
    while order.get("status") not in FINAL and time.monotonic() < deadline:
        time.sleep(0.2)
        order = client.order(order["id"])
    if order.get("status") == "FILLED":
        write_private(folder.traded, json.dumps({"order": order["id"]}, default=str) + "\n")
    return client.order(order["id"])


def show(order: Mapping[str, Any] | None, positions: Sequence[Mapping[str, Any]]) -> None:
    """Print the ledger row, its fills and the position as short tables."""
    if order is not None:
        print(table("Ledger", [order], LEDGER_COLUMNS))
        print(table("Fills", order.get("fills") or [], FILL_COLUMNS))
    print(table("Position", positions, POSITION_COLUMNS))


def table(title: str, rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> str:
    """Draw rows as text, with the wished columns that exist, or with all simple ones when none does."""
    if not rows:
        return f"    {title}: none"
    known = [name for name in columns if any(row.get(name) is not None for row in rows)]
    known = known or [name for name, value in rows[0].items() if not isinstance(value, dict | list)][:8]
    cells = [known, *([str(row.get(name, "")) for name in known] for row in rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(known))]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells)
    return f"    {title}\n" + "\n".join(f"      {line}" for line in lines)
