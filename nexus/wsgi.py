"""The door of the web server."""

import os

from django.core.wsgi import get_wsgi_application

from nexus import checks

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "nexus.settings")

application = get_wsgi_application()
checks.refuse_bad_boot()
