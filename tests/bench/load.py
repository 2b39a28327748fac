"""The load: a bounded number of clients over connections that stay open, in a process of their own, loopback only.

Takes: a JSON file that describes one load, `Load` below; writes `Outcome` as JSON to standard output.
"""

import asyncio
import gc
import json
import sys
import time
import uuid
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path

HOST = "127.0.0.1"
ANSWER_TIMEOUT_S = 30.0
WORDS_MAX = 5


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
    """Run every client until the time is over."""
    taken: list[float] = []
    wrong: Counter[str] = Counter()
    begun = time.perf_counter()
    until = begun + load.seconds
    async with asyncio.TaskGroup() as group:
        for number in range(load.clients):
            group.create_task(_client(load, number, until=until, taken=taken, wrong=wrong))
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


def _share(taken: list[float], share: float) -> float:
    return round(1000 * taken[min(len(taken) - 1, int(share * len(taken)))], 3) if taken else 0.0


async def _client(load: Load, number: int, *, until: float, taken: list[float], wrong: Counter[str]) -> None:
    """Send one request after the other. With fewer tokens than clients they share, as a hot user's bots would."""
    own = load.tokens[number :: load.clients] or [load.tokens[number % len(load.tokens)]]
    reader, writer = await asyncio.open_connection(HOST, load.port)
    expect = load.expect.encode()
    sent = 0
    try:
        while time.perf_counter() < until:
            token = own[sent % len(own)]
            body = load.bodies[(sent // len(own)) % len(load.bodies)] if load.bodies else ""
            begun = time.perf_counter()
            writer.write(_request(load, token, body))
            status, answer = await asyncio.wait_for(_answer(reader), ANSWER_TIMEOUT_S)
            if expect in answer:
                taken.append(time.perf_counter() - begun)
            else:
                wrong[f"{status} {answer[:1200].decode(errors='replace')}"] += 1
            sent += 1
    finally:
        writer.close()


def _request(load: Load, token: str, body: str) -> bytes:
    head = f"Host: {HOST}\r\nAuthorization: Bearer {token}\r\n"
    if not body:
        return f"GET {load.path} HTTP/1.1\r\n{head}\r\n".encode()
    head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\nIdempotency-Key: {uuid.uuid4().hex}\r\n"
    return f"POST {load.path} HTTP/1.1\r\n{head}\r\n{body}".encode()


async def _answer(reader: asyncio.StreamReader) -> tuple[str, bytes]:
    head = await reader.readuntil(b"\r\n\r\n")
    lines = head.decode("latin-1").lower().split("\r\n")
    length = next((int(line[15:]) for line in lines if line.startswith("content-length:")), 0)
    return lines[0].partition(" ")[2][:3], await reader.readexactly(length)


if __name__ == "__main__":
    described = Load(**json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
    gc.disable()
    print(json.dumps(asdict(asyncio.run(run(described)))))
