"""Own the data folder: where things lie in it, the secrets that are made once, and the lock of the one run over it."""

import fcntl
import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from nexus.local.postgres import Passwords

ROOT = Path(__file__).resolve().parent.parent.parent
SECRET_BYTES = {
    "SECRET_KEY": 64,
    "JWT_SIGNING_KEYS": 64,
    "FIELD_ENCRYPTION_KEYS": 32,
    "GATEWAY_TOKEN": 32,
    "PAPER_PASSWORD": 12,  # of the paper account at the emulated broker
    "PAPER_CONTROL_TOKEN": 32,  # of whoever plays the broker, other people and bad luck
    "POSTGRES_OWNER_PASSWORD": 24,
    "POSTGRES_SUPERUSER_PASSWORD": 24,
}


class FolderUnusable(Exception):
    """The data folder cannot be used; the message says why and what to do."""


@dataclass(frozen=True)
class Folder:
    """The data folder, and the place of each thing in it."""

    path: Path

    @property
    def logs(self) -> Path:
        """Return where each process writes its log."""
        return self.path / "logs"

    @property
    def postgres(self) -> Path:
        """Return the database's home; a link when root had to move it."""
        return self.path / "postgres"

    @property
    def gateway_config(self) -> Path:
        """Return the MT5 gateway's settings."""
        return self.path / "gateway" / "gateway.json"

    @property
    def audit(self) -> Path:
        """Return the sealer's own place: its key and its seals."""
        return self.path / "audit"

    @property
    def demo(self) -> Path:
        """Return the demo people and their passwords."""
        return self.path / "demo.json"

    @property
    def running(self) -> Path:
        """Return the note of what the present run's processes need to know of each other."""
        return self.path / "running.json"

    @property
    def traded(self) -> Path:
        """Return the note of the first trade's order."""
        return self.path / "first-trade.json"

    @property
    def parts(self) -> list[Path]:
        """Return everything that a local run makes here, besides the database."""
        names = ("logs", "gateway", "paper", "audit", "exports", "static", "prepared", "secrets.env", "run.lock")
        return [self.path / name for name in names] + [self.demo, self.traded, self.running]


def open_folder(environment: Mapping[str, str]) -> Folder:
    """Make the data folder that `environment` names, private but for passing through it. Raises: FolderUnusable."""
    path = Path(environment.get("NEXUS_DATA_DIR") or ROOT / ".nexus").expanduser().absolute()
    try:
        path.mkdir(parents=True, exist_ok=True)
        # Others may pass through, not look: as root, the database's own user must reach its part.
        path.chmod(0o711 if os.geteuid() == 0 else 0o700)
        for part in (path / "logs", path / "gateway", path / "paper"):
            part.mkdir(mode=0o700, exist_ok=True)
    except OSError as exc:
        raise FolderUnusable(f"The data folder {path} cannot be used: {exc.strerror}. Set NEXUS_DATA_DIR.") from exc
    return Folder(path)


def write_private(path: Path, text: str) -> None:
    """Write `text` to a file that only its owner can read; the file appears whole or not at all."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = path.with_name(f"{path.name}.new")
    draft.unlink(missing_ok=True)
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)


def secrets_of(folder: Folder) -> dict[str, str]:
    """Read the folder's secrets, making those that do not exist yet. Raises: FolderUnusable."""
    path = folder.path / "secrets.env"
    known: dict[str, str] = {}
    if path.exists():
        pairs = (line.partition("=") for line in path.read_text(encoding="utf-8").splitlines() if "=" in line)
        known = {name: value for name, _, value in pairs}
    elif (folder.postgres / "data").exists():
        raise FolderUnusable(
            f"{folder.path} holds a database but its {path.name} is gone, and with it the database's password.\n"
            f"Restore {path.name}, or remove {folder.path} to begin anew."
        )
    missing = [name for name in SECRET_BYTES if not known.get(name)]
    if missing:
        known |= {name: secrets.token_hex(SECRET_BYTES[name]) for name in missing}
        lines = (f"{name}={value}" for name, value in known.items())
        write_private(
            path, "# Made on the first run, for this folder only. Keep it private.\n" + "\n".join(lines) + "\n"
        )
    path.chmod(0o600)
    return known


def passwords_of(known: Mapping[str, str]) -> Passwords:
    """Pick the database's passwords out of the folder's secrets."""
    return Passwords(known["POSTGRES_OWNER_PASSWORD"], known["POSTGRES_SUPERUSER_PASSWORD"])


@contextmanager
def held(folder: Folder) -> Iterator[None]:
    """Hold the folder for this run alone; the system lets go when we die. Raises: FolderUnusable when it is held."""
    with (folder.path / "run.lock").open("a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as exc:
            file.seek(0)
            raise FolderUnusable(
                f"Nexus already runs on {folder.path} (process {file.read().strip() or '?'}). "
                "Stop that one first, or set NEXUS_DATA_DIR to another folder."
            ) from exc
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        yield
