"""Hold the state of one terminal: who is logged in, what is switched on, which symbols are watched."""

from dataclasses import dataclass, field

from trading.brokers.mt5.emulator.case import Desk


@dataclass(slots=True)
class Terminal:
    """One terminal of one path. All processes that connect to it share its account, as they do in life."""

    path: str
    selected: set[str] = field(default_factory=set)
    login: int | None = None
    is_investor: bool = False
    connected: bool = True
    algo_trading: bool = True
    api_disabled: bool = False
    run: int = 1
    requests: int = 0

    def cut_pipe(self) -> None:
        """Close the pipes of every process: their next calls find no connection."""
        self.run += 1

    def restart(self) -> None:
        """Stop and start: pipes are lost and requests are counted anew."""
        self.cut_pipe()
        self.requests = 0

    @property
    def desk(self) -> Desk:
        """Return what a request from here is allowed."""
        return Desk(
            connected=self.connected,
            algo_trading=self.algo_trading,
            is_investor=self.is_investor,
            selected=frozenset(self.selected),
        )
