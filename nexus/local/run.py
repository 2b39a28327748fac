"""`make run`: from nothing to a served, FILLED order, in numbered steps; then serve until Ctrl-C."""

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nexus.local import first_trade, postgres, queue, sealer, servers
from nexus.local.folder import ROOT, Folder, held, open_folder, passwords_of, secrets_of, write_private
from nexus.local.gateway import paper_accounts
from nexus.local.processes import Child, Supervisor

STEPS = 5


class Progress:
    """Print numbered steps, and how long it has been."""

    def __init__(self) -> None:
        self._number = 0
        self._begun = time.monotonic()

    def step(self, text: str) -> None:
        """Announce the next step."""
        self._number += 1
        print(f"[{self._number}/{STEPS}] {text}", flush=True)

    @property
    def seconds(self) -> float:
        """Return the time since the beginning."""
        return time.monotonic() - self._begun


def run() -> None:
    """Start everything, trade once, and serve until someone stops us."""
    progress = Progress()
    folder = open_folder(os.environ)
    with held(folder):
        port = servers.port_from(os.environ)
        base = f"http://{servers.HOST}:{port}"
        known = secrets_of(folder)
        with Supervisor(logs=folder.logs) as supervisor:
            supervisor.handle_signals()
            env = _database(supervisor, folder, known, progress) | servers.counting(folder.path)
            fresh = _prepare(supervisor, folder, env, progress)
            _serve(supervisor, folder, known, env, port, progress)
            _people(supervisor, folder, env, base, progress, fresh=fresh)
            if not os.environ.get("MT5_GATEWAY_URL"):
                servers.wait_for_books(supervisor, env["MT5_GATEWAY_URL"], env["GATEWAY_TOKEN"])
            progress.step("One trade through the public API")
            first_trade.run(folder, base)
            print(f"\nReady after {progress.seconds:.1f} s. Logs are in {folder.logs}.")
            print(f"Dashboard: {base}/    (the trader's password is in {folder.demo})")
            print(f"API documents: {base}/docs    Operator console: {base}/admin/")
            print(f"Serving on {base} — Ctrl-C stops everything.", flush=True)
            supervisor.watch()


def _database(supervisor: Supervisor, folder: Folder, known: dict[str, str], progress: Progress) -> dict[str, str]:
    """Start the embedded database, unless the person brings one; return the settings of every Django process."""
    if brought := os.environ.get("DATABASE_URL"):
        progress.step("PostgreSQL: the one that DATABASE_URL names")
        database = brought
    else:
        server = postgres.cluster(folder.postgres, passwords_of(known))
        progress.step(f"PostgreSQL {server.programs.major} (embedded) in {folder.path}")
        postgres.start(supervisor, server)
        database = server.url()
    queue.install(database, os.environ)
    return servers.django_environment(
        os.environ, folder=folder.path, known=known, database=database, broker=queue.url(os.environ)
    )


def _prepare(supervisor: Supervisor, folder: Folder, env: dict[str, str], progress: Progress) -> bool:
    """Migrate and collect the static files when this checkout differs from the one that did it last."""
    note = _prepared_note(folder)
    mark = servers.release_mark() + env["DATABASE_URL"].rpartition("@")[2]
    if note.exists() and note.read_text(encoding="utf-8") == mark:
        progress.step("Database tables are up to date")
        return False
    progress.step("Database tables and static files")
    supervisor.run("prepare", [sys.executable, "-m", "nexus.local.prepare"], env=env)
    write_private(note, mark)
    return True


def _prepared_note(folder: Folder) -> Path:
    """Return the note's place: inside the database's own folder, so that it never outlives the database."""
    return folder.postgres / "prepared" if folder.postgres.exists() else folder.path / "prepared"


def _serve(
    supervisor: Supervisor, folder: Folder, known: dict[str, str], env: dict[str, str], port: int, progress: Progress
) -> None:
    """Start the servers side by side and wait until they answer."""
    progress.step("MT5 gateway (paper trading), web server, events, workers, beat, sealer")
    gateways: dict[int, Child] = {}
    controls = ""
    if not env.get("MT5_GATEWAY_URL"):
        gateways, controls = _gateways(supervisor, folder, known, env)
    note = {"MT5_GATEWAY_URL": env["MT5_GATEWAY_URL"], "PAPER_CONTROLS": controls}
    write_private(folder.running, json.dumps(note) + "\n")
    events_port = int(env.get("EVENTS_PORT") or servers.free_port())
    env["EVENTS_PORT"] = str(events_port)
    env.setdefault("EVENTS_ORIGINS", f"http://{servers.HOST}:{port},http://localhost:{port}")
    web = servers.start_web(supervisor, port=port, env=env)
    events = servers.start_events(supervisor, port=events_port, env=env)
    servers.start_worker(supervisor, env=env)
    servers.start_stop_worker(supervisor, env=env)
    servers.start_alert_worker(supervisor, env=env)
    servers.start_audit_worker(supervisor, env=sealer.for_verification(folder, env=env))
    servers.start_beat(supervisor, env=env)
    sealer.start(supervisor, folder, env=env)
    for gateway_port, gateway in gateways.items():
        servers.wait_for_port(supervisor, gateway, gateway_port)
    servers.wait_for_port(supervisor, events, events_port)
    servers.wait_for_health(supervisor, web, f"http://{servers.HOST}:{port}")


def _gateways(
    supervisor: Supervisor, folder: Folder, known: dict[str, str], env: dict[str, str]
) -> tuple[dict[int, Child], str]:
    """Start a gateway for each paper account, and tell the Django processes where they are.

    Returns the gateways by their ports, and where the strings of the brokers are held, which no server needs to know.
    """
    gateways, controls, rows = {}, [], []
    for account in paper_accounts(folder, os.environ):
        port, control_port = servers.free_port(), servers.free_port()
        gateways[port] = servers.start_gateway(
            supervisor, folder, account, port=port, control_port=control_port, known=known
        )
        controls.append(f"{servers.HOST}:{control_port}")
        url = f"http://{servers.HOST}:{port}"
        if account.is_first:
            env["MT5_GATEWAY_URL"] = url
        else:
            rows.append({"login": account.login, "name": account.name, "url": url})
    env["NEXUS_PAPER_MORE"] = json.dumps(rows)
    return gateways, ",".join(controls)


def _people(
    supervisor: Supervisor, folder: Folder, env: dict[str, str], base: str, progress: Progress, *, fresh: bool
) -> None:
    """Create the demo people on the first run and print their passwords that once."""
    progress.step("Demo people")
    made_before = folder.demo.exists()
    has_more = env.get("NEXUS_PAPER_MORE", "[]") != "[]"  # their gateways listen at other ports in each run
    if (
        made_before
        and not fresh
        and not has_more
        and json.loads(folder.demo.read_text(encoding="utf-8")).get("base_url") == base
    ):
        print(f"    Their passwords are in {folder.demo}.")
        return
    supervisor.run("demo", [sys.executable, "-m", "nexus.local.demo"], env=env | {"NEXUS_BASE_URL": base})
    if made_before:
        print(f"    Their passwords are in {folder.demo}.")
        return
    print(f"    Printed this once, kept in {folder.demo}:")
    for role, person in json.loads(folder.demo.read_text(encoding="utf-8"))["people"].items():
        print(f"      {role:<12} {person['email']:<32} {person['password']}")
    print("    Where a code is asked for, `make code` shows the operator's, `make code WHO=trader` the trader's.")


def manage(arguments: list[str]) -> int:
    """Run Django's command line against the embedded database, starting it when `make run` does not."""
    folder = open_folder(os.environ)
    known = secrets_of(folder)
    # A replay makes a database and removes it: on a server of its own, whose other users cannot hold that up.
    place = postgres.temporary() if arguments[:1] == ["replay"] else _any_database(folder, known)
    with place as database:
        env = servers.django_environment(
            os.environ, folder=folder.path, known=known, database=database, broker=queue.url(os.environ)
        )
        if folder.running.exists() and not env.get("MT5_GATEWAY_URL"):
            env |= json.loads(folder.running.read_text(encoding="utf-8"))
            env |= {"PAPER_CONTROL_TOKEN": known["PAPER_CONTROL_TOKEN"]}
        return subprocess.run([sys.executable, str(ROOT / "manage.py"), *arguments], env=env, check=False).returncode


@contextmanager
def _any_database(folder: Folder, known: dict[str, str]) -> Iterator[str]:
    """Yield the address of the running database, or of one that runs for as long as it is needed."""
    if brought := os.environ.get("DATABASE_URL"):
        yield brought
        return
    server = postgres.cluster(folder.postgres, passwords_of(known))
    if server.data.exists() and postgres.answers(server.url()):
        yield server.url()
        return
    with held(folder), Supervisor(logs=folder.logs) as supervisor:
        postgres.start(supervisor, server)
        yield server.url()


def clean() -> None:
    """Remove what a local run made in the data folder, and the database wherever root had to put it; nothing else."""
    folder = open_folder(os.environ)
    with held(folder):
        postgres.remove(folder.postgres)
        for part in folder.parts:
            if part.is_dir():
                shutil.rmtree(part)
            else:
                part.unlink(missing_ok=True)
    with contextlib.suppress(OSError):  # something of the person's own lies in it
        folder.path.rmdir()
    print(f"Removed the local data in {folder.path}.")
