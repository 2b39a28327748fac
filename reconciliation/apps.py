"""The app's name in Django."""

from django.apps import AppConfig


class ReconciliationConfig(AppConfig):
    """Register `reconciliation`."""

    name = "reconciliation"
    verbose_name = "Reconciliation"
