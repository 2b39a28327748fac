"""Charts: how all accounts do, and one account over time. Nothing on them decides anything; docs/adr/0021."""

import itertools
from decimal import Decimal
from typing import Any, ClassVar

from django.conf import settings
from django.utils.timezone import now
from django.utils.translation import gettext_lazy as _

from accounts.rules import Action
from nexus.console.pages import Page
from nexus.core.charts import Chart, Series, Value, Window, choices, window
from reconciliation.services import charts as differences
from reconciliation.services.charts import Age, Differences
from trading import selectors
from trading.pages import charts as accounts
from trading.services import charts as trading
from trading.services.accounts import Account
from trading.services.charts import EDGES, Latency, Slippage

NO_ACCOUNT = _("No account is linked yet: manage.py link_account links one, and it is compared within the minute.")


class ChartsPage(Page):
    """All accounts: what books and brokers differ by, how old that is, how long orders take and how they slip."""

    action: ClassVar = Action.ACCOUNT_READ
    template = "console/charts.html"
    title = "Charts"

    def context(self, **kwargs: Any) -> dict[str, Any]:
        """Read every chart in a fixed number of statements."""
        at = now()
        over = window(self.request.GET.get("over", ""), at=at)
        shown, total = differences.most_different()
        charts = [
            _differences(differences.of_accounts(shown, over), over, total=total),
            _ages(differences.oldest(at=at), total=total),
            _latency(trading.latency(over), over),
            _slippage(trading.slippage(over)),
        ]
        # Operators and compliance see every account; the list is as long as the choice of accounts to stop is.
        owned = list(selectors.accounts_of(self.person)[:500])
        return {"charts": charts, "choices": choices(over), "accounts": owned, "at": at}


class AccountPage(Page):
    """One account: equity, the day's loss, what it holds, what it differs by and how old that is."""

    action: ClassVar = Action.ACCOUNT_READ
    template = "console/account_charts.html"
    title = "Charts"

    def context(self, **kwargs: Any) -> dict[str, Any]:
        """Read every chart of the account."""
        at = now()
        over = window(self.request.GET.get("over", ""), at=at)
        account = selectors.seen_account(self.person, public_id=kwargs["account_id"])
        charts = [
            *accounts.of(account, over),
            _differences(differences.of_accounts([account], over), over, total=1),
            _age(account, differences.age_of(account, over, at=at), over),
        ]
        return {"account": account, "charts": charts, "choices": choices(over), "at": at, "title": str(account)}


def _differences(found: list[Differences], over: Window, *, total: int) -> Chart:
    notes = []
    if total > len(found):
        words = _("The %(shown)s accounts that differ most now, of %(total)s. Each account has charts of its own.")
        notes.append(str(words) % {"shown": len(found), "total": total})
    for each in found:
        if each.unvalued:
            words = _(
                "%(account)s: %(count)s comparisons found something that nobody can value, so D is more than shown."
            )
            notes.append(str(words) % {"account": each.account, "count": each.unvalued})
        if each.failed:
            words = _("%(account)s: %(count)s comparisons failed.")
            notes.append(str(words) % {"account": each.account, "count": each.failed})
    return Chart(
        name="discrepancy",
        title=_("Discrepancy D: what books and brokers differ by"),
        unit="USD",
        series=[
            *(Series(str(each.account), each.discrepancy) for each in found),
            _level(_("A person decides from"), settings.RECONCILIATION_REVIEW_FROM, over),
            _level(_("The account stops above"), settings.RECONCILIATION_STOP_ABOVE, over),
        ],
        empty=_("No comparison was complete in this time. Is the clock running, is a worker? See the runbooks.")
        if found
        else NO_ACCOUNT,
        window=over,
        about=_("The most of each step. A gap is a time in which nothing was compared."),
        notes=notes,
    )


def _ages(found: list[Age], *, total: int) -> Chart:
    never = [str(each.account) for each in found if each.age_s is None]
    known = [each for each in found if each.age_s is not None]
    notes = [str(_("Never compared: %(accounts)s")) % {"accounts": ", ".join(never)}] if never else []
    if total > len(found):
        notes.append(str(_("The %(shown)s oldest of %(total)s.")) % {"shown": len(found), "total": total})
    most = Decimal(settings.RECONCILIATION_AGE_MAX_S)
    return Chart(
        name="age",
        title=_("Age of the last complete comparison, now"),
        unit="s",
        series=[
            Series(_("Age"), [each.age_s for each in known]),
            Series(_("Orders are refused above"), [most] * len(known), is_limit=True),
        ],
        empty=NO_ACCOUNT,
        places=[str(each.account) for each in known],
        place_words=_("Account"),
        lies=True,
        digits=0,
        notes=notes,
    )


def _age(account: Account, ages: list[Value], over: Window) -> Chart:
    return Chart(
        name="age",
        title=_("Age of the last complete comparison"),
        unit="s",
        series=[
            Series(_("Oldest within each step"), ages),
            _level(_("Orders are refused above"), Decimal(settings.RECONCILIATION_AGE_MAX_S), over),
        ],
        empty=_("This account was never compared completely. Run manage.py reconcile, and read what it says."),
        window=over,
        digits=0,
    )


def _latency(found: Latency, over: Window) -> Chart:
    return Chart(
        name="latency",
        title=_("Order latency"),
        unit="ms",
        series=[
            Series(_("Request to sending: half take less"), found.sent_half),
            Series(_("Request to sending: 95 % take less"), found.sent_most),
            Series(_("Sending to first fill: half take less"), found.filled_half),
            Series(_("Sending to first fill: 95 % take less"), found.filled_most),
        ],
        empty=_("No order was sent in this time. Choose a longer one above."),
        window=over,
        digits=1,
        about=_("From the request to its sending, all orders; from there to the first booked fill, market orders."),
        notes=_end(found.whole_since),
    )


def _slippage(found: Slippage) -> Chart:
    total = sum(found.counts)
    threshold = (settings.SLIPPAGE_THRESHOLD * trading.BP).normalize()
    return Chart(
        name="slippage",
        title=_("Slippage of fills"),
        unit=_("fills"),
        series=[Series(_("Fills"), [Decimal(count) if total else None for count in found.counts])],
        empty=_("No order of ours filled in this time. Choose a longer one above."),
        places=_bands(),
        place_words=_("Basis points"),
        digits=0,
        about=str(
            _("Basis points worse (+) or better (−) than the market that the order was sent into. Alarm above %(bp)s.")
        )
        % {"bp": f"{threshold:f}"},
        notes=_end(found.whole_since),
    )


def _bands() -> list[str]:
    signed = [f"{'+' if edge > 0 else '−'}{abs(edge):f}" for edge in EDGES]
    between = [f"{low} … {high}" for low, high in itertools.pairwise(signed)]
    return [f"< {signed[0]}", *between, f"≥ {signed[-1]}"]


def _level(words: Any, value: Decimal, over: Window) -> Series:
    return Series(words, [value] * len(over.steps), is_limit=True)


def _end(since: Any) -> list[str]:
    if since is None:
        return []
    words = _("There are too many to look at all of them: this shows the newest %(count)s, since %(since)s.")
    return [str(words) % {"count": f"{trading.NEWEST:,}", "since": f"{since:%Y-%m-%d %H:%M} UTC"}]
