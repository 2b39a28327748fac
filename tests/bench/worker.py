"""A Celery worker as production has it, with the bench's own brokers beside the real one."""

import django

from nexus.celery import app
from tests.bench import nowire

django.setup()
nowire.install()

__all__ = ["app"]
