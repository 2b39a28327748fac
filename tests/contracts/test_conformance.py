"""Under a fault nothing is sent twice, and what we know in the end is what the broker's books say."""

import pytest

from tests.contracts import alpaca_faults, conformance
from tests.contracts.playing import Fault
from tests.trading.brokers.alpaca.emulator.faults import NAMES
from trading.brokers.base import VenueState
from trading.brokers.mt5 import search
from trading.brokers.mt5.emulator.faults import KINDS

# The rows that are short enough for every run; `make conformance` plays them all, in every serving mode.
SLOW = {"timeout_before_accept", "none_result", "locked", "accept_late", "hang", "terminal_restart"}
QUICK = [fault for fault in conformance.FAULTS if fault.name not in SLOW and not fault.params]


def test_the_table_plays_every_fault_that_the_emulator_knows():
    played = {fault.name for fault in [*conformance.FAULTS, *conformance.CRASHES]}

    assert KINDS.keys() == played


@pytest.mark.parametrize("fault", QUICK, ids=str)
def test_tells_the_truth_under_a_fault(fault):
    outcome = conformance.run("hedging", fault)

    assert outcome.faults_of(fault) == ""


@pytest.mark.parametrize(
    ("fault", "told"),
    [(Fault("terminal_update", {"seconds": 1}), "unreachable"), (Fault("frozen_tick", {"seconds": 1}), "FILLED")],
    ids=str,
)
def test_a_terminal_that_is_gone_sends_nothing_and_one_whose_price_stands_still_tells_the_fill(fault, told):
    outcome = conformance.run("hedging", fault)

    assert (outcome.told, outcome.faults_of(fault)) == (told, "")


@pytest.mark.parametrize("knows_the_clock", [True, False])
def test_a_fill_is_confirmed_although_the_pipe_breaks_behind_it(knows_the_clock, monkeypatch):
    if not knows_the_clock:  # then the short look at the deals of these moments is not taken
        monkeypatch.setattr(search, "_filled", lambda *_, **__: None)

    outcome = conformance.run("hedging", Fault("pipe_cut", {"point": "after"}))

    assert (outcome.told, outcome.faults_of(Fault("pipe_cut"))) == ("FILLED", "")


def test_the_table_plays_every_fault_that_the_alpaca_emulator_knows():
    assert {fault.name for fault in alpaca_faults.FAULTS} == NAMES.keys() - {"fill_on_cancel"}  # it takes a cancel


@pytest.mark.parametrize("fault", alpaca_faults.FAULTS, ids=str)
def test_tells_the_truth_about_whole_shares_under_a_fault(fault):
    outcome = alpaca_faults.run("whole shares", fault)

    assert outcome.faults_of(fault) == ""


@pytest.mark.parametrize("point", ["before_commit", "after_commit", "after_reply"])
def test_a_worker_that_crashes_in_a_send_loses_nothing_and_sends_nothing_twice(point):
    fault = Fault("crash", {"point": point})

    outcome = conformance.run("own process", fault)

    assert outcome.faults_of(fault) == ""
    assert outcome.found.state is (VenueState.NO_TRACE if point == "before_commit" else VenueState.FILLED)
