"""A person may ask for other paper accounts, and is told at once what of it cannot be."""

import json
from pathlib import Path

import pytest

from nexus.local import gateway
from nexus.local.folder import SECRET_BYTES, FolderUnusable, open_folder

KNOWN = dict.fromkeys(SECRET_BYTES, "x" * 48)
SAMPLE = Path(__file__).parents[2] / "trading" / "eurusd-ticks-sample.csv"


@pytest.fixture
def folder(tmp_path):
    return open_folder({"NEXUS_DATA_DIR": str(tmp_path / "data")})


def asked(folder, *rows):
    path = folder.path / "paper.json"
    path.write_text(json.dumps({"accounts": rows}))
    return gateway.paper_accounts(folder, {})


def test_without_a_file_there_is_one_account(folder):
    assert gateway.paper_accounts(folder, {}) == [gateway.PaperAccount()]


def test_each_account_has_a_broker_a_journal_and_a_currency_of_its_own(folder):
    accounts = asked(
        folder,
        {"login": 5002, "name": "Euro", "currency": "EUR", "margin_mode": "netting", "csv": {"EURUSD": str(SAMPLE)}},
        {"login": 5001, "house": {"latency_ms": [20, 80]}, "symbols": {"EURUSD": {"spread": "0.00020"}}},
    )

    written = [
        json.loads(gateway.write_config(folder, each, port=1, control_port=2, known=KNOWN).read_text())
        for each in accounts
    ]

    assert [each.login for each in accounts] == [5001, 5002]
    assert [each["terminal"]["currency"] for each in written] == ["USD", "EUR"]
    assert written[1]["terminal"]["csv"] == {"EURUSD": str(SAMPLE)}
    assert len({each["terminal"]["store"] for each in written} | {each["journal"] for each in written}) == 4


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([{"login": 5002}], "5001 among them"),
        ([{"login": 5001}, {"login": 5001}], "another one"),
        ([{"login": 5001, "server": "Live-1"}], "cannot be chosen"),
        ([{"login": 0}], "a login is"),
        (["5001"], "is not"),
    ],
)
def test_refuses_a_file_that_makes_no_sense(folder, rows, words):
    with pytest.raises(FolderUnusable, match=words):
        asked(folder, *rows)


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"curency": "EUR"}, "curency"),
        ({"house": {"latency_ms": 5}}, "house.latency_ms"),
        ({"house": {"slippage": 5}}, "house.slippage"),
        ({"account": {"commission_per_lot": 7}}, "account.commission_per_lot"),
        ({"symbols": {"GBPUSD": {"anchor": "1.27"}}}, "symbols.GBPUSD: is not built in"),
        ({"symbols": {"EURUSD": {"spread": 20}}}, "symbols.EURUSD.spread"),
        ({"symbols": {"EURUSD": {"spread": "0.000001"}}}, "finer"),
        ({"symbols": {"EURUSD": {"fillings": ["ALL"]}}}, "FOK, IOC, BOC"),
        ({"margin_mode": "both"}, "margin_mode"),
    ],
)
def test_refuses_terms_that_no_paper_broker_can_be_told(folder, row, words):
    (account,) = asked(folder, {"login": 5001} | row)

    with pytest.raises(FolderUnusable, match=words):
        gateway.write_config(folder, account, port=1, control_port=2, known=KNOWN)
