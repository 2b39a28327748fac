"""The embedded database: private, durable through kills, and gone when it was temporary."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from nexus.local import binaries, postgres
from nexus.local.binaries import PostgresUnusable
from nexus.local.folder import ROOT
from nexus.local.postgres import Cluster, Passwords

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root has to give the server to another user")

HOLDER = """
import time
from nexus.local import postgres
with postgres.temporary() as url:
    print(url, flush=True)
    time.sleep(600)
"""


def folder_of(url: str) -> Path:
    return Path(str(psycopg.conninfo.conninfo_to_dict(url)["host"])).parent


@pytest.fixture
def home() -> Iterator[Path]:
    """A folder that an unprivileged user can reach, which pytest's own is not when root runs it."""
    parent = Path(tempfile.mkdtemp(prefix="nexus-test-"))
    parent.chmod(0o711)
    yield parent / "postgres"
    postgres.remove(parent / "postgres")
    shutil.rmtree(parent)


@pytest.fixture
def server(home: Path) -> Cluster:
    """A server that is described, not started."""
    return postgres.cluster(home, Passwords.random(), durable=False)


def test_serves_a_private_database_to_a_role_without_special_rights(supervisor, server):
    postgres.start(supervisor, server)

    with psycopg.connect(server.url()) as connection:
        row = connection.execute(
            "SELECT current_user, usesuper, current_setting('listen_addresses'), current_setting('TimeZone')"
            " FROM pg_user WHERE usename = current_user"
        ).fetchone()
    assert row == ("nexus", False, "", "UTC")
    assert server.data.stat().st_mode & 0o077 == 0
    assert server.socket_folder.stat().st_mode & 0o077 == 0
    assert not (server.home / "password").exists()
    wrong = server.url().replace(server.passwords.owner, "wrong")
    assert not postgres.answers(wrong)


def test_keeps_what_was_committed_through_a_killed_server(supervisor, home):
    server = postgres.cluster(home, Passwords.random())
    child = postgres.start(supervisor, server)
    with psycopg.connect(server.url()) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 42 AS answer")
    os.killpg(child.process.pid, signal.SIGKILL)
    child.process.wait()
    supervisor.forget(child)

    postgres.start(supervisor, server)

    with psycopg.connect(server.url()) as connection:
        assert connection.execute("SELECT answer FROM kept").fetchone() == (42,)


def test_drops_a_process_number_that_belongs_to_another_program(supervisor, server):
    supervisor.stop_child(postgres.start(supervisor, server))
    (server.data / "postmaster.pid").write_text(f"{os.getpid()}\n{server.data}\n")

    postgres.start(supervisor, server)

    assert postgres.answers(server.url())


def test_says_so_when_the_secrets_were_replaced(supervisor, server):
    supervisor.stop_child(postgres.start(supervisor, server))
    stranger = Cluster(server.home, Passwords.random(), server.programs, server.user)

    with pytest.raises(PostgresUnusable, match="secrets were replaced"):
        postgres.start(supervisor, stranger)


def test_gives_a_long_folder_a_short_socket(supervisor, home):
    server = postgres.cluster(home.parent / ("long" * 25), Passwords.random(), durable=False)

    postgres.start(supervisor, server)

    assert not server.socket_folder.is_relative_to(server.home)
    assert postgres.answers(server.url())
    supervisor.stop()
    shutil.rmtree(server.socket_folder)


@as_root
def test_moves_the_database_out_of_a_private_home(supervisor, home):
    home.parent.chmod(0o700)
    server = postgres.cluster(home, Passwords.random(), durable=False)

    postgres.start(supervisor, server)

    assert postgres.answers(server.url())
    assert home.is_symlink()
    supervisor.stop()
    postgres.remove(home)
    assert not server.home.exists()


@as_root
def test_copies_the_programs_out_of_a_private_home(home):
    user = binaries.unprivileged_user()
    found = binaries.find()
    if found.carried is None:
        pytest.skip("the server programs of the system are public")
    private = home.parent / "private"
    private.mkdir(mode=0o700)
    for part in (found.carried, *found.carried.parent.glob(f"{found.carried.name}.libs")):
        shutil.copytree(part, private / part.name, symlinks=True)
    carried = private / found.carried.name
    hidden = binaries.Programs(carried / "pginstall" / "bin", found.major, carried)

    copied = binaries.reachable(hidden, user)

    assert copied.folder != hidden.folder
    assert binaries.reaches(user, copied.folder / "postgres")
    shutil.rmtree(copied.folder.parent.parent.parent)


def test_leaves_nothing_of_a_temporary_server_after_a_failure():
    urls: list[str] = []

    def fail() -> None:
        with postgres.temporary() as url:
            urls.append(url)
            assert postgres.answers(url)
            raise LookupError

    with pytest.raises(LookupError):
        fail()

    assert not folder_of(urls[0]).exists()
    assert not postgres.answers(urls[0])


def test_leaves_nothing_of_a_temporary_server_whose_holder_is_killed(eventually):
    holder = subprocess.Popen([sys.executable, "-c", HOLDER], stdout=subprocess.PIPE, text=True, cwd=ROOT)
    assert holder.stdout is not None
    with holder.stdout as output:
        url = output.readline().strip()
    assert postgres.answers(url)

    holder.kill()
    holder.wait()

    assert eventually(lambda: not folder_of(url).exists())
    assert not postgres.answers(url)


def test_says_what_to_do_when_there_is_no_server(monkeypatch, tmp_path):
    monkeypatch.setenv("NEXUS_PG_BIN", str(tmp_path))

    with pytest.raises(PostgresUnusable, match=r"(?s)NEXUS_PG_BIN.*does not run"):
        binaries.find()
