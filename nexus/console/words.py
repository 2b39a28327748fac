"""How the console's templates write times and money."""

from datetime import UTC, datetime
from decimal import Decimal

from django import template
from django.utils import formats, timezone
from django.utils.translation import get_language, gettext
from django.utils.translation import gettext_lazy as _

from nexus.alerts.services.headlines import headline
from nexus.core import figures, money
from nexus.core.errors import NexusError
from trading.pages import refusals

register = template.Library()
CLIPPED_AT = 14
NOTHING = "–"
KINDS = {
    "request": _("request"), "checks": _("checks"), "state": _("state"), "sent": _("sent"), "answer": _("answer"),
    "fill": _("fill"), "change": _("change"), "correction": _("correction"), "decision": _("decision"),
    "alert": _("alert"), "audit": _("audit"),
}  # fmt: skip


@register.filter
def ago(then: datetime | None, at: datetime) -> str:
    """Write how long ago something was, in its two largest units."""
    if then is None:
        return NOTHING
    seconds = max(0, int((at - then).total_seconds()))
    days, hours, minutes = seconds // 86400, seconds // 3600 % 24, seconds // 60 % 60
    if days:
        return gettext("%(days)s d %(hours)s h") % {"days": days, "hours": hours}
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {seconds % 60} s" if minutes else f"{seconds} s"


@register.filter
def stamp(at: datetime | None) -> str:
    """Write a time in UTC, as the console speaks of all times; the month in letters in French, as people write it."""
    if at is None:
        return NOTHING
    then = at.astimezone(UTC)
    day = formats.date_format(timezone.make_naive(then, UTC), "j b Y") if speaks_french() else f"{then:%Y-%m-%d}"
    return f"{day} {then:%H:%M:%S}"


def speaks_french() -> bool:
    """Tell whether whoever looks reads French."""
    return (get_language() or "en").startswith("fr")


@register.filter
def usd(amount: Decimal | None) -> str:
    """Write an amount exactly, with its thousands apart; nothing is rounded away."""
    if amount is None:
        return gettext("unknown")
    if speaks_french():
        return figures.written(money.as_text(amount))
    whole, point, rest = money.as_text(amount).partition(".")
    sign, digits = ("−", whole[1:]) if whole.startswith("-") else ("", whole)
    grouped = f"{int(digits):,}".replace(",", " ")
    return f"{sign}{grouped}{point}{rest}"


@register.filter
def kind(word: str) -> str:
    """Write what kind of thing a line of time tells of; an unknown kind as it is called."""
    return str(KINDS.get(word, word))


register.filter("headline", headline)


@register.filter
def refusal(error: NexusError) -> str:
    """Say in a few words why nothing was done, in the reader's language where the code is explained in it."""
    return (speaks_french() and refusals.says(error.code)) or error.title


@register.filter
def clip(text: object) -> str:
    """Cut a figure with many places for a column; whoever wants all of them finds them in the stored order."""
    if text is None:
        return NOTHING
    return str(text) if len(str(text)) <= CLIPPED_AT else f"{str(text)[:CLIPPED_AT]}…"
