"""What the person who types the commands sees when something is in the way."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from nexus.local.folder import ROOT, held, open_folder

pytestmark = pytest.mark.enable_socket


def run(folder: Path, *, port: int = 0) -> "subprocess.CompletedProcess[str]":
    env = {"PATH": os.environ["PATH"], "NEXUS_DATA_DIR": str(folder), "NEXUS_PORT": str(port or 8000)}
    command = [sys.executable, "-m", "nexus.local", "run"]
    return subprocess.run(command, env=env, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)


def test_a_taken_port_is_one_line_before_anything_starts(tmp_path):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()

        done = run(tmp_path, port=other.getsockname()[1])

    assert done.returncode == 1
    assert "is taken by another program" in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    assert not (tmp_path / "postgres").exists()


def test_a_second_run_on_the_same_folder_is_told_who_has_it(tmp_path):
    with held(open_folder({"NEXUS_DATA_DIR": str(tmp_path)})):
        done = run(tmp_path)

    assert done.returncode == 1
    assert f"already runs on {tmp_path} (process {os.getpid()})" in done.stderr


def test_no_command_prints_the_list(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "nexus.local"], cwd=ROOT, capture_output=True, text=True, check=False, timeout=60
    )

    assert done.returncode == 2
    assert "python -m nexus.local run" in done.stderr
