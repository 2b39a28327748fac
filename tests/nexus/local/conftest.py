"""Small programs to supervise, and patience with a limit."""

import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from nexus.local.processes import Supervisor

PATIENCE_S = 20.0


@pytest.fixture
def eventually() -> Callable[[Callable[[], bool]], bool]:
    """Wait, within bounds, until something is true."""

    def wait(condition: Callable[[], bool]) -> bool:
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            if condition():
                return True
            time.sleep(0.02)
        return False

    return wait


@pytest.fixture
def supervisor(tmp_path: Path) -> Iterator[Supervisor]:
    """A supervisor with its logs in a folder of the test's own."""
    with Supervisor(logs=tmp_path / "logs") as owner:
        yield owner


@pytest.fixture
def script() -> Callable[[str], list[str]]:
    """The command that runs a few lines of Python."""
    return lambda text: [sys.executable, "-u", "-S", "-c", text]
