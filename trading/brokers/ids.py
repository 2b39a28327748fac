"""Our order's name at the venue: one number (`magic`) and the text that repeats it (`client_order_id`).

`magic = tag * 2^42 + number`: the tag (1 to 2047) names the installation and account, the number comes from a database
sequence. The text is 'N1', eleven digits of Crockford's base 32, and a check character of ISO 7064 MOD 37,36, which
notices every single wrong character and nearly every swapped pair. Brokers keep fourteen characters of [A-Z0-9] best.
"""

import re

TAG_MAX = 2047
NUMBER_MAX = 2**42 - 1
NUMBER_BITS = 42

_PREFIX = "N1"
_DIGITS = 11
_BASE32 = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_BASE36 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_SHAPE = re.compile(rf"{_PREFIX}[{_BASE32}]{{{_DIGITS}}}[{_BASE36}]")


class BadOrderId(ValueError):
    """The text or number cannot be one of our orders."""


def client_order_id(*, tag: int, number: int) -> str:
    """Name the order `number` of the installation `tag`. Raises: BadOrderId for numbers out of range."""
    if not 1 <= tag <= TAG_MAX:
        raise BadOrderId(f"tag {tag} is not within 1 to {TAG_MAX}")
    if not 1 <= number <= NUMBER_MAX:
        raise BadOrderId(f"number {number} is not within 1 to {NUMBER_MAX}")
    return _text(tag << NUMBER_BITS | number)


def magic(client_order_id: str) -> int:
    """Return the number behind the text. Raises: BadOrderId when it is not exactly what we would have written."""
    if not _SHAPE.fullmatch(client_order_id):
        raise BadOrderId(f"{client_order_id!r} is not a client order id")
    if _check_character(client_order_id[:-1]) != client_order_id[-1]:
        raise BadOrderId(f"{client_order_id!r} has a wrong check character")
    value = 0
    for character in client_order_id[len(_PREFIX) : -1]:
        value = value << 5 | _BASE32.index(character)
    if not 1 <= value >> NUMBER_BITS <= TAG_MAX or not value & NUMBER_MAX:
        raise BadOrderId(f"{client_order_id!r} carries a number that we never give")
    return value


def from_magic(value: int, *, tag: int) -> str:
    """Return the client order id of a number seen at the venue, or '' when the installation `tag` did not give it."""
    if value >> NUMBER_BITS != tag or not value & NUMBER_MAX:
        return ""
    return _text(value)


def _text(value: int) -> str:
    body = _PREFIX + "".join(_BASE32[value >> 5 * place & 31] for place in reversed(range(_DIGITS)))
    return body + _check_character(body)


def _check_character(body: str) -> str:
    """Compute the check character. Source: ISO/IEC 7064:2003, hybrid system MOD 37,36."""
    product = 36
    for character in body:
        total = (product + _BASE36.index(character)) % 36 or 36
        product = total * 2 % 37
    return _BASE36[(37 - product) % 36]
