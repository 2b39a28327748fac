"""Count money, lots and prices in integers, and turn them into floats only for the facade.

Units: amounts and lots in 10^-8 · prices of ticks and deals in points (10^-digits) · average prices in 10^-12.
"""

from decimal import Decimal, InvalidOperation
from fractions import Fraction

UNIT = 10**8
AVERAGE_DIGITS = 12
AVERAGE_UNIT = 10**AVERAGE_DIGITS


def half_away(value: Fraction) -> int:
    """Round to the nearest integer, halves away from zero."""
    return _half_away(value.numerator, value.denominator)


def _half_away(numerator: int, denominator: int) -> int:
    magnitude = (abs(numerator) * 2 + denominator) // (2 * denominator)
    return magnitude if numerator >= 0 else -magnitude


def booked(value: Fraction, currency_digits: int) -> int:
    """Round an exact amount to what the account's currency can hold."""
    step = UNIT // int(10**currency_digits)
    return _half_away(value.numerator, value.denominator * step) * step  # each tick values every position


def units(text: str) -> int:
    """Read a decimal text as units of 10^-8, or raise ValueError if it has more digits than that."""
    scaled = Decimal(text).scaleb(8)
    if scaled != int(scaled):
        raise ValueError(f"{text} is finer than 10^-8")
    return int(scaled)


def exact(number: float) -> Decimal:
    """Read a float as the decimal that it prints as; infinities and NaN come back as such."""
    return Decimal(repr(float(number)))


def scaled(number: Decimal, digits: int) -> int | None:
    """Return the number in units of 10^-digits, or None when it is not a whole count of them."""
    if not number.is_finite():
        return None
    try:
        whole = number.scaleb(digits)
    except InvalidOperation:
        return None
    return int(whole) if whole == whole.to_integral_value() else None


def as_float(count: int, digits: int = 8) -> float:
    """Return the float nearest to `count` units of 10^-digits."""
    return count / int(10**digits)


def as_text(count: int, digits: int) -> str:
    """Write `count` units of 10^-digits with exactly that many decimals."""
    return f"{Decimal(count).scaleb(-digits):.{digits}f}"


def average(points: int, digits: int) -> int:
    """Return a price in points as an average price."""
    return int(points * 10 ** (AVERAGE_DIGITS - digits))
