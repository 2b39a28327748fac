"""The app's name in Django."""

from django.apps import AppConfig


class RiskConfig(AppConfig):
    """Register `risk`."""

    name = "risk"
    verbose_name = "Risk"
