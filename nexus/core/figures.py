"""How pages write figures: exact decimals with the signs of the reader's language, and times of the reader's zone.

A template library (`{% load figures %}`). Nothing is rounded here but what says so; docs/adr/0016.
"""

from datetime import datetime
from decimal import Decimal

from django import template
from django.utils import formats, timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import get_language

from nexus.core.money import CENT, as_text, half_even_to

register = template.Library()
NOTHING = "–"
GROUPS = {"fr": "\N{NARROW NO-BREAK SPACE}"}  # as browsers write it; Django knows an older sign


def written(text: str) -> str:
    """Write a plain decimal number with the signs of the language: its point, and its thousands apart."""
    sign, digits = ("\N{MINUS SIGN}", text[1:]) if text.startswith("-") else ("", text)
    whole, _, rest = digits.partition(".")
    language = (get_language() or "en")[:2]
    point = "," if language == "fr" else "."
    groups = f"{int(whole):,}".replace(",", GROUPS.get(language, ","))
    return f"{sign}{groups}{point if rest else ''}{rest}"


def known(value: Decimal | str | None) -> Decimal | None:
    """Return a figure, or None for one that is not there: templates pass an empty text for what has no such name."""
    return None if value is None or value == "" else Decimal(value)


@register.filter
def amount(value: Decimal | None) -> str:
    """Write an amount of money to its cent; an unknown one as a dash."""
    figure = known(value)
    return NOTHING if figure is None else written(f"{half_even_to(figure, CENT):.2f}")


@register.filter
def signed(value: Decimal | None) -> str:
    """Write an amount with its sign, plus as well as minus: colour alone says nothing to some."""
    figure = known(value)
    return f"+{amount(figure)}" if figure is not None and figure > 0 else amount(figure)


@register.filter
def exact(value: Decimal | None) -> str:
    """Write a number exactly as it is known."""
    figure = known(value)
    return NOTHING if figure is None else written(as_text(figure))


@register.filter
def price(value: Decimal | None, digits: int | None = None) -> str:
    """Write a price with all the digits of its instrument, so that columns stand still; none is cut off."""
    figure = known(value)
    if figure is None:
        return NOTHING
    text = as_text(figure)
    whole, _, rest = text.partition(".")
    return written(f"{whole}.{rest.ljust(digits, '0')}" if digits else text)


@register.filter
def tone(value: Decimal | None) -> str:
    """Return the class that colours a gain or a loss."""
    figure = known(value)
    return "" if not figure else "gain" if figure > 0 else "loss"


@register.filter
def moment(at: datetime | None) -> SafeString | str:
    """Write a time in the reader's zone, with the exact one for programs."""
    if not at:
        return NOTHING
    local = timezone.localtime(at)
    # Never 11/12, which is November in one place and December in another.
    day = formats.date_format(local, "j b Y" if (get_language() or "en").startswith("fr") else "j M Y")
    text = f"{day} {local:%H:%M:%S}"
    return format_html('<time datetime="{}">{}</time>', at.isoformat(), text)


@register.filter
def plain(value: Decimal | None) -> str:
    """Write a number for a program, in no language; an unknown one as nothing."""
    figure = known(value)
    return "" if figure is None else as_text(figure)


@register.filter
def typed(value: Decimal | None) -> str:
    """Write a number as somebody would type it: with the language's point, and no thousands apart."""
    return plain(value).replace(".", "," if (get_language() or "en").startswith("fr") else ".")
