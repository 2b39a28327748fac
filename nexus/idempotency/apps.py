"""The app's name in Django."""

from django.apps import AppConfig


class IdempotencyConfig(AppConfig):
    """Register `nexus.idempotency`."""

    name = "nexus.idempotency"
    verbose_name = "Idempotency"
