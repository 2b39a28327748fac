"""Every venue by name, and one adapter per link and process."""

import importlib
import os
import threading

from trading.brokers.base import Broker, Link

BROKERS: dict[str, str] = {  # name → dotted path
    "alpaca": "trading.brokers.alpaca.adapter.AlpacaBroker",
    "mt5": "trading.brokers.mt5.adapter.Mt5Broker",
}

# Venues whose fills carry no result: it follows from their prices. The balance they show is cash and holdings at cost.
RESULTS_UNTOLD = frozenset({"alpaca"})

_lock = threading.Lock()
_open: dict[tuple[object, ...], Broker] = {}


class UnknownVenue(LookupError):
    """No adapter goes by this name."""


def get(link: Link) -> Broker:
    """Return the adapter of the link, the same one for the same settings. Raises: UnknownVenue, Refused."""
    key = (link.venue, link.account, *sorted(link.settings.items()))
    with _lock:
        broker = _open.get(key)
        if broker is None:
            broker = _open[key] = _load(link)
        return broker


def close() -> None:
    """Close every adapter's connections and drop it."""
    with _lock:
        for broker in _open.values():
            broker.close()
        _open.clear()


def forget() -> None:
    """Drop every adapter: a forked child must not speak over its parent's connections."""
    global _lock  # noqa: PLW0603 - the parent's lock may be held by a thread that this process does not have
    _lock = threading.Lock()
    _open.clear()


def _load(link: Link) -> Broker:
    try:
        module, _, name = BROKERS[link.venue].rpartition(".")
    except KeyError as exc:
        raise UnknownVenue(f"no adapter goes by the name {link.venue!r}") from exc
    broker: Broker = getattr(importlib.import_module(module), name)(link)
    return broker


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=forget)
