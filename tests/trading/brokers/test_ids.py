"""An order's number and its text are one name, and a damaged text is noticed."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trading.brokers import ids

tags, numbers = st.integers(1, ids.TAG_MAX), st.integers(1, ids.NUMBER_MAX)


@given(tags, numbers)
def test_text_and_number_go_back_and_forth(tag, number):
    text = ids.client_order_id(tag=tag, number=number)

    assert ids.magic(text) == tag * 2**42 + number
    assert ids.from_magic(ids.magic(text), tag=tag) == text
    assert re.fullmatch(r"N1[A-Z0-9]{12}", text)
    assert ids.magic(text) < 2**53


@given(tags, numbers, st.integers(0, 13), st.sampled_from("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ abc"))
def test_notices_every_single_wrong_character(tag, number, place, character):
    text = ids.client_order_id(tag=tag, number=number)
    damaged = text[:place] + character + text[place + 1 :]

    if damaged != text:
        with pytest.raises(ids.BadOrderId):
            ids.magic(damaged)


def test_notices_nearly_every_swapped_pair():
    texts = [ids.client_order_id(tag=1 + step % 2047, number=1 + step**5) for step in range(300)]
    swapped = {text[:at] + text[at + 1] + text[at] + text[at + 2 :] for text in texts for at in range(2, 13)} - {*texts}

    missed = [text for text in swapped if is_accepted(text)]

    assert len(swapped) > 2000
    assert len(missed) < len(swapped) / 50


def is_accepted(text):
    try:
        return bool(ids.magic(text))
    except ids.BadOrderId:
        return False


def test_computes_the_check_character_of_the_standard():
    assert ids._check_character("A12425GABC1234002") == "M"  # the example of the Global Release Identifier


def test_keeps_the_names_that_it_has_given():
    assert ids.client_order_id(tag=1, number=1) == "N100400000001L"
    assert ids.client_order_id(tag=2047, number=2**42 - 1) == "N17ZZZZZZZZZZP"


@pytest.mark.parametrize(("tag", "number"), [(0, 1), (2048, 1), (1, 0), (1, 2**42), (-1, 1), (1, -1)])
def test_refuses_numbers_out_of_range(tag, number):
    with pytest.raises(ids.BadOrderId):
        ids.client_order_id(tag=tag, number=number)


@pytest.mark.parametrize("text", ["", "N1", "n1004000000015", "N100400000001L ", "N2004000000015", "N100400000001"])
def test_refuses_other_shapes(text):
    with pytest.raises(ids.BadOrderId):
        ids.magic(text)


def test_says_nothing_of_numbers_that_are_not_ours():
    assert ids.from_magic(0, tag=1) == ""
    assert ids.from_magic(12345, tag=1) == ""
    assert ids.from_magic(2 * 2**42 + 5, tag=1) == ""
    assert ids.from_magic(1 * 2**42, tag=1) == ""
    assert ids.from_magic(2**64 - 1, tag=2047) == ""
