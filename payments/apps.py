"""The app's name in Django."""

from django.apps import AppConfig


class PaymentsConfig(AppConfig):
    """Register `payments`."""

    name = "payments"
    verbose_name = "Payments"
