"""The probe before an account goes live asks much, sends nothing, and says what a person must look at."""

import json
import subprocess
import sys
import time

import pytest

from tests.trading.brokers.mt5.fake_terminal import LOGIN, SERVER, FakeTerminal
from tests.trading.brokers.mt5.test_gateway_process import REAL, ROOT, Place
from trading.brokers.mt5.gateway import probe
from trading.brokers.mt5.gateway.desk import Desk
from trading.brokers.mt5.gateway.remote import TerminalDown
from trading.brokers.mt5.gateway.terminal import Terminal


class Careful(FakeTerminal):
    """A fake that checks requests as the package does."""

    def order_check(self, request):
        if type(request["volume"]) is not float or len(request["comment"]) > 29:
            self.error = (-2, "Invalid argument")
            return None
        return super().order_check(request)


@pytest.fixture
def terminal():
    return Careful()


@pytest.fixture
def run(terminal, monkeypatch):
    monkeypatch.setattr(probe, "CLOCK_WAIT_S", 0.2)
    monkeypatch.setattr(probe, "CLOCK_POLL_S", 0.005)
    desk = Desk(Terminal(terminal, {}, LOGIN, SERVER, time.time, lambda: None))
    return lambda symbols=("EURUSD",): probe.run(desk, symbols=frozenset(symbols))


def test_finds_nothing_unexpected_at_a_broker_as_we_know_it_and_sends_nothing(run, terminal):
    profile = run()

    assert profile["findings"] == []
    assert (profile["account"]["login"], profile["clock"]["offset_s"]) == (LOGIN, 10_800)
    assert profile["symbols"]["EURUSD"]["filling_mode"] == 3
    assert terminal.sent == []


def test_says_which_instrument_is_worth_more_than_its_contract_size_says(run, terminal):
    assert run()["symbols"]["EURUSD"]["worth_of_one"] == pytest.approx(100_000)
    terminal.order_calc_profit = lambda _side, _symbol, lots, opened, closed: 250_000 * lots * (closed - opened)

    (finding,) = run()["findings"]
    assert finding.startswith(
        "EURUSD: a price that moves by 1 is worth 250000 USD a lot, and its contract size says 100000:"
    )
    terminal.none_from.add("order_calc_profit")
    assert run()["findings"] == []


def test_says_what_a_person_must_look_at(run, terminal):
    account = terminal.account_info()
    terminal.account_info = lambda: account._replace(trade_allowed=False)
    still = terminal.symbol_select("EURUSD") and terminal.symbol_info_tick("EURUSD")
    terminal.symbol_info_tick = lambda _: still
    terminal.order_check = lambda request: FakeTerminal.order_check(terminal, request)

    findings = "\n".join(run(["EURUSD", "ABSENT"])["findings"])

    for word in ("ABSENT is not known", "clock", "trade_allowed is False", "comment of 30", "integer volume"):
        assert word in findings
    assert terminal.sent == []


def test_probes_no_account_but_the_right_one(run, terminal):
    terminal.login_now = 5002

    with pytest.raises(TerminalDown):
        run()


def test_counts_how_the_broker_marks_its_deals(run, terminal):
    request = {"type": 0, "volume": 0.1, "price": 1.1, "magic": 5, "comment": "N1", "symbol": "EURUSD", "sl": 0.0}
    terminal.fill(request | {"tp": 0.0})
    (deal,) = terminal.deals
    terminal.deals.append(deal._replace(ticket=1, reason=4, comment="[sl 1.09000]"))

    history = run()["history"]

    assert history == {
        "deals": 2, "by_reason": {"expert": 1, "stop loss": 1}, "stops_that_carry_a_magic": 1,
        "comments_of_stops": ["[sl 1.09"], "comment_length_max": 12,
    }  # fmt: skip


def test_saves_the_profile_of_the_emulator(tmp_path):
    place = Place(tmp_path)
    out = tmp_path / "profile.json"
    limits = {"limits": {"lots_max": "5", "symbols": ["EURUSD", "XAUUSD"], "orders_per_minute": 100}}
    command = [sys.executable, "-m", REAL, "probe", "--config", str(place.write(**limits)), "--out", str(out)]

    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=40, check=False,
        env=place.environment(),
    )  # fmt: skip

    assert (done.returncode, done.stderr) == (0, "")
    profile = json.loads(out.read_text())
    assert profile["checks"]["comment_of_length"]["29"] == "0 Done"
    assert profile["checks"]["comment_of_length"]["30"].startswith("refused by the package: -2")
    assert set(profile["symbols"]) == {"EURUSD", "XAUUSD"}
    assert profile["clock"]["offset_s"] in {7200, 10_800}
