"""Somebody else's servers, on loopback: one that takes JSON, one that takes mail. Each can refuse or hang."""

import json
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Receiver:
    """What has arrived, and how the next message is treated."""

    port: int = 0
    arrived: list[dict[str, Any]] = field(default_factory=list)
    status: int = 200
    began: threading.Event = field(default_factory=threading.Event)
    go_on: threading.Event = field(default_factory=threading.Event)

    @property
    def address(self) -> str:
        """Return the address of a channel that ends here."""
        return f"json://bell:s3cret@127.0.0.1:{self.port}/hook?cto=2&rto=20"

    @property
    def titles(self) -> list[str]:
        """Return the titles of what has arrived."""
        return [message["title"] for message in self.arrived]


@contextmanager
def receiver() -> Iterator[Receiver]:
    """Serve a hook that takes JSON, at once until `go_on` is cleared."""
    state = Receiver()
    state.go_on.set()

    class Hook(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            state.began.set()
            state.go_on.wait(30)
            if state.status == 200:
                state.arrived.append(json.loads(body))
            self.send_response(state.status)
            self.end_headers()

        def log_message(self, *_words: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Hook)
    server.daemon_threads = True
    state.port = server.server_address[1]
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield state
    finally:
        state.go_on.set()
        server.shutdown()
        server.server_close()


@contextmanager
def mailbox() -> Iterator[tuple[int, list[str]]]:
    """Serve SMTP, as little of it as one message needs; yield the port and what has arrived."""
    arrived: list[str] = []

    class Postman(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            self.wfile.write(b"220 mail\r\n")
            while line := self.rfile.readline():
                verb = line[:4].upper().strip()
                if verb == b"DATA":
                    self.wfile.write(b"354 go on\r\n")
                    arrived.append(b"".join(iter(self.rfile.readline, b".\r\n")).decode())
                self.wfile.write(b"221 bye\r\n" if verb == b"QUIT" else b"250 ok\r\n")
                if verb == b"QUIT":
                    return

    server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Postman)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server.server_address[1], arrived
    finally:
        server.shutdown()
        server.server_close()
