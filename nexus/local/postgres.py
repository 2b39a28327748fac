"""Own the embedded PostgreSQL: find it, create its data once, start it, and give out its address.

The server listens on a unix socket only, asks for a password (scram), and runs as a child of the supervisor, so that
it ends with us. As root it runs as an unprivileged user, because PostgreSQL insists.
"""

import os
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from urllib.parse import quote

import psycopg
from psycopg import sql

from nexus.local import binaries
from nexus.local.binaries import PostgresUnusable, Programs
from nexus.local.processes import Child, RunAs, Supervisor

OWNER = "nexus"  # the role that the application uses: no superuser, as in production
SUPERUSER = "postgres"
DATABASE = "nexus"
PORT = 5432  # only a part of the socket's name
SOCKET_PATH_BYTES_MAX = 100  # 103 on macOS, 107 on Linux
START_TIMEOUT_S = 60.0
BUILTIN_LOCALE_SINCE = 17
SELF_GRANT_SINCE = 16
POLL_S = 0.02

SETTINGS = {
    "listen_addresses": "",
    "max_connections": "150",  # docs/database.md, Connections
    "shared_buffers": "128MB",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "unix_socket_permissions": "0700",
    "log_line_prefix": "%m [%p] ",
}
# For data that lives as long as one test run: a power cut may lose it.
TEMPORARY_SETTINGS = {
    "fsync": "off",
    "full_page_writes": "off",
    "synchronous_commit": "off",
    "max_connections": "300",
    "max_wal_size": "4GB",
    "autovacuum": "on",
}


@dataclass(frozen=True)
class Passwords:
    """The two roles' passwords, random, kept by the caller."""

    owner: str
    superuser: str

    @classmethod
    def random(cls) -> "Passwords":
        """Make new ones."""
        return cls(secrets.token_urlsafe(24), secrets.token_urlsafe(24))


@dataclass(frozen=True)
class Cluster:
    """One data folder and the server over it."""

    home: Path
    passwords: Passwords
    programs: Programs
    user: RunAs | None
    durable: bool = True

    @property
    def data(self) -> Path:
        """Return the folder that initdb makes."""
        return self.home / "data"

    @property
    def socket_folder(self) -> Path:
        """Return a folder short enough for a socket's name: in the data folder, else one of ours in /tmp."""
        inside = self.home / "run"
        if len(os.fsencode(inside / f".s.PGSQL.{PORT}")) <= SOCKET_PATH_BYTES_MAX:
            return inside
        mark = sha256(os.fsencode(self.home)).hexdigest()[:12]
        return Path("/tmp") / f"nexus-{mark}"  # noqa: S108  # nosec B108  # made private, its owner is checked

    def url(self, *, role: str = OWNER, database: str = DATABASE) -> str:
        """Return the address, as DATABASE_URL wants it."""
        password = self.passwords.owner if role == OWNER else self.passwords.superuser
        return f"postgresql://{role}:{password}@/{database}?host={quote(str(self.socket_folder), safe='/')}&port={PORT}"


def cluster(home: Path, passwords: Passwords, *, durable: bool = True) -> Cluster:
    """Describe the server over `home`, moved to where an unprivileged user can reach it when we are root."""
    user = binaries.unprivileged_user()
    programs = binaries.reachable(binaries.find(), user)
    home = home if home.is_symlink() else home.absolute()
    home.parent.mkdir(parents=True, exist_ok=True)
    if user and not home.exists() and not home.is_symlink():
        home.mkdir(mode=0o700)
        os.chown(home, user.uid, user.gid)
        if not binaries.reaches(user, home):
            home.rmdir()
            _move_out(home, user)
    home.mkdir(mode=0o700, exist_ok=True)
    return Cluster(home.resolve(), passwords, programs, user, durable)


def _move_out(home: Path, user: RunAs) -> None:
    """Keep the database outside a private home, and leave a link where people look for it."""
    place = binaries.public_folder() / f"postgres-{sha256(os.fsencode(home)).hexdigest()[:12]}"
    place.mkdir(mode=0o700, exist_ok=True)
    os.chown(place, user.uid, user.gid)
    home.symlink_to(place, target_is_directory=True)
    print(f"    {user.name} cannot reach {home}: the database is kept in {place}.")


def remove(home: Path) -> None:
    """Delete the database over `home`, wherever it is kept."""
    place = home.resolve()
    if home.is_symlink():
        home.unlink()
    shutil.rmtree(place, ignore_errors=True)


def start(supervisor: Supervisor, server: Cluster) -> Child:
    """Create the data when new, start the server, and wait until it answers as the application's role.

    Raises: PostgresUnusable when another run holds the data, or the server does not come up in time.
    """
    if not server.data.exists():
        _initialize(server)
    _prepare_folders(server)
    _stop_orphan(server)
    deadline = time.monotonic() + START_TIMEOUT_S
    while True:
        child = _launch(supervisor, server)
        if _wait(supervisor, server, child, deadline):
            _ensure_database(server)
            return child
        # The first tries after a kill -9 may fail: the old server's shared memory must go first.
        if child in supervisor.children:
            supervisor.forget(child)
        if time.monotonic() > deadline:
            raise PostgresUnusable(f"PostgreSQL does not start. The end of {child.log}:\n{child.tail()}")
        time.sleep(POLL_S * 10)


def _initialize(server: Cluster) -> None:
    """Run initdb into a draft folder and rename it, so that a half-made database is never taken for one."""
    draft, password = server.home / "data.new", server.home / "password"
    shutil.rmtree(draft, ignore_errors=True)
    password.write_text(server.passwords.superuser)
    password.chmod(0o600)
    _give(server, password)
    locale = (
        ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        if server.programs.major >= BUILTIN_LOCALE_SINCE
        else []
    )
    command = [server.programs.path("initdb"), "-D", str(draft), "-U", SUPERUSER, f"--pwfile={password}"]
    command += ["--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", *locale, "--no-instructions"]
    command += [] if server.durable else ["--no-sync"]
    try:
        user = server.user
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            check=False,
            cwd=server.home,
            env=_environment(),
            user=user.uid if user else None,
            group=user.gid if user else None,
            extra_groups=[] if user else None,
        )
    finally:
        password.unlink(missing_ok=True)
    if done.returncode:
        raise PostgresUnusable(f"The database could not be created in {server.home}:\n{done.stdout}{done.stderr}")
    draft.replace(server.data)


def _environment() -> dict[str, str]:
    """Return what the server may know: no secret of ours, and no PG* variable of the person's."""
    return {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "TZ": "UTC"}


def _give(server: Cluster, path: Path) -> None:
    if server.user:
        os.chown(path, server.user.uid, server.user.gid, follow_symlinks=False)


def _prepare_folders(server: Cluster) -> None:
    """Make the socket's folder private, and give root's files to the user that runs the server."""
    folder = server.socket_folder
    folder.mkdir(mode=0o700, exist_ok=True)
    owners = {os.geteuid(), server.user.uid if server.user else os.geteuid()}
    if folder.is_symlink() or folder.stat().st_uid not in owners:
        raise PostgresUnusable(f"{folder} belongs to someone else. Remove it, or choose a shorter NEXUS_DATA_DIR.")
    folder.chmod(0o700)
    _give(server, folder)
    if server.user and server.data.stat().st_uid != server.user.uid:
        for path in (server.home, *server.home.rglob("*")):
            _give(server, path)


def _launch(supervisor: Supervisor, server: Cluster) -> Child:
    settings = SETTINGS | ({} if server.durable else TEMPORARY_SETTINGS)
    settings["unix_socket_directories"] = str(server.socket_folder)
    command = [server.programs.path("postgres"), "-D", str(server.data), "-p", str(PORT)]
    for name, value in settings.items():
        command += ["-c", f"{name}={value}"]
    return supervisor.start(
        "postgres",
        command,
        env=_environment(),
        stop_signal=signal.SIGINT,  # "fast": end the sessions, write everything, stop
        stop_timeout_s=20.0,
        run_as=server.user,
        cwd=Path("/"),
        is_foundation=True,
    )


def _wait(supervisor: Supervisor, server: Cluster, child: Child, deadline: float) -> bool:
    """Wait until the server answers; False when it ended instead, or the time is over."""
    while time.monotonic() < deadline:
        if child.process.poll() is not None:
            return False
        supervisor.check(besides=child)
        try:
            psycopg.connect(server.url(role=SUPERUSER, database="postgres"), connect_timeout=5).close()
        except psycopg.OperationalError as exc:
            if "password authentication failed" in str(exc):
                raise PostgresUnusable(
                    f"The database in {server.home} does not know our password: its secrets were replaced.\n"
                    "Restore the secrets file, or remove the data folder to begin anew."
                ) from exc
            time.sleep(POLL_S)
        else:
            return True
    supervisor.stop_child(child)
    return False


def _ensure_database(server: Cluster) -> None:
    """Create the application's role and database when they do not exist yet."""
    try:
        psycopg.connect(server.url(), connect_timeout=5).close()
    except psycopg.OperationalError:
        pass
    else:
        return
    with psycopg.connect(server.url(role=SUPERUSER, database="postgres"), autocommit=True) as connection:
        if not connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [OWNER]).fetchone():
            connection.execute(sql.SQL("CREATE ROLE {}").format(sql.Identifier(OWNER)))
        grant = sql.SQL("ALTER ROLE {} LOGIN CREATEDB PASSWORD {}")  # CREATEDB: tests make databases of their own
        connection.execute(grant.format(sql.Identifier(OWNER), sql.Literal(server.passwords.owner)))
        if not connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [DATABASE]).fetchone():
            make = sql.SQL("CREATE DATABASE {} OWNER {}")
            connection.execute(make.format(sql.Identifier(DATABASE), sql.Identifier(OWNER)))
        if not server.durable:
            _allow_trials(connection, server.programs.major)


def _allow_trials(connection: psycopg.Connection, major: int) -> None:
    """Give the tests' role what they need to try what production forbids; it is no superuser until it says so."""
    wanted = ["GRANT SET ON PARAMETER session_replication_role TO {}"]  # triggers must withstand it
    if major >= SELF_GRANT_SINCE:  # tests make production's roles, and become them
        wanted += ["ALTER ROLE {} CREATEROLE", "ALTER ROLE {} SET createrole_self_grant = 'set, inherit'"]
        wanted += [f"GRANT {SUPERUSER} TO {{}} WITH INHERIT FALSE, SET TRUE"]  # and tamper as a superuser would
    for statement in wanted:
        connection.execute(sql.SQL(statement).format(sql.Identifier(OWNER)))


def _stop_orphan(server: Cluster) -> None:
    """Deal with the server that a killed run left: wait for it to end, ask it to, or drop a number that is stale."""
    note = server.data / "postmaster.pid"
    deadline = time.monotonic() + START_TIMEOUT_S / 2
    asked = False
    while (pid := _noted_pid(note)) is not None:
        if not _is_postgres(pid):
            note.unlink(missing_ok=True)  # the number was given to another program since, for example after a reboot
            return
        if time.monotonic() > deadline:
            raise PostgresUnusable(f"Another PostgreSQL (process {pid}) uses {server.data} and does not stop.")
        if not asked:
            os.kill(pid, signal.SIGINT)
            asked = True
        time.sleep(POLL_S * 5)


def _noted_pid(note: Path) -> int | None:
    try:
        return int(note.read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return None


def _is_postgres(pid: int) -> bool:
    """Tell whether the process is alive and is a PostgreSQL server."""
    try:
        return b"postgres" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        if Path("/proc/self").exists():
            return False
    done = subprocess.run(["/bin/ps", "-p", str(pid), "-o", "command="], capture_output=True, check=False)
    return b"postgres" in done.stdout


def answers(url: str) -> bool:
    """Tell whether a server answers at `url`."""
    try:
        psycopg.connect(url, connect_timeout=3).close()
    except psycopg.OperationalError:
        return False
    return True


@contextmanager
def temporary(*, durable: bool = False) -> Iterator[str]:
    """Run a server with new data for the length of a `with` block, and leave nothing behind. Yields its address.

    A durable one writes as a real one does: what is measured over it counts.
    """
    user = binaries.unprivileged_user()
    parent = None if user is None else "/tmp"  # noqa: S108  # nosec B108  # mkdtemp makes it private
    home = Path(tempfile.mkdtemp(prefix="nexus-pg-", dir=parent))
    if user:
        os.chown(home, user.uid, user.gid)
    server = cluster(home, Passwords.random(), durable=durable)
    try:
        with tempfile.TemporaryDirectory(prefix="nexus-log-") as logs, Supervisor(logs=Path(logs)) as supervisor:
            supervisor.remove_at_end(home)
            supervisor.remove_at_end(Path(logs))
            start(supervisor, server)
            yield server.url()
    finally:
        shutil.rmtree(home, ignore_errors=True)
        if not server.socket_folder.is_relative_to(home):
            shutil.rmtree(server.socket_folder, ignore_errors=True)
