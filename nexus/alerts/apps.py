"""The app's name in Django."""

from django.apps import AppConfig


class AlertsConfig(AppConfig):
    """Register `nexus.alerts`."""

    name = "nexus.alerts"
    verbose_name = "Alerts"
