"""Keep a broker's whole state in a file, return to it, or let two brokers go on from it."""

from pathlib import Path

from trading.brokers.mt5.emulator.broker import Broker
from trading.brokers.mt5.emulator.controls.base import Strings


class Snapshots(Strings):
    """Copies of everything that the broker's file holds."""

    def snapshot(self, path: str) -> None:
        """Write the broker's state into a new file. Raises: FileExistsError."""
        if Path(path).exists():
            raise FileExistsError(path)
        with self._broker.lock:
            self._broker.sync()
            self._broker.store.copy_to(path)

    def restore(self, path: str) -> None:
        """Return to the state of a snapshot. Terminals keep their connection; wall time goes on from the present.

        Raises: StoreMismatchError when the snapshot was made by a broker of another kind.
        """
        with self._broker.lock:
            self._broker.sync()
            self._broker.store.copy_from(path)
            self._broker.reload()

    def fork(self, path: str) -> Broker:
        """Return a second broker that goes on, in a new file, from where this one stands."""
        self.snapshot(path)
        return self._broker.reopen(path)
