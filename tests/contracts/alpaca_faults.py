"""Every fault of the Alpaca emulator against the adapter, with whole shares and with parts of one."""

from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from functools import partial
from typing import Any

from tests.contracts.playing import Fault, Outcome, World, play
from tests.trading.brokers.alpaca import emulator as venue
from tests.trading.brokers.alpaca import world as alpaca

TAKEN = {"status": 422, "code": 40010001, "message": "client_order_id must be unique"}
HALF = '{"id": "3ba958cc'

FAULTS = [
    Fault("refuse", {"status": 400}), Fault("refuse", {"status": 401, "code": 40110000}),
    Fault("refuse", {"status": 403, "code": 40310000}), Fault("refuse", {"status": 404, "code": 40410000}),
    Fault("refuse", {"status": 422, "code": 42210000}),
    Fault("refuse", {"status": 422, "code": 42210000, "executed": True}),
    Fault("refuse", TAKEN), Fault("refuse", TAKEN | {"executed": True}),
    Fault("refuse", {"status": 429, "code": 42910000}),
    Fault("refuse", {"status": 408}), Fault("refuse", {"status": 409, "executed": True}),
    Fault("refuse", {"status": 500}), Fault("refuse", {"status": 500, "executed": True}),
    Fault("refuse", {"status": 503}), Fault("refuse", {"status": 504, "executed": True}),
    Fault("answer", {"status": 200, "body": "", "executed": True}),
    Fault("answer", {"status": 200, "body": "<html>", "executed": True}),
    Fault("answer", {"status": 200, "body": HALF, "executed": True}), Fault("answer", {"status": 200, "body": HALF}),
    Fault("answer", {"status": 200, "body": "{}", "executed": True}),
    Fault("answer", {"status": 200, "body": "[]"}), Fault("answer", {"status": 200, "body": "NaN", "executed": True}),
    Fault("answer", {"status": 204, "body": "", "executed": True}),
    Fault("answer", {"status": 302, "body": "", "executed": True}), Fault("answer", {"status": 307, "body": "moved"}),
    Fault("answer", {"status": 403, "body": "<html>"}),
    Fault("answer", {"status": 403, "body": "<html>", "executed": True}),
    Fault("answer", {"status": 429, "body": "<html>", "executed": True}),
    Fault("answer", {"status": 502, "body": "<html>"}),
    Fault("answer", {"status": 502, "body": "<html>", "executed": True}),
    Fault("drop"), Fault("drop", {"executed": True}), Fault("cut"),
    Fault("slow", {"seconds": 1}), Fault("slow", {"seconds": 1, "executed": True}),
    Fault("slow", {"seconds": 1, "executed": "late"}),
    Fault("drop", {"method": "GET"}), Fault("slow", {"seconds": 1, "method": "GET"}),
    Fault("answer", {"status": 200, "body": "<html>", "method": "GET"}),
    Fault("refuse", {"status": 429, "method": "GET"}),
    Fault("duplicate_fills"), Fault("partial", {"share": "0.2"}), Fault("fills_late", {"seconds": 1}),
    Fault("search_lags", {"seconds": 1}), Fault("name_lags", {"seconds": 1}),
    Fault("halt"), Fault("no_buying_power"), Fault("blocked"), Fault("unlisted"), Fault("closed"), Fault("gap"),
]  # fmt: skip
MODES = {"whole shares": "3", "parts of a share": "0.37"}


@contextmanager
def world(quantity: str) -> Iterator[World]:
    """Make an adapter over an emulator, and whatever can go wrong between them."""
    with alpaca.brokers() as (broker, emulator):
        books = emulator.books
        broker.snapshot(symbols=[])  # the account is known: what goes wrong now, goes wrong with the order

        def plan(fault: Fault) -> None:
            params: dict[str, Any] = dict(fault.params)
            method = params.pop("method", "POST")
            if fault.name == "gap":
                books.move("AAPL", "150.00", "150.02")
            emulator.faults.plan(venue.Fault(fault.name, params, method=method))

        def heal() -> None:
            if emulator.faults.lasting("halt") is not None or emulator.faults.lasting("partial") is not None:
                books.assets["AAPL"].halted = books.part_only = False
                books.match()
            if emulator.faults.lasting("fills_late") is None and emulator.faults.lasting("search_lags") is None:
                emulator.faults.heal()

        def truth() -> tuple[Decimal, int]:
            with books.lock:
                fills = list(books.activities)
            return sum((Decimal(fill["qty"]) for fill in fills), Decimal(0)), len({fill["order_id"] for fill in fills})

        order = partial(alpaca.buy, quantity=Decimal(quantity))
        yield World(broker, lambda _: order(), plan, heal, truth)


def run(mode: str, fault: Fault) -> Outcome:
    """Play one fault in a fresh world."""
    with world(MODES[mode]) as made:
        return play(made, fault)
