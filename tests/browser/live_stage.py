"""Nexus as production runs it, with real money at a broker that is ours: HTTPS, its cookies, and its checks.

`make run` is never production: it speaks HTTP, and its people's second factors stand in a file. So the same parts are
put together here anew. What no page of a trader needs is left out: the sealer, and the workers of stops, alerts and
exports.
"""

import datetime as dt
import json
import os
import secrets
import ssl
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import httpx

from nexus.local import postgres, queue, servers
from nexus.local.folder import ROOT, Folder, open_folder, secrets_of, write_private
from nexus.local.processes import Supervisor
from tests.browser import live_broker
from tests.browser.stage import LIMITS, Stage, keep_logs
from tests.installation import KEPT, START_S
from trading.brokers.mt5.gateway import certificates

LOGIN = 88120417
EMAIL = "awa@savannah.example"
# The trader, without a second factor, and the account: linked as `manage.py link_account --live` does it.
PEOPLE = """
from django.utils.timezone import now
from accounts.services import users
from nexus.audit.types import Actor
from trading.services import accounts
by = Actor.system('live-stage')
user = users.create(email={email!r}, password={password!r}, role='TRADER', actor=by, full_name='Awa Ngono')
account = accounts.link(user_id=user.pk, name='Savannah', venue='mt5', venue_account='{login}', server={server!r},
                        is_live=True, actor=by, at=now())
print(account.public_id)
"""
# A quarter of an hour passes: the codes that were shown in sessions are no longer fresh.
LATER = """
from django.contrib.sessions.backends.db import SessionStore
from django.contrib.sessions.models import Session
for row in Session.objects.all():
    kept = SessionStore(row.session_key)
    kept['stepped_up_at'] = kept.get('stepped_up_at', 0) - 901
    kept.save()
"""


@contextmanager
def running() -> Iterator[Stage]:
    """Start it, with one trader and one account of hers, and stop it at the end."""
    with tempfile.TemporaryDirectory(prefix="nexus-live-") as name, postgres.temporary() as database:
        folder = open_folder({"NEXUS_DATA_DIR": name})
        known = secrets_of(folder)
        queue.install(database, {})
        web, events, gateway = (servers.free_port() for _ in range(3))
        own = {key: os.environ[key] for key in KEPT if key in os.environ} | LIMITS
        own |= _production(folder, web=web, events=events, gateway=gateway)
        env = servers.django_environment(own, folder=folder.path, known=known, database=database, broker=queue.URL)
        env |= servers.counting(folder.path)
        password = secrets.token_hex(12)
        people = {"trader": {"email": EMAIL, "password": password}}
        with Supervisor(logs=folder.logs) as supervisor:
            try:
                _start(supervisor, folder, known, env, web=web, events=events, gateway=gateway)
                stage = Stage(f"https://{servers.HOST}:{web}", people, "", folder.path, {}, env)
                words = PEOPLE.format(email=EMAIL, password=password, login=LOGIN, server=live_broker.SERVER)
                account = stage.manage("shell", "-v", "0", "-c", words).strip()
                servers.wait_for_books(supervisor, env["MT5_GATEWAY_URL"], known["GATEWAY_TOKEN"])
                yield replace(stage, account=account)
                supervisor.check()
            finally:
                keep_logs(folder.path, "logs-live")


def _production(folder: Folder, *, web: int, events: int, gateway: int) -> dict[str, str]:
    """Return what a person would set for an installation with real money."""
    return {
        "NEXUS_ENV": "production",
        "LIVE_TRADING_ENABLED": "1",
        "ALLOWED_HOSTS": servers.HOST,
        "EVENTS_PORT": str(events),
        "EVENTS_ORIGINS": f"https://{servers.HOST}:{web}",
        "MT5_GATEWAY_URL": f"http://{servers.HOST}:{gateway}",
        "AUDIT_ANCHORS": f"file:{folder.audit / 'anchors.jsonl'}",
    }


def _start(
    supervisor: Supervisor, folder: Folder, known: dict[str, str], env: dict[str, str], *,
    web: int, events: int, gateway: int,
) -> None:  # fmt: skip
    """Start the broker's side, prepare the database, and start ours behind TLS."""
    tokens = {name: known[name] for name in ("GATEWAY_TOKEN",)}
    command = [sys.executable, "-m", "tests.browser.live_broker", "serve", str(_gateway(folder, known, gateway))]
    broker = supervisor.start("gateway", command, env=servers.child_environment(os.environ) | tokens, cwd=ROOT)
    supervisor.run("prepare", [sys.executable, "-m", "nexus.local.prepare"], env=env)
    # What every process of ours refuses at its start, and what an installer asks for besides.
    supervisor.run("check", [sys.executable, str(ROOT / "manage.py"), "check", "--deploy"], env=env)
    place = folder.path / "tls"
    certificates.make(place, hosts=[servers.HOST], now=dt.datetime.now(dt.UTC))
    tls = {"GRANIAN_SSL_CERTIFICATE": str(place / "server.pem"), "GRANIAN_SSL_KEYFILE": str(place / "server-key.pem")}
    server = servers.start_web(supervisor, port=web, env=env | tls)
    teller = servers.start_events(supervisor, port=events, env=env | tls)
    servers.start_worker(supervisor, env=env)
    servers.start_beat(supervisor, env=env)
    for child, port in ((broker, gateway), (server, web), (teller, events)):
        servers.wait_for_port(supervisor, child, port)
    _wait_for_health(supervisor, f"https://{servers.HOST}:{web}/health", place / "ca.pem")


def _gateway(folder: Folder, known: dict[str, str], port: int) -> Path:
    """Write the gateway's settings, and return their file."""
    document = {
        "listen": f"{servers.HOST}:{port}",
        "token_env": "GATEWAY_TOKEN",
        "journal": str(folder.path / "gateway" / "journal.db"),
        "terminal": {
            "kind": "emulator",
            "store": str(folder.path / "paper" / "broker.db"),
            "mode": "wall",
            "seed": 20200101,
            "login": LOGIN,
            "password": known["PAPER_PASSWORD"],
            "server": live_broker.SERVER,
            "balance": "10000",
            "always_open": True,
        },
        "limits": {"lots_max": "5", "symbols": ["*"], "orders_per_minute": 600},
    }
    write_private(folder.gateway_config, json.dumps(document))
    return folder.gateway_config


def _wait_for_health(supervisor: Supervisor, url: str, authority: Path) -> None:
    deadline = time.monotonic() + START_S
    trusted = ssl.create_default_context(cafile=str(authority))
    last = "nothing answered"
    while time.monotonic() < deadline:
        supervisor.check()
        try:
            answer = httpx.get(url, timeout=5, trust_env=False, verify=trusted)
        except httpx.HTTPError as exc:
            last = repr(exc)
        else:
            if answer.status_code == httpx.codes.OK:
                return
            last = answer.text[:300]
        time.sleep(0.2)
    raise RuntimeError(f"The installation with real money is not well: {last}")
