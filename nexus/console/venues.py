"""Accounts and positions at the console, to read: as our books have them, and as the watch last saw them."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar

from django import forms
from django.utils.timezone import now
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from accounts import selectors as people
from accounts.rules import Action
from nexus.console.audit import text_field
from nexus.console.pages import Page, keyset, older
from nexus.core.errors import NexusError
from reconciliation import selectors as reconciliation
from risk.services import control
from risk.services.control import Switch
from risk.states import ControlScope, StopLevel
from trading import selectors as trading
from trading.services import facts, overview
from trading.services.accounts import Account

SHOWN = 50
NOBODY = 0  # no key of a table
MONEY: Mapping[str, bool | None] = {"": None, "live": True, "paper": False}
STANDING: Mapping[str, bool | None] = {"": None, "open": True, "closed": False}


@dataclass(frozen=True, slots=True)
class Standing:
    """One account: its link, what the watch last read, how its books compare, and how far it may trade."""

    account: Account
    figures: Any
    is_late: bool
    compared: Any
    level: str
    stopped: str
    is_armed: bool


class AccountSearch(forms.Form):
    """Which accounts are looked for."""

    owner = text_field(gettext_lazy("Owner"), help_text=gettext_lazy("The whole email address."))
    number = text_field(gettext_lazy("Number"), help_text=gettext_lazy("Its beginning, as the broker has it."))
    money = forms.ChoiceField(
        label=gettext_lazy("Money"),
        required=False,
        choices=[("", "–"), ("live", gettext_lazy("real money")), ("paper", gettext_lazy("paper"))],
    )


class AccountsPage(Page):
    """Every account, the newest first."""

    action: ClassVar = Action.ACCOUNT_READ
    template = "console/accounts.html"

    def context(self, **kwargs: Any) -> dict[str, Any]:
        """Read one page of accounts, and what is known of each."""
        at, clock, form = now(), facts.database_clock(), AccountSearch(self.request.GET)
        rows: Any = []
        following = None
        if form.is_valid():
            asked = form.cleaned_data
            rows, following = trading.accounts_found(
                self.person, owner=key_of(asked["owner"]), text=asked["number"], is_live=MONEY[asked["money"]],
                limit=SHOWN, before=keyset(self.request),
            )  # fmt: skip
        return {
            "title": _("Accounts"),
            "form": form,
            "rows": standings(rows, clock=clock, at=at),
            "older": older(self.request, following),
            "is_first": "before" not in self.request.GET,
            "clock": clock,
            "at": at,
        }


class PositionSearch(forms.Form):
    """Which positions are looked for."""

    account = text_field(gettext_lazy("Account"), help_text=gettext_lazy("Its number at the broker, or its id."))
    symbol = text_field(gettext_lazy("Instrument"), help_text=gettext_lazy("As its broker names it."))
    standing = forms.ChoiceField(
        label=gettext_lazy("Status"),
        required=False,
        choices=[("open", gettext_lazy("open")), ("closed", gettext_lazy("closed")), ("", gettext_lazy("both"))],
    )


class PositionsPage(Page):
    """Positions as our fills make them, the newest first; open ones, where nothing else is asked for."""

    action: ClassVar = Action.ACCOUNT_READ
    template = "console/positions.html"

    def context(self, **kwargs: Any) -> dict[str, Any]:
        """Read one page of positions."""
        form = PositionSearch({"standing": "open", **self.request.GET.dict()})
        rows: Any = []
        following, account, fault = None, None, ""
        if form.is_valid():
            asked = form.cleaned_data
            try:
                account = trading.account_named(asked["account"]) if asked["account"] else None
                rows, following = trading.positions_found(
                    self.person, account=account, symbol=asked["symbol"], is_open=STANDING[asked["standing"]],
                    limit=SHOWN, before=keyset(self.request),
                )  # fmt: skip
            except NexusError as exc:
                fault = exc.detail
        return {
            "title": _("Positions"),
            "form": form,
            "fault": fault,
            "account": account,
            "rows": rows,
            "older": older(self.request, following),
            "is_first": "before" not in self.request.GET,
            "at": now(),
        }


def key_of(email: str) -> int | None:
    """Return the key of who has this address; None where nobody is asked for, and nobody's where nobody has it."""
    if not email:
        return None
    user = people.user_by_email(email)
    return user.pk if user else NOBODY


def standing_of(account: Account, *, clock: datetime, at: datetime) -> tuple[Standing, list[Switch]]:
    """Return how one account stands, and every stop that covers it."""
    switches, compared = control.stops(), reconciliation.compared([account])
    row = _standing(account, compared.get(account.pk), switches, clock=clock, at=at)
    return row, covering(account, switches)


def standings(accounts: Iterable[Account], *, clock: datetime, at: datetime) -> list[Standing]:
    """Return how accounts stand, in as many statements for fifty as for one.

    Takes: `clock`, the database's, by which the watch writes its looks.
    """
    held = list(accounts)
    compared, switches = reconciliation.compared(held), control.stops()
    return [_standing(each, compared.get(each.pk), switches, clock=clock, at=at) for each in held]


def _standing(account: Account, compared: Any, switches: list[Switch], *, clock: datetime, at: datetime) -> Standing:
    figures = getattr(account, "figures", None)
    read_at = figures.read_at if figures else None
    level, why = strictest(account, switches)
    return Standing(
        account=account,
        figures=figures,
        is_late=account.is_active and (read_at is None or clock - read_at > overview.LATE_READING),
        compared=compared,
        level=level.name,
        stopped=why,
        is_armed=account.armed_until is not None and account.armed_until > at,
    )


def strictest(account: Account, switches: Iterable[Switch]) -> tuple[StopLevel, str]:
    """Return how far an account may trade, and by whose stop: the system's, its broker's, its owner's or its own."""
    found = covering(account, switches)
    if not found:
        return StopLevel.ACTIVE, ""
    most = max(found, key=lambda each: int(each.level))
    return StopLevel(most.level), str(most.scope)


def covering(account: Account, switches: Iterable[Switch]) -> list[Switch]:
    """Return the stops that hold an account: the system's, its broker's, its owner's and its own."""
    keys = {
        ControlScope.SYSTEM.value: "",
        ControlScope.BROKER.value: account.venue,
        ControlScope.USER.value: str(account.user_id),
        ControlScope.ACCOUNT.value: str(account.pk),
    }
    return [each for each in switches if keys.get(each.scope) == each.key]
