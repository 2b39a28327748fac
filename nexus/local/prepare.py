"""Bring the database and the static files up to date, in one start of Django."""

import os

import django
from django.core.management import call_command


def main() -> None:
    """Apply the migrations and collect the static files."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "nexus.settings")
    django.setup()
    call_command("migrate", interactive=False, verbosity=1)
    call_command("collectstatic", interactive=False, verbosity=1)


if __name__ == "__main__":
    main()
