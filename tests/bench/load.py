"""The load: a bounded number of clients over connections that stay open, in a process of their own, loopback only.

Takes: a JSON file that describes one load, `Load` below; writes `Outcome` as JSON to standard output.
"""

import asyncio
import gc
import itertools
import json
import re
import sys
import time
import uuid
from collections import Counter
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import cast

HOST = "127.0.0.1"
ANSWER_TIMEOUT_S = 30.0
WORDS_MAX = 5
HEAD_END = b"\r\n\r\n"
LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)


@dataclass(frozen=True)
class Load:
    """What to send: each client walks through its own share of the tokens, and changes body with every round.

    Without bodies the path is read. `expect` must stand in every answer; an answer without it is counted by its words.
    """

    port: int
    path: str
    tokens: list[str]
    bodies: list[str]
    clients: int
    seconds: float
    expect: str


@dataclass(frozen=True)
class Outcome:
    """What came of it. Units: latencies in ms."""

    count: int
    seconds: float
    per_second: float
    p50_ms: float
    p99_ms: float
    wrong: dict[str, int]


async def run(load: Load) -> Outcome:
    """Run every client until the time is over. Raises: TimeoutError, ConnectionError."""
    taken: list[float] = []
    wrong: Counter[str] = Counter()
    loop = asyncio.get_running_loop()
    begun = time.perf_counter()
    until = begun + load.seconds
    clients = [_Client(load, number, until=until, taken=taken, wrong=wrong) for number in range(load.clients)]
    async with asyncio.timeout(load.seconds + ANSWER_TIMEOUT_S):
        for client in clients:
            await loop.create_connection(partial(_same, client), HOST, load.port)
        await asyncio.gather(*(client.over for client in clients))
    seconds = time.perf_counter() - begun
    taken.sort()
    return Outcome(
        count=len(taken),
        seconds=round(seconds, 3),
        per_second=round(len(taken) / seconds, 1),
        p50_ms=_share(taken, 0.50),
        p99_ms=_share(taken, 0.99),
        wrong=dict(wrong.most_common(WORDS_MAX)),
    )


def _same(client: "_Client") -> "_Client":
    return client


def _share(taken: list[float], share: float) -> float:
    return round(1000 * taken[min(len(taken) - 1, int(share * len(taken)))], 3) if taken else 0.0


class _Client(asyncio.Protocol):
    """Sends one request after the other. With fewer tokens than clients they share, as a hot user's bots would.

    Callbacks and no streams: what the load itself costs is taken from whom it measures.
    """

    def __init__(self, load: Load, number: int, *, until: float, taken: list[float], wrong: Counter[str]) -> None:
        own = load.tokens[number :: load.clients] or [load.tokens[number % len(load.tokens)]]
        self._requests = itertools.cycle([_request(load, token, body) for body in load.bodies or [""] for token in own])
        self._expect, self._until, self._taken, self._wrong = load.expect.encode(), until, taken, wrong
        self._answer = bytearray()
        self._length = 0
        self.over: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._ask()

    def data_received(self, data: bytes) -> None:
        self._answer += data
        if not self._length:
            head, end, _ = self._answer.partition(HEAD_END)
            if not end:
                return
            found = LENGTH.search(head)
            self._length = len(head) + len(end) + (int(found[1]) if found else 0)
        if len(self._answer) < self._length:
            return
        if self._answer.find(self._expect) >= 0:
            self._taken.append(time.perf_counter() - self._begun)
        else:
            head, _, body = self._answer.partition(HEAD_END)
            self._wrong[f"{head[9:12].decode()} {body[:1200].decode(errors='replace')}"] += 1
        self._answer, self._length = bytearray(), 0
        if time.perf_counter() < self._until:
            self._ask()
            return
        self.over.set_result(None)
        self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.over.done():
            self.over.set_exception(exc or ConnectionResetError("the server has closed a connection"))

    def _ask(self) -> None:
        before, after = next(self._requests)
        self._begun = time.perf_counter()
        self._transport.write(before + uuid.uuid4().hex.encode() + after if after else before)


def _request(load: Load, token: str, body: str) -> tuple[bytes, bytes]:
    """Return a request in two parts, with the place of its own key between them; one without a body has none."""
    head = f"Host: {HOST}\r\nAuthorization: Bearer {token}\r\n"
    if not body:
        return f"GET {load.path} HTTP/1.1\r\n{head}\r\n".encode(), b""
    head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\nIdempotency-Key: "
    return f"POST {load.path} HTTP/1.1\r\n{head}".encode(), f"\r\n\r\n{body}".encode()


if __name__ == "__main__":
    described = Load(**json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
    gc.disable()
    print(json.dumps(asdict(asyncio.run(run(described)))))
