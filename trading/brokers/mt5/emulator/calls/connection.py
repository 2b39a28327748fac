"""Connect to a terminal and log in."""

from typing import Any

from trading.brokers.mt5.emulator import arguments, structures, views
from trading.brokers.mt5.emulator import constants as mt5
from trading.brokers.mt5.emulator.calls.base import Calls, answering
from trading.brokers.mt5.emulator.failures import INVALID_COUNT, CallError, invalid, invalid_unnamed

DEFAULT_TIMEOUT_MS = 60_000


class ConnectionCalls(Calls):
    """The functions that open, name and close the connection."""

    @answering(failure=False)
    def initialize(self, *args: Any, **named: Any) -> bool:
        """Connect to the terminal, and log in if a login is named. A former connection is dropped first."""
        if len(args) > 1:
            raise invalid(INVALID_COUNT)
        if args and not isinstance(args[0], str):
            raise invalid_unnamed(0)
        given = arguments.keywords((), named, path=str, login=int, password=str, server=str, timeout=int, portable=bool)
        self._pipe = None
        self._refuse_while_down()
        if (args[0] if args else given.get("path", self._terminal.path)) != self._terminal.path:
            raise CallError(mt5.RES_E_INTERNAL_FAIL_INIT)
        self._authorize(given.get("login"), given)
        self._pipe = self._terminal.run
        return True

    @answering(failure=False)
    def login(self, *args: Any, **named: Any) -> bool:
        """Switch the terminal to another account; when that fails, it is left with none."""
        if len(args) > 3:
            raise invalid(INVALID_COUNT)
        for index, (value, kind) in enumerate(zip(args, (int, str, str), strict=False)):
            if not isinstance(value, kind):
                raise invalid_unnamed(index)
        unnamed = dict(zip(("login", "password", "server"), args, strict=False))
        given = unnamed | arguments.keywords((), named, login=int, password=str, server=str, timeout=int)
        if "login" not in given:
            raise invalid(INVALID_COUNT)
        self._require_pipe()
        try:
            self._authorize(given["login"], given)
        except CallError:
            self._terminal.login = None
            raise
        return True

    @answering()
    def shutdown(self) -> bool:
        """Close the pipe; the terminal and its orders live on."""
        self._pipe = None
        return True

    @answering()
    def version(self) -> tuple[int, int, str]:
        """Return version, build and release date of the terminal."""
        self._require_pipe()
        return (500, views.BUILD, "16 Jan 2026")

    @answering()
    def terminal_info(self) -> structures.TerminalInfo:
        """Return the terminal's state."""
        self._require_pipe()
        self._terminal.wake(self._broker.now_us)
        return views.terminal(self._terminal)

    @answering()
    def account_info(self) -> structures.AccountInfo:
        """Return the account's state."""
        login = self._enter("account_info")
        with self._broker.lock:
            return views.account(self._broker, login, is_investor=self._terminal.is_investor)

    def _refuse_while_down(self) -> None:
        with self._broker.lock:
            self._broker.sync()
        self._terminal.wake(self._broker.now_us)
        if self._broker.now_us < self._terminal.down_until_us:
            raise CallError(mt5.RES_E_INTERNAL_FAIL_INIT, "IPC initialize failed, terminal is updating")

    def _authorize(self, login: int | None, given: dict[str, Any]) -> None:
        """Log in as the server would, or as the terminal remembers."""
        terminal, books = self._terminal, self._broker.books
        server = given.get("server")
        known = {each.profile.server for each in books.values()}
        if not terminal.connected or (server is not None and server not in known):
            self._broker.pause(given.get("timeout", DEFAULT_TIMEOUT_MS) / 1_000)
            raise CallError(mt5.RES_E_INTERNAL_FAIL_TIMEOUT)
        wanted = terminal.login if login is None else login
        if wanted is None or wanted not in books:
            raise CallError(mt5.RES_E_AUTH_FAILED)
        profile, password = books[wanted].profile, given.get("password")
        if server not in (None, profile.server):
            raise CallError(mt5.RES_E_AUTH_FAILED)
        if password is None and wanted == terminal.login:
            return  # the terminal has saved it
        if password != profile.password and (not password or password != profile.investor_password):
            raise CallError(mt5.RES_E_AUTH_FAILED)
        terminal.is_investor = password != profile.password
        terminal.login = wanted
