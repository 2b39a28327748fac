"""The example of the environment names everything that is read, and holds no value."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_it_names_what_settings_read_and_nothing_else():
    settings = (ROOT / "nexus" / "settings.py").read_text()
    lines = (ROOT / ".env.example").read_text().splitlines()
    read = set(re.findall(r'env\.\w+\(\s*"([A-Z0-9_]+)"', settings))
    named = [line for line in lines if line and not line.startswith("#")]

    assert {line.partition("=")[0] for line in named} == read
    assert len(named) == len(read)
    assert all(line.endswith("=") for line in named)
    for line in named:
        assert lines[lines.index(line) - 1].startswith("# "), line
