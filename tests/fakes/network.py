"""The network between control plane and gateway: real sockets that pass on, cut, keep back and double."""

import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

WAIT_S = 10.0
RESET = struct.pack("ii", 1, 0)  # closing then resets the connection, as a broken line does


@dataclass
class Network:
    """What happens to requests whose first line holds `path`; all others pass.

    `kept` holds the bytes of every such request, so that they can arrive again, or late.
    """

    target: tuple[str, int]
    url: str = ""
    path: bytes = b"/v1/order_send"
    fault: str = ""
    kept: list[bytes] = field(default_factory=list)
    is_over: threading.Event = field(default_factory=threading.Event)

    def deliver(self, request: bytes) -> bytes:
        """Bring a request to the gateway over a connection of its own, and return its answer."""
        with socket.create_connection(self.target, timeout=WAIT_S) as gateway:
            gateway.sendall(request)
            return _read_message(gateway)

    def serve(self, client: socket.socket) -> None:
        """Pass on what comes over one connection until either side ends it."""
        with client, suppress(OSError), socket.create_connection(self.target, timeout=WAIT_S) as gateway:
            client.settimeout(WAIT_S)
            while request := _read_message(client):
                if self.path not in request.split(b"\r\n", 1)[0]:
                    gateway.sendall(request)
                    client.sendall(_read_message(gateway))
                elif not self._misbehave(request, client, gateway):
                    return

    def _misbehave(self, request: bytes, client: socket.socket, gateway: socket.socket) -> bool:
        """Do to a request what the fault says; tell whether the connection lives on."""
        self.kept.append(request)
        match self.fault:
            case "cut before the request":
                _reset(client)
                return False
            case "cut within the request":
                gateway.sendall(request[: len(request) // 2])
                _reset(gateway)
                _reset(client)
                return False
            case "cut before the answer":
                gateway.sendall(request)
                _read_message(gateway)
                _reset(client)
                return False
            case "cut within the answer":
                gateway.sendall(request)
                answer = _read_message(gateway)
                client.sendall(answer[: len(answer) // 2])
                _reset(client)
                return False
            case "swallowed":  # it arrives when somebody delivers what was kept
                self.is_over.wait(WAIT_S)
                return False
            case "answer swallowed":
                gateway.sendall(request)
                _read_message(gateway)
                self.is_over.wait(WAIT_S)
                return False
            case "doubled at once":
                twin = threading.Thread(target=self.deliver, args=(request,))
                twin.start()
                gateway.sendall(request)
                answer = _read_message(gateway)
                twin.join()
                client.sendall(answer)
            case "doubled, the copy's answer wins":
                gateway.sendall(request)
                _read_message(gateway)
                client.sendall(self.deliver(request))
            case _:
                gateway.sendall(request)
                client.sendall(_read_message(gateway))
        return True


def _reset(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    connection.close()


def _read_message(connection: socket.socket) -> bytes:
    """Read one HTTP message, whose body has its length in the head; nothing when the other side has ended."""
    data = b""
    while b"\r\n\r\n" not in data:
        piece = connection.recv(65536)
        if not piece:
            return b""
        data += piece
    head = data.partition(b"\r\n\r\n")[0]
    lengths = [line.partition(b":")[2] for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")]
    wanted = len(head) + 4 + (int(lengths[0]) if lengths else 0)
    while len(data) < wanted:
        piece = connection.recv(65536)
        if not piece:
            return b""
        data += piece
    return data


@contextmanager
def network(url: str) -> Iterator[Network]:
    """Stand between callers and the gateway at `url` until the end of the block."""
    host, _, port = url.removeprefix("http://").partition(":")
    standing = Network((host, int(port)))
    threads: list[threading.Thread] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        standing.url = f"http://127.0.0.1:{listener.getsockname()[1]}"

        def accept() -> None:
            with suppress(OSError):
                while True:
                    client, _ = listener.accept()
                    threads.append(threading.Thread(target=standing.serve, args=(client,)))
                    threads[-1].start()

        acceptor = threading.Thread(target=accept)
        acceptor.start()
        try:
            yield standing
        finally:
            standing.is_over.set()
            listener.shutdown(socket.SHUT_RDWR)
            acceptor.join()
            for thread in threads:
                thread.join()
