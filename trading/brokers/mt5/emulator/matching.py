"""Work out what an order does: its deals, the position they change, what becomes of the order. Pure arithmetic."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

from trading.brokers.mt5.emulator import amounts
from trading.brokers.mt5.emulator import constants as mt5
from trading.brokers.mt5.emulator.books import Plan
from trading.brokers.mt5.emulator.instruments import Instrument
from trading.brokers.mt5.emulator.liquidity import Fill
from trading.brokers.mt5.emulator.profiles import AccountProfile
from trading.brokers.mt5.emulator.records import BUY, SELL, Deal, Order, Position, WorkingOrder
from trading.brokers.mt5.emulator.scene import Scene
from trading.brokers.mt5.emulator.valuation import profit


@dataclass(frozen=True, slots=True)
class Step:
    """What one fill does to a position: the deal's entry and money, and the position after it, if there is one."""

    entry: int
    identifier: int
    after: Position | None
    gained: int = 0
    swap: int = 0


@dataclass(frozen=True, slots=True)
class Execution:
    """Executes orders of one account in one symbol."""

    scene: Scene
    profile: AccountProfile
    instrument: Instrument

    def plan(self, order: WorkingOrder, held: Position | None, fills: Sequence[Fill], *, rest_works: bool) -> Plan:
        """Return what the fills do; of what they leave over, the order goes on waiting or is canceled."""
        deals: list[Deal] = []
        position = held
        for fill in fills:
            step = self._step(order, position, fill)
            deals.append(self._deal(order, fill, step, self.scene.next_deal + len(deals)))
            position = step.after
        removed = (held.ticket,) if held and (position is None or position.ticket != held.ticket) else ()
        plan = Plan(deals=tuple(deals), removed=removed, kept=(position,) if position and deals else ())
        return self._with_order(plan, order, fills, rest_works=rest_works)

    def _with_order(self, plan: Plan, order: WorkingOrder, fills: Sequence[Fill], *, rest_works: bool) -> Plan:
        traded = sum(each.volume for each in fills)
        row = replace(order, volume_current=order.volume_current - traded)
        if plan.deals:
            row = replace(
                row, position_id=order.position_id or plan.deals[0].position_id, state=mt5.ORDER_STATE_PARTIAL
            )
        if traded and row.type in (BUY, SELL):
            worth = order.price * order.filled + sum(each.price * each.volume for each in fills)
            row = replace(row, price=amounts.half_away(Fraction(worth, row.filled)))
        if row.volume_current and rest_works:
            return replace(plan, working=row)
        state = mt5.ORDER_STATE_CANCELED if row.volume_current else mt5.ORDER_STATE_FILLED
        return replace(plan, order=self.finished(row, state), gone=(order.ticket,))

    def finished(self, order: WorkingOrder, state: int) -> Order:
        """Return the order as history will show it."""
        now_us = self.scene.now_us
        return order.finish(state, done_us=now_us, visible_us=now_us + self.scene.late.history_us)

    def close_by(self, order: WorkingOrder, first: Position, second: Position) -> Plan:
        """Close two opposite positions against each other: the first at the second's price, which books all profit."""
        kept, removed = [], []
        deals: list[Deal] = []
        volume = order.volume_initial
        for held, price, number in ((first, second.price_open, 0), (second, second.price_open, 1)):
            gained, swap = self._gained(held, volume, price), self._share(held, volume)
            points = amounts.half_away(Fraction(price, amounts.average(1, self.instrument.digits)))
            step = Step(mt5.DEAL_ENTRY_OUT_BY, held.identifier, None, gained, swap)
            leg = replace(order, type=SELL - held.type)
            deals.append(self._deal(leg, Fill(points, volume), step, self.scene.next_deal + number))
            if volume == held.volume:
                removed.append(held.ticket)
            else:
                kept.append(self._less(held, volume, swap))
        row = self.finished(replace(order, volume_current=0, price=deals[0].price), mt5.ORDER_STATE_FILLED)
        return Plan(order=row, deals=tuple(deals), removed=tuple(removed), kept=tuple(kept))

    def _step(self, order: WorkingOrder, held: Position | None, fill: Fill) -> Step:
        if held is None:
            return Step(mt5.DEAL_ENTRY_IN, order.ticket, self._opened(order, fill))
        if held.type == order.side:
            return self._add(order, held, fill)
        if fill.volume <= held.volume:
            swap = self._share(held, fill.volume)
            after = self._less(held, fill.volume, swap) if fill.volume < held.volume else None
            gained = self._gained(held, fill.volume, self._average(fill))
            return Step(mt5.DEAL_ENTRY_OUT, held.identifier, after, gained, swap)
        return self._reverse(order, held, fill)

    def _opened(self, order: WorkingOrder, fill: Fill) -> Position:
        return Position(
            ticket=order.ticket, login=self.profile.login, identifier=order.ticket, time_us=self.scene.now_us,
            update_us=self.scene.now_us, type=order.side, magic=order.magic, reason=order.reason, volume=fill.volume,
            price_open=self._average(fill), sl=order.sl, tp=order.tp, symbol=self.instrument.name,
            comment=order.comment,
        )  # fmt: skip

    def _add(self, order: WorkingOrder, held: Position, fill: Fill) -> Step:
        """Add to a position: the price is averaged; the order's stops replace the position's, zeros too."""
        total = held.volume + fill.volume
        worth = held.price_open * held.volume + self._average(fill) * fill.volume
        price_open = amounts.half_away(Fraction(worth, total))
        after = replace(
            held, volume=total, price_open=price_open, sl=order.sl, tp=order.tp, update_us=self.scene.now_us
        )
        return Step(mt5.DEAL_ENTRY_IN, held.identifier, after)

    def _reverse(self, order: WorkingOrder, held: Position, fill: Fill) -> Step:
        """Reverse on a netting account: one deal for the whole fill, a new ticket, the same identifier."""
        after = replace(self._opened(order, fill), identifier=held.identifier, volume=fill.volume - held.volume)
        gained = self._gained(held, held.volume, self._average(fill))
        return Step(mt5.DEAL_ENTRY_INOUT, held.identifier, after, gained, held.swap)

    def _less(self, held: Position, volume: int, swap: int) -> Position:
        return replace(held, volume=held.volume - volume, swap=held.swap - swap, update_us=self.scene.now_us)

    def _deal(self, order: WorkingOrder, fill: Fill, step: Step, ticket: int) -> Deal:
        return Deal(
            ticket=ticket, login=self.profile.login, order_ticket=order.ticket, time_us=self.scene.now_us,
            type=order.side, entry=step.entry, magic=order.magic, position_id=step.identifier, reason=order.reason,
            volume=fill.volume, price=fill.price, commission=self._commission(fill.volume, step.entry), swap=step.swap,
            profit=step.gained, fee=self._fee(), symbol=self.instrument.name, comment=order.comment,
            visible_us=self.scene.now_us + self.scene.late.history_us,
        )  # fmt: skip

    def _average(self, fill: Fill) -> int:
        return amounts.average(fill.price, self.instrument.digits)

    def _gained(self, held: Position, volume: int, closed: int) -> int:
        rates = self.scene.market.rates
        return profit(self.profile, self.instrument, held.type, volume, held.price_open, closed, rates)

    def _commission(self, volume: int, entry: int) -> int:
        is_exit = entry in (mt5.DEAL_ENTRY_OUT, mt5.DEAL_ENTRY_OUT_BY)
        if not (self.profile.commission_on_exit if is_exit else self.profile.commission_on_entry):
            return 0
        per_lot = Fraction(amounts.units(self.profile.commission_per_lot) * volume, amounts.UNIT)
        per_deal = amounts.units(self.profile.commission_per_deal)
        return -amounts.booked(per_lot + per_deal, self.profile.currency_digits)

    def _fee(self) -> int:
        return -amounts.booked(Fraction(amounts.units(self.profile.fee_per_deal)), self.profile.currency_digits)

    def _share(self, held: Position, volume: int) -> int:
        """Return the part of a position's swap that leaves with a part of its volume."""
        if volume == held.volume:
            return held.swap
        return amounts.booked(Fraction(held.swap * volume, held.volume), self.profile.currency_digits)
