"""A paper broker's real books of its one account, as nobody whom it serves can see them."""

import json
from pathlib import Path
from typing import Any, Self

from nexus.local.folder import Folder, secrets_of
from trading.brokers.mt5.emulator.controls.client import ControlClient


class Books:
    """Take: where the broker's strings are held, and the token for them."""

    def __init__(self, address: str, token: str) -> None:
        self._broker = ControlClient(address, token)
        self.login: int = self._broker.accounts()[0]["login"]

    @classmethod
    def of(cls, folder: Path) -> Self:
        """Return those of the running installation in `folder`."""
        place = Folder(folder)
        running = json.loads(place.running.read_text(encoding="utf-8"))
        return cls(running["PAPER_CONTROLS"], secrets_of(place)["PAPER_CONTROL_TOKEN"])

    def truth(self) -> dict[str, Any]:
        """Return them."""
        found: dict[str, Any] = self._broker.truth(self.login)
        return found

    def inject(self, fault: str, *, times: int, **parameters: Any) -> None:
        """Let a fault happen, the next time and so often. Raises: OSError when nobody is there."""
        self._broker.inject(fault, times=times, nth=1, **parameters)

    def verify(self) -> None:
        """Hold them against the broker's own deals. Raises: ControlError."""
        self._broker.verify()

    @property
    def is_flat(self) -> bool:
        """Tell whether nothing is held and nothing waits."""
        truth = self.truth()
        return not truth["positions"] and not truth["working"]
