"""The example of the environment names everything that is read, and holds no value; nothing odd is taken from it."""

import re
from decimal import Decimal
from pathlib import Path

import pytest
from django.core.exceptions import ImproperlyConfigured

from nexus import env

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


def test_numbers_of_single_instruments_are_read_exactly(monkeypatch):
    monkeypatch.setenv("PRICE_BANDS", "EURUSD:0.9:1.4, XAUUSD:1000:9000")

    assert env.by_symbol("PRICE_BANDS", count=2) == {
        "EURUSD": (Decimal("0.9"), Decimal("1.4")), "XAUUSD": (Decimal(1000), Decimal(9000)),
    }  # fmt: skip
    assert env.by_symbol("SPREADS_MAX", count=1) == {}


@pytest.mark.parametrize(
    "text",
    ["EURUSD", "EURUSD:1", "EURUSD:1:2:3", ":1:2", "EURUSD:2:1", "EURUSD:1:1", "EURUSD:0:1", "EURUSD:a:2",
     "EURUSD:1:NaN", "EURUSD:1:Infinity", "EURUSD:1:2,EURUSD:1:3"],
)  # fmt: skip
def test_what_is_no_band_stops_the_start(monkeypatch, text):
    monkeypatch.setenv("PRICE_BANDS", text)

    with pytest.raises(ImproperlyConfigured, match="PRICE_BANDS must name 2 rising numbers"):
        env.by_symbol("PRICE_BANDS", count=2)
