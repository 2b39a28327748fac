"""What people write into the forms of trading, read exactly: a number is a decimal as typed, or it is refused."""

import re
import uuid
from collections.abc import Iterable
from decimal import Decimal
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.utils.translation import get_language
from django.utils.translation import gettext_lazy as _

from nexus.core.errors import FieldError, NexusError
from nexus.core.money import as_text
from trading.models import TradingAccount
from trading.pages import words
from trading.states import PUBLIC_STATUSES, OrderType, Side, TimeInForce
from trading.types import OrderIntent

NUMBER = re.compile(r"[0-9]{1,14}([.,][0-9]{1,10})?")
SYMBOL = re.compile(r"[A-Za-z0-9]{1,20}([-/._#][A-Za-z0-9]{1,20})?")
DAY_PAGE, PAGE = 200, 50
# What shapes refuse, in the reader's words; what is missing here is shown as the service says it.
FAULTS = {
    "required": _("This is needed for such an order."),
    "not_allowed": _("This has no place in such an order."),
    "off_step": _("This is not a multiple of the instrument's step."),
    "off_tick": _("This is not a multiple of the instrument's price step."),
    "unknown": _("The broker does not know this symbol."),
}


class ExactField(forms.CharField):
    """An exact decimal above zero. A comma is a decimal sign in French, and refused in English, where it is none."""

    def __init__(self, *, label: Any, required: bool = False, help_text: Any = "") -> None:
        widget = forms.TextInput(attrs={"inputmode": "decimal", "autocomplete": "off"})
        super().__init__(label=label, required=required, widget=widget, help_text=help_text, max_length=30)

    def to_python(self, value: Any) -> Any:
        """Return the number as it was written. Raises: ValidationError."""
        text = str(value or "").strip()
        if not text:
            return None
        has_comma = "," in text and get_language() != "fr"
        if not NUMBER.fullmatch(text) or has_comma:
            raise ValidationError(_("Write a plain number, such as %(sample)s."), params={"sample": self._sample()})
        number = Decimal(text.replace(",", "."))
        if not number:
            raise ValidationError(_("The number must be above zero."))
        return number

    def validate(self, value: Any) -> None:
        """Refuse nothing where something is needed. Raises: ValidationError."""
        if self.required and value is None:
            raise ValidationError(self.error_messages["required"], code="required")

    def run_validators(self, value: Any) -> None:
        """Check no length: what is left is a number."""

    @staticmethod
    def _sample() -> str:
        return "0,1" if get_language() == "fr" else "0.1"


class TicketForm(forms.Form):
    """An order somebody writes. `entry_price` is the price that was shown: the order is held to it."""

    account = forms.ChoiceField(label=_("Account"))
    symbol = forms.RegexField(
        SYMBOL,
        label=_("Symbol"),
        max_length=32,
        widget=forms.TextInput(attrs={"list": "symbols", "autocomplete": "off", "autocapitalize": "characters"}),
        error_messages={"invalid": _("Write it exactly as the broker does, such as EURUSD.")},
    )
    side = forms.ChoiceField(label=_("Side"), choices=list(words.SIDES.items()), widget=forms.RadioSelect)
    type = forms.ChoiceField(label=_("Type"), choices=list(words.TYPES.items()), initial="MARKET")
    quantity = ExactField(label=_("Lots"), required=True)
    limit_price = ExactField(label=_("Limit price"))
    stop_price = ExactField(label=_("Trigger price"))
    stop_loss = ExactField(label=_("Stop-loss"))
    take_profit = ExactField(label=_("Target"))
    time = forms.ChoiceField(
        label=_("Works"), required=False, choices=[(each, words.TIMES[each]) for each in ("GTC", "DAY")]
    )
    entry_price = forms.CharField(required=False, widget=forms.HiddenInput)

    def __init__(self, *args: Any, accounts: Iterable[TradingAccount], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.accounts = {str(account.public_id): account for account in accounts}
        kinds = {True: _("LIVE"), False: _("PAPER")}
        field = self.fields["account"]
        assert isinstance(field, forms.ChoiceField)
        field.choices = [(key, f"{kinds[each.is_live]} · {each.name}") for key, each in self.accounts.items()]

    def clean_entry_price(self) -> Decimal | None:
        """Return the price that was shown, which is never typed."""
        text = self.cleaned_data["entry_price"]
        return Decimal(text) if text and NUMBER.fullmatch(text) and "," not in text else None

    @property
    def account_id(self) -> uuid.UUID:
        """Return which account the order is for."""
        return self.accounts[self.cleaned_data["account"]].public_id

    def to_intent(self) -> OrderIntent:
        """Return the order in our words."""
        data = self.cleaned_data
        kind = OrderType(data["type"])
        is_resting = kind is not OrderType.MARKET
        return OrderIntent(
            symbol=data["symbol"],
            side=Side(data["side"]),
            quantity=data["quantity"],
            entry_price=None if is_resting else data["entry_price"],
            stop_loss=data["stop_loss"],
            take_profit=data["take_profit"],
            order_type=kind,
            limit_price=data["limit_price"] if kind in (OrderType.LIMIT, OrderType.STOP_LIMIT) else None,
            stop_price=data["stop_price"] if kind in (OrderType.STOP, OrderType.STOP_LIMIT) else None,
            time_in_force=TimeInForce(data["time"] or "GTC") if is_resting else None,
        )

    def values(self) -> dict[str, str]:
        """Return what was read, as the form that sends it carries it on: plain texts, in no language."""
        data = self.cleaned_data
        return {
            name: as_text(value) if isinstance(value, Decimal) else str(value or "") for name, value in data.items()
        }

    def add_refusal(self, error: NexusError) -> None:
        """Put what a service refuses beside the fields that it names."""
        for each in error.errors:
            name = {"time_in_force": "time"}.get(each.pointer.strip("/"), each.pointer.strip("/"))
            self.add_error(name if name in self.fields else None, _words(each))
        if not error.errors:
            self.add_error(None, error.detail)


def _words(fault: FieldError) -> Any:
    return FAULTS.get(fault.code) or fault.detail[:1].upper() + fault.detail[1:]


class CloseForm(forms.Form):
    """How much of a position to close."""

    quantity = ExactField(label=_("Lots to close"), required=True)


class StopsForm(forms.Form):
    """The stops of a position. What is left empty is taken away; what stays as it was is not touched."""

    stop_loss = ExactField(label=_("Stop-loss"))
    take_profit = ExactField(label=_("Target"))
    was_stop_loss = forms.CharField(required=False, widget=forms.HiddenInput)
    was_take_profit = forms.CharField(required=False, widget=forms.HiddenInput)

    def to_stops(self) -> dict[str, Decimal | None]:
        """Return the stops that were changed."""
        data = self.cleaned_data
        names = ("stop_loss", "take_profit")
        return {name: data[name] for name in names if _plain(data[name]) != data[f"was_{name}"]}


def _plain(value: Decimal | None) -> str:
    return "" if value is None else as_text(value)


class LedgerForm(forms.Form):
    """Which orders to show. Days are whole days of the reader's zone."""

    symbol = forms.RegexField(SYMBOL, label=_("Symbol"), max_length=32, required=False)
    status = forms.ChoiceField(
        label=_("Status"),
        required=False,
        choices=[("", _("Any")), *((each, words.STATUSES[each]) for each in PUBLIC_STATUSES)],
    )
    since = forms.DateField(label=_("From"), required=False, widget=forms.DateInput(attrs={"type": "date"}))
    until = forms.DateField(label=_("To"), required=False, widget=forms.DateInput(attrs={"type": "date"}))
    before = forms.UUIDField(required=False, widget=forms.HiddenInput)
