"""Do what a server does at its midnight: swaps for open positions, and the end of stops on daily symbols."""

from dataclasses import replace
from fractions import Fraction

from trading.brokers.mt5.emulator import amounts
from trading.brokers.mt5.emulator import constants as mt5
from trading.brokers.mt5.emulator.books import AccountBooks, Plan
from trading.brokers.mt5.emulator.instruments import Instrument
from trading.brokers.mt5.emulator.profiles import AccountProfile
from trading.brokers.mt5.emulator.rates import NoRateError
from trading.brokers.mt5.emulator.records import BUY, Position
from trading.brokers.mt5.emulator.scene import Scene
from trading.brokers.mt5.emulator.zones import DAY_S

YEAR_DAYS = 360  # of banks
PER_LOT = {
    mt5.SYMBOL_SWAP_MODE_CURRENCY_SYMBOL: "base",
    mt5.SYMBOL_SWAP_MODE_CURRENCY_MARGIN: "margin",
    mt5.SYMBOL_SWAP_MODE_CURRENCY_DEPOSIT: "",
}
INTEREST = (mt5.SYMBOL_SWAP_MODE_INTEREST_CURRENT, mt5.SYMBOL_SWAP_MODE_INTEREST_OPEN)


def plan(books: AccountBooks, scene: Scene) -> Plan:
    """Return the positions as the midnight that is now leaves them."""
    kept = []
    for position in books.positions.values():
        instrument = scene.market.instruments[position.symbol]
        after = position
        if books.profile.swaps:
            after = replace(after, swap=after.swap + _swap(position, instrument, books.profile, scene))
        if instrument.order_gtc_mode == mt5.SYMBOL_ORDERS_DAILY:
            after = replace(after, sl=0, tp=0)
        if after != position:
            kept.append(after)
    return Plan(kept=tuple(kept))


def night(position: Position, books: AccountBooks, scene: Scene) -> int:
    """Return the swap of one ordinary night, whatever day it is."""
    return _swap(position, scene.market.instruments[position.symbol], books.profile, scene, nights=1)


def _swap(
    position: Position, instrument: Instrument, profile: AccountProfile, scene: Scene, *, nights: int | None = None
) -> int:
    """Return one midnight's swap, booked in the account's currency; a night without a rate costs nothing."""
    rate = instrument.swap_long if position.type == BUY else instrument.swap_short
    nights = _nights(instrument, scene) if nights is None else nights
    if not rate or not nights:
        return 0
    exact, currency = _exact(rate, position, instrument, scene)
    try:
        converted = scene.market.rates.convert(exact * nights, currency or profile.currency, profile.currency)
    except NoRateError:
        return 0
    return amounts.booked(converted, profile.currency_digits)


def _nights(instrument: Instrument, scene: Scene) -> int:
    """Return for how many nights the day that ends now counts: Saturday and Sunday are paid on the triple day."""
    ended_s = scene.zone.to_server_ms(scene.now_us // 1_000) // 1_000 - 1
    weekday = (ended_s // DAY_S + 4) % 7  # the epoch was a Thursday; Sunday is 0
    if weekday in (0, 6):
        return 0
    return 3 if weekday == instrument.swap_rollover3days else 1


def _exact(rate: int, position: Position, instrument: Instrument, scene: Scene) -> tuple[Fraction, str]:
    """Return amount and currency of one night; no currency means the account's own."""
    lots = Fraction(position.volume, amounts.UNIT)
    if instrument.swap_mode == mt5.SYMBOL_SWAP_MODE_POINTS:
        return rate * lots * instrument.contract_size / 10**instrument.digits, instrument.profit
    if instrument.swap_mode in PER_LOT:
        name = PER_LOT[instrument.swap_mode]
        return rate * lots, getattr(instrument, name) if name else ""
    if instrument.swap_mode in INTEREST:
        opened = instrument.swap_mode == mt5.SYMBOL_SWAP_MODE_INTEREST_OPEN
        now = amounts.average(scene.market.exit_price(position), instrument.digits)
        price = Fraction(position.price_open if opened else now, amounts.AVERAGE_UNIT)
        return rate * lots * instrument.contract_size * price / 100 / YEAR_DAYS, instrument.profit
    return Fraction(0), ""
