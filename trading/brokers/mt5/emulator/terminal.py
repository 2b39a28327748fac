"""Hold the state of one terminal: who is logged in, what is switched on, which symbols are watched."""

from dataclasses import dataclass, field

from trading.brokers.mt5.emulator.case import Desk


@dataclass(slots=True)
class Terminal:
    """One terminal of one path. All processes that connect to it share its account, as they do in life.

    Units: instants in microseconds of UTC. While it is `connected` to no server it shows what it knew at `offline_us`;
    until `history_from_us` its history is empty; until `down_until_us` nobody can connect to it.
    """

    path: str
    selected: set[str] = field(default_factory=set)
    depth: set[str] = field(default_factory=set)  # symbols whose market depth was opened
    login: int | None = None
    is_investor: bool = False
    is_taken: bool = False  # a person has switched the account
    connected: bool = True
    algo_trading: bool = True
    api_disabled: bool = False
    run: int = 1
    requests: int = 0
    offline_us: int = 0
    history_from_us: int = 0
    down_until_us: int = 0
    frozen: dict[str, tuple[int, int]] = field(default_factory=dict)
    _back: dict[str, tuple[int, bool]] = field(default_factory=dict)

    def cut_pipe(self) -> None:
        """Close the pipes of every process: their next calls find no connection."""
        self.run += 1

    def restart(self) -> None:
        """Stop and start: pipes are lost and requests are counted anew."""
        self.cut_pipe()
        self.requests = 0
        self.depth.clear()

    def calm(self) -> None:
        """Forget every trouble. Where a person had switched the account, who uses the terminal has to log in anew."""
        self.connected, self.algo_trading, self.api_disabled, self.is_investor = True, True, False, False
        self.offline_us = self.history_from_us = self.down_until_us = 0
        self.frozen.clear()
        self._back.clear()
        if self.is_taken:
            self.is_taken = False
            self.cut_pipe()

    def turn(self, switch: str, *, value: bool, now_us: int, until_us: int) -> None:
        """Turn a switch until an instant; it then turns back by itself."""
        self._back[switch] = (until_us, not value)
        setattr(self, switch, value)
        if switch == "connected":
            self.offline_us = now_us

    def wake(self, now_us: int) -> None:
        """Turn back the switches whose time is over."""
        for switch, (until_us, value) in list(self._back.items()):
            if until_us <= now_us:
                setattr(self, switch, value)
                del self._back[switch]

    def seen_us(self, now_us: int) -> int:
        """Return up to which instant the terminal knows what has happened."""
        return now_us if self.connected or not self.offline_us else min(now_us, self.offline_us)

    def quoted_us(self, symbol: str, now_us: int) -> int:
        """Return up to which instant the terminal knows a symbol's quotes."""
        for name in (symbol, ""):
            since_us, until_us = self.frozen.get(name, (0, 0))
            if since_us <= now_us < until_us:
                return min(since_us, self.seen_us(now_us))
        return self.seen_us(now_us)

    @property
    def desk(self) -> Desk:
        """Return what a request from here is allowed."""
        return Desk(
            connected=self.connected,
            algo_trading=self.algo_trading,
            is_investor=self.is_investor,
            selected=frozenset(self.selected),
        )
