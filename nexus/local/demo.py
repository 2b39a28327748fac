"""`python -m nexus.local.demo`: set Django up, then create the demo people."""

import importlib
import os

import django


def main() -> None:
    """Set Django up first: only then can modules with tables be imported, so `people` is loaded by name."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "nexus.settings")
    django.setup()
    importlib.import_module("nexus.local.people").create(base_url=os.environ["NEXUS_BASE_URL"])


if __name__ == "__main__":
    main()
