"""The only place that rounds. Amounts are `Decimal`, from text to database to text."""

from decimal import ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_EVEN, Decimal

CENT = Decimal("0.01")


def ceil_to(amount: Decimal, step: Decimal) -> Decimal:
    """Round up to a multiple of `step`: for what is owed, reserved or lost."""
    return (amount / step).to_integral_value(rounding=ROUND_CEILING) * step


def floor_to(amount: Decimal, step: Decimal) -> Decimal:
    """Round down to a multiple of `step`: for what is available or allowed."""
    return (amount / step).to_integral_value(rounding=ROUND_FLOOR) * step


def half_even_to(amount: Decimal, step: Decimal) -> Decimal:
    """Round to the nearest multiple of `step`, ties to even: for what is only reported."""
    return (amount / step).to_integral_value(rounding=ROUND_HALF_EVEN) * step


def is_multiple(amount: Decimal, step: Decimal) -> bool:
    """Tell whether `amount` is a whole number of steps."""
    return amount % step == 0


def as_text(amount: Decimal) -> str:
    """Write a number plainly: no exponent, no trailing zeros, exact."""
    text = f"{amount:f}"
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return "0" if text in {"-0", ""} else text
