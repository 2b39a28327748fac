"""The door of the web server."""

import gc
import os

from django.core.wsgi import get_wsgi_application

from nexus import checks

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "nexus.settings")
RUBBISH = 10_000  # objects between two looks for rings of rubbish, of which an order leaves few

application = get_wsgi_application()
checks.refuse_bad_boot()
# What is loaded stays: looking through all of it again and again took a twentieth of an order (docs/performance.md).
gc.collect()
gc.freeze()
gc.set_threshold(RUBBISH, 10, 10)
