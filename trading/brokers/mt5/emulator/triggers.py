"""Find the positions whose stops a tick has reached."""

from collections.abc import Iterable

from trading.brokers.mt5.emulator import constants as mt5
from trading.brokers.mt5.emulator import matching
from trading.brokers.mt5.emulator.instruments import Instrument
from trading.brokers.mt5.emulator.records import BUY, Position, Tick


def reached(positions: Iterable[Position], tick: Tick, instrument: Instrument) -> Iterable[matching.Intent]:
    """Return one closing order per position hit, oldest first. A stop loss goes before a take profit."""
    for position in sorted(positions, key=lambda each: each.ticket):
        price = tick.exit_price(position.type)
        if position.sl and (price <= position.sl if position.type == BUY else price >= position.sl):
            comment = f"[sl {instrument.price_text(position.sl)}]"
            yield matching.closing(position, reason=mt5.ORDER_REASON_SL, comment=comment)
        elif position.tp and (price >= position.tp if position.type == BUY else price <= position.tp):
            comment = f"[tp {instrument.price_text(position.tp)}]"
            yield matching.closing(position, reason=mt5.ORDER_REASON_TP, comment=comment)
