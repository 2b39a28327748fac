"""What a trader does through the doors of the API, and the orders that are usual in the tests."""

import json
import uuid
from typing import Any

from django.utils.timezone import now

from tests.client import ApiClient
from trading.services import resolution

LIMIT = {
    "symbol": "EURUSD", "action": "BUY", "quantity": "0.01", "type": "LIMIT", "limit_price": "1.08400",
    "stop_loss": "1.07900", "take_profit": "1.09000",
}  # fmt: skip
MARKET = {"symbol": "EURUSD", "action": "BUY", "quantity": "0.03", "stop_loss": "1.0800"}


def place(client: ApiClient, body: dict[str, Any], **headers: str) -> dict[str, Any]:
    answer = client.post("/trading/execute", body, idempotency_key=uuid.uuid4().hex, **headers)
    assert answer.status_code in (201, 202), answer.json()
    order: dict[str, Any] = answer.json()
    return order


def act(client: ApiClient, path: str, body: dict[str, Any] | None = None, *, method: str = "post") -> Any:
    headers = {"authorization": f"Bearer {client.tokens['access_token']}", "idempotency-key": uuid.uuid4().hex}
    send = getattr(client.http, method)
    return send(f"/api/v1{path}", json.dumps(body or {}), content_type="application/json", headers=headers)


def reread(client: ApiClient, order: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = client.get(f"/trading/ledger/{order['id']}").json()
    return found


def position_of(client: ApiClient) -> dict[str, Any]:
    (row,) = client.get("/trading/positions").json()["results"]
    found: dict[str, Any] = row
    return found


def ask_about_everything() -> None:
    for order_id in resolution.due():
        resolution.resolve(order_id=order_id, at=now())
