"""A whole installation, as `make run` starts it, in a folder of its own: to look at, and to ill-treat."""

import base64
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from nexus.local import postgres, servers
from nexus.local.folder import ROOT

START_S = 180.0
STOP_S = 60.0
KEPT = ("PATH", "HOME", "LANG", "TMPDIR", "VIRTUAL_ENV", "PYTHONPATH")


class Installation:
    """`make run` over `folder`, which its caller makes and removes. Takes: settings of its own."""

    def __init__(self, folder: Path, **settings: str) -> None:
        self.folder, self.port = folder, servers.free_port()
        self.base = f"http://{servers.HOST}:{self.port}"
        self.env = {name: os.environ[name] for name in KEPT if name in os.environ} | settings
        self.env |= {"NEXUS_DATA_DIR": str(folder), "NEXUS_PORT": str(self.port), "NEXUS_STOP_WITH_PARENT": "1"}
        self.log = folder / "run.log"

    def start(self) -> None:
        """Start it and wait until it serves. Raises: RuntimeError, with the end of its log."""
        with self.log.open("wb") as file:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "nexus.local", "run"], cwd=ROOT, env=self.env, stdout=file,
                stderr=subprocess.STDOUT,
            )  # fmt: skip
        deadline = time.monotonic() + START_S
        while b"Serving on" not in self.log.read_bytes():
            if self.has_ended or time.monotonic() > deadline:
                raise RuntimeError(f"Nexus did not start:\n{self.log.read_text(errors='replace')[-4000:]}")
            time.sleep(0.2)

    @property
    def has_ended(self) -> bool:
        """Tell whether it serves no more."""
        return self.process.poll() is not None

    def stop(self) -> None:
        """Ask it to stop, as Ctrl-C does, and wait."""
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self.process.kill()

    def remove_database(self) -> None:
        """Remove what root had to put elsewhere, behind a link; the rest goes with the folder."""
        postgres.remove(self.folder / "postgres")


def manage(env: dict[str, str], *words: str, typed: str = "") -> str:
    """Run `manage.py`, as somebody at the machine of an installation would, and return what it says."""
    command = [sys.executable, "-m", "nexus.local", "manage", *words]
    done = subprocess.run(
        command, cwd=ROOT, env=env, input=typed, capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def hire(env: dict[str, str], name: str, role: str) -> tuple[dict[str, str], str]:
    """Add somebody of a role; return how to log in, and the seed of the second factor."""
    seed = base64.b32encode(os.urandom(20)).decode()
    password = "-".join(os.urandom(3).hex() for _ in range(4))
    email = f"{name}@demo.example"
    manage(
        env, "shell", "-v", "0", "-c",
        "from django.utils.timezone import now; from accounts.services import second_factor, users; "
        "from nexus.audit.types import Actor; "
        f"user = users.create(email={email!r}, password={password!r}, role={role!r}, actor=Actor.system('demo'), "
        f"full_name={name.capitalize()!r}); second_factor.install_demo(user=user, secret={seed!r}, at=now())",
    )  # fmt: skip
    return {"email": email, "password": password}, seed
