"""The servers of the local run: each one's command and what it may know."""

import contextlib
import os
import shutil
import socket
import sys
import time
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path

import httpx

from nexus.local import gateway
from nexus.local.folder import ROOT, Folder
from nexus.local.processes import Child, ChildFailed, Supervisor

HOST = "127.0.0.1"
# Each thread has a connection to the database; unless it is told, the server makes five hundred of them. There are two
# more than may wait for brokers (BROKER_WAITS_MAX): a stop is heard while they hang. Without the last timeout, one
# stop in ninety never ends.
WEB_FLAGS = (
    "--interface", "wsgi", "--workers", "2", "--blocking-threads", "10", "--blocking-threads-idle-timeout", "600",
    "--respawn-failed-workers", "--workers-kill-timeout", "5", "--no-ws",
)  # fmt: skip
WORKER_PROCESSES = 2
RESTARTS = 5  # of a server that dies; after that something is wrong that a restart does not mend
ANSWER_TIMEOUT_S = 90.0
POLL_S = 0.1
# What a child inherits from the person's own environment: what finds programs and certificates, and what Nexus reads.
_PASSED = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "SSL_CERT_FILE", "VIRTUAL_ENV", "PYTHONPATH")


class PortTaken(Exception):
    """Another program listens where Nexus should."""


def port_from(environment: Mapping[str, str]) -> int:
    """Read NEXUS_PORT and make sure that the port is free. Raises: PortTaken."""
    text = environment.get("NEXUS_PORT") or "8000"
    if not text.isdecimal() or not 0 < int(text) < 2**16 - 1:
        raise PortTaken(f"NEXUS_PORT must be a port number from 1 to 65534; it is {text!r}.")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, int(text)))
        except PermissionError as exc:
            raise PortTaken(f"Port {text} needs more rights than you have. Set NEXUS_PORT above 1023.") from exc
        except OSError as exc:
            raise PortTaken(
                f"Port {text} is taken by another program. "
                f"Stop it, or choose another port: NEXUS_PORT={int(text) + 1} make run"
            ) from exc
    return int(text)


def free_port() -> int:
    """Return a port that is free on the loopback now."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def child_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the harmless part of the person's environment."""
    return {name: environment[name] for name in _PASSED if name in environment} | {"PYTHONUNBUFFERED": "1"}


def counting(folder: Path) -> dict[str, str]:
    """Make the folder in which processes count, without what earlier runs have counted; return the setting of it."""
    counted = folder / "metrics"
    shutil.rmtree(counted, ignore_errors=True)
    counted.mkdir(parents=True)
    return {"PROMETHEUS_MULTIPROC_DIR": str(counted)}


def django_environment(
    environment: Mapping[str, str], *, folder: Path, known: Mapping[str, str], database: str, broker: str
) -> dict[str, str]:
    """Return the settings that every Django process of the local run reads; the person's own settings win."""
    ours = {
        "NEXUS_ENV": "local",
        "NEXUS_DATA_DIR": str(folder),
        "DEBUG": "0",
        "ALLOWED_HOSTS": f"{HOST},localhost",
        "DATABASE_URL": database,
        "CELERY_BROKER_URL": broker,
        "SECRET_KEY": known["SECRET_KEY"],
        "JWT_SIGNING_KEYS": known["JWT_SIGNING_KEYS"],
        "FIELD_ENCRYPTION_KEYS": known["FIELD_ENCRYPTION_KEYS"],
        "GATEWAY_TOKEN": known["GATEWAY_TOKEN"],
        "DJANGO_SETTINGS_MODULE": "nexus.settings",
    }
    return dict(environment) | {"PYTHONUNBUFFERED": "1"} | {k: v for k, v in ours.items() if not environment.get(k)}


def start_gateway(
    supervisor: Supervisor,
    folder: Folder,
    account: gateway.PaperAccount,
    *,
    port: int,
    control_port: int,
    known: Mapping[str, str],
) -> Child:
    """Start the MT5 gateway of a paper account over the emulator. It learns its own two tokens and nothing else."""
    config = gateway.write_config(folder, account, port=port, control_port=control_port, known=known)
    env = child_environment(os.environ) | {name: known[name] for name in ("GATEWAY_TOKEN", "PAPER_CONTROL_TOKEN")}
    command = [sys.executable, "-m", "trading.brokers.mt5.gateway", "serve", "--config", str(config)]
    name = "gateway" if account.is_first else f"gateway-{account.login}"
    return supervisor.start(name, command, env=env, cwd=ROOT, restarts=RESTARTS)


def start_web(
    supervisor: Supervisor, *, port: int, env: Mapping[str, str], application: str = "nexus.wsgi:application"
) -> Child:
    """Start the web server. Takes: `application`, which only the bench replaces."""
    command = [sys.executable, "-m", "granian", *WEB_FLAGS, "--host", HOST, "--port", str(port), application]
    return supervisor.start("web", command, env=env, cwd=ROOT, restarts=RESTARTS)


def start_events(supervisor: Supervisor, *, port: int, env: Mapping[str, str]) -> Child:
    """Start the process that tells open pages the news: one loop for all of them."""
    command = [sys.executable, "-m", "granian", "--interface", "asgi", "--host", HOST, "--port", str(port)]
    command += ["--workers", "1", "--workers-kill-timeout", "2", "--no-ws", "nexus.asgi:application"]
    return supervisor.start("events", command, env=env, cwd=ROOT, restarts=RESTARTS)


def start_worker(supervisor: Supervisor, *, env: Mapping[str, str]) -> Child:
    """Start the Celery worker of everything but stops."""
    return _start_worker(supervisor, "worker", ["--concurrency", str(WORKER_PROCESSES)], env=env)


def start_stop_worker(supervisor: Supervisor, *, env: Mapping[str, str]) -> Child:
    """Start the Celery worker of stops, which nothing else keeps busy. One process: each sweep is a thread of it."""
    return _start_worker(supervisor, "worker-stop", ["--pool", "solo", "--queues", "stop"], env=env)


def start_alert_worker(supervisor: Supervisor, *, env: Mapping[str, str]) -> Child:
    """Start the Celery worker of alerts: threads, since each message only waits for somebody else's server."""
    options = ["--pool", "threads", "--concurrency", "8", "--queues", "alerts"]
    return _start_worker(supervisor, "worker-alerts", options, env=env)


def start_audit_worker(supervisor: Supervisor, *, env: Mapping[str, str]) -> Child:
    """Start the Celery worker of verifications and exports: one at a time, and in nobody's way."""
    return _start_worker(supervisor, "worker-audit", ["--pool", "solo", "--queues", "audit"], env=env)


def _start_worker(supervisor: Supervisor, name: str, options: list[str], *, env: Mapping[str, str]) -> Child:
    command = [sys.executable, "-m", "celery", "-A", "nexus", "worker", *options, "--hostname", f"{name}@%h"]
    command += ["--loglevel", "INFO", "--without-gossip", "--without-mingle", "--without-heartbeat"]
    return supervisor.start(name, command, env=env, cwd=ROOT, restarts=RESTARTS)


def start_beat(supervisor: Supervisor, *, env: Mapping[str, str]) -> Child:
    """Start the clock of the scheduled jobs."""
    command = [sys.executable, "-m", "celery", "-A", "nexus", "beat", "--loglevel", "INFO", "--pidfile", ""]
    command += ["-S", "django_celery_beat.schedulers:DatabaseScheduler"]
    return supervisor.start("beat", command, env=env, cwd=ROOT, restarts=RESTARTS)


def wait_for_port(supervisor: Supervisor, child: Child, port: int) -> None:
    """Wait until something listens on `port`. Raises: ChildFailed when a child dies or the time is over."""
    deadline = time.monotonic() + ANSWER_TIMEOUT_S
    while time.monotonic() < deadline:
        supervisor.check()
        with socket.socket() as probe:
            if probe.connect_ex((HOST, port)) == 0:
                return
        time.sleep(POLL_S)
    raise ChildFailed(f"{child.name} does not listen on port {port}. The end of {child.log}:\n{child.tail()}")


def wait_for_health(supervisor: Supervisor, child: Child, base: str) -> None:
    """Wait until the web server calls itself healthy. Raises: ChildFailed when a child dies or the time is over."""
    deadline = time.monotonic() + ANSWER_TIMEOUT_S
    last = "nothing answered"
    while time.monotonic() < deadline:
        supervisor.check()
        try:
            answer = httpx.get(f"{base}/health", timeout=5, trust_env=False)
        except httpx.HTTPError:
            time.sleep(POLL_S)
            continue
        if answer.status_code == httpx.codes.OK:
            return
        last = f"{answer.status_code} {answer.text[:300]}"
        time.sleep(POLL_S)
    raise ChildFailed(f"{base}/health is not well: {last}\nThe end of {child.log}:\n{child.tail()}")


def wait_for_books(supervisor: Supervisor, gateway_url: str, token: str) -> None:
    """Wait until the worker has read the books from a gateway that was just started: before that it sends nothing.

    Raises: ChildFailed when a child dies or the time is over.
    """
    deadline = time.monotonic() + ANSWER_TIMEOUT_S
    head = {"Authorization": f"Bearer {token}"}
    while time.monotonic() < deadline:
        supervisor.check()
        with contextlib.suppress(httpx.HTTPError, ValueError):
            if not httpx.get(f"{gateway_url}/v1/health", headers=head, timeout=5, trust_env=False).json()[
                "reconcile_first"
            ]:
                return
        time.sleep(POLL_S)
    raise ChildFailed("The worker did not read the paper account's books from the gateway; see the logs of both.")


def release_mark() -> str:
    """Return a mark that changes when a migration, a static file or an installed package of this checkout does."""
    digest = sha256()
    watched = [ROOT / "requirements.txt", *ROOT.glob("*/migrations/*.py"), *ROOT.glob("nexus/*/migrations/*.py")]
    watched += [path for path in ROOT.glob("[a-z]*/static/**/*") if path.is_file()]
    watched += [ROOT / "nexus" / "settings.py"]
    for path in sorted(watched):
        if path.exists():
            digest.update(str(path.relative_to(ROOT)).encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()
