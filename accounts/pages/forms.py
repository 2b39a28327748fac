"""The forms of who you are: what they ask for, and in which words."""

from collections.abc import Sequence

from django import forms
from django.utils.translation import gettext, gettext_lazy

from accounts.services import keys
from accounts.services.pages import CodeInput
from accounts.states import KeyMode, Scope
from nexus.core.errors import FieldError

SCOPES = {
    Scope.ACCOUNT_READ.value: gettext_lazy("Read accounts and positions"),
    Scope.ORDERS_READ.value: gettext_lazy("Read orders"),
    Scope.ORDERS_WRITE_PAPER.value: gettext_lazy("Trade with simulated money"),
    Scope.ORDERS_WRITE_LIVE.value: gettext_lazy("Trade with real money"),
}
MODES = {
    KeyMode.PAPER.value: gettext_lazy("Simulated money"),
    KeyMode.LIVE.value: gettext_lazy("Real money"),
}
LIFETIMES = (7, 30, 90, 365)  # days
FOREVER = ""
OVERLAPS = (1, 6, 24)  # hours


class LoginForm(forms.Form):
    """Who you are, your password, and a code where you have a second factor."""

    email = forms.EmailField(
        label=gettext_lazy("Email"), widget=forms.EmailInput(attrs={"autocomplete": "username", "autofocus": True})
    )
    password = forms.CharField(
        label=gettext_lazy("Password"),
        strip=False,
        widget=forms.PasswordInput(attrs={"autocomplete": "current-password"}),
    )
    code = forms.CharField(
        label=gettext_lazy("Code of your authenticator app"),
        required=False,
        max_length=64,
        help_text=gettext_lazy("Leave it empty if you have not set up a second factor."),
        widget=forms.TextInput(attrs={"autocomplete": "one-time-code", "inputmode": "numeric"}),
    )


class FirstPasswordForm(forms.Form):
    """The token of a link, and the password that it sets."""

    token = forms.CharField(
        label=gettext_lazy("Token"),
        max_length=200,
        help_text=gettext_lazy("If you were given two halves, type in the first one and then the second, as one text."),
        widget=forms.TextInput(attrs={"autocomplete": "off", "autofocus": True, "spellcheck": "false"}),
    )
    password = forms.CharField(
        label=gettext_lazy("New password"),
        strip=False,
        help_text=gettext_lazy("12 to 128 characters, not a common one."),
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}),
    )
    again = forms.CharField(
        label=gettext_lazy("New password, once more"),
        strip=False,
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}),
    )

    def clean_token(self) -> str:
        """Close the gap between two halves that were pasted."""
        return "".join(str(self.cleaned_data["token"]).split())

    def clean_again(self) -> str:
        """Refuse another text than the first."""
        again = str(self.cleaned_data["again"])
        if "password" in self.cleaned_data and again != self.cleaned_data["password"]:
            raise forms.ValidationError(gettext("This is not the same password."))
        return again

    def asked(self) -> dict[str, str]:
        """Return what the services take."""
        return {"token": self.cleaned_data["token"], "password": self.cleaned_data["password"]}


class LostPasswordForm(FirstPasswordForm):
    """The same for a password that is lost: a code of the second factor, where there is one."""

    code = forms.CharField(
        label=gettext_lazy("Code of your authenticator app"),
        required=False,
        max_length=64,
        help_text=gettext_lazy("Leave it empty if you have not set up a second factor."),
        widget=forms.TextInput(attrs={"autocomplete": "one-time-code", "inputmode": "numeric"}),
    )


class CodeForm(forms.Form):
    """A fresh code."""

    code = forms.CharField(
        label=gettext_lazy("Code of your authenticator app"),
        max_length=64,
        widget=CodeInput(attrs={"autocomplete": "one-time-code", "inputmode": "numeric", "autofocus": True}),
    )


class ProofForm(forms.Form):
    """The password once more, and a code where there is a second factor."""

    password = forms.CharField(
        label=gettext_lazy("Password"),
        strip=False,
        widget=forms.PasswordInput(attrs={"autocomplete": "current-password", "autofocus": True}),
    )
    code = forms.CharField(
        label=gettext_lazy("Code of your authenticator app, or a recovery code"),
        max_length=64,
        widget=forms.TextInput(attrs={"autocomplete": "one-time-code"}),
    )

    def without_code(self) -> "ProofForm":
        """Leave the code out, where there is no second factor yet."""
        del self.fields["code"]
        return self


def _lifetimes() -> list[tuple[str, str]]:
    days = [(str(count), gettext("%(count)d days") % {"count": count}) for count in LIFETIMES]
    return [*days, (FOREVER, gettext("Without end (never for real money)"))]


def _ends() -> list[tuple[str, str]]:
    days = [(str(count), gettext("in %(count)d days") % {"count": count}) for count in LIFETIMES]
    return [(FOREVER, gettext("when it would have")), ("1", gettext("in a day")), *days]


def _overlaps() -> list[tuple[str, str]]:
    hours = [(str(count * 3600), gettext("%(hours)d h") % {"hours": count}) for count in OVERLAPS]
    return [("0", gettext("no longer: it ends at once")), *hours]


def _networks(text: str) -> tuple[str, ...]:
    lines = tuple(line.strip() for line in text.splitlines() if line.strip())
    if len(lines) > keys.NETWORKS_MAX:
        raise forms.ValidationError(gettext("%(count)d addresses at most.") % {"count": keys.NETWORKS_MAX})
    return lines


class KeyForm(forms.Form):
    """What a new API key shall be."""

    name = forms.CharField(
        label=gettext_lazy("Name"),
        max_length=64,
        help_text=gettext_lazy("What program it is for, so that you know it again."),
        widget=forms.TextInput(attrs={"autocomplete": "off"}),
    )
    mode = forms.ChoiceField(
        label=gettext_lazy("Kind of account it reaches"),
        choices=list(MODES.items()),
        initial=KeyMode.PAPER.value,
        widget=forms.RadioSelect,
    )
    scopes = forms.MultipleChoiceField(
        label=gettext_lazy("What it may do"), choices=list(SCOPES.items()), widget=forms.CheckboxSelectMultiple
    )
    lifetime = forms.ChoiceField(label=gettext_lazy("It ends after"), choices=_lifetimes, initial="30", required=False)
    networks = forms.CharField(
        label=gettext_lazy("Addresses it may come from"),
        required=False,
        max_length=2000,
        help_text=gettext_lazy("One in each line, such as 203.0.113.7. Empty: from anywhere (never for real money)."),
        widget=forms.Textarea(attrs={"rows": 3, "autocomplete": "off", "spellcheck": "false"}),
    )
    code = forms.CharField(
        label=gettext_lazy("Code of your authenticator app"),
        max_length=64,
        widget=forms.TextInput(attrs={"autocomplete": "one-time-code", "inputmode": "numeric"}),
    )

    def clean_networks(self) -> tuple[str, ...]:
        """Return one network a line."""
        return _networks(self.cleaned_data["networks"])

    def refuse(self, faults: Sequence[FieldError]) -> None:
        """Say at its field what a key may not be."""
        words = {
            ("expires_at", "too_late"): gettext("A key for real money ends within 90 days."),
            ("networks", "required"): gettext("A key for real money names the addresses it comes from."),
            ("networks", "invalid"): gettext(
                "Write an address such as 203.0.113.7, or a network such as 203.0.113.0/24."
            ),
            ("networks", "too_wide"): gettext("This network is too wide: /24 at most, /48 of version 6."),
            ("scopes", "mode"): gettext("A key for simulated money cannot trade with real money."),
        }
        for fault in faults:
            name = fault.pointer.split("/")[1]
            field = {"expires_at": "lifetime"}.get(name, name)
            self.add_error(field if field in self.fields else None, words.get((name, fault.code), fault.detail))


class NarrowForm(forms.Form):
    """What is left of a key: less of what it may do, fewer places it may come from, an earlier end."""

    scopes = forms.MultipleChoiceField(
        label=gettext_lazy("What it may still do"), widget=forms.CheckboxSelectMultiple, choices=list(SCOPES.items())
    )
    networks = forms.CharField(
        label=gettext_lazy("Addresses it may still come from"),
        required=False,
        max_length=2000,
        help_text=gettext_lazy("One in each line, each within those of now."),
        widget=forms.Textarea(attrs={"rows": 3, "autocomplete": "off", "spellcheck": "false"}),
    )
    lifetime = forms.ChoiceField(label=gettext_lazy("It ends"), choices=_ends, required=False)
    code = forms.CharField(
        label=gettext_lazy("Code of your authenticator app"),
        max_length=64,
        widget=forms.TextInput(attrs={"autocomplete": "one-time-code", "inputmode": "numeric"}),
    )

    def of(self, scopes: Sequence[str]) -> "NarrowForm":
        """Offer what the key has, and nothing more."""
        field = self.fields["scopes"]
        assert isinstance(field, forms.MultipleChoiceField)
        field.choices = [(scope, SCOPES[scope]) for scope in scopes]
        return self

    def clean_networks(self) -> tuple[str, ...]:
        """Return one network a line."""
        return _networks(self.cleaned_data["networks"])


class RotateForm(forms.Form):
    """How long the old key goes on beside the new one."""

    overlap = forms.ChoiceField(label=gettext_lazy("The old key goes on for"), choices=_overlaps)
    code = forms.CharField(
        label=gettext_lazy("Code of your authenticator app"),
        max_length=64,
        widget=forms.TextInput(attrs={"autocomplete": "one-time-code", "inputmode": "numeric"}),
    )


class RevokeForm(forms.Form):
    """Why a key ends."""

    reason = forms.CharField(label=gettext_lazy("Why"), max_length=500)


def code_words(typed: str) -> str:
    """Say what is wrong with a code."""
    if not typed:
        return gettext("Your account has a second factor: type its code, too.")
    return gettext("The code is not valid. Each is accepted once: wait for the next one.")
