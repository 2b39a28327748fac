"""Work out what a market order does: one order, one deal, one position changed. Pure: nothing is written here.

A market order fills whole, at exactly the ask (buy) or the bid (sell) of the tick in force.
"""

from dataclasses import dataclass, replace
from fractions import Fraction

from trading.brokers.mt5.emulator import amounts
from trading.brokers.mt5.emulator import constants as mt5
from trading.brokers.mt5.emulator.books import Plan
from trading.brokers.mt5.emulator.instruments import Instrument
from trading.brokers.mt5.emulator.profiles import AccountProfile
from trading.brokers.mt5.emulator.records import SELL, Deal, Order, Position, Tick
from trading.brokers.mt5.emulator.valuation import Market, profit


@dataclass(frozen=True, slots=True)
class Intent:
    """A market order that has passed every check; `position` is what it adds to, reduces or reverses."""

    side: int
    volume: int
    position: Position | None = None
    sl: int = 0
    tp: int = 0
    magic: int = 0
    comment: str = ""
    reason: int = mt5.ORDER_REASON_EXPERT
    type_filling: int = 0
    type_time: int = 0


@dataclass(frozen=True, slots=True)
class Execution:
    """Everything one execution needs to know."""

    profile: AccountProfile
    instrument: Instrument
    market: Market
    tick: Tick
    now_us: int
    next_order: int
    next_deal: int
    history_delay_us: int = 0

    def plan(self, intent: Intent) -> Plan:
        """Return what the order does: open, add, reduce, close or reverse."""
        held = intent.position
        if held is None:
            return self._open(intent)
        if held.type == intent.side:
            return self._add(intent, held)
        if intent.volume <= held.volume:
            return self._reduce(intent, held)
        return self._reverse(intent, held)

    def _open(self, intent: Intent) -> Plan:
        identifier = self.next_order
        position = Position(
            ticket=self.next_order, login=self.profile.login, identifier=identifier, time_us=self.now_us,
            update_us=self.now_us, type=intent.side, magic=intent.magic, reason=intent.reason, volume=intent.volume,
            price_open=self._average_price(intent), sl=intent.sl, tp=intent.tp, symbol=self.instrument.name,
            comment=intent.comment,
        )  # fmt: skip
        return self._done(intent, mt5.DEAL_ENTRY_IN, identifier, 0, kept=(position,))

    def _add(self, intent: Intent, held: Position) -> Plan:
        """Add on a netting account: the price is averaged; the order's stops replace the position's, zeros too."""
        total = held.volume + intent.volume
        worth = held.price_open * held.volume + self._average_price(intent) * intent.volume
        price_open = amounts.half_away(Fraction(worth, total))
        position = replace(held, volume=total, price_open=price_open, sl=intent.sl, tp=intent.tp, update_us=self.now_us)
        return self._done(intent, mt5.DEAL_ENTRY_IN, held.identifier, 0, kept=(position,))

    def _reduce(self, intent: Intent, held: Position) -> Plan:
        gained = self._gained(intent, held, intent.volume)
        if intent.volume == held.volume:
            return self._done(intent, mt5.DEAL_ENTRY_OUT, held.identifier, gained, removed=(held.ticket,))
        position = replace(held, volume=held.volume - intent.volume, update_us=self.now_us)
        return self._done(intent, mt5.DEAL_ENTRY_OUT, held.identifier, gained, kept=(position,))

    def _reverse(self, intent: Intent, held: Position) -> Plan:
        """Reverse on a netting account: one deal for the whole order, a new ticket, the same identifier."""
        position = replace(
            held, ticket=self.next_order, time_us=self.now_us, update_us=self.now_us, type=intent.side,
            magic=intent.magic, reason=intent.reason, volume=intent.volume - held.volume,
            price_open=self._average_price(intent), sl=intent.sl, tp=intent.tp, comment=intent.comment,
        )  # fmt: skip
        gained = self._gained(intent, held, held.volume)
        return self._done(
            intent, mt5.DEAL_ENTRY_INOUT, held.identifier, gained, kept=(position,), removed=(held.ticket,)
        )

    def _done(
        self,
        intent: Intent,
        entry: int,
        identifier: int,
        gained: int,
        *,
        kept: tuple[Position, ...] = (),
        removed: tuple[int, ...] = (),
    ) -> Plan:
        price = self.tick.entry_price(intent.side)
        visible_us = self.now_us + self.history_delay_us
        order = Order(
            ticket=self.next_order, login=self.profile.login, setup_us=self.now_us, done_us=self.now_us,
            type=intent.side, type_filling=intent.type_filling, type_time=intent.type_time,
            state=mt5.ORDER_STATE_FILLED, magic=intent.magic, position_id=identifier, reason=intent.reason,
            volume_initial=intent.volume, volume_current=0, price=price, sl=intent.sl, tp=intent.tp,
            symbol=self.instrument.name, comment=intent.comment, visible_us=visible_us,
        )  # fmt: skip
        deal = Deal(
            ticket=self.next_deal, login=self.profile.login, order_ticket=self.next_order, time_us=self.now_us,
            type=intent.side, entry=entry, magic=intent.magic, position_id=identifier, reason=intent.reason,
            volume=intent.volume, price=price, commission=self._commission(intent.volume, entry), swap=0,
            profit=gained, fee=0, symbol=self.instrument.name, comment=intent.comment, visible_us=visible_us,
        )  # fmt: skip
        return Plan(order=order, deals=(deal,), removed=removed, kept=kept)

    def _average_price(self, intent: Intent) -> int:
        return amounts.average(self.tick.entry_price(intent.side), self.instrument.digits)

    def _gained(self, intent: Intent, held: Position, volume: int) -> int:
        closed = self._average_price(intent)
        return profit(self.profile, self.instrument, held.type, volume, held.price_open, closed, self.market.rates)

    def _commission(self, volume: int, entry: int) -> int:
        if entry == mt5.DEAL_ENTRY_OUT and not self.profile.commission_on_exit:
            return 0
        per_lot = amounts.units(self.profile.commission_per_lot)
        return -amounts.booked(Fraction(per_lot * volume, amounts.UNIT), self.profile.currency_digits)


def closing(position: Position, *, reason: int, comment: str) -> Intent:
    """Return the order that closes a whole position, under the position's own magic."""
    return Intent(
        side=SELL - position.type,
        volume=position.volume,
        position=position,
        magic=position.magic,
        comment=comment,
        reason=reason,
    )
