"""(j) 200 open dashboards of a hundred traders, prices moving: which share of a processor keeps them live.

Each has its stream of news, as the page's own script opens it. Everything of ours counts: the process of news, the web
server and PostgreSQL; the gateways and their emulated brokers are the world outside.
"""

import json
import os
import select
import socket
import subprocess
import sys
import time
from typing import Any

from nexus.local import servers
from nexus.local.folder import ROOT
from tests.bench import processor
from tests.bench.parts import Run

PAGES = 200
COOKIE = "sessionid"
SETTLE_S = 6.0  # every stream has been told where things stand
BUFFER = 65_536
TIMEOUT_S = 120.0


def measure(run: Run) -> None:
    """Open the streams, read them for a while, and compare with the same while without them."""
    port = servers.free_port()
    if not run.stage.port:
        run.stage.start_web()
    origin = f"http://{servers.HOST}:{run.stage.port}"
    env = run.stage.env | {"EVENTS_PORT": str(port), "EVENTS_ORIGINS": origin}
    events = servers.start_events(run.stage.supervisor, port=port, env=env)
    servers.wait_for_port(run.stage.supervisor, events, port)
    served = [
        *(each.process.pid for each in run.stage.supervisor.children if each.name in ("web", "events")),
        run.stage.postmaster,
    ]
    seconds = max(10.0, 2 * run.seconds)
    cookies = _cookies(run)
    time.sleep(SETTLE_S)
    idle, _ = _share(served, [], seconds)
    streams = [_open(port, origin, cookies[number % len(cookies)]) for number in range(PAGES)]
    try:
        _share(served, streams, SETTLE_S)
        share, news = _share(served, streams, seconds)
    finally:
        for each in streams:
            each.close()
    if news < PAGES:
        raise RuntimeError(f"only {news} news in {seconds:.0f} s: the dashboards are not live")
    run.figures |= {
        "dashboards_200_core_share": round(share - idle, 3),
        "dashboards_none_core_share": round(idle, 3),
        "dashboards_200_news_per_s": round(news / seconds, 1),
    }
    run.say(f"  {PAGES} dashboards of {len(cookies)} traders: {100 * (share - idle):.1f} % of one processor")


def _share(served: list[int], streams: list[socket.socket], seconds: float) -> tuple[float, int]:
    """Read for a while; return the processor time spent meanwhile, a second, and how many news came."""
    poll, names = select.poll(), {each.fileno(): each for each in streams}
    for each in streams:
        poll.register(each, select.POLLIN)
    begun, spent, news = time.monotonic(), processor.spent_s(served) or 0.0, 0
    while time.monotonic() < begun + seconds:
        for name, _ in poll.poll(200):
            data = names[name].recv(BUFFER)
            if not data:
                raise RuntimeError("a stream ended")
            news += data.count(b"event: ")
    return ((processor.spent_s(served) or 0.0) - spent) / (time.monotonic() - begun), news


def _open(port: int, origin: str, cookie: str) -> socket.socket:
    stream = socket.create_connection((servers.HOST, port), timeout=30)
    lines = ("GET /events HTTP/1.1", f"Host: {servers.HOST}:{port}", f"Origin: {origin}", f"Cookie: {COOKIE}={cookie}")
    stream.sendall("\r\n".join((*lines, "", "")).encode())
    answer = stream.recv(BUFFER)
    if b" 200 " not in answer.splitlines()[0]:
        raise RuntimeError(f"no stream: {answer[:200]!r}")
    return stream


def _cookies(run: Run) -> list[str]:
    """Return a session of each trader behind a gateway."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench.dashboards"], env=run.stage.env, cwd=ROOT, capture_output=True, text=True,
        check=True, timeout=TIMEOUT_S,
    )  # fmt: skip
    cookies: list[str] = json.loads(done.stdout.splitlines()[-1])
    return cookies


def main() -> list[str]:
    """Log every trader behind a gateway in, as the page of the login does after the password."""
    from django.test import Client  # noqa: PLC0415 - Django is set up below, and in this process alone

    from accounts.models import User  # noqa: PLC0415

    def cookie_of(user: Any) -> str:
        client = Client(SERVER_NAME=servers.HOST)
        client.force_login(user)
        return client.cookies[COOKIE].value

    return [cookie_of(user) for user in User.objects.filter(email__startswith="behind-").order_by("pk")]


if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "nexus.settings")
    import django

    django.setup()
    print(json.dumps(main()))
