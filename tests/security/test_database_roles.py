"""Production's roles on a PostgreSQL of their own: made by the SQL that operators run, and used by real processes."""

import json
import os
import re
import secrets
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import psycopg
import pytest
from psycopg import errors, sql

from nexus.local import binaries
from nexus.local.binaries import PostgresUnusable
from nexus.local.folder import ROOT
from tests.nexus.audit.test_roles import CHANGES

ROLES = ("nexus_migrator", "nexus_app", "nexus_sealer", "nexus_auditor")
PASSWORDS = {role: secrets.token_urlsafe(16) for role in ROLES}  # roles are the server's, not a database's
BOOTSTRAP = ROOT / "nexus" / "database_roles.sql"
COPIES = {f"{table} copied in": f"COPY audit.{table} FROM STDIN" for table in ("event", "leaf", "batch", "pii")}
WORSE = {
    "the log's triggers off, one by one": "ALTER TABLE audit.leaf DISABLE TRIGGER no_change",
    "the log's name": "ALTER SCHEMA audit RENAME TO audit_before",
    "another owner": "ALTER TABLE audit.event OWNER TO CURRENT_USER",
    "the owner's place": "SET ROLE nexus_audit_owner",
    "rights for oneself": "GRANT UPDATE ON audit.event TO CURRENT_USER; UPDATE audit.event SET canonical = ''",
    "a log of one's own before it": "CREATE TABLE audit.event_ (id bigint)",
    "seals gone at once": "TRUNCATE audit.leaf, audit.batch",
    "what was migrated": "DELETE FROM django_migrations",
    "business history": "TRUNCATE order_event",
    "a table of one's own": "CREATE TABLE mine (id int)",
}


@dataclass(frozen=True)
class Installation:
    """One database with production's roles, and how each gets in."""

    base: str
    database: str
    passwords: dict[str, str]
    folder: Path

    def url(self, role: str) -> str:
        named = urlsplit(self.base)
        return f"postgresql://{role}:{quote(self.passwords[role])}@/{self.database}?{named.query}"

    def run(self, role: str, *words: str, **env: str) -> "subprocess.CompletedProcess[str]":
        """Run a process of ours as a role; the auditor's connection is there as in production."""
        known = os.environ | {
            "DATABASE_URL": self.url(role), "AUDIT_DATABASE_URL": self.url("nexus_auditor"), "NEXUS_ENV": "test",
            "AUDIT_ANCHORS": f"file:{self.folder}/anchor.jsonl", "CELERY_BROKER_URL": "memory://",
        }  # fmt: skip
        command = [sys.executable, *words]
        return subprocess.run(command, cwd=ROOT, env=known | env, capture_output=True, text=True, check=False)

    def ask(self, role: str, statement: Any, *, as_superuser: bool = False) -> list[tuple[Any, ...]]:
        """Run one statement as a role, in a transaction of its own."""
        address = self.base.replace("/nexus?", f"/{self.database}?") if as_superuser else self.url(role)
        with psycopg.connect(address) as connection:
            if as_superuser:
                connection.execute("SET ROLE postgres")
            cursor = connection.execute(statement)
            return cursor.fetchall() if cursor.description else []


SERVER = """
import sys
from nexus.local import postgres
with postgres.temporary() as url:
    print(url, flush=True)
    sys.stdin.read()
"""


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """A PostgreSQL of our own, whose roles are nobody else's, until its process hears no more of us."""
    try:
        binaries.find()
    except PostgresUnusable as exc:
        pytest.skip(f"no PostgreSQL to start: {exc}")
    with subprocess.Popen(
        [sys.executable, "-c", SERVER], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as held:
        assert held.stdout is not None
        yield held.stdout.readline().strip()
        held.communicate(timeout=120)


def install(server: str, folder: Path, *, database: str, migrate_first: bool) -> Installation:
    """Make a database, run the bootstrap, and migrate; before it, too, as an installation of one role has done."""
    made = Installation(server, database, PASSWORDS, folder)
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(database)))
    if migrate_first:
        alone = replace(made, passwords=made.passwords | {"nexus": str(urlsplit(server).password)})
        done = alone.run("nexus", "manage.py", "migrate", "--verbosity", "0")
        assert done.returncode == 0, done.stderr
    for _ in range(2):  # the second time changes nothing
        made.ask("", BOOTSTRAP.read_text(encoding="utf-8"), as_superuser=True)
    for role in ROLES:
        made.ask("", f"ALTER ROLE {role} PASSWORD '{made.passwords[role]}'", as_superuser=True)
    done = made.run("nexus_migrator", "manage.py", "migrate", "--verbosity", "0")
    assert done.returncode == 0, done.stderr
    done = made.run("nexus_app", "manage.py", "audit_key", "create", str(folder / "audit.pem"))
    assert done.returncode == 0, done.stderr
    public = re.search(r"-----BEGIN PUBLIC.*?END PUBLIC KEY-----\n?", done.stdout, re.DOTALL)
    assert public is not None
    (folder / "public.pem").write_text(public[0])
    return made


@pytest.fixture(scope="module")
def installation(server: str, tmp_path_factory: pytest.TempPathFactory) -> Installation:
    """An installation that has had the roles from the beginning."""
    return install(server, tmp_path_factory.mktemp("new"), database="nexus_new", migrate_first=False)


@pytest.fixture(scope="module")
def lived(installation: Installation) -> dict[str, Any]:
    """What the application did as its own role, sealed by the sealer's."""
    return live(installation)


def live(installation: Installation) -> dict[str, Any]:
    done = installation.run("nexus_app", "-m", "tests.security.acting")
    assert done.returncode == 0, done.stderr[-3000:]
    seal(installation)
    said: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return said


def seal(installation: Installation) -> None:
    key = str(installation.folder / "audit.pem")
    done = installation.run("nexus_sealer", "manage.py", "audit_seal", AUDIT_SIGNING_KEY_FILE=key)
    assert done.returncode == 0, done.stderr[-3000:]


def verify(installation: Installation) -> tuple[int, dict[str, Any]]:
    keys = [
        "--public-key",
        str(installation.folder / "public.pem"),
        "--anchor",
        str(installation.folder / "anchor.jsonl"),
    ]
    done = installation.run("nexus_app", "manage.py", "audit_verify", "--json", *keys)
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


def check(installation: Installation, role: str) -> "subprocess.CompletedProcess[str]":
    return installation.run(
        role, "manage.py", "check", "--deploy", "--database", "default", NEXUS_ENV="production",
        ALLOWED_HOSTS="nexus.example", EMAIL_HOST="mail.example", CELERY_BROKER_URL="redis://127.0.0.1:1/0",
        SECRET_KEY=secrets.token_urlsafe(64), JWT_SIGNING_KEYS=secrets.token_urlsafe(64),
        FIELD_ENCRYPTION_KEYS=secrets.token_urlsafe(48), LIVE_TRADING_ENABLED="0",
    )  # fmt: skip


DAY = {
    "role": "nexus_app", "wrong": 401, "refreshed": 200, "order": [201, "FILLED"], "reconciled": 200,
    "key": [201, None], "stop": 200, "denied": 403,
}  # fmt: skip


def test_the_application_does_its_day_as_its_own_role(installation, lived):
    assert {name: came for name, came in lived.items() if name != "events"} == DAY
    assert {"access.denied", "auth.login.failed", "auth.otp.accepted", "control.level_set"} <= set(lived["events"])
    code, report = verify(installation)
    assert (code, report["findings"]) == (0, [])


def was_let_do(installation: Installation, role: str) -> list[str]:
    """Return what of all that harms a role was not refused."""
    its_work = {"leaf copied in", "batch copied in"} if role == "nexus_sealer" else set()
    harm = {what: statement for what, statement in (CHANGES | COPIES | WORSE).items() if what not in its_work}
    done = []
    for what, statement in harm.items():
        try:
            installation.ask(role, statement)
        except errors.InsufficientPrivilege:
            continue
        except psycopg.Error as exc:
            done.append(f"{what}: {exc}")
        else:
            done.append(what)
    return done


@pytest.mark.threat(22)
def test_no_process_changes_the_log_or_what_protects_it(installation, lived):
    assert {role: was_let_do(installation, role) for role in ROLES[1:]} == {role: [] for role in ROLES[1:]}
    assert verify(installation)[0] == 0


@pytest.mark.threat(22)
def test_an_installation_of_one_role_is_taken_over(server, tmp_path):
    taken = install(server, tmp_path, database="nexus_old", migrate_first=True)

    said = live(taken)

    assert {name: came for name, came in said.items() if name != "events"} == DAY
    assert {role: was_let_do(taken, role) for role in ROLES[1:]} == {role: [] for role in ROLES[1:]}
    assert verify(taken)[0] == 0
    assert check(taken, "nexus_app").returncode == 0
    owners = taken.ask(
        "nexus_migrator", "SELECT DISTINCT tableowner FROM pg_tables WHERE schemaname IN ('audit', 'public') ORDER BY 1"
    )
    assert owners == [("nexus_audit_owner",), ("nexus_migrator",)]


@pytest.mark.threat(23)
def test_the_migrators_changes_are_stopped_by_triggers_and_named_without_them(installation, lived):
    (number,) = installation.ask("nexus_auditor", "SELECT max(event_id) FROM audit.leaf")[0]
    change = f"UPDATE audit.event SET canonical = canonical || ' ' WHERE id = {number}"  # noqa: S608
    with pytest.raises(errors.InsufficientPrivilege, match="append-only"):
        installation.ask("nexus_migrator", change)
    assert verify(installation)[0] == 0

    installation.ask("nexus_migrator", f"ALTER TABLE audit.event DISABLE TRIGGER no_change; {change}")
    code, report = verify(installation)
    back = f"UPDATE audit.event SET canonical = rtrim(canonical) WHERE id = {number}"  # noqa: S608
    installation.ask("nexus_migrator", f"{back}; ALTER TABLE audit.event ENABLE ALWAYS TRIGGER no_change")

    assert code == 1
    assert [(each["kind"], each["event_id"]) for each in report["findings"]] == [("event_modified", number)]
    assert verify(installation)[0] == 0


@pytest.mark.threat(23)
def test_a_superuser_who_cuts_the_end_off_is_found_by_the_anchor(installation, lived):
    cut = (
        "SET session_replication_role = replica; ALTER TABLE audit.leaf DISABLE TRIGGER ALL;"
        " ALTER TABLE audit.batch DISABLE TRIGGER ALL; ALTER TABLE audit.event DISABLE TRIGGER ALL;"
        " DELETE FROM audit.leaf WHERE batch_no = (SELECT max(batch_no) FROM audit.batch);"
        " DELETE FROM audit.event WHERE NOT EXISTS (SELECT FROM audit.leaf WHERE event_id = event.id);"
        " DELETE FROM audit.batch WHERE batch_no = (SELECT max(batch_no) FROM audit.batch)"
    )
    database = installation.database
    installation.ask("nexus_app", "SELECT audit.append('tests.cut', 'success', 'system', 'x', 'x', 'x', '')")
    seal(installation)
    copy = replace(installation, database=f"{database}_cut")
    with psycopg.connect(installation.base, autocommit=True) as connection:
        connection.execute("SET ROLE postgres")
        connection.execute(
            sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(*map(sql.Identifier, (copy.database, database)))
        )
    copy.ask("", cut, as_superuser=True)

    code, report = verify(copy)

    assert code == 1
    assert {each["kind"] for each in report["findings"]} == {"tail_truncated"}
    assert verify(installation)[0] == 0


@pytest.mark.threat(22)
def test_the_deploy_check_names_a_role_that_could_change_the_log(installation, lived):
    fine, migrator = check(installation, "nexus_app"), check(installation, "nexus_migrator")
    one = replace(installation, passwords=installation.passwords | {"nexus": str(urlsplit(installation.base).password)})
    installation.ask("", f"GRANT CONNECT ON DATABASE {installation.database} TO nexus", as_superuser=True)
    installation.ask("", "GRANT UPDATE ON audit.leaf TO nexus_app", as_superuser=True)
    given = check(installation, "nexus_app")
    installation.ask("", "REVOKE UPDATE ON audit.leaf FROM nexus_app", as_superuser=True)

    assert fine.returncode == 0, fine.stderr
    assert "nexus.E025" in migrator.stderr
    assert "nexus.E024" in check(one, "nexus").stderr  # it may become postgres here
    assert "nexus.E026" in given.stderr
    assert "update audit.leaf" in given.stderr
    assert check(installation, "nexus_app").returncode == 0
