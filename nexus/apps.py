"""The roof in Django: the console as the default admin site, the system checks, the worker's wiring."""

from typing import Any

from django.contrib.admin.apps import AdminConfig
from django.db import connections
from django.db.models.signals import post_migrate, pre_migrate

from nexus import celery, checks

__all__ = ["NexusConfig", "celery", "checks"]  # importing them is what registers the checks and the Celery app


class NexusConfig(AdminConfig):
    """Stand in for `django.contrib.admin`. Apps register with plain `@admin.register(Model)`."""

    default_site = "nexus.admin_site.OperatorSite"

    def ready(self) -> None:
        """Let migrations take as long as a large table needs."""
        super().ready()
        pre_migrate.connect(_take_time, dispatch_uid="nexus.take_time")
        post_migrate.connect(_hurry, dispatch_uid="nexus.hurry")


def _take_time(*, using: str, **_: Any) -> None:
    """Lift the limits of a request: half an index is none. Who waits for a lock gives up as ever."""
    with connections[using].cursor() as cursor:
        cursor.execute("SET statement_timeout = 0; SET idle_in_transaction_session_timeout = 0")


def _hurry(*, using: str, **_: Any) -> None:
    with connections[using].cursor() as cursor:
        cursor.execute("RESET statement_timeout; RESET idle_in_transaction_session_timeout")
