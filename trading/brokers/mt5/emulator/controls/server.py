"""Let another process of this machine hold the strings of a broker. Off unless somebody starts it with a token."""

import hmac
import json
import socketserver
import threading
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any, Self

from trading.brokers.mt5.emulator.control import Control
from trading.brokers.mt5.emulator.controls import wire
from trading.brokers.mt5.emulator.controls.base import plain

OWNER_ONLY = 0o600


class _Handler(socketserver.StreamRequestHandler):
    """Answer the lines of one connection."""

    timeout = wire.TIMEOUT_S
    server: "_Local | _Loopback"

    def handle(self) -> None:
        """Answer until the other side has no more lines."""
        try:
            while (line := self.rfile.readline(wire.LINE_MAX)).endswith(b"\n"):
                self.wfile.write(json.dumps(self.server.desk.answer(line)).encode() + b"\n")
        except OSError:
            return  # the other side has gone; there is nobody to tell


class _Local(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True
    desk: "ControlServer"


class _Loopback(socketserver.ThreadingMixIn, socketserver.TCPServer):
    daemon_threads = True
    allow_reuse_address = True
    desk: "ControlServer"


class ControlServer:
    """Serve a broker's control at a local address until it is closed. See `wire` for the words."""

    def __init__(self, control: Control, address: str, token: str) -> None:
        """Bind the address. Raises: ValueError (not local, or a token that can be guessed), OSError."""
        if len(token) < wire.TOKEN_MIN:
            raise ValueError(f"a token has at least {wire.TOKEN_MIN} characters")
        self._control, self._token, self._path = control, token, ""
        place = wire.split_address(address)
        self._server: _Local | _Loopback
        if place is None:
            Path(address).unlink(missing_ok=True)  # a killed process leaves its socket behind
            self._server, self._path = _Local(address, _Handler), address
            Path(address).chmod(OWNER_ONLY)
            self.address = address
        else:
            self._server = _Loopback(place, _Handler)
            self.address = f"{place[0]}:{self._server.server_address[1]}"
        self._server.desk = self
        self._thread = threading.Thread(target=self._server.serve_forever, name="control", daemon=True)

    def start(self) -> Self:
        """Serve in a thread of its own."""
        self._thread.start()
        return self

    def close(self) -> None:
        """Serve no more."""
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
        self._server.server_close()
        if self._path:
            Path(self._path).unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def answer(self, line: bytes) -> dict[str, Any]:
        """Do what a line asks, and return what it hears."""
        try:
            asked = json.loads(line)
            if not hmac.compare_digest(str(asked.get("token", "")).encode(), self._token.encode()):
                return {"error": "wrong token", "kind": "PermissionError"}
            method = asked.get("method")
            if method not in wire.METHODS:
                return {"error": f"no method {method!r}", "kind": "AttributeError"}
            if method == "now_us":
                return {"result": self._control.now_us}
            result = getattr(self._control, method)(*asked.get("args", ()), **asked.get("named", {}))
        except Exception as exc:  # noqa: BLE001 — whatever it was, the person at the other end is told
            return {"error": str(exc), "kind": type(exc).__name__}
        return {"result": plain(result) if is_dataclass(result) else result}


def serve(control: Control, address: str, token: str) -> ControlServer:
    """Serve a broker's control from now on. Takes: a path, or `127.0.0.1:port` (port 0 picks a free one)."""
    return ControlServer(control, address, token).start()
