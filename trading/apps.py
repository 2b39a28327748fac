"""The app's name in Django."""

from django.apps import AppConfig


class TradingConfig(AppConfig):
    """Register `trading`."""

    name = "trading"
    verbose_name = "Trading"
