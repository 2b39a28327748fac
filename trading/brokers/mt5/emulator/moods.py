"""Remember how a broker differs from its configuration for the time being. It is kept in the file with the books."""

import json
from dataclasses import asdict, dataclass, field, replace
from decimal import Decimal
from typing import Any, Self

from trading.brokers.mt5.emulator import constants as mt5
from trading.brokers.mt5.emulator.instruments import Instrument
from trading.brokers.mt5.emulator.requests import Request
from trading.brokers.mt5.emulator.zones import ServerZone

CLOSE_ONLY, MARKET_CLOSED = "close_only", "market_close"
DECIMALS = ("volume", "price", "stoplimit", "sl", "tp")


@dataclass(slots=True)
class Moods:
    """What has changed since the broker was configured.

    Units: instants in microseconds of UTC. `until` has keys like `close_only:EURUSD`, an empty symbol means all.
    `late_sends` holds instant, login and request of what was accepted but is not yet executed.
    """

    until: dict[str, int] = field(default_factory=dict)
    clock_shift_s: int = 0
    leverage: dict[str, int] = field(default_factory=dict)
    deleted: list[str] = field(default_factory=list)
    late_sends: list[list[object]] = field(default_factory=list)

    @classmethod
    def read(cls, text: str) -> Self:
        """Read what `text` wrote."""
        return cls(**json.loads(text))

    @property
    def text(self) -> str:
        """Return everything as one text, for the file."""
        return json.dumps(asdict(self), sort_keys=True)

    def is_on(self, mood: str, symbol: str, now_us: int) -> bool:
        """Say whether a mood holds for a symbol now."""
        return any(now_us < self.until.get(f"{mood}:{each}", 0) for each in (symbol, ""))

    def seen_by_traders(self, instrument: Instrument, now_us: int) -> Instrument | None:
        """Return an instrument as it is offered now, None once it is deleted."""
        if instrument.name in self.deleted:
            return None
        if self.is_on(CLOSE_ONLY, instrument.name, now_us):
            return replace(instrument, trade_mode=mt5.SYMBOL_TRADE_MODE_CLOSEONLY)
        return instrument

    def zone(self, configured: ServerZone) -> ServerZone:
        """Return the zone that the server's clock shows."""
        shift_s = self.clock_shift_s
        return replace(configured, winter_s=configured.winter_s + shift_s) if shift_s else configured

    def delay_send(self, at_us: int, login: int, request: Request) -> None:
        """Keep an accepted request until an instant."""
        self.late_sends.append([at_us, login, request.plain()])

    def next_send(self, until_us: int) -> tuple[int, int, Request] | None:
        """Take out the first request whose instant has come, if there is one."""
        ready = [row for row in self.late_sends if int(str(row[0])) <= until_us]
        if not ready:
            return None
        row = min(ready, key=lambda each: int(str(each[0])))
        self.late_sends.remove(row)
        plain = dict(row[2]) if isinstance(row[2], dict) else {}
        values: Any = {name: Decimal(value) if name in DECIMALS else value for name, value in plain.items()}
        return int(str(row[0])), int(str(row[1])), Request(**values)
