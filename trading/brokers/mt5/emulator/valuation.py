"""Value positions: profit, margin and the figures of an account.

Source: calculation modes of the contract (money). Units: 10^-8 of the named currency.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction

from trading.brokers.mt5.emulator import amounts
from trading.brokers.mt5.emulator.instruments import Instrument
from trading.brokers.mt5.emulator.profiles import AccountProfile
from trading.brokers.mt5.emulator.quotes import Quotes
from trading.brokers.mt5.emulator.rates import Rates
from trading.brokers.mt5.emulator.records import BUY, Position, WorkingOrder


@dataclass(frozen=True, slots=True)
class Market:
    """Everything that has a price, at one instant."""

    instruments: Mapping[str, Instrument]
    quotes: Quotes
    time_ms: int

    def exit_price(self, position: Position) -> int:
        """Return what closing a position gets now, in points. What was opened has had a quote."""
        tick = self.quotes.at(position.symbol, self.time_ms)
        if tick is None:
            raise AssertionError(f"a position without a quote: {position}")
        return tick.exit_price(position.type)

    @property
    def rates(self) -> Rates:
        """Return the conversions of this instant."""
        return Rates(self.instruments, self.quotes, self.time_ms)


@dataclass(frozen=True, slots=True)
class Figures:
    """The sums of an account, in units of its currency."""

    balance: int
    profit: int
    margin: int
    credit: int = 0

    @property
    def equity(self) -> int:
        """Return balance and credit plus what is open."""
        return self.balance + self.credit + self.profit

    @property
    def free(self) -> int:
        """Return what new positions may still bind."""
        return self.equity - self.margin

    @property
    def level(self) -> float:
        """Return equity per margin in percent, 0 without margin."""
        return round(100 * self.equity / self.margin, 2) if self.margin else 0.0


def figures(
    profile: AccountProfile,
    balance: int,
    positions: Iterable[Position],
    market: Market,
    *,
    credit: int = 0,
    working: Iterable[WorkingOrder] = (),
) -> Figures:
    """Return the figures of an account that holds these positions; their profit includes their swap."""
    held = list(positions)
    profit = sum(floating(profile, each, market) + each.swap for each in held)
    margin = total_margin(profile, held, market) + sum(held_back(profile, each, market) for each in working)
    return Figures(balance, profit, margin, credit)


def held_back(profile: AccountProfile, order: WorkingOrder, market: Market) -> int:
    """Return the margin that a working order binds, on symbols where orders do."""
    instrument = market.instruments[order.symbol]
    if not instrument.orders_hold_margin:
        return 0
    price = amounts.average(order.price, instrument.digits)
    return margin(profile, instrument, order.volume_current, price, market.rates)


def floating(profile: AccountProfile, position: Position, market: Market) -> int:
    """Return the profit that closing the position now would book, before commission."""
    instrument = market.instruments[position.symbol]
    close = amounts.average(market.exit_price(position), instrument.digits)
    return profit(profile, instrument, position.type, position.volume, position.price_open, close, market.rates)


def profit(
    profile: AccountProfile, instrument: Instrument, side: int, volume: int, opened: int, closed: int, rates: Rates
) -> int:
    """Return the booked profit of `volume` between two average prices, in the account's currency.

    Raises: NoRateError.
    """
    gain = closed - opened if side == BUY else opened - closed
    if instrument.is_futures:
        tick_size = amounts.average(instrument.tick_size, instrument.digits)
        exact = Fraction(gain * instrument.tick_value * volume, tick_size * amounts.UNIT)
    else:
        exact = Fraction(gain * volume * instrument.contract_size, amounts.AVERAGE_UNIT)
    return amounts.booked(rates.convert(exact, instrument.profit, profile.currency), profile.currency_digits)


def total_margin(profile: AccountProfile, positions: Iterable[Position], market: Market) -> int:
    """Return the margin of all positions."""
    by_symbol: dict[str, list[Position]] = {}
    for each in positions:
        by_symbol.setdefault(each.symbol, []).append(each)
    rates = market.rates
    return sum(_margin(profile, market.instruments[symbol], rows, rates) for symbol, rows in by_symbol.items())


def _margin(profile: AccountProfile, instrument: Instrument, rows: list[Position], rates: Rates) -> int:
    """Return the margin of one symbol: of two opposite sides the larger binds, or hedged lots at their own size."""
    sides, lots = [0, 0], [0, 0]
    for each in rows:
        sides[each.type] += margin(profile, instrument, each.volume, each.price_open, rates)
        lots[each.type] += each.volume
    larger, hedged = max(sides), min(lots)
    if instrument.margin_hedged is None or not hedged:
        return larger
    whole = max(lots)
    open_part = Fraction(larger * (whole - hedged), whole)
    hedged_part = Fraction(larger * hedged * instrument.margin_hedged, whole * instrument.contract_size)
    return amounts.booked(open_part + hedged_part, profile.currency_digits)


def margin(profile: AccountProfile, instrument: Instrument, volume: int, price: int, rates: Rates) -> int:
    """Return what `volume` at an average price binds, in the account's currency.

    A pair whose second currency is the account's own is valued at its own price, so its margin stays still.
    Raises: NoRateError.
    """
    leverage = profile.leverage if instrument.is_leveraged else 1
    if instrument.is_futures:
        exact, currency = Fraction(instrument.margin_initial * volume, amounts.UNIT), instrument.margin
    elif instrument.margin == instrument.profit or instrument.profit == profile.currency:
        worth = volume * instrument.contract_size * price
        exact, currency = Fraction(worth, amounts.AVERAGE_UNIT * leverage), instrument.profit
    else:
        exact, currency = Fraction(volume * instrument.contract_size, leverage), instrument.margin
    return amounts.booked(rates.convert(exact, currency, profile.currency, is_cost=True), profile.currency_digits)
