"""Carry a request from the terminal to the broker, through whatever fault is planned on the way."""

import threading

from trading.brokers.mt5.emulator import constants as mt5
from trading.brokers.mt5.emulator import scenery
from trading.brokers.mt5.emulator.broker import Broker
from trading.brokers.mt5.emulator.core import SECOND_US
from trading.brokers.mt5.emulator.failures import CallError
from trading.brokers.mt5.emulator.faults import SCENERY, Fault
from trading.brokers.mt5.emulator.requests import Answer, Request
from trading.brokers.mt5.emulator.terminal import Terminal

EXECUTED_FIRST = frozenset({"timeout_after_accept"})
ANSWERED = frozenset(
    {
        "timeout_before_accept", "timeout_after_accept", "none_result", "none_success", "retcode", "requote",
        "price_changed", "off_quotes", "locked", "too_many",
    }
)  # fmt: skip


def send(broker: Broker, terminal: Terminal, login: int, request: Request) -> Answer:
    """Return the server's answer, or the lie that a fault puts in its place.

    Raises: CallError, when the caller gets None.
    """
    fault = broker.call_fault("order_send", login, request)
    if fault is not None and fault.name == "wrong_terminal":
        login, fault = fault.params["account"], None
    elif fault is not None and fault.name in SCENERY:
        scenery.change(broker, terminal, fault)
        login, fault = still_there(broker, terminal), None
    terminal.wake(broker.now_us)
    if terminal.api_disabled:
        raise CallError(mt5.RES_E_AUTO_TRADING_DISABLED)
    terminal.requests += 1
    if fault is not None and fault.name in ANSWERED:
        return _broken(broker, terminal, login, request, fault)
    if fault is not None and fault.name == "hang":
        hang(broker, fault)
        return deliver(broker, terminal, login, request)
    if fault is not None and fault.name == "accept_late":
        broker.accept_late(login, request, round(fault.params["seconds"] * SECOND_US), fault.params["retcode"])
        return Answer(fault.params["retcode"])
    if fault is not None and fault.name == "pipe_cut":
        return _cut(broker, terminal, login, request, fault)
    return deliver(broker, terminal, login, request, fault=fault)


def still_there(broker: Broker, terminal: Terminal) -> int:
    """Return the account of a terminal after something happened to it, or fail as a call does that is on its way."""
    if broker.now_us < terminal.down_until_us:
        raise CallError(mt5.RES_E_INTERNAL_FAIL_RECEIVE)
    if terminal.login is None:
        raise CallError(mt5.RES_E_FAIL)
    return terminal.login


def hang(broker: Broker, fault: Fault) -> None:
    """Block the caller: for seconds of the broker's time, or, without a number, as long as the process lives."""
    if fault.params["seconds"] is None:
        threading.Event().wait()
    broker.pause(fault.params["seconds"])


def deliver(broker: Broker, terminal: Terminal, login: int, request: Request, *, fault: Fault | None = None) -> Answer:
    """Hand a request in; a good one takes its time on the way, and the price may move meanwhile."""
    if (seconds := broker.latency_s) and broker.check(login, request, terminal.desk).retcode == 0:
        broker.pause(seconds)
    return broker.send(login, request, terminal.desk, fault=fault)


def _broken(broker: Broker, terminal: Terminal, login: int, request: Request, fault: Fault) -> Answer:
    if fault.name in EXECUTED_FIRST or fault.params.get("executed", False):
        deliver(broker, terminal, login, request)
    if fault.params.get("delay"):
        broker.pause(fault.params["delay"])
    if "code" in fault.params:
        raise CallError(fault.params["code"])
    if not fault.params["retcode"]:
        raise CallError(mt5.RES_E_INTERNAL_FAIL_RECEIVE)
    return broker.quoted_answer(fault.params["retcode"], request)


def _cut(broker: Broker, terminal: Terminal, login: int, request: Request, fault: Fault) -> Answer:
    """Lose the pipe before the request leaves, while the answer is awaited, or right after it came."""
    if fault.params["point"] == "before":
        terminal.cut_pipe()
        raise CallError(mt5.RES_E_INTERNAL_FAIL_CONNECT)
    if fault.params["point"] == "after" or fault.params["executed"]:
        answer = deliver(broker, terminal, login, request)
        terminal.cut_pipe()
        if fault.params["point"] == "after":
            return answer
    raise CallError(mt5.RES_E_INTERNAL_FAIL_RECEIVE)
