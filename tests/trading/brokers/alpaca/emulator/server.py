"""The API on loopback: paths, words and statuses of the public reference, over `Books` and `Faults`."""

import contextlib
import gzip
import json
import re
import socket
import threading
import time
import urllib.parse
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.trading.brokers.alpaca.emulator.books import LIVE, Books, Rejection, stamp
from tests.trading.brokers.alpaca.emulator.faults import Fault, Faults

NONE: Mapping[str, str] = {}
KEY, SECRET = "PKNEXUSEMULATOR", "a secret of the tests"


class Emulator:
    """One running Alpaca."""

    def __init__(self, books: Books) -> None:
        self.books, self.faults = books, Faults()
        self.requests: list[tuple[str, str]] = []
        self.is_rate_limited = self.is_stopped = False
        self.quote_age = timedelta(0)
        self.server: ThreadingHTTPServer | None = None

    def stop(self) -> None:
        """Serve no more, on old connections neither."""
        assert self.server is not None
        self.is_stopped = True
        self.server.shutdown()
        self.server.server_close()

    @property
    def address(self) -> str:
        assert self.server is not None
        return f"127.0.0.1:{self.server.server_address[1]}"

    def sends(self) -> int:
        """Return how often an order was sent."""
        return sum(request == ("POST", "/v2/orders") for request in self.requests)

    def is_shown(self, at: str, *faults: str) -> bool:
        """Tell whether what happened at a moment is told already."""
        for name in faults:
            params = self.faults.lasting(name)
            if params is not None and datetime.now(UTC) - datetime.fromisoformat(at) < timedelta(
                seconds=params["seconds"]
            ):
                return False
        return True

    # --- The paths of the reference: each returns what is answered, or raises Rejection -------------------------------

    def post_order(self, request: dict[str, Any]) -> Any:
        books = self.books
        self._set_scene(request)
        with books.lock:
            answer = books.place(request)
        return _public(answer)

    def get_orders(self, query: dict[str, str]) -> Any:
        status, after = query.get("status", "open"), query.get("after")
        with self.books.lock:
            found = [
                order
                for order in self.books.orders
                if (status == "all" or (order["status"] in LIVE) is (status == "open"))
                and (after is None or datetime.fromisoformat(order["submitted_at"]) > datetime.fromisoformat(after))
                and order["symbol"] in query.get("symbols", order["symbol"]).split(",")
                and self.is_shown(order["submitted_at"], "search_lags")
            ]
            if query.get("direction", "desc") == "desc":
                found.reverse()
            return [_public(order) for order in found[: min(int(query.get("limit", 50)), 500)]]

    def by_client_id(self, query: dict[str, str]) -> Any:
        with self.books.lock:
            for order in self.books.orders:
                if order["client_order_id"] == query.get("client_order_id") and self.is_shown(
                    order["submitted_at"], "search_lags", "name_lags"
                ):
                    return _public(order)
        raise Rejection(404, 40410000, f"order not found for {query.get('client_order_id')}")

    def order(self, order_id: str) -> dict[str, Any]:
        with self.books.lock:
            for order in self.books.orders:
                if order["id"] == order_id:
                    return order
        raise Rejection(404, 40410000, f"order not found for {order_id}")

    def delete_order(self, order_id: str) -> Any:
        order = self.order(order_id)
        if self.faults.lasting("fill_on_cancel") is not None:
            asset = self.books.assets[order["symbol"]]
            price = asset.ask if order["side"] == "buy" else asset.bid
            self.books.trade(order, Decimal(order["qty"]) - Decimal(order["filled_qty"]), price)
        self.books.cancel(order)
        return None

    def activities(self, query: dict[str, str]) -> Any:
        wants_fills = query.get("activity_types") == "FILL"
        after = query.get("after", "1970-01-01")
        since = datetime.fromisoformat(after) if "T" in after else datetime.fromisoformat(f"{after}T00:00:00+00:00")
        with self.books.lock:
            found = [
                each
                for each in self.books.activities
                if (each["activity_type"] == "FILL") is wants_fills
                and _when(each) > since
                and self.is_shown(stamp(_when(each)), "fills_late")
            ]
        if self.faults.lasting("duplicate_fills") is not None:
            found = [each for each in found for _ in range(2)]
        if query.get("direction", "desc") == "desc":
            found.reverse()
        token = query.get("page_token")
        if token is not None:
            last = max(index for index, each in enumerate(found) if each["id"] == token)
            found = found[last + 1 :]
        return found[: int(query.get("page_size", 100))]

    def quotes(self, query: dict[str, str]) -> Any:
        at = stamp(datetime.now(UTC) - self.quote_age)
        found = {}
        for symbol in query["symbols"].split(","):
            asset = self.books.assets.get(symbol)
            if asset is not None:
                found[symbol] = {"t": at, "ax": "V", "ap": asset.ask, "as": 3, "bx": "V", "bp": asset.bid, "bs": 2,
                                 "c": ["R"], "z": "C"}  # fmt: skip
        return {"quotes": found}

    def _set_scene(self, request: dict[str, Any]) -> None:
        """Let lasting faults be so when an order comes."""
        books, faults = self.books, self.faults
        books.blocked = faults.lasting("blocked") is not None
        asset = books.assets.get(request.get("symbol", ""))
        if asset is not None:
            asset.halted = faults.lasting("halt") is not None
            asset.tradable = faults.lasting("unlisted") is None
        partial = faults.lasting("partial")
        books.part_only = partial is not None
        if partial is not None:
            books.fills_in_parts = [Decimal(partial["share"])]
        if faults.lasting("no_buying_power") is not None:
            raise Rejection(403, 40310000, "insufficient buying power")


def _public(order: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in order.items() if not name.startswith("_")}


def _when(activity: dict[str, Any]) -> datetime:
    return datetime.fromisoformat(activity.get("transaction_time") or f"{activity['date']}T00:00:00+00:00")


def _as_json(document: Any) -> bytes:
    """Write JSON with decimals as bare numbers, digit by digit: what a client's floats would spoil."""
    text = json.dumps(document, default=lambda value: f"@{value}@")
    return re.sub(r'"@([0-9.]+)@"', r"\1", text).encode()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    emulator: Emulator

    def do_GET(self) -> None:
        self._serve()

    def do_POST(self) -> None:
        self._serve()

    def do_PATCH(self) -> None:
        self._serve()

    def do_DELETE(self) -> None:
        self._serve()

    def log_message(self, *_: Any) -> None:
        """Say nothing."""

    def _serve(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(length)) if length else {}
        parts = urllib.parse.urlsplit(self.path)
        query = dict(urllib.parse.parse_qsl(parts.query))
        if self.emulator.is_stopped:
            self._hang_up()
            return
        self.emulator.requests.append((self.command, parts.path))
        if (self.headers.get("APCA-API-KEY-ID"), self.headers.get("APCA-API-SECRET-KEY")) != (KEY, SECRET):
            self._answer(401, {"code": 40110000, "message": "request is not authorized"})
            return
        if self.emulator.is_rate_limited:
            self._answer(429, {"code": 42910000, "message": "rate limit exceeded"})
            return
        fault = self.emulator.faults.take(self.command)
        if fault is None:
            self._answer(*self._act(parts.path, query, body))
        else:
            with contextlib.suppress(OSError):  # nobody may be listening any more
                self._misbehave(fault, lambda: self._act(parts.path, query, body))

    def _act(self, path: str, query: dict[str, str], body: dict[str, Any]) -> tuple[int, Any]:
        try:
            document = self._route(path.removeprefix("/v2"), query, body)
            return (204, None) if document is None else (200, document)
        except Rejection as refused:
            return refused.status, refused.body

    def _route(self, path: str, query: dict[str, str], body: dict[str, Any]) -> Any:
        emulator, books = self.emulator, self.emulator.books
        _, _, name = path.rpartition("/")
        match self.command, path.split("/")[1]:
            case "GET", "orders:by_client_order_id":
                return emulator.by_client_id(query)
            case "GET", "orders":
                return emulator.get_orders(query) if name == "orders" else _public(emulator.order(name))
            case "POST", "orders":
                return emulator.post_order(body)
            case "PATCH", "orders":
                return _public(books.replace(emulator.order(name), body))
            case "DELETE", "orders":
                return emulator.delete_order(name)
            case "GET", what:
                return self._read(what, name, query)
        raise Rejection(404, 40410000, "endpoint not found")

    def _read(self, what: str, name: str, query: dict[str, str]) -> Any:
        emulator, books = self.emulator, self.emulator.books
        match what:
            case "account" if name == "account":
                return books.account()
            case "account":
                return emulator.activities(query)
            case "clock":
                is_open = books.is_open and emulator.faults.lasting("closed") is None
                return {"timestamp": stamp(datetime.now(UTC)), "is_open": is_open}
            case "positions":
                with books.lock:
                    if name == "positions":
                        return [books.position(symbol) for symbol in books.positions]
                    if name not in books.positions:
                        raise Rejection(404, 40410000, "position does not exist")
                    return books.position(name)
            case "assets":
                if name not in books.assets:
                    raise Rejection(404, 40410000, f"asset not found for {name}")
                return books.assets[name].describe()
            case "stocks":
                return emulator.quotes(query)
        raise Rejection(404, 40410000, "endpoint not found")

    def _misbehave(self, fault: Fault, act: Any) -> None:
        params = fault.params
        is_executed = params.get("executed", fault.name == "cut")
        answer = act() if is_executed is True else None
        if fault.name == "refuse":
            words = {"code": params.get("code", 0), "message": params.get("message", "no")}
            self._answer(params["status"], words, headers=params.get("headers", {}))
        elif fault.name == "slow":
            time.sleep(params["seconds"])
            self._answer(*(answer or (act() if is_executed == "late" else (504, None))))
        elif fault.name == "answer":
            self._raw(params["status"], params["body"].encode())
        elif fault.name == "drop":
            self._hang_up()
        elif fault.name == "cut":
            assert answer is not None
            raw = _as_json(answer[1])
            self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n")
            self.wfile.write(b"Content-Length: %d\r\n\r\n" % len(raw) + raw[: len(raw) // 2])
            self._hang_up()

    def _hang_up(self) -> None:
        self.close_connection = True
        self.wfile.flush()
        self.connection.shutdown(socket.SHUT_RDWR)

    def _answer(self, status: int, document: Any, *, headers: Mapping[str, str] = NONE) -> None:
        raw = b"" if document is None else _as_json(document)
        if self.command != "GET" or "gzip" not in self.headers.get("Accept-Encoding", ""):
            self._raw(status, raw, headers=headers)
            return
        # Readings come packed and in pieces, as they do from the real one.
        packed = gzip.compress(raw)
        with contextlib.suppress(OSError):
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Encoding", "gzip")
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            for piece in (packed[:20], packed[20:]):
                self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece))
            self.wfile.write(b"0\r\n\r\n")

    def _raw(self, status: int, raw: bytes, *, headers: Mapping[str, str] = NONE) -> None:
        with contextlib.suppress(OSError):
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(raw)))
            self.end_headers()
            self.wfile.write(raw)


@contextmanager
def serving(books: Books | None = None) -> Iterator[Emulator]:
    """Serve an emulator on loopback, until the end of the block."""
    emulator = Emulator(books or Books())
    handler = type("Handler", (_Handler,), {"emulator": emulator})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    emulator.server = server
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield emulator
    finally:
        emulator.stop()
        thread.join()
