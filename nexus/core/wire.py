"""What comes in over the wire, read exactly: strict JSON, strict serializers, numbers that never were a float."""

import json
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from itertools import islice
from typing import IO, Any, ClassVar

from django.core.exceptions import RequestDataTooBig
from django.http import HttpRequest
from drf_spectacular.utils import extend_schema_field
from ninja import Schema
from pydantic import ConfigDict
from rest_framework import serializers
from rest_framework.negotiation import DefaultContentNegotiation
from rest_framework.parsers import BaseParser
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request
from rest_framework.utils.serializer_helpers import BindingDict

from nexus.core.errors import FieldError
from nexus.core.http import BodyTooLarge, Malformed, UnsupportedContent
from nexus.core.money import as_text

ANYTHING = "*/*"
BODY_SIZE_MAX = 64 * 1024
DEPTH_MAX = 16
REFUSALS_MAX = 100

_NUMBER_LENGTH_MAX = 40
_NAME_LENGTH_MAX = 128  # names come back in pointers: a long one would be repeated for each of its values
_UNSAFE_TEXT = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")  # control characters and lone surrogates
_ID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_PLAIN_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?")


@dataclass(frozen=True, slots=True)
class _Bad:
    """A value that JSON or its reader refuses, left in place until its pointer is known."""

    code: str
    detail: str


class ExactJSONParser(BaseParser):
    """Read a DRF request's body with `read_json`."""

    media_type = "application/json"

    def parse(
        self,
        stream: IO[Any] | HttpRequest,
        media_type: str | None = None,
        parser_context: Mapping[str, Any] | None = None,
    ) -> Any:
        """Return the body's value. Raises: BodyTooLarge, Malformed."""
        try:
            raw = stream.body if isinstance(stream, HttpRequest) else stream.read(BODY_SIZE_MAX + 1)
        except RequestDataTooBig as exc:
            raise BodyTooLarge("The body may hold 64 KiB at most.") from exc
        return read_json(raw)


class Negotiation(DefaultContentNegotiation):
    """Choose the form of the answer as DRF does; whoever takes any gets the first, JSON, without the choosing."""

    def select_renderer(
        self, request: Request, renderers: Iterable[BaseRenderer], format_suffix: str | None = None
    ) -> Any:
        """Return the renderer and the media type of the answer. Raises: NotAcceptable."""
        if request.META.get("HTTP_ACCEPT", ANYTHING) == ANYTHING and not format_suffix:
            first = next(iter(renderers))
            return first, first.media_type
        return super().select_renderer(request, renderers, format_suffix)


def read_body(request: HttpRequest) -> Any:
    """Read the JSON body of a plain Django request. Raises: UnsupportedContent, BodyTooLarge, Malformed."""
    if request.content_type != ExactJSONParser.media_type:
        raise UnsupportedContent("Send the body as `application/json`.")
    try:
        return read_json(request.body)
    except RequestDataTooBig as exc:
        raise BodyTooLarge("The body may hold 64 KiB at most.") from exc


def read_json(raw: bytes) -> Any:
    """Read strict JSON: whole numbers as int, others as the exact Decimal of the text, nothing through a float.

    Raises: BodyTooLarge; Malformed, which names each value that is refused: NaN, Infinity, exponents, duplicate keys,
    control characters, lone surrogates, text that is not in NFC.
    """
    if len(raw) > BODY_SIZE_MAX:
        raise BodyTooLarge("The body may hold 64 KiB at most.")
    try:
        value = json.loads(
            raw.decode("utf-8"),
            parse_int=_read_number,
            parse_float=_read_number,
            parse_constant=lambda _text: _Bad("invalid", "A finite number is required."),
            object_pairs_hook=_read_object,
        )
    except RecursionError as exc:
        raise Malformed(f"The body may nest {DEPTH_MAX} levels at most.") from exc
    except ValueError as exc:
        raise Malformed("The body is not valid JSON.") from exc
    errors = tuple(islice(_refusals(value), REFUSALS_MAX))
    if errors:
        raise Malformed("Some fields are not valid.", errors=errors)
    return value


def _read_number(text: str) -> int | Decimal | _Bad:
    if len(text) > _NUMBER_LENGTH_MAX:
        return _Bad("too_many_digits", f"A number may have {_NUMBER_LENGTH_MAX} characters at most.")
    if "e" in text or "E" in text:
        return _Bad("exponent", "Write the number without an exponent.")
    return Decimal(text) if "." in text else int(text)


def _read_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for name, value in pairs:
        result[name] = _Bad("duplicate", "This field is given twice.") if name in result else value
    return result


def _refusals(root: Any) -> Iterator[FieldError]:
    """Walk the value without recursion and yield what is refused, each with its JSON pointer."""
    waiting: list[tuple[str, int, Any]] = [("", 0, root)]
    while waiting:
        pointer, depth, value = waiting.pop()
        if depth > DEPTH_MAX:
            raise Malformed(f"The body may nest {DEPTH_MAX} levels at most.")
        match value:
            case _Bad():
                yield FieldError(pointer=pointer, code=value.code, detail=value.detail)
            case str() if _UNSAFE_TEXT.search(value):
                yield FieldError(pointer=pointer, code="unsafe_text", detail="The text holds a character we refuse.")
            case str() if not unicodedata.is_normalized("NFC", value):
                yield FieldError(pointer=pointer, code="not_normalized", detail="Send the text in Unicode's form NFC.")
            case dict():
                if any(_UNSAFE_TEXT.search(name) for name in value):
                    yield FieldError(pointer=pointer, code="unsafe_text", detail="A name holds a character we refuse.")
                    continue
                if any(len(name) > _NAME_LENGTH_MAX for name in value):
                    detail = f"A name may have {_NAME_LENGTH_MAX} characters at most."
                    yield FieldError(pointer=pointer, code="name_too_long", detail=detail)
                    continue
                steps = ((name.replace("~", "~0").replace("/", "~1"), held) for name, held in value.items())
                waiting.extend((f"{pointer}/{step}", depth + 1, held) for step, held in steps)
            case list():
                waiting.extend((f"{pointer}/{index}", depth + 1, held) for index, held in enumerate(value))


class StrictSerializer(serializers.Serializer[Any]):
    """A form that refuses what it does not know. Inputs derive from this; it never saves anything."""

    @property
    def fields(self) -> BindingDict:
        """Return the fields, bound once for each class. Reading leaves nothing in them; copying them took longer."""
        known: BindingDict | None = vars(type(self)).get("_bound")
        if known is None:
            known = BindingDict(type(self)())
            for name, field in self.get_fields().items():
                known[name] = field
            type(self)._bound = known  # type: ignore[attr-defined]
        return known

    def to_internal_value(self, data: Any) -> Any:
        """Read the fields. Raises: ValidationError, which names unknown fields along with the invalid ones."""
        unknown = set(data) - set(self.fields) if isinstance(data, Mapping) else set()
        refused: dict[str, Any] = {
            name[:_NAME_LENGTH_MAX]: [serializers.ErrorDetail("This field is not known.", code="unknown_field")]
            for name in sorted(map(str, unknown))[:REFUSALS_MAX]
        }
        refused.update(self._mistyped(data))
        try:
            value = super().to_internal_value(data)
        except serializers.ValidationError as exc:
            if not isinstance(exc.detail, dict):
                raise
            refused.update(exc.detail)
        if refused:
            raise serializers.ValidationError(refused)
        return value

    def _mistyped(self, data: Any) -> dict[str, Any]:
        """Name text that is no text and ids in another form: the framework would bend them into shape."""
        wrong: dict[str, Any] = {}
        for name, field in self.fields.items():
            value = data.get(name) if isinstance(data, Mapping) else None
            if value is None:
                continue
            if isinstance(field, serializers.CharField | serializers.ChoiceField) and not isinstance(value, str):
                wrong[name] = [serializers.ErrorDetail("Send text.", code="not_text")]
            elif isinstance(field, serializers.UUIDField) and not (isinstance(value, str) and _ID.fullmatch(value)):
                wrong[name] = [serializers.ErrorDetail("Send an id as it was given to you.", code="invalid")]
        return wrong


class StrictSchema(Schema):
    """A machine's form that refuses what it does not know; the ninja door's inputs derive from this."""

    model_config = ConfigDict(extra="forbid")


class ExactTimeField(serializers.DateTimeField):
    """A moment, written with its offset from UTC. Without one nobody knows which moment is meant."""

    default_error_messages: ClassVar = {
        "naive": "Write the time with its offset from UTC, such as 2026-01-05T12:00:00Z."
    }

    def enforce_timezone(self, value: datetime) -> datetime:
        """Return the moment in UTC, as Django's own field does, but guess no offset."""
        if value.tzinfo is None:
            self.fail("naive")
        return super().enforce_timezone(value)


@extend_schema_field(
    {"oneOf": [{"type": "string", "pattern": r"^-?(0|[1-9][0-9]*)(\.[0-9]+)?$"}, {"type": "number"}],
     "description": "An exact decimal. Send text or a number without an exponent; answers carry text."}
)  # fmt: skip
class ExactDecimalField(serializers.Field[Decimal, "Decimal | int | str", str, Any]):
    """An exact decimal from a JSON number or text. It refuses floats, exponents, booleans and digits beyond its own."""

    default_error_messages: ClassVar = {
        "invalid": "Write a plain decimal number.",
        "too_many_digits": "At most {whole} digits may stand before the point.",
        "too_many_places": "At most {places} digits may stand after the point.",
        "negative": "The number may not be negative.",
        "zero": "The number must be above zero.",
    }

    def __init__(
        self,
        *,
        whole_digits: int = 18,
        places: int = 8,
        signed: bool = False,
        zero: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.whole_digits = whole_digits
        self.places = places
        self.signed = signed
        self.zero = zero

    def to_internal_value(self, data: Decimal | int | str) -> Decimal:
        """Return the number as it was written."""
        if isinstance(data, bool) or not isinstance(data, str | int | Decimal):
            self.fail("invalid")
        text = data if isinstance(data, str) else f"{data:f}" if isinstance(data, Decimal) else str(data)
        if len(text) > _NUMBER_LENGTH_MAX or not _PLAIN_NUMBER.fullmatch(text):
            self.fail("invalid")
        whole, _, places = text.lstrip("-").partition(".")
        if len(whole) > self.whole_digits:
            self.fail("too_many_digits", whole=self.whole_digits)
        if len(places) > self.places:
            self.fail("too_many_places", places=self.places)
        number = Decimal(text)
        if number < 0 and not self.signed:
            self.fail("negative")
        if number == 0:
            if not self.zero:
                self.fail("zero")
            return abs(number)  # there is one zero
        return number

    def to_representation(self, value: Decimal) -> str:
        """Write the number plainly."""
        return as_text(value)
