"""The door of the process that tells open pages the news. Everything else is answered by `nexus.wsgi`."""

import os

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "nexus.settings")
django.setup()

from nexus import checks  # noqa: E402
from trading.pages.events.door import Door  # noqa: E402

application = Door()
checks.refuse_bad_boot()
