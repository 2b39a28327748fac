"""The operator console."""

from typing import Any

from django import forms
from django.contrib.admin.forms import AdminAuthenticationForm
from django.http import HttpRequest

from accounts.services import sessions
from accounts.services.lockout import LoginLocked
from accounts.types import ClientInfo
from nexus.console.site import ConsoleSite
from nexus.core.http import client_ip


class ConsoleLoginForm(AdminAuthenticationForm):
    """The console's login: the same check, the same answer and the same audit as the API's."""

    request: HttpRequest

    def clean(self) -> dict[str, Any]:
        """Check the password. Raises: ValidationError, with one text for every reason."""
        email = self.cleaned_data.get("username")
        password = self.cleaned_data.get("password")
        if email and password:
            client = ClientInfo(ip=client_ip(self.request), user_agent=self.request.headers.get("User-Agent", ""))
            try:
                user = sessions.enter_console(request=self.request, email=email, password=password, client=client)
            except (sessions.InvalidCredentials, LoginLocked) as exc:  # of a locked one, axes' middleware answers 429
                raise forms.ValidationError(exc.detail, code=exc.code) from exc
            self.user_cache = user
        return self.cleaned_data


class OperatorSite(ConsoleSite):
    """The console opens for active operators and compliance officers."""

    site_header = "Nexus"
    site_title = "Nexus console"
    index_title = "Console"
    login_form = ConsoleLoginForm

    def has_permission(self, request: HttpRequest) -> bool:
        """Tell whether this session may be in the console. The one place where the second factor will be asked for."""
        return request.user.is_active and request.user.is_staff
