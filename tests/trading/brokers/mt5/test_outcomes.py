"""Every answer means exactly one thing, and what we do not know proves nothing."""

import pytest

from trading.brokers.mt5.outcomes import RETCODES, Outcome, Purpose, of_retcode, of_silence

OPENING = {
    "PLACED": [10008],
    "FILLED": [10009],
    "PARTIAL": [10010],
    "RETRY": [10004, 10020, 10021, 10024, 10029],
    "REJECTED": [
        10006, 10007, 10013, 10014, 10015, 10016, 10018, 10019, 10022, 10030, 10033, 10034, 10035, 10036, 10038, 10040,
        10041, 10042, 10043, 10044, 10045, 10046,
    ],
    "HALT": [10017, 10026, 10027, 10032],
    "UNKNOWN": [10011, 10012, 10023, 10025, 10028, 10031, 10039],
}  # fmt: skip
EXPECTED = {code: Outcome(name) for name, codes in OPENING.items() for code in codes}


@pytest.mark.parametrize(("code", "outcome"), sorted(EXPECTED.items()))
def test_classifies_each_code_of_an_opening_order(code, outcome):
    assert of_retcode(code, Purpose.OPEN) is outcome


def test_the_table_holds_the_codes_of_the_contract_and_no_others():
    assert EXPECTED == RETCODES


def test_takes_every_other_code_for_unknown():
    others = [code for code in range(-20, 10_100) if code not in EXPECTED]

    assert {of_retcode(code, purpose) for code in others for purpose in Purpose} == {Outcome.UNKNOWN}


@pytest.mark.parametrize(
    ("code", "purpose", "outcome"),
    [
        (10009, Purpose.PENDING, Outcome.PLACED),
        (10009, Purpose.CHANGE, Outcome.DONE),
        (10009, Purpose.CLOSE, Outcome.FILLED),
        (10009, Purpose.CANCEL, Outcome.DONE),
        (10008, Purpose.CANCEL, Outcome.PLACED),
        (10008, Purpose.CHANGE, Outcome.UNKNOWN),
        (10010, Purpose.CHANGE, Outcome.UNKNOWN),
        (10010, Purpose.CANCEL, Outcome.UNKNOWN),
        (10025, Purpose.CANCEL, Outcome.UNKNOWN),
        (10036, Purpose.CANCEL, Outcome.REJECTED),
        (10025, Purpose.CHANGE, Outcome.DONE),
        (10025, Purpose.CLOSE, Outcome.UNKNOWN),
        (10036, Purpose.CLOSE, Outcome.UNKNOWN),
        (10036, Purpose.CHANGE, Outcome.REJECTED),
    ],
)
def test_lets_the_purpose_decide_where_the_code_alone_does_not(code, purpose, outcome):
    assert of_retcode(code, purpose) is outcome


def test_lets_the_purpose_change_nothing_else():
    special = {10008, 10009, 10010, 10025, 10036}

    for code in EXPECTED.keys() - special:
        assert {of_retcode(code, purpose) for purpose in Purpose} == {EXPECTED[code]}


@pytest.mark.parametrize(
    ("error", "outcome"),
    [(-2, Outcome.REJECTED), (-8, Outcome.HALT), (-10004, Outcome.RETRY)],
)
def test_knows_the_three_errors_that_say_nothing_was_sent(error, outcome):
    assert of_silence(error) is outcome


def test_takes_every_other_error_for_unknown():
    others = [*range(-10_010, -9_999), *range(-20, 5)]

    assert {of_silence(error) for error in others if error not in {-2, -8, -10004}} == {Outcome.UNKNOWN}


def test_takes_a_request_that_could_not_be_built_for_rejected_and_any_other_exception_for_unknown():
    assert of_silence(0, exception="SystemError") is Outcome.REJECTED
    assert of_silence(-2, exception="OSError") is Outcome.UNKNOWN


def test_calls_a_refusal_only_what_was_certainly_not_executed():
    assert {outcome for outcome in Outcome if outcome.is_refusal} == {Outcome.RETRY, Outcome.REJECTED, Outcome.HALT}
