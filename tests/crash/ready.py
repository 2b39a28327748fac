"""Load this first in a process that is to know the tables."""

import django

django.setup()
