"""Clients that trade through the API and ask again, with the same key, until they have an answer: as a bot should."""

import json
import random
import threading
import time
import uuid
from collections import Counter
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx

SYMBOLS = {"EURUSD": Decimal("0.0001"), "USDJPY": Decimal("0.01")}  # and their pips
AGAIN = {429, 500, 502, 503, 504}  # besides no answer at all
IN_PROGRESS = "key_in_progress"
ASK_AGAIN_S = (0.3, 1.3)
TRIES = 200


@dataclass
class Heard:
    """What the clients were told: one answer a key, how often what was said, and what nobody should hear."""

    answers: dict[str, dict[str, Any]] = field(default_factory=dict)
    said: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)


class Trader(threading.Thread):
    """One client that trades at random until it is over."""

    def __init__(self, base: str, folder: Path, heard: Heard, over: threading.Event, *, chance: random.Random) -> None:
        super().__init__(daemon=True)
        self._people, self._heard, self._over, self._chance = folder / "demo.json", heard, over, chance
        self._http = httpx.Client(base_url=f"{base}/api/v1", timeout=30, trust_env=False)
        self._token = ""

    def run(self) -> None:
        """Trade. What breaks the client itself is a fault as well."""
        acts = [self.open] * 9 + [self.close] * 6 + [self.cancel] * 2 + [self.protect] * 3
        while not self._over.is_set():
            try:
                self._chance.choice(acts)()
            except Exception as exc:  # noqa: BLE001 - told, and judged as a fault
                self._heard.faults.append(f"a client ended its turn by {exc!r}")
            self._over.wait(self._chance.random() * 0.6)

    def open(self) -> dict[str, Any] | None:
        """Place a market or a limit order with a stop; return the answer."""
        symbol = self._chance.choice([*SYMBOLS])
        quote = self._read(f"/trading/quotes/{symbol}")
        if quote is None:
            return None
        side, pip = self._chance.choice(["BUY", "SELL"]), SYMBOLS[symbol]
        away = pip if side == "BUY" else -pip
        price = Decimal(quote["ask" if side == "BUY" else "bid"])
        body = {"symbol": symbol, "action": side, "quantity": self._chance.choice(["0.01", "0.02", "0.05"])}
        body["stop_loss"] = str(price - away * self._chance.choice([30, 60]))
        if self._chance.random() < 0.3:
            limit = price - away * self._chance.choice([1, 10, 20])
            body |= {"type": "LIMIT", "limit_price": str(limit), "stop_loss": str(price - away * 80)}
        return self._insist("POST", "/trading/execute", body, has_key=True)

    def close(self) -> None:
        """Close a position, or a part of it."""
        if (row := self._one("/trading/positions")) is not None:
            body = {} if self._chance.random() < 0.6 else {"quantity": "0.01"}
            self._insist("POST", f"/trading/positions/{row['id']}/close", body, has_key=True)

    def cancel(self) -> None:
        """Cancel an order that waits."""
        if (row := self._one("/trading/ledger?limit=50&status=PENDING")) is not None:
            self._insist("POST", f"/trading/orders/{row['id']}/cancel", {}, has_key=False)

    def protect(self) -> None:
        """Move a position's stop."""
        if (row := self._one("/trading/positions")) is not None and row["price_current"] is not None:
            pip = SYMBOLS[row["symbol"]] * (1 if row["side"] == "BUY" else -1)
            stop = Decimal(row["price_current"]) - pip * self._chance.choice([15, 25, 50])
            self._insist("PATCH", f"/trading/positions/{row['id']}", {"stop_loss": str(stop)}, has_key=False)

    def _one(self, path: str) -> dict[str, Any] | None:
        rows = self._read(path) or []
        rows = rows if isinstance(rows, list) else rows.get("results", [])
        return self._chance.choice(rows) if rows else None

    def _read(self, path: str) -> Any:
        answer = self._send("GET", path)
        return answer.json() if answer is not None and answer.status_code == httpx.codes.OK else None

    def _insist(self, method: str, path: str, body: dict[str, Any], *, has_key: bool) -> dict[str, Any] | None:
        """Ask until the answer is one, and keep it. A key that is never answered is a fault."""
        key = str(uuid.uuid4())
        for _ in range(TRIES):
            answer = self._send(method, path, body, **({"Idempotency-Key": key} if has_key else {}))
            document = _document(answer)
            if answer is None or answer.status_code in AGAIN or document.get("code") == IN_PROGRESS:
                if answer is not None and answer.status_code == httpx.codes.INTERNAL_SERVER_ERROR:
                    self._heard.faults.append(f"{method} {path} was answered 500: {answer.text[:300]}")
                time.sleep(self._chance.uniform(*ASK_AGAIN_S))
                continue
            if has_key:
                self._heard.answers[key] = {"status_code": answer.status_code, "body": document}
            return document
        self._heard.faults.append(f"{method} {path} had no answer after {TRIES} tries")
        return None

    def _send(self, method: str, path: str, body: Any = None, **headers: str) -> httpx.Response | None:
        """Send once, with a token; return nothing when nothing came back."""
        try:
            answer = self._authorised(method, path, body, headers)
        except httpx.HTTPError as exc:
            self._heard.said[f"{method} {type(exc).__name__}"] += 1
            return None
        document = _document(answer)
        what = document.get("code") or document.get("reason") or document.get("status") or ""
        if method != "GET" or answer.status_code != httpx.codes.OK:
            self._heard.said[f"{method} {answer.status_code} {what}".rstrip()] += 1
        return answer

    def _authorised(self, method: str, path: str, body: Any, headers: dict[str, str]) -> httpx.Response:
        for _ in range(2):
            if not self._token:
                person = json.loads(self._people.read_text(encoding="utf-8"))["people"]["trader"]
                login = {name: person[name] for name in ("email", "password")}
                entered = self._http.post("/auth/login", json=login)
                if entered.status_code != httpx.codes.OK:
                    return entered
                self._token = entered.json()["access_token"]
            answer = self._http.request(
                method, path, json=body, headers={"Authorization": f"Bearer {self._token}", **headers}
            )
            if answer.status_code != httpx.codes.UNAUTHORIZED:
                break
            self._token = ""
        return answer


def _document(answer: httpx.Response | None) -> dict[str, Any]:
    if answer is None or not answer.content:
        return {}
    try:
        document = answer.json()
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}
