"""Rebuild balance and positions from deals alone: the second witness that the broker's books are checked against."""

from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction

from trading.brokers.mt5.emulator import amounts
from trading.brokers.mt5.emulator import constants as mt5
from trading.brokers.mt5.emulator.instruments import Instrument
from trading.brokers.mt5.emulator.records import Deal, Position


class BooksDifferError(RuntimeError):
    """Say that the books contradict their own deals; the broker stops."""


@dataclass(slots=True)
class Holding:
    """What the deals of one position id add up to."""

    ticket: int
    symbol: str
    type: int
    volume: int
    price_open: int

    def take(self, deal: Deal, price: int) -> None:
        """Apply a deal to the holding. Raises: BooksDifferError when it cannot have been executed on it."""
        adds, turns = deal.entry == mt5.DEAL_ENTRY_IN, deal.entry == mt5.DEAL_ENTRY_INOUT
        if adds is not (deal.type == self.type) or (not adds and turns is not (deal.volume > self.volume)):
            raise BooksDifferError(f"deal {deal.ticket} does not fit the position {deal.position_id} that it meets")
        if deal.entry == mt5.DEAL_ENTRY_IN:
            total = self.volume + deal.volume
            worth = self.price_open * self.volume + price * deal.volume
            self.volume, self.price_open = total, amounts.half_away(Fraction(worth, total))
        elif deal.entry in (mt5.DEAL_ENTRY_OUT, mt5.DEAL_ENTRY_OUT_BY):
            self.volume -= deal.volume
        else:
            self.ticket, self.type, self.volume = deal.order_ticket, deal.type, deal.volume - self.volume
            self.price_open = price


def holdings(deals: Iterable[Deal], instruments: dict[str, Instrument]) -> list[Holding]:
    """Replay deals, oldest first; finished positions are left out."""
    open_by_id: dict[int, Holding] = {}
    for deal in deals:
        if not deal.symbol:
            continue
        price = amounts.average(deal.price, instruments[deal.symbol].digits)
        holding = open_by_id.get(deal.position_id)
        if holding is not None:
            holding.take(deal, price)
        elif deal.entry == mt5.DEAL_ENTRY_IN:
            open_by_id[deal.position_id] = Holding(deal.order_ticket, deal.symbol, deal.type, deal.volume, price)
        else:
            raise BooksDifferError(f"deal {deal.ticket} closes position {deal.position_id}, which no deal opened")
        if holding is not None and holding.volume == 0:
            del open_by_id[deal.position_id]
    return sorted(open_by_id.values(), key=lambda each: each.ticket)


def compare(
    login: int,
    deals: list[Deal],
    standing: list[Deal],
    positions: Iterable[Position],
    balance: int,
    instruments: dict[str, Instrument],
) -> None:
    """Check the books of one account: all its deals make its balance, those that stand its positions.

    Raises: BooksDifferError.
    """
    rebuilt = sum(deal.total for deal in deals)
    if rebuilt != balance:
        raise BooksDifferError(f"account {login}: balance {balance}, but its deals add up to {rebuilt}")
    stated = sorted(
        (Holding(each.ticket, each.symbol, each.type, each.volume, each.price_open) for each in positions),
        key=lambda each: each.ticket,
    )
    if stated != (derived := holdings(standing, instruments)):
        raise BooksDifferError(f"account {login}: positions {stated}, but its deals say {derived}")
