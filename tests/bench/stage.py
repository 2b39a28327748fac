"""The stage: a durable PostgreSQL of its own, real gateways over the emulator, and granian as `make run` starts it."""

import json
import os
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psycopg

from nexus.local import binaries, postgres, servers
from nexus.local.folder import ROOT, SECRET_BYTES
from nexus.local.processes import ChildFailed, Supervisor
from tests.bench import processor, rows
from tests.bench.load import Load, Outcome

USERS = 100
FIRST_LOGIN = 7001
SERVER = "Paper-Bench"
GATEWAYS_TIMEOUT_S = 120.0
LOAD_MARGIN_S = 60.0
SETTLE_S = 0.3
# Limits that nothing here reaches: what is measured is the path of an order that passes.
NONE = "1000000000"
LIMITS = {
    "DAILY_LOSS_LIMIT": NONE, "MAX_POSITION_SIZE": NONE, "TRADE_VALUE_MAX": NONE, "DAILY_VALUE_MAX": NONE,
    "DAILY_QUANTITY_MAX": NONE, "ORDERS_PER_DAY": NONE, "ORDERS_PER_HOUR": NONE, "ORDERS_PER_SECOND": NONE,
    "MAX_OPEN_POSITIONS": NONE, "BURST_ORDERS": NONE, "RECONCILIATION_AGE_MAX_S": NONE, "OPPOSITE_WINDOW_S": "0",
    "READS_PER_MINUTE": NONE,
}  # fmt: skip


@dataclass
class Stage:
    """What runs, and who may trade there."""

    folder: Path
    supervisor: Supervisor
    database: str
    env: dict[str, str]
    people: dict[str, Any]
    postmaster: int
    port: int = 0

    def tokens(self, kind: str) -> list[str]:
        """Return the tokens of the `direct` traders, or of those `behind` gateways."""
        return [person["token"] for person in self.people[kind]]

    def start_web(self) -> None:
        """Start the web server over the stage's database and wait until it is well."""
        self.port = servers.free_port()
        web = servers.start_web(
            self.supervisor, port=self.port, env=self.env, application="tests.bench.wsgi:application"
        )
        servers.wait_for_health(self.supervisor, web, f"http://{servers.HOST}:{self.port}")

    def load(self, **words: Any) -> Outcome:
        """Run one load in a process of its own."""
        given: dict[str, Any] = {"port": self.port, "bodies": [], "expect": ""}
        load = Load(**(given | words))
        plan = self.folder / "load.json"
        plan.write_text(json.dumps(asdict(load)), encoding="utf-8")
        done = self._child("tests.bench.load", str(plan), timeout_s=load.seconds + LOAD_MARGIN_S)
        return Outcome(**json.loads(done))

    def spent_s(self) -> float:
        """Return the processor time spent so far by everything that serves or sends an order; 0 where nobody tells."""
        time.sleep(SETTLE_S)  # the time of a process that has just ended is its parent's a moment later
        roots = [child.process.pid for child in self.supervisor.children]
        return processor.spent_s([*roots, self.postmaster]) or 0.0

    def clone(self, name: str, *, orders: int = 0, of_one: bool = False) -> str:
        """Copy the stage's database, and give the copy a history: of everybody, or all of it of one trader."""
        address = rows.clone(self.database, name=name)
        if orders:
            rows.load(address, orders=orders, with_checks=False, of_one=of_one)
        return address

    @contextmanager
    def inside(self, database: str) -> Iterator["Inside"]:
        """Run a process that places orders through the service over `database`."""
        log = self.folder / "inside.log"
        with subprocess.Popen(
            [sys.executable, "-m", "tests.bench.inside"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            stderr=log.open('ab'), env=self.env | {"DATABASE_URL": database}, cwd=ROOT,
        ) as process:  # fmt: skip
            try:
                yield Inside(process, log)
            finally:
                process.terminate()

    def _child(self, module: str, *arguments: str, timeout_s: float) -> str:
        done = subprocess.run(
            [sys.executable, "-m", module, *arguments], capture_output=True, text=True, check=False, env=self.env,
            timeout=timeout_s, cwd=ROOT,
        )  # fmt: skip
        if done.returncode:
            raise ChildFailed(f"{module} ended with code {done.returncode}:\n{done.stderr[-3000:]}")
        return done.stdout


@dataclass
class Inside:
    """The other end of `inside.py`."""

    process: subprocess.Popen[str]
    log: Path

    def place(self, count: int, *, traders: int = 100) -> tuple[list[float], list[float]]:
        """Place orders of some traders one by one; return the times of the orders and of their admissions, in ms."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{count} {traders}\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise ChildFailed(
                f"tests.bench.inside ended with code {self.process.wait()}:\n{self.log.read_text()[-3000:]}"
            )
        answer = json.loads(line)
        return answer["orders"], answer["admissions"]


@contextmanager
def opened(*, with_gateways: bool) -> Iterator[Stage]:
    """Open the stage with everybody on it; the web server is started by whoever needs it. Nothing of it remains."""
    with tempfile.TemporaryDirectory(prefix="nexus-bench-") as name, postgres.temporary(durable=True) as database:
        folder = Path(name)
        known = {secret: secrets.token_hex(size) for secret, size in SECRET_BYTES.items()}
        own = {key: value for key, value in os.environ.items() if key not in LIMITS and key != "MT5_GATEWAY_URL"}
        env = servers.django_environment(own, folder=folder, known=known, database=database, broker="memory://")
        env |= LIMITS | {"MT5_GATEWAY_URL": "http://127.0.0.1:9", "ACCESS_TOKEN_EXPIRE_MINUTES": "60"}
        env |= {"BENCH_BOOKS": str(folder / "books")}
        (folder / "books").mkdir()
        with Supervisor(logs=folder / "logs") as supervisor:
            stage = Stage(folder, supervisor, database, env, people={}, postmaster=_postmaster(database))
            gateways = _start_gateways(stage, known) if with_gateways else []
            stage.people = _prepare(stage, gateways)
            with stage.inside(database) as inside:
                inside.place(2 * USERS)  # the first of them is the model of every row that the bench writes itself
            yield stage


def _postmaster(database: str) -> int:
    with psycopg.connect(database) as connection:
        stat = Path(f"/proc/{connection.info.backend_pid}/stat")
        return int(stat.read_text().rpartition(")")[2].split()[processor.PPID]) if stat.exists() else 0


def _start_gateways(stage: Stage, known: Mapping[str, str]) -> list[str]:
    """Start the process of all gateways and return their addresses."""
    ports = stage.folder / "ports.json"
    document = {
        "folder": str(stage.folder / "paper"), "logins": _logins(), "password": known["PAPER_PASSWORD"],
        "server": SERVER, "token": known["GATEWAY_TOKEN"], "ports": str(ports),
    }  # fmt: skip
    plan = stage.folder / "gateways.json"
    plan.write_text(json.dumps(document), encoding="utf-8")
    command = [sys.executable, "-m", "tests.bench.gateways", str(plan)]
    stage.supervisor.start("gateways", command, env=servers.child_environment(os.environ), cwd=ROOT)
    deadline = time.monotonic() + GATEWAYS_TIMEOUT_S
    while not ports.exists():
        stage.supervisor.check()
        if time.monotonic() > deadline:
            raise ChildFailed("the gateways do not come up")
        time.sleep(servers.POLL_S)
    return [f"http://{servers.HOST}:{port}" for port in json.loads(ports.read_text(encoding="utf-8"))]


def _logins() -> list[int]:
    return list(range(FIRST_LOGIN, FIRST_LOGIN + USERS))


def _prepare(stage: Stage, gateways: list[str]) -> dict[str, Any]:
    notes = stage.folder / "people.json"
    document = {
        "users": USERS, "logins": _logins()[: len(gateways)], "gateways": gateways, "server": SERVER,
        "notes": str(notes),
    }  # fmt: skip
    plan = stage.folder / "prepare.json"
    plan.write_text(json.dumps(document), encoding="utf-8")
    stage.supervisor.run("prepare", [sys.executable, "-m", "tests.bench.prepare", str(plan)], env=stage.env)
    people: dict[str, Any] = json.loads(notes.read_text(encoding="utf-8"))
    return people


def pgbench() -> str | None:
    """Return the path of pgbench beside the server that the stage runs, or None when that has none."""
    programs = binaries.reachable(binaries.find(), binaries.unprivileged_user())
    path = Path(programs.path("pgbench"))
    return str(path) if path.exists() else None


def durability(database: str) -> str:
    """Say how honest the server is about its disk."""
    with psycopg.connect(database) as connection:
        names = ("server_version", "fsync", "synchronous_commit", "full_page_writes")
        return ", ".join(f"{name} {connection.execute(f'SHOW {name}').fetchone()[0]}" for name in names)  # type: ignore[index]
