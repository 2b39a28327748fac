"""Carry a request from the terminal to the broker, through whatever fault is planned on the way."""

from trading.brokers.mt5.emulator import constants as mt5
from trading.brokers.mt5.emulator.broker import Broker
from trading.brokers.mt5.emulator.failures import CallError
from trading.brokers.mt5.emulator.faults import Fault
from trading.brokers.mt5.emulator.requests import Answer, Request
from trading.brokers.mt5.emulator.terminal import Terminal


def send(broker: Broker, terminal: Terminal, login: int, request: Request) -> Answer:
    """Return the server's answer, or the lie that a fault puts in its place.

    Raises: CallError, when the caller gets None.
    """
    if terminal.api_disabled:
        raise CallError(mt5.RES_E_AUTO_TRADING_DISABLED)
    fault = broker.call_fault("order_send", login, request)
    terminal.requests += 1
    if fault is None or fault.name == "history_delay":
        return broker.send(login, request, terminal.desk, fault=fault)
    if fault.name == "hang":
        broker.pause(fault.params["seconds"])
        return broker.send(login, request, terminal.desk)
    return _broken(broker, terminal, login, request, fault)


def _broken(broker: Broker, terminal: Terminal, login: int, request: Request, fault: Fault) -> Answer:
    executed = fault.name == "timeout_after_accept" or fault.params.get("executed", False)
    if executed:
        broker.send(login, request, terminal.desk)
    if fault.params.get("delay"):
        broker.pause(fault.params["delay"])
    if fault.name == "none_result":
        raise CallError(fault.params["code"])
    if not fault.params["retcode"]:
        raise CallError(mt5.RES_E_INTERNAL_FAIL_RECEIVE)
    return Answer(fault.params["retcode"])
