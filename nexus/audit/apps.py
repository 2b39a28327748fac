"""The app's name in Django."""

from django.apps import AppConfig


class AuditConfig(AppConfig):
    """Register `nexus.audit`."""

    name = "nexus.audit"
    verbose_name = "Audit"
