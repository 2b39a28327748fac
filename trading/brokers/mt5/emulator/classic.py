"""Serve the emulator to clients of the RPyC classic bridges, for tests of compatibility and for nothing else.

Such a server runs any code that reaches it, as this user. So it binds loopback only, and refuses a broker whose time
flows: paper trading goes through the gateway. Needs the package `rpyc`, which the tests alone install.
"""

import importlib
import sys
import threading
from typing import Any, Self

from trading.brokers.mt5.emulator import facade
from trading.brokers.mt5.emulator.broker import Broker

HOST = "127.0.0.1"
PACKAGE = "MetaTrader5"


class ClassicServer:
    """A classic server in whose process `import MetaTrader5` finds the emulator, until it is closed."""

    def __init__(self, broker: Broker, terminal_path: str, *, port: int = 0) -> None:
        """Bind a port of loopback, 0 for any. Raises: ImportError (no rpyc), ValueError (a broker of wall time)."""
        if broker.clock.flows:
            raise ValueError("a server that runs any code has no place beside paper or live trading")
        rpyc, servers = (importlib.import_module(name) for name in ("rpyc", "rpyc.utils.server"))
        self._server: Any = servers.ThreadedServer(rpyc.SlaveService, hostname=HOST, port=port, auto_register=False)
        self._shadowed = sys.modules.get(PACKAGE)
        self._module = facade.module(broker, terminal_path)
        self._thread = threading.Thread(target=self._server.start, name="classic", daemon=True)

    @property
    def port(self) -> int:
        """Return the port that it listens at."""
        return int(self._server.port)

    def __enter__(self) -> Self:
        modules: dict[str, Any] = sys.modules
        modules[PACKAGE] = self._module
        self._server._listen()  # its thread would, some time after we have told that it serves
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.close()
        self._thread.join()
        del sys.modules[PACKAGE]
        if self._shadowed is not None:
            sys.modules[PACKAGE] = self._shadowed
