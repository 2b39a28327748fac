"""What breaks the wire of a paper broker: requests and answers that are lost, late or doubled, as somebody has planned.

Only a gateway of an emulator whose strings are held (`terminal.control`) has it: `manage.py paper inject bridge_…`.
"""

import contextlib
import importlib
import threading
import time
from collections.abc import Callable
from typing import Any, Protocol

from trading.brokers.mt5.gateway import logs
from trading.brokers.mt5.gateway.config import TerminalConfig

SEND, READ = "wire_send", "wire_read"
Work = Callable[[], dict[str, Any]]


class Dropped(Exception):
    """The connection is closed, and nobody is answered; or, with an `answer`, in the middle of it."""

    def __init__(self, answer: dict[str, Any] | None = None) -> None:
        super().__init__()
        self.answer = answer


class Wire(Protocol):
    """Bring a request to the gateway, and its answer back."""

    def __call__(self, path: str, work: Work) -> dict[str, Any]:
        """Return the answer. Raises: Dropped, and whatever `work` raises."""
        ...


def sound(path: str, work: Work) -> dict[str, Any]:
    """Be a wire on which nothing breaks: every gateway of a real terminal has this one."""
    return work()


class Bridge:
    """A wire on which what was planned happens. Takes: how the broker is asked for the fault that hits a request."""

    def __init__(self, ask: Callable[[str], dict[str, Any] | None]) -> None:
        self._ask = ask

    def __call__(self, path: str, work: Work) -> dict[str, Any]:
        """Bring a request over, or do to it what its fault says."""
        fault = self._fault(SEND if path == "/v1/order_send" else READ)
        if fault is None:
            return work()
        logs.write("gateway.paper.wire", fault=fault["name"], path=path)
        if fault["name"] == "bridge_drop":
            answer = None if fault["params"]["point"] == "request" else work()
            raise Dropped(answer if fault["params"]["point"] == "middle" else None)
        if fault["name"] == "bridge_slow":
            time.sleep(fault["params"]["seconds"])
            return work()
        answer = work()
        self._again(work, after_s=fault["params"]["seconds"])
        return answer

    def _fault(self, call: str) -> dict[str, Any] | None:
        try:
            return self._ask(call)
        except (OSError, RuntimeError):  # the broker's process is being started anew, or says no
            return None

    def _again(self, work: Work, *, after_s: float) -> None:
        """Let a copy of the request arrive: at once, or late."""

        def arrive() -> None:
            with contextlib.suppress(Exception):  # there is nobody to tell
                work()

        if not after_s:
            arrive()
            return
        copy = threading.Timer(after_s, arrive)
        copy.daemon = True
        copy.start()


def of_terminal(config: TerminalConfig) -> Wire:
    """Return the wire of a gateway: one that breaks only where a paper broker's strings are held at a known address."""
    control = config.options.get("control") if config.kind == "emulator" else None
    if not control or control[0].endswith(":0"):
        return sound
    client = importlib.import_module("trading.brokers.mt5.emulator.controls.client").ControlClient(*control)
    return Bridge(client.wire_fault)
