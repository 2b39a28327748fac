"""What docs/brokers.md tells a stranger to type is what there is: commands, options, keys, files and variables."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from trading.brokers.mt5.gateway.config import parse
from trading.management.commands.link_account import Command

ROOT = Path(__file__).parents[4]
PAGE = (ROOT / "docs/brokers.md").read_text(encoding="utf-8")
CHAPTER = PAGE.split("## Installing the gateway on Windows")[1].split("\n## ")[0]


def found(pattern: str, flags: int = 0) -> str:
    match = re.search(pattern, CHAPTER, flags)
    assert match is not None, pattern
    return match[1]


COMMANDS = re.findall(r"-m trading\.brokers\.mt5\.gateway (\w+)([^\n\"`]*)", CHAPTER)


def test_the_chapter_names_each_command_of_the_gateway():
    assert {name for name, _ in COMMANDS} == {"certificates", "probe", "serve"}


@pytest.mark.parametrize(("name", "rest"), COMMANDS)
def test_each_option_of_a_command_exists(name, rest):
    told = subprocess.run(
        [sys.executable, "-m", "trading.brokers.mt5.gateway", name, "--help"],
        cwd=ROOT, capture_output=True, text=True, check=True, timeout=60,
    ).stdout  # fmt: skip

    options = re.findall(r"--\w+", rest)
    assert options
    assert set(options) <= set(re.findall(r"--\w+", told))


def test_its_configuration_is_taken(tmp_path):
    document = json.loads(found(r"```json\n(.*?)```", re.DOTALL))
    for key in document["tls"]:
        (tmp_path / key).touch()
        document["tls"][key] = str(tmp_path / key)
    environment = {"GATEWAY_TOKEN": "g" * 16, "METRICS_TOKEN": "m" * 16, "MT5_PASSWORD": "p"}

    config = parse(document, environment=environment)

    assert config.terminal.kind == "metatrader5"
    assert set(found(r"foreach \(\$name in (.*?)\)").split(", ")) == {f'"{name}"' for name in environment}


def test_accounts_are_linked_as_it_says():
    linked = found(r"manage\.py link_account (.*)").split()

    taken = Command().create_parser("manage.py", "link_account").parse_args([*linked, "--gateway", "U", "--live"])

    assert (taken.venue, taken.account, taken.server, taken.live) == ("mt5", "12345678", "Broker-Demo", True)


def test_its_files_and_variables_exist():
    wanted = found(r"pip install -r (\S+)").replace("\\", "/")
    assert (ROOT / wanted).is_file()
    settings = (ROOT / ".env.example").read_text(encoding="utf-8")
    for name in set(re.findall(r"`((?:MT5|LIVE|BROKER)_[A-Z_]+)", CHAPTER)):
        assert f"\n{name}=" in settings, name
    looking = (ROOT / "tests/contracts/looking.py").read_text(encoding="utf-8")
    for name in set(re.findall(r"\bDEMO_[A-Z_]+", CHAPTER)) - {"DEMO_CA", "DEMO_CERT", "DEMO_KEY"}:
        assert f'"{name}"' in looking, name
