"""How the console's templates write times and money."""

from datetime import UTC, datetime
from decimal import Decimal

from django import template
from django.utils import formats, timezone
from django.utils.translation import get_language, gettext
from django.utils.translation import gettext_lazy as _

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

# What each kind of alert tells of: its text is English, as it went out to people and into the log.
HEADLINES = {
    "TRADING_STOPPED": _("Trading was stopped"),
    "STOP_NOT_FOLLOWED": _("A stop holds, but nobody carries it on"),
    "SWEEP_NOT_PROVEN": _("A sweep is not proven: something may be left at the broker"),
    "HEALTH_DEGRADED": _("Nobody looks at accounts"),
    "ACCOUNT_NOT_WATCHED": _("An account cannot be read"),
    "MARGIN_LEVEL_LOW": _("The margin level is low"),
    "ACCOUNT_REFUSED": _("The broker refuses everything on an account"),
    "ORDER_UNKNOWN": _("Nobody knows whether an order has arrived"),
    "LATE_FILL": _("An order filled after it was closed"),
    "OVERFILL": _("An order filled for more than it asked"),
    "STOPS_MISSING": _("A position stands without its stops"),
    "EXTERNAL_FILL": _("Somebody traded outside of Nexus"),
    "HIGH_SLIPPAGE": _("An order filled far from the market"),
    "DISCREPANCY_REVIEW": _("Books and broker differ: a person decides"),
    "DISCREPANCY_STOPPED": _("Books and broker differ by too much: the account was stopped"),
    "FLEET_DISCREPANCY": _("All accounts together differ by too much: everything was stopped"),
    "RECONCILIATION_STALE": _("An account was not compared in time"),
    "RECONCILIATION_FAILED": _("A comparison came to nothing"),
    "RECONCILIATION_STOPPED": _("Comparisons came to nothing again and again: the account was stopped"),
    "AUDIT_SEAL_LATE": _("Seals of the audit log are late"),
    "AUDIT_ANCHOR_LATE": _("An anchor of the audit log is behind"),
    "AUDIT_NOT_CLEAN": _("The audit log is not what was sealed"),
    "AUDIT_UNVERIFIED": _("The audit log was not verified"),
    "ALERT_NOT_DELIVERED": _("A channel takes no alerts"),
    "API_KEY_ADDRESS": _("An API key was used from a wrong address"),
    "LINK_NOT_DELIVERED": _("A link for a password could not be sent"),
    "BREAK_GLASS": _("Somebody has come in with the break-glass account"),
}
FAMILIES = {
    "STOP_": _("A trigger would have stopped trading, and is switched off"),
    "SUSPICION_": _("Orders look unlike their trader"),
}


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


@register.filter
def headline(kind: str) -> str:
    """Say in a few words what an alert of a kind tells of; a kind that nobody knows as it is called."""
    if kind in HEADLINES:
        return str(HEADLINES[kind])
    family = next((each for each in FAMILIES if kind.startswith(each)), "")
    return f"{FAMILIES[family]} ({kind.removeprefix(family)})" if family else kind


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
