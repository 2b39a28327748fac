"""Trading's words for templates (`{% load words %}`)."""

from collections.abc import Callable, Mapping
from decimal import Decimal

from django import template
from django.utils.functional import Promise
from django.utils.html import escape
from django.utils.safestring import SafeString, mark_safe

from nexus.core.figures import NOTHING, amount, exact, known, typed
from risk.types import Check
from trading.pages import refusals, words

register = template.Library()
LONG = 4  # digits behind the point, beyond which a figure is shown to its cent


def _written(table: Mapping[str, Promise | str]) -> Callable[[str], Promise | str]:
    """Return what writes a value of ours in words, and one that nobody knows as it stands."""
    return lambda value: table.get(value, value)


for _name, _table in (
    ("side", words.SIDES),
    ("kind", words.TYPES),
    ("status", words.STATUSES),
    ("scope", words.SCOPES),  # of a stop
    ("lasting", words.TIMES),
):
    register.filter(_name, _written(_table))


@register.filter
def size(value: Decimal | None) -> str:
    """Write a quantity without its sign: the side says the rest."""
    figure = known(value)
    return exact(None if figure is None else abs(figure))


@register.filter
def brief(value: Decimal | None) -> str:
    """Write a figure of a limit: exactly while it is short, and to its cent otherwise."""
    figure = known(value)
    if figure is None:
        return NOTHING
    exponent = figure.normalize().as_tuple().exponent
    is_long = isinstance(exponent, int) and exponent < -LONG
    return amount(value) if is_long else exact(value)


@register.filter
def held(value: Decimal | None, check: Check) -> str:
    """Write a figure of a check in its unit: money to its cent, a part of the price in percent."""
    if check.unit == "of the price":
        return f"{exact(None if value is None else value * words.HUNDRED)} %"
    return amount(value) if check.unit == "USD" else brief(value)


@register.filter
def meaning(code: str) -> str:
    """Write what a refusal means, in a few words; a code that nobody knows as it stands."""
    return refusals.title_of(code)


@register.filter
def coded(text: str) -> SafeString:
    """Write a paragraph of the documents: what stands between backticks is code."""
    parts = escape(text).split("`")
    written = (f"<code>{part}</code>" if number % 2 else part for number, part in enumerate(parts))
    return mark_safe("".join(written))  # noqa: S308  # nosec B308 B703  # escaped above


@register.filter
def lots(value: Decimal | None) -> str:
    """Write a quantity as somebody would type it, without its sign."""
    figure = known(value)
    return typed(None if figure is None else abs(figure))
