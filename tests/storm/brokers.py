"""A hundred paper brokers, each behind a real gateway of its own, in one process."""

import contextlib
import os
import sys
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

from tests.fakes import paper as paper_broker
from tests.fakes.paper import Paper

LOGIN = 7001
QUOTE = ("EURUSD", "1.08490", "1.08500")


class Brokers:
    """The hand on that process: what moves the brokers, and shows their books."""

    def __init__(self, context: ForkServerContext, folder: Path, *, count: int) -> None:
        self._strings, theirs = context.Pipe()
        process = context.Process(target=serve, args=(str(folder), count, theirs), daemon=True)
        process.start()
        theirs.close()
        self.login = LOGIN
        self.urls: list[str] = self._strings.recv()

    def tick(self) -> None:
        """Let every broker quote again, at the same price."""
        self._strings.send("tick")
        self._strings.recv()

    def deals(self, number: int) -> list[dict[str, Any]]:
        """Return the trades in the books of one broker."""
        self._strings.send(number)
        found: list[dict[str, Any]] = self._strings.recv()
        return found


def serve(folder: str, count: int, strings: Connection) -> None:
    """Be that process, until nobody asks any more."""
    sys.stdout = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 - until the process ends
    with contextlib.ExitStack() as stack, contextlib.suppress(EOFError):
        running = [_open(stack, Path(folder) / f"paper-{number}", number) for number in range(count)]
        strings.send([each.url for each in running])
        while True:
            asked = strings.recv()
            if asked == "tick":
                for each in running:
                    each.quote(*QUOTE)
                strings.send("done")
            else:
                strings.send(running[asked].deals())


def _open(stack: contextlib.ExitStack, folder: Path, number: int) -> Paper:
    folder.mkdir()
    opened = stack.enter_context(paper_broker.paper(folder, login=LOGIN + number))
    opened.quote(*QUOTE)
    return opened
