"""The operator console."""

from typing import Any

from django import forms
from django.contrib.admin.forms import AdminAuthenticationForm
from django.http import Http404, HttpRequest
from django.utils.timezone import now
from django.utils.translation import gettext_lazy as _

from accounts.services import entrances
from accounts.types import ClientInfo
from nexus.console.site import ConsoleSite
from nexus.core.errors import NexusError
from nexus.core.http import client_ip


class ConsoleLoginForm(AdminAuthenticationForm):
    """The console's login: the same check, the same answer and the same audit as the API's, and a code."""

    request: HttpRequest
    code = forms.CharField(
        label=_("Code of your authenticator app, or a recovery code"),
        max_length=64,
        widget=forms.TextInput(attrs={"autocomplete": "one-time-code", "inputmode": "numeric"}),
    )

    def clean(self) -> dict[str, Any]:
        """Check password and code. Raises: ValidationError; of a locked login, axes' middleware answers 429."""
        email, password, code = (self.cleaned_data.get(name) for name in ("username", "password", "code"))
        if email and password and code:
            client = ClientInfo(ip=client_ip(self.request), user_agent=self.request.headers.get("User-Agent", ""))
            try:
                self.user_cache = entrances.enter_console(
                    request=self.request, email=email, password=password, code=code.strip(), client=client, at=now()
                )
            except NexusError as exc:
                raise forms.ValidationError(exc.detail, code=exc.code) from exc
        return self.cleaned_data


class OperatorSite(ConsoleSite):
    """The console opens for active operators and compliance officers whose session has shown a second factor."""

    site_header = "Nexus"
    site_title = "Nexus console"
    index_title = "Console"
    login_form = ConsoleLoginForm
    login_template = "console/login.html"

    def has_permission(self, request: HttpRequest) -> bool:
        """Tell whether this session may be in the console."""
        user: Any = request.user
        return bool(user.is_active and user.is_staff and user.is_verified())

    def password_change(self, request: HttpRequest, extra_context: Any = None) -> Any:
        """Change no password here: Django's own page asks for no code, counts no tries and ends no sessions."""
        raise Http404

    password_change_done = password_change
