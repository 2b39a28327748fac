"""`make test` and `make check`: a PostgreSQL of its own for the length of the tests, then nothing left of it."""

import os
import secrets
import subprocess
import sys
import tempfile
from pathlib import Path

from nexus.local import postgres, servers
from nexus.local.folder import ROOT, SECRET_BYTES


def test(arguments: list[str]) -> int:
    """Run pytest with `arguments` (in parallel unless they say otherwise) and return its code."""
    with tempfile.TemporaryDirectory(prefix="nexus-test-") as folder:
        if os.environ.get("DATABASE_URL"):
            print("Tests use the server that DATABASE_URL names.", flush=True)
            return _pytest(arguments, Path(folder), os.environ["DATABASE_URL"])
        with postgres.temporary() as database:
            return _pytest(arguments, Path(folder), database)


def with_settings(command: list[str]) -> int:
    """Run one of the gate's tools under settings like production's, with random secrets, and return its code."""
    known = {name: secrets.token_hex(size) for name, size in SECRET_BYTES.items()}
    database, broker = "postgresql://nexus@127.0.0.1:1/nexus", "redis://127.0.0.1:1/0"  # nothing connects
    with tempfile.TemporaryDirectory(prefix="nexus-check-") as folder:
        env = servers.django_environment({}, folder=Path(folder), known=known, database=database, broker=broker)
        env = (
            dict(os.environ)
            | env
            | {"NEXUS_ENV": "production", "ALLOWED_HOSTS": "nexus.example.com", "EMAIL_HOST": "mail.example.com"}
            | {"AUDIT_ANCHORS": "log:"}
        )
        return subprocess.run(command, env=env, cwd=ROOT, check=False).returncode


def _pytest(arguments: list[str], folder: Path, database: str) -> int:
    known = {name: secrets.token_hex(size) for name, size in SECRET_BYTES.items()}
    env = servers.django_environment({}, folder=folder, known=known, database=database, broker="memory://")
    env = (
        dict(os.environ)
        | env
        | {"NEXUS_ENV": "test", "LOCK_TIMEOUT_MS": "30000", "ALLOWED_HOSTS": "127.0.0.1,localhost,testserver"}
    )
    is_told = any(word.startswith(("-n", "--numprocesses", "--pdb")) for word in arguments)
    # One more than there are processors: a quarter of the time a test waits, for a gateway, a lock or a deadline.
    parallel = [] if is_told else ["-n", str((os.cpu_count() or 1) + 1)]
    command = [sys.executable, "-m", "pytest", *parallel, *arguments]
    return subprocess.run(command, env=env, cwd=ROOT, check=False).returncode
