"""A configuration is right to the last key, or refused with the key's name."""

import copy
import json
from decimal import Decimal
from pathlib import Path

import pytest

from trading.brokers.mt5.gateway.config import BadConfig, Watchdog, load, parse
from trading.brokers.mt5.gateway.terminal import open_terminal

ENVIRONMENT = {"GATEWAY_TOKEN": "t" * 16, "TERMINAL_PASSWORD": "secret-password"}
EMULATOR = {
    "listen": "127.0.0.1:8765",
    "token_env": "GATEWAY_TOKEN",
    "journal": "journal.db",
    "terminal": {
        "kind": "emulator", "store": "b.db", "mode": "wall", "seed": 7, "login": 5001, "password": "paper-password",
        "server": "Paper-Nexus",
    },
    "limits": {"lots_max": "2.5", "symbols": ["EURUSD"], "orders_per_minute": 30, "kill_file": "STOP"},
}  # fmt: skip
METATRADER = EMULATOR | {
    "terminal": {
        "kind": "metatrader5", "path": "C:/t/terminal64.exe", "login": 77, "password_env": "TERMINAL_PASSWORD",
        "server": "Broker-Live",
    }
}  # fmt: skip


def changed(document, path, value):
    """Return the document with the value at a dotted path; None takes the key away."""
    document = copy.deepcopy(document)
    *parents, key = path.split(".")
    place = document
    for parent in parents:
        place = place[parent]
    if value is None:
        del place[key]
    else:
        place[key] = value
    return document


def test_reads_both_kinds_of_terminal():
    emulator = parse(EMULATOR, environment=ENVIRONMENT)
    real = parse(METATRADER, environment=ENVIRONMENT)

    assert (emulator.host, emulator.port, emulator.token) == ("127.0.0.1", 8765, "t" * 16)
    assert (emulator.terminal.login, emulator.terminal.server) == (5001, "Paper-Nexus")
    assert (emulator.terminal.options["seed"], emulator.terminal.options["always_open"]) == (7, True)
    assert (emulator.limits.lots_max, emulator.limits.symbols) == (Decimal("2.5"), frozenset({"EURUSD"}))
    assert (emulator.limits.orders_per_minute, emulator.limits.kill_file) == (30, Path("STOP"))
    assert (real.terminal.kind, real.terminal.password) == ("metatrader5", "secret-password")
    assert real.terminal.options == {"path": "C:/t/terminal64.exe", "portable": False}


def test_a_star_stands_for_every_symbol():
    assert parse(changed(EMULATOR, "limits.symbols", ["*"]), environment=ENVIRONMENT).limits.symbols is None


def test_shows_no_secret_when_printed():
    for document in (EMULATOR, METATRADER):
        shown = repr(parse(document, environment=ENVIRONMENT))
        assert "tttt" not in shown
        assert "password'" not in shown
        assert "secret-password" not in shown
        assert "paper-password" not in shown


def test_reads_numbers_exactly(tmp_path):
    file = tmp_path / "c.json"
    file.write_text(
        '{"listen": "[::1]:1", "token_env": "GATEWAY_TOKEN", "journal": "j", "terminal": {"kind": "emulator",'
        '"store": "b", "login": 1, "password": "p", "server": "Paper-1"},'
        '"limits": {"lots_max": 0.1, "symbols": ["*"], "orders_per_minute": 1}}'
    )

    config = load(file, environment=ENVIRONMENT)

    assert (config.host, config.limits.lots_max) == ("::1", Decimal("0.1"))


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("listen", "0.0.0.0:1", "loopback"),
        ("listen", "192.168.1.5:1", "loopback"),
        ("listen", "gateway.example:1", "not an address"),
        ("listen", "127.0.0.1", "HOST:PORT"),
        ("listen", "127.0.0.1:70000", "HOST:PORT"),
        ("listen", 8765, "listen: must be of type str"),
        ("listen", None, "listen: is missing"),
        ("token_env", "NOT_SET", "NOT_SET"),
        ("journal", None, "journal: is missing"),
        ("jurnal", "x", "jurnal: is not a known key"),
        ("terminal", None, "terminal: must be an object"),
        ("terminal.kind", "mt4", "terminal.kind"),
        ("terminal.login", "5001", "terminal.login: must be of type int"),
        ("terminal.login", True, "terminal.login: must be of type int"),
        ("terminal.mode", "fast", "terminal.mode"),
        ("terminal.mode", "replay", "terminal.csv"),
        ("terminal.csv", "x.csv", "terminal.csv"),
        ("terminal.control", {"listen": "127.0.0.1:1"}, "terminal.control.token_env"),
        ("terminal.margin_mode", "exchange", "terminal.margin_mode"),
        ("terminal.path", "C:/x", "terminal.path: is not a known key"),
        ("limits", None, "limits: must be an object"),
        ("limits.lots_max", None, "limits.lots_max"),
        ("limits.lots_max", "NaN", "limits.lots_max"),
        ("limits.lots_max", "-1", "limits.lots_max"),
        ("limits.lots_max", "much", "limits.lots_max"),
        ("limits.lots_max", True, "limits.lots_max"),
        ("limits.symbols", [], "limits.symbols"),
        ("limits.symbols", "EURUSD", "limits.symbols"),
        ("limits.symbols", [1], "limits.symbols"),
        ("limits.orders_per_minute", 0, "limits.orders_per_minute"),
        ("limits.orders_per_minute", None, "limits.orders_per_minute: is missing"),
        ("limits.lot_max", "1", "limits.lot_max: is not a known key"),
    ],
)
def test_refuses_what_it_does_not_understand_and_names_it(path, value, said):
    with pytest.raises(BadConfig) as refused:
        parse(changed(EMULATOR, path, value), environment=ENVIRONMENT)

    assert said in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("watchdog", "said"),
    [
        ({"stall_s": 30, "kill_s": 30}, "watchdog.kill_s: must be longer than stall_s"),
        ({"give_way_s": 31}, "watchdog.give_way_s: must be no longer than stall_s"),
    ],
)
def test_refuses_a_watchdog_that_barks_too_late(watchdog, said):
    with pytest.raises(BadConfig) as refused:
        parse(EMULATOR | {"watchdog": watchdog}, environment=ENVIRONMENT)

    assert str(refused.value) == said


def test_a_reading_gives_way_no_later_than_a_send():
    quick = parse(EMULATOR | {"watchdog": {"stall_s": 2, "kill_s": 3}}, environment=ENVIRONMENT).watchdog

    assert quick == Watchdog(give_way_s=2.0, stall_s=2.0, kill_s=3.0)
    assert parse(EMULATOR, environment=ENVIRONMENT).watchdog == Watchdog(3.0, 30.0, 180.0)


def test_refuses_a_short_token_and_an_empty_password():
    with pytest.raises(BadConfig):
        parse(EMULATOR, environment={"GATEWAY_TOKEN": "t" * 15})
    with pytest.raises(BadConfig):
        parse(METATRADER, environment=ENVIRONMENT | {"TERMINAL_PASSWORD": ""})


def test_reads_a_file_that_begins_with_a_mark_as_windows_writes_it(tmp_path):
    file = tmp_path / "c.json"
    file.write_text(json.dumps(EMULATOR | {"log": "gateway.log"}), encoding="utf-8-sig")

    assert load(file, environment=ENVIRONMENT).log == Path("gateway.log")


@pytest.mark.parametrize("content", ["", "[1]", "{", "nul"])
def test_refuses_files_that_are_no_object(tmp_path, content):
    file = tmp_path / "c.json"
    file.write_text(content)

    with pytest.raises(BadConfig):
        load(file, environment=ENVIRONMENT)


def test_says_that_the_package_is_missing_where_it_cannot_be():
    config = parse(METATRADER, environment=ENVIRONMENT)

    with pytest.raises(BadConfig) as refused:
        open_terminal(config.terminal)
    assert "Windows" in str(refused.value)
