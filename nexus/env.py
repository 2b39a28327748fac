"""Readers of the environment: typed, strict, and silent about secrets. Only `settings.py` calls them."""

import os
from decimal import Decimal, InvalidOperation
from pathlib import Path

from django.core.exceptions import ImproperlyConfigured

_TRUE = frozenset({"1", "true", "yes", "on"})
_FALSE = frozenset({"0", "false", "no", "off"})


def text(name: str, default: str | None = None) -> str:
    """Read a text. Raises: ImproperlyConfigured when it is missing and has no default."""
    value = os.environ.get(name, "").strip()
    if value:
        return value
    if default is None:
        raise ImproperlyConfigured(f"{name} is not set. See .env.example for what it means.")
    return default


def boolean(name: str, *, default: bool) -> bool:
    """Read a switch: 1/true/yes/on or 0/false/no/off, and nothing else."""
    value = text(name, "1" if default else "0").lower()
    if value in _TRUE:
        return True
    if value in _FALSE:
        return False
    raise ImproperlyConfigured(f"{name} must be one of 1, 0, true, false, yes, no, on, off; it is {value!r}.")


def integer(name: str, default: int, *, least: int = 0, most: int | None = None) -> int:
    """Read a whole number from `least` to `most`."""
    value = text(name, str(default))
    try:
        number = int(value)
    except ValueError as exc:
        raise ImproperlyConfigured(f"{name} must be a whole number; it is {value!r}.") from exc
    if number < least:
        raise ImproperlyConfigured(f"{name} must be at least {least}; it is {number}.")
    if most is not None and number > most:
        raise ImproperlyConfigured(f"{name} must be at most {most}; it is {number}.")
    return number


def optional_decimal(name: str, default: str, *, most: str = "1000000000000") -> Decimal | None:
    """Read an exact positive number, or None for the word `none`: nothing is set, which is not zero."""
    return None if text(name, default).lower() == "none" else decimal(name, default, most=most)


def decimal(name: str, default: str, *, zero: bool = False, most: str = "1000000000000") -> Decimal:
    """Read an exact positive number, or zero where `zero` allows it, up to `most`."""
    value = text(name, default)
    try:
        number = Decimal(value)
    except InvalidOperation as exc:
        raise ImproperlyConfigured(f"{name} must be a decimal number; it is {value!r}.") from exc
    if not number.is_finite() or number < 0 or (number == 0 and not zero):
        raise ImproperlyConfigured(f"{name} must be a finite number above zero; it is {value!r}.")
    if number > Decimal(most):
        raise ImproperlyConfigured(f"{name} must be at most {most}; it is {value!r}.")
    return number


def choice(name: str, default: str, *, options: tuple[str, ...]) -> str:
    """Read one of `options`."""
    value = text(name, default)
    if value not in options:
        raise ImproperlyConfigured(f"{name} must be one of {', '.join(options)}; it is {value!r}.")
    return value


def listing(name: str, default: str = "", *, options: tuple[str, ...] = ()) -> list[str]:
    """Read a comma-separated list, of `options` where they are given; empty parts are dropped."""
    parts = [part for part in (raw.strip() for raw in text(name, default).split(",")) if part]
    for part in parts:
        if options and part not in options:
            raise ImproperlyConfigured(f"{name} may hold {', '.join(options)}; it holds {part!r}.")
    return parts


def by_symbol(name: str, *, count: int) -> dict[str, tuple[Decimal, ...]]:
    """Read `count` rising numbers above zero for each symbol: `EURUSD:0.9:1.4,XAUUSD:1000:9000`."""
    found: dict[str, tuple[Decimal, ...]] = {}
    for entry in listing(name):
        symbol, *texts = entry.split(":")
        try:
            numbers = tuple(Decimal(each) for each in texts)
        except InvalidOperation:
            numbers = ()
        is_sound = len(numbers) == count and all(each.is_finite() and each > 0 for each in numbers)
        if not symbol or symbol in found or not is_sound or sorted(set(numbers)) != list(numbers):
            raise ImproperlyConfigured(f"{name} must name {count} rising numbers a symbol, once; it has {entry!r}.")
        found[symbol] = numbers
    return found


def secret(name: str) -> str:
    """Read a secret from NAME, or from the file that NAME_FILE names. Raises: ImproperlyConfigured when neither is."""
    path = os.environ.get(f"{name}_FILE", "").strip()
    if not path:
        return text(name)
    try:
        value = Path(path).read_text(encoding="utf-8").strip()
    except OSError as exc:
        raise ImproperlyConfigured(f"{name}_FILE names a file that cannot be read: {exc.strerror}.") from exc
    if not value:
        raise ImproperlyConfigured(f"{name}_FILE names an empty file.")
    return value


def optional_secret(name: str) -> str:
    """Read a secret as `secret`, or an empty text when neither NAME nor NAME_FILE is set."""
    return secret(name) if any(os.environ.get(each, "").strip() for each in (name, f"{name}_FILE")) else ""


def secret_words(name: str) -> tuple[str, ...]:
    """Read secrets separated by blanks or lines, from NAME or the file that NAME_FILE names; none when it is unset."""
    return tuple(optional_secret(name).split())
