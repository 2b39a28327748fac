"""The roof in Django: the console as the default admin site, the system checks, the worker's wiring."""

from django.contrib.admin.apps import AdminConfig

from nexus import celery, checks

__all__ = ["NexusConfig", "celery", "checks"]  # importing them is what registers the checks and the Celery app


class NexusConfig(AdminConfig):
    """Stand in for `django.contrib.admin`. Apps register with plain `@admin.register(Model)`."""

    default_site = "nexus.admin_site.OperatorSite"
