"""Requests are read exactly, or refused by name."""

import contextlib
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rest_framework import serializers
from rest_framework.exceptions import NotAcceptable, ValidationError
from rest_framework.negotiation import DefaultContentNegotiation
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.test import APIRequestFactory

from nexus.core.http import BodyTooLarge, Malformed
from nexus.core.wire import (
    BODY_SIZE_MAX,
    REFUSALS_MAX,
    ExactDecimalField,
    ExactTimeField,
    Negotiation,
    StrictSerializer,
    read_json,
)


class Leg(StrictSerializer):
    quantity = ExactDecimalField()


class Order(StrictSerializer):
    legs = Leg(many=True)
    price = ExactDecimalField(required=False, places=5, zero=False)


def test_unknown_fields_are_named_in_bounds():
    form = StrictSerializer(data={f"{number:03}{'x' * 500}": 1 for number in range(500)})

    assert not form.is_valid()

    assert len(form.errors) == REFUSALS_MAX
    assert max(map(len, form.errors)) == 128


@pytest.mark.parametrize("text", ["2026-01-05T12:00:00", "2026-01-05T12:00", "2026-01-05"])
def test_a_time_without_its_offset_is_refused(text):
    with pytest.raises(ValidationError):
        ExactTimeField().run_validation(text)


def test_a_time_with_its_offset_is_that_moment():
    assert ExactTimeField().run_validation("2026-01-05T14:00:00+02:00") == datetime(2026, 1, 5, 12, tzinfo=UTC)


def test_numbers_are_exactly_what_the_wire_says():
    value = read_json(b'{"a": 0.1, "b": 1.0850, "c": 7, "d": -0.30, "e": 123456789012345678.12345678}')

    assert value == {
        "a": Decimal("0.1"), "b": Decimal("1.0850"), "c": 7, "d": Decimal("-0.30"),
        "e": Decimal("123456789012345678.12345678"),
    }  # fmt: skip
    assert str(value["b"]) == "1.0850"
    assert type(value["c"]) is int


def test_a_body_full_of_faults_is_answered_shortly():
    with pytest.raises(Malformed) as caught:
        read_json(b"[" + b"NaN," * 9000 + b"NaN]")

    assert len(caught.value.errors) == 100


@pytest.mark.parametrize(
    ("text", "pointer", "code"),
    [
        ('{"a": NaN}', "/a", "invalid"),
        ('{"a": [1, -Infinity]}', "/a/1", "invalid"),
        ('{"a": {"b/c~d": Infinity}}', "/a/b~1c~0d", "invalid"),
        ('{"a": 1e400}', "/a", "exponent"),
        ('{"a": 1E2}', "/a", "exponent"),
        ('{"a": 1.5e-1}', "/a", "exponent"),
        ('{"a": ' + "9" * 5000 + "}", "/a", "too_many_digits"),
        ('{"a": 0.' + "9" * 5000 + "}", "/a", "too_many_digits"),
        ('{"a": 1, "a": 2}', "/a", "duplicate"),
        ('{"x": [{"a": 1, "a": 1}]}', "/x/0/a", "duplicate"),
        ('{"a": "b\\u0000"}', "/a", "unsafe_text"),
        ('{"a": "\\ud800"}', "/a", "unsafe_text"),
        ('{"\\u0000": 1}', "", "unsafe_text"),
        ("NaN", "", "invalid"),
        ('{"' + "n" * 129 + '": [NaN, NaN]}', "", "name_too_long"),
    ],
)
def test_what_is_refused_is_named(text, pointer, code):
    with pytest.raises(Malformed) as caught:
        read_json(text.encode())

    assert [(error.pointer, error.code) for error in caught.value.errors] == [(pointer, code)]


@pytest.mark.parametrize(
    "raw",
    [b"", b"{", b'{"a": 01}', b'{"a": .5}', b'{"a": 1.}', b"{'a': 1}", b"\xff", b"\xef\xbb\xbf{}", b'{"a": 1} x',
     b"[1,]", b'"\xed\xa0\x80"'],
)  # fmt: skip
def test_broken_json_is_refused(raw):
    with pytest.raises(Malformed):
        read_json(raw)


@pytest.mark.parametrize("depth", [17, 500, 30_000])
def test_too_deep_is_refused(depth):
    with pytest.raises(Malformed):
        read_json(b"[" * (depth + 1) + b"]" * (depth + 1))


def test_sixteen_levels_and_64_kib_are_read_and_no_more():
    assert read_json(b"[" * 16 + b"]" * 16)
    assert len(read_json(b'"' + b"x" * (BODY_SIZE_MAX - 2) + b'"')) == BODY_SIZE_MAX - 2
    with pytest.raises(BodyTooLarge):
        read_json(b'"' + b"x" * (BODY_SIZE_MAX - 1) + b'"')


@given(st.decimals(allow_nan=False, allow_infinity=False, min_value=0, max_value=10**15, places=8))
def test_a_number_and_its_text_are_the_same_number(number):
    field = ExactDecimalField()
    text = f"{number:f}"

    from_number = field.run_validation(read_json(f"[{text}]".encode())[0])
    from_text = field.run_validation(text)

    assert from_number == from_text == number
    assert from_number.as_tuple() == from_text.as_tuple()


@given(st.binary(max_size=60))
def test_nothing_but_malformed_comes_of_any_bytes(raw):
    with contextlib.suppress(Malformed):
        read_json(raw)


@pytest.mark.parametrize(
    ("value", "code"),
    [
        (True, "invalid"), ("NaN", "invalid"), ("Infinity", "invalid"), ("1e5", "invalid"), ("+1", "invalid"),
        (" 1", "invalid"), ("1 ", "invalid"), ("01", "invalid"), (".5", "invalid"), ("1.", "invalid"), ("", "invalid"),
        ("1,5", "invalid"), ("１", "invalid"), ([], "invalid"), ({}, "invalid"), (0.1, "invalid"), ("1\n", "invalid"),
        ("1" * 19, "too_many_digits"), ("0.123456789", "too_many_places"), ("-1", "negative"), (-1, "negative"),
        (Decimal("-0.5"), "negative"), (None, "null"), ("9" * 50, "invalid"),
    ],
)  # fmt: skip
def test_a_number_is_plain_or_refused(value, code):
    with pytest.raises(ValidationError) as caught:
        ExactDecimalField().run_validation(value)

    assert caught.value.get_codes() == [code]


def test_zero_is_refused_where_it_means_nothing():
    with pytest.raises(ValidationError, match="above zero"):
        ExactDecimalField(zero=False).run_validation("0.00")
    assert str(ExactDecimalField().run_validation("-0.0")) == "0.0"
    assert ExactDecimalField(signed=True).run_validation("-1.5") == Decimal("-1.5")


def test_answers_are_plain_text():
    assert ExactDecimalField().to_representation(Decimal("1E+3")) == "1000"
    assert ExactDecimalField().to_representation(Decimal("1.0850000000")) == "1.085"


def test_a_strict_form_names_every_fault_at_any_depth():
    form = Order(data={"legs": [{"quantity": "1"}, {"quantity": "x", "side": "BUY"}], "price": "1.123456", "y": 1})

    assert not form.is_valid()
    assert form.errors["y"][0].code == "unknown_field"
    assert form.errors["price"][0].code == "too_many_places"
    assert form.errors["legs"][1]["quantity"][0].code == "invalid"
    assert form.errors["legs"][1]["side"][0].code == "unknown_field"


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (r'{"a": "\u0007"}', "unsafe_text"),
        (r'{"a": "two\nlines"}', "unsafe_text"),
        (r'{"a": "\u0085"}', "unsafe_text"),
        (r'{"a": "e\u0301"}', "not_normalized"),
    ],
)
def test_text_has_no_control_characters_and_one_form(text, code):
    with pytest.raises(Malformed) as refused:
        read_json(text.encode())

    assert [(each.pointer, each.code) for each in refused.value.errors] == [("/a", code)]


class _Ids(StrictSerializer):
    id = serializers.UUIDField(required=False)
    word = serializers.CharField(required=False)
    side = serializers.ChoiceField(choices=["1", "2"], required=False)


@pytest.mark.parametrize(
    "wrong",
    [
        {"id": 7}, {"id": "00000000000000000000000000000007"}, {"id": "urn:uuid:00000000-0000-0000-0000-000000000007"},
        {"id": "{00000000-0000-0000-0000-000000000007}"}, {"word": 5},
        {"word": True}, {"word": Decimal("1.5")}, {"side": 1},
    ],
)  # fmt: skip
def test_nothing_is_bent_into_shape(wrong):
    assert not _Ids(data=wrong).is_valid()
    assert _Ids(data={"id": "00000000-0000-0000-0000-000000000007", "word": "5", "side": "1"}).is_valid()


@pytest.mark.parametrize("accept", [None, "*/*", "application/json", "application/json; indent=4", "text/*, */*;q=0.1"])
def test_the_form_of_an_answer_is_chosen_as_the_framework_would(accept):
    request = Request(APIRequestFactory().get("/", **({} if accept is None else {"HTTP_ACCEPT": accept})))
    renderers = [JSONRenderer()]

    chosen = Negotiation().select_renderer(request, renderers)

    assert chosen == DefaultContentNegotiation().select_renderer(request, renderers)


def test_an_answer_in_no_form_that_is_wanted_is_refused():
    with pytest.raises(NotAcceptable):
        Negotiation().select_renderer(Request(APIRequestFactory().get("/", HTTP_ACCEPT="text/html")), [JSONRenderer()])
