"""The app's name in Django, and what of Django's own news it hears."""

from django.apps import AppConfig
from django.contrib.auth.signals import user_logged_in


class AccountsConfig(AppConfig):
    """Register `accounts`."""

    name = "accounts"
    verbose_name = "Accounts"

    def ready(self) -> None:
        """Hear of each login."""
        from accounts.services import browsing, entrances  # noqa: PLC0415 — there are no models before

        user_logged_in.connect(browsing.begun, dispatch_uid="accounts.browsing.begun")
        user_logged_in.connect(entrances.note_break_glass, dispatch_uid="accounts.entrances.note_break_glass")
