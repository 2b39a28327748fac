"""Hold the strings of a broker that runs in another process."""

import json
from typing import Any

from trading.brokers.mt5.emulator.controls import wire
from trading.brokers.mt5.emulator.controls.wire import ControlError


class ControlClient:
    """Offer the methods of `Control`, with the same arguments and results, over its socket.

    Absent are only those that hand out live objects: `terminal` and `fork`. `now_us` is an attribute here too.
    Raises everywhere: ControlError (what the broker said), OSError (no broker there).
    """

    def __init__(self, address: str, token: str) -> None:
        self._address, self._token = address, token

    def __getattr__(self, name: str) -> Any:
        """Return a method of `Control`, or its present."""
        if name not in wire.METHODS:
            raise AttributeError(f"the control has no {name!r}")
        if name == "now_us":
            return self._ask(name, (), {})
        return lambda *args, **named: self._ask(name, args, named)

    def _ask(self, method: str, args: tuple[Any, ...], named: dict[str, Any]) -> Any:
        asked = {"token": self._token, "method": method, "args": args, "named": named}
        with wire.connect(self._address) as connection, connection.makefile("rwb") as stream:
            stream.write(json.dumps(asked).encode() + b"\n")
            stream.flush()
            line = stream.readline(wire.LINE_MAX)
        if not line.endswith(b"\n"):
            raise ControlError("the broker went away before it answered", "ConnectionError")
        heard = json.loads(line)
        if "error" in heard:
            raise ControlError(heard["error"], heard["kind"])
        return wire.METHODS[method](heard["result"])
