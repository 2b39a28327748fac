"""Busy submitters: threads of this process place orders through the service until standard input closes."""

import os
import sys
import threading
from typing import Any

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "nexus.settings")
django.setup()

from accounts import selectors as people  # noqa: E402
from tests.bench import nowire  # noqa: E402
from tests.bench.placing import place  # noqa: E402


def main(first: int, count: int) -> None:
    """Place orders of `count` traders, from the number `first` on, each in a thread of its own."""
    nowire.install()
    traders = [people.user_by_email(f"direct-{number}@bench.example") for number in range(first, first + count)]
    over = threading.Event()
    threads = [threading.Thread(target=_submit, args=(trader, over)) for trader in traders]
    for thread in threads:
        thread.start()
    print("ready", flush=True)
    sys.stdin.read()
    over.set()
    for thread in threads:
        thread.join()


def _submit(trader: Any, over: threading.Event) -> None:
    number = 0
    while not over.is_set():
        place(trader, number)
        number += 1


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
