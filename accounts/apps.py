"""The app's name in Django."""

from django.apps import AppConfig


class AccountsConfig(AppConfig):
    """Register `accounts`."""

    name = "accounts"
    verbose_name = "Accounts"
