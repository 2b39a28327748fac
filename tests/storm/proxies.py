"""Between us and the gateway: a wire that passes everything on, until it is told to misbehave."""

import http.server
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

HANG_S = 30.0


@dataclass
class Proxy:
    """What is done to a request whose path begins with `path`; everything else passes."""

    target: str
    url: str = ""
    path: str = "/v1/order_send"
    fault: str = ""
    seconds: float = 0  # how long every request is on its way
    over: threading.Event = field(default_factory=threading.Event)


class Handler(http.server.BaseHTTPRequestHandler):
    """One request; each connection carries just one, so that a fault hits no other."""

    protocol_version = "HTTP/1.1"
    proxy: Proxy

    def do_POST(self) -> None:
        """Pass the request on, or do what the fault says."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        fault = self.proxy.fault if self.path.startswith(self.proxy.path) else ""
        self.close_connection = True
        if fault == "closes before it passes on":
            return
        if fault == "hangs before it passes on":
            self.proxy.over.wait(HANG_S)
            return
        self.proxy.over.wait(self.proxy.seconds)
        status, answer = self._pass_on(body)
        match fault:
            case "closes after it passed on":
                return
            case "hangs after it passed on":
                self.proxy.over.wait(HANG_S)
                return
            case "stops in the middle of the answer":
                self._send(status, answer, shown=len(answer) // 2)
                return
            case "answers rubbish":
                answer = b"\x00\xff<html>not what you think"
            case "answers an empty object":
                answer = b"{}"
            case "answers a list":
                answer = b"[1, 2, 3]"
            case "answers 500":
                status = 500
            case "answers nonsense numbers":
                answer = answer.replace(b'"retcode": 10009', b'"retcode": "NaN"')
            case "dribbles":
                self._dribble(status, answer)
                return
        self._send(status, answer)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name is the base class's
        """Say nothing."""

    def _pass_on(self, body: bytes) -> tuple[int, bytes]:
        head = {name: value for name, value in self.headers.items() if name.lower() not in ("host", "connection")}
        request = urllib.request.Request(self.proxy.target + self.path, data=body, headers=head, method="POST")  # noqa: S310
        try:
            with urllib.request.urlopen(request, timeout=10) as response:  # noqa: S310 - a gateway of our own
                return response.status, response.read()
        except urllib.error.HTTPError as exc:
            with exc:
                return exc.code, exc.read()

    def _send(self, status: int, answer: bytes, *, shown: int | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(answer[:shown])

    def _dribble(self, status: int, answer: bytes) -> None:
        """Send a byte now and then: no single wait is long, all of them together are."""
        self._send(status, answer, shown=0)
        until = time.monotonic() + HANG_S
        for number in range(len(answer)):
            if time.monotonic() > until or self.proxy.over.wait(0.2):
                return
            try:
                self.wfile.write(answer[number : number + 1])
                self.wfile.flush()
            except OSError:
                return


@contextmanager
def proxy(target: str) -> Iterator[Proxy]:
    """Stand before `target` until the end of the block."""
    standing = Proxy(target)
    handler = type("Bound", (Handler,), {"proxy": standing})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = False
    server.handle_error = lambda *_: None  # type: ignore[method-assign]  # our client hangs up on it, as it should
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    standing.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield standing
    finally:
        standing.over.set()
        server.shutdown()
        server.server_close()
        thread.join()


def refusing_port() -> int:
    """Return a port on which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
