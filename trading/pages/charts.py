"""One account over time: what it is worth, what it has lost beside its limit, and what it holds."""

import uuid
from collections.abc import Sequence

from django.http import HttpRequest, HttpResponse
from django.utils.timezone import now
from django.utils.translation import gettext_lazy as _

from accounts.services import pages
from accounts.services.pages import page, person
from nexus.core.charts import Chart, Series, Window, choices, window
from nexus.core.money import as_text
from trading import selectors
from trading.models import TradingAccount
from trading.services import charts
from trading.services.charts import Exposure, Held, Readings

NOT_YET = _("Nothing was read of this account in this time. The watch reads it every five seconds once it is linked.")


@page("ACCOUNT_READ")
def account(request: HttpRequest, account_id: uuid.UUID) -> HttpResponse:
    """Show one account's charts."""
    at = now()
    shown = selectors.seen_account(person(request), public_id=account_id)
    over = window(request.GET.get("over", ""), at=at)
    context = {"nav": "overview", "account": shown, "charts": of(shown, over), "choices": choices(over), "at": at}
    return pages.render(request, "trading/account.html", context)


def of(account: TradingAccount, over: Window) -> list[Chart]:
    """Return the charts of one account, in two statements."""
    seen = charts.readings(account, over)
    return [_equity(account, seen, over), _loss(seen, over), _exposure(charts.exposure(account))]


def _equity(account: TradingAccount, seen: Readings, over: Window) -> Chart:
    return Chart(
        name="equity",
        title=_("Equity"),
        unit=account.currency,
        series=[
            Series(_("Equity at the end of each step"), seen.equity),
            Series(_("Lowest within it"), seen.equity_low),
        ],
        empty=NOT_YET,
        window=over,
        from_zero=False,
    )


def _loss(seen: Readings, over: Window) -> Chart:
    shares = [Series(_("Lost today, all accounts of the owner"), seen.lost)]
    if list(seen.loss_today) != list(seen.lost):  # one account alone has lost what all have
        shares.append(Series(_("Lost today, this account"), seen.loss_today))
    return Chart(
        name="loss",
        title=_("Daily loss against the limit"),
        unit="USD",
        series=[*shares, Series(_("Limit"), seen.limit, is_limit=True)],
        empty=NOT_YET,
        window=over,
        about=_(
            "Closed and open losses since midnight UTC, the most of each step. At the limit trading stops by "
            "itself, and orders are refused before that when their worst case would reach it."
        ),
    )


def _exposure(found: Exposure) -> Chart:
    known = [each for each in found.held if each.long_usd is not None and each.short_usd is not None]
    unvalued = [each for each in found.held if each not in known]
    notes = [_words(unvalued)] if unvalued else []
    if found.others:
        notes.append(str(_("%(count)s smaller ones are not shown.")) % {"count": found.others})
    return Chart(
        name="exposure",
        title=_("Exposure by instrument"),
        unit="USD",
        series=[
            Series(_("Long"), [each.long_usd for each in known]),
            Series(_("Short"), [None if each.short_usd is None else -each.short_usd for each in known]),
        ],
        empty=_("No position is open. What you open in the ticket is shown here within five seconds.")
        if found.read_at
        else NOT_YET,
        places=[each.symbol for each in known],
        place_words=_("Instrument"),
        notes=notes,
        about=_("The value of open positions at the broker's own price, when the account was last read."),
        as_of=found.read_at,
    )


def _words(unvalued: Sequence[Held]) -> str:
    held = ", ".join(f"{each.symbol} +{as_text(each.long_lots)} −{as_text(each.short_lots)}" for each in unvalued)
    return str(_("Without a price in USD, in lots: %(held)s")) % {"held": held}
