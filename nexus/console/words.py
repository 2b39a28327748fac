"""How the console's templates write times and money."""

from datetime import datetime
from decimal import Decimal

from django import template

from nexus.core import money

register = template.Library()
CLIPPED_AT = 14


@register.filter
def ago(then: datetime | None, at: datetime) -> str:
    """Write how long ago something was, in its two largest units."""
    if then is None:
        return "–"
    seconds = max(0, int((at - then).total_seconds()))
    days, hours, minutes = seconds // 86400, seconds // 3600 % 24, seconds // 60 % 60
    if days:
        return f"{days} d {hours} h"
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {seconds % 60} s" if minutes else f"{seconds} s"


@register.filter
def usd(amount: Decimal | None) -> str:
    """Write an amount exactly, with its thousands apart; nothing is rounded away."""
    if amount is None:
        return "unknown"
    whole, point, rest = money.as_text(amount).partition(".")
    sign, digits = ("−", whole[1:]) if whole.startswith("-") else ("", whole)
    grouped = f"{int(digits):,}".replace(",", " ")
    return f"{sign}{grouped}{point}{rest}"


@register.filter
def clip(text: object) -> str:
    """Cut a figure with many places for a column; whoever wants all of them finds them in the stored order."""
    if text is None:
        return "–"
    return str(text) if len(str(text)) <= CLIPPED_AT else f"{str(text)[:CLIPPED_AT]}…"
