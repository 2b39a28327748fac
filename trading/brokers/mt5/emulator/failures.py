"""Name the ways a call of the package fails, with the exact words of `last_error`."""

from trading.brokers.mt5.emulator import constants as mt5

SUCCESS = (mt5.RES_S_OK, "Success")

MESSAGES = {
    mt5.RES_S_OK: "Success",
    mt5.RES_E_FAIL: "Terminal: Call failed",
    mt5.RES_E_INVALID_PARAMS: "Terminal: Invalid params",
    mt5.RES_E_NOT_FOUND: "Terminal: Not found",
    mt5.RES_E_AUTH_FAILED: "Terminal: Authorization failed",
    mt5.RES_E_UNSUPPORTED: "Unsupported authorization mode, OTP or certificate password needed",
    mt5.RES_E_AUTO_TRADING_DISABLED: "Auto-Trading using Python API disabled in Terminal",
    mt5.RES_E_INTERNAL_FAIL: "IPC call failed",
    mt5.RES_E_INTERNAL_FAIL_SEND: "IPC send failed",
    mt5.RES_E_INTERNAL_FAIL_RECEIVE: "IPC recv failed",
    mt5.RES_E_INTERNAL_FAIL_INIT: "IPC initialize failed, MetaTrader 5 x64 not found",
    mt5.RES_E_INTERNAL_FAIL_CONNECT: "No IPC connection",
    mt5.RES_E_INTERNAL_FAIL_TIMEOUT: "IPC timeout",
}
CLOSES_PIPE = frozenset({mt5.RES_E_INTERNAL_FAIL_SEND, mt5.RES_E_INTERNAL_FAIL_RECEIVE})

INVALID_ARGUMENTS = "Invalid arguments"
INVALID_COUNT = "Invalid number of arguments"
UNNAMED = "Unnamed arguments not allowed"


class CallError(Exception):
    """Carry what `last_error` will say; it never leaves the facade, which answers None instead."""

    def __init__(self, code: int, message: str | None = None) -> None:
        super().__init__(code, message)
        self.code = code
        self.message = MESSAGES.get(code, "Terminal: Call failed") if message is None else message


def invalid(message: str) -> CallError:
    """Return the failure of a call whose arguments are wrong: nothing was sent."""
    return CallError(mt5.RES_E_INVALID_PARAMS, message)


def invalid_named(name: str) -> CallError:
    """Return the failure of a keyword or request key."""
    return invalid(f'Invalid "{name}" argument')


def invalid_unnamed(index: int) -> CallError:
    """Return the failure of a positional argument, counted from 0."""
    return invalid(f"Invalid {('1st', '2nd', '3rd', '4th', '5th')[index]} unnamed argument")
