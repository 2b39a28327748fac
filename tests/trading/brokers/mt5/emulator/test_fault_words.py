"""Every fault has its sentence, and one that would do nothing or hits nothing is refused."""

import pytest

from tests.trading.brokers.mt5.emulator.world import HEDGER
from trading.brokers.mt5.emulator import faults
from trading.brokers.mt5.emulator.fault_words import WORDS


def test_every_fault_has_its_sentence():
    assert WORDS.keys() == faults.KINDS.keys()


@pytest.mark.parametrize(
    ("name", "params", "words"),
    [
        ("gap", {}, "does nothing without ticks"),
        ("crash", {"point": "soon"}, "before_commit, after_commit, after_reply"),
        ("pipe_cut", {"point": "soon"}, "before, during, after"),
        ("market_close", {"target": "EURUSX"}, "no symbol EURUSX"),
        ("relogin", {"account": 1}, "no account 1"),
        ("retcode", {"symbol": "eurusd"}, "no symbol eurusd"),
    ],
)
def test_refuses_a_fault_that_would_do_nothing(hedger, name, params, words):
    with pytest.raises(ValueError, match=words):
        hedger.control.inject(name, **params)
    assert hedger.control.faults() == []


def test_calm_undoes_what_faults_have_done(hedger):
    hedger.control.inject("algo_off")
    hedger.control.inject("market_close", target="EURUSD", function="account_info")
    hedger.control.inject("clock_jump", seconds=3600, function="terminal_info")
    hedger.control.inject("retcode", times=None)
    hedger.mt5.account_info()
    hedger.mt5.terminal_info()
    hedger.mt5.positions_get()

    assert hedger.control.calm() >= 1

    assert hedger.control.faults() == []
    assert hedger.buy("EURUSD", 0.1).retcode == 10009


def test_charges_the_swap_of_one_night_or_an_amount(hedger):
    first, second = (hedger.buy("EURUSD", lots).order for lots in (0.1, 0.2))

    assert hedger.control.charge_swap(HEDGER) == {str(first): "-0.65", str(second): "-1.30"}
    assert hedger.control.charge_swap(HEDGER, second, "-3.5") == {str(second): "-4.80"}
    with pytest.raises(ValueError, match="no position 99"):
        hedger.control.charge_swap(HEDGER, 99)
    with pytest.raises(ValueError, match="finer"):
        hedger.control.charge_swap(HEDGER, first, "0.001")
    before = hedger.control.books(HEDGER)["account"]["balance"]
    hedger.control.manual_close(HEDGER, second)
    assert hedger.control.books(HEDGER)["deals"][-1]["swap"] == "-4.80"
    assert hedger.control.books(HEDGER)["account"]["balance"] != before
    hedger.control.verify()
