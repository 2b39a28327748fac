"""Break what stands around a call: the terminal, its permissions, the market, the server's clock."""

from collections.abc import Callable
from dataclasses import replace

from trading.brokers.mt5.emulator.broker import Broker
from trading.brokers.mt5.emulator.core import SECOND_US
from trading.brokers.mt5.emulator.faults import Fault
from trading.brokers.mt5.emulator.records import Tick
from trading.brokers.mt5.emulator.terminal import Terminal

FOR_GOOD_US = 2**62


def change(broker: Broker, terminal: Terminal, fault: Fault) -> None:
    """Do to terminal, market or clock what the fault says. A duration of 0 seconds means for good."""
    with broker.lock:
        broker.sync()
        CHANGES[fault.name](broker, terminal, fault)


def _until_us(broker: Broker, fault: Fault) -> int:
    seconds = fault.params["seconds"]
    return broker.now_us + round(seconds * SECOND_US) if seconds else FOR_GOOD_US


def _disconnect(broker: Broker, terminal: Terminal, fault: Fault) -> None:
    terminal.turn("connected", value=False, now_us=broker.now_us, until_us=_until_us(broker, fault))


def _algo_off(broker: Broker, terminal: Terminal, fault: Fault) -> None:
    terminal.turn("algo_trading", value=False, now_us=broker.now_us, until_us=_until_us(broker, fault))


def _api_off(broker: Broker, terminal: Terminal, fault: Fault) -> None:
    terminal.turn("api_disabled", value=True, now_us=broker.now_us, until_us=_until_us(broker, fault))


def _investor(broker: Broker, terminal: Terminal, fault: Fault) -> None:
    terminal.turn("is_investor", value=True, now_us=broker.now_us, until_us=_until_us(broker, fault))


def _restart(broker: Broker, terminal: Terminal, fault: Fault) -> None:
    terminal.restart()
    terminal.history_from_us = broker.now_us + round(fault.params["seconds"] * SECOND_US)


def _update(broker: Broker, terminal: Terminal, fault: Fault) -> None:
    _restart(broker, terminal, fault)
    terminal.down_until_us = terminal.history_from_us


def _relogin(broker: Broker, terminal: Terminal, fault: Fault) -> None:
    terminal.login, terminal.is_investor, terminal.is_taken = fault.params["account"], False, True


def _freeze(broker: Broker, terminal: Terminal, fault: Fault) -> None:
    terminal.frozen[fault.params["target"]] = (broker.now_us, _until_us(broker, fault))


def _mood(broker: Broker, terminal: Terminal, fault: Fault) -> None:
    broker.moods.until[f"{fault.name}:{fault.params['target']}"] = _until_us(broker, fault)
    broker.save_moods()


def _move(broker: Broker, terminal: Terminal, fault: Fault) -> None:
    """Quote one tick that has jumped, or whose spread is wider."""
    names = [fault.params["target"]] if fault.params["target"] else list(broker.instruments)
    for name in names:
        before = broker.quotes.at(name, broker.now_ms)
        if before is not None:
            moved = fault.params["ticks"] * broker.instruments[name].tick_size
            bid = before.bid + (moved if fault.name == "gap" else 0)
            broker.script(_next(broker, replace(before, bid=bid, ask=before.ask + moved, time_ms=broker.now_ms)))


def _next(broker: Broker, tick: Tick) -> Tick:
    last = broker.quotes.last_scripted(tick.symbol)
    if not 0 < tick.bid <= tick.ask:
        raise ValueError(f"{tick} is no quote")
    return replace(tick, number=last.number + 1 if last else 1)


def _jump(broker: Broker, terminal: Terminal, fault: Fault) -> None:
    seconds = fault.params["seconds"] if fault.name == "clock_jump" else 3_600 * fault.params["hours"]
    broker.moods.clock_shift_s += seconds
    broker.save_moods()


CHANGES: dict[str, Callable[[Broker, Terminal, Fault], None]] = {
    "server_disconnect": _disconnect,
    "terminal_restart": _restart,
    "terminal_update": _update,
    "relogin": _relogin,
    "algo_off": _algo_off,
    "api_off": _api_off,
    "investor": _investor,
    "frozen_tick": _freeze,
    "close_only": _mood,
    "market_close": _mood,
    "gap": _move,
    "spread": _move,
    "clock_jump": _jump,
    "dst_switch": _jump,
}
