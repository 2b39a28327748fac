"""Describe what can be traded. The built-in names are fixed, so that tests can rely on them."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from trading.brokers.mt5.emulator import amounts, expiry
from trading.brokers.mt5.emulator import constants as mt5
from trading.brokers.mt5.emulator.sessions import ALWAYS, FIVE_DAYS, FIVE_DAYS_FROM_ONE, Sessions

FILL_FOK, FILL_IOC, FILL_BOC = 1, 2, 4  # bits of `filling_mode`; the wheel does not name them
ORDERS_MARKET, ORDERS_LIMIT, ORDERS_STOP, ORDERS_STOP_LIMIT = 1, 2, 4, 8  # bits of `order_mode`; nor these
ORDERS_SL, ORDERS_TP, ORDERS_CLOSE_BY = 16, 32, 64
ORDERS_ALL = 127
PRICE_IS_ASKED = (mt5.SYMBOL_TRADE_EXECUTION_REQUEST, mt5.SYMBOL_TRADE_EXECUTION_INSTANT)
LOT = amounts.UNIT
WEDNESDAY = 3  # the package counts from Sunday


@dataclass(frozen=True, slots=True)
class Instrument:
    """One symbol.

    Units: prices in points, lots in 10^-8, `tick_value` in 10^-8 of the profit currency per lot, swaps per lot and
    night in 10^-8 of what `swap_mode` says. Of opposite positions the larger side binds margin, unless `margin_hedged`
    says for how many units of the base each hedged lot counts.
    """

    name: str
    description: str
    digits: int
    contract_size: int
    volume_step: int
    volume_min: int
    volume_max: int
    exemode: int
    filling_bits: int
    base: str
    profit: str
    margin: str
    anchor: int
    reach: int
    spread: int
    calc_mode: int = mt5.SYMBOL_CALC_MODE_FOREX
    trade_mode: int = mt5.SYMBOL_TRADE_MODE_FULL
    tick_size: int = 1
    tick_value: int = 0
    margin_initial: int = 0
    stops_level: int = 0
    freeze_level: int = 0
    volume_limit: int = 0
    expires_s: int = 0
    order_bits: int = ORDERS_ALL
    expiration_bits: int = expiry.ALL_BITS
    order_gtc_mode: int = mt5.SYMBOL_ORDERS_GTC
    swap_mode: int = mt5.SYMBOL_SWAP_MODE_DISABLED
    swap_long: int = 0
    swap_short: int = 0
    swap_rollover3days: int = WEDNESDAY
    margin_hedged: int | None = None
    orders_hold_margin: bool = False
    sessions: Sessions = FIVE_DAYS

    @property
    def is_futures(self) -> bool:
        """Say whether profit counts ticks and margin is a fixed sum per lot."""
        return self.calc_mode in (mt5.SYMBOL_CALC_MODE_FUTURES, mt5.SYMBOL_CALC_MODE_EXCH_FUTURES)

    @property
    def is_leveraged(self) -> bool:
        """Say whether the account's leverage lowers the margin."""
        return self.calc_mode in (mt5.SYMBOL_CALC_MODE_FOREX, mt5.SYMBOL_CALC_MODE_CFDLEVERAGE)

    @property
    def is_conversion_pair(self) -> bool:
        """Say whether other amounts may be converted at its quotes (a suffixed double never is)."""
        return self.name == self.base + self.profit

    def price_text(self, points: int) -> str:
        """Write a price with the symbol's decimals."""
        return amounts.as_text(points, self.digits)


EURUSD = Instrument(
    name="EURUSD", description="Euro against US dollar", digits=5, contract_size=100_000,
    volume_step=LOT // 100, volume_min=LOT // 100, volume_max=100 * LOT,
    exemode=mt5.SYMBOL_TRADE_EXECUTION_MARKET, filling_bits=FILL_FOK | FILL_IOC,
    base="EUR", profit="USD", margin="EUR", anchor=108_500, reach=250, spread=8,
    swap_mode=mt5.SYMBOL_SWAP_MODE_POINTS, swap_long=-65 * amounts.UNIT // 10, swap_short=2 * amounts.UNIT,
)  # fmt: skip
EURUSD_M = replace(
    EURUSD, name="EURUSD.m", description="Euro against US dollar, small contract, instant execution",
    contract_size=1_000, volume_step=LOT // 10, volume_min=LOT // 10, volume_max=50 * LOT,
    exemode=mt5.SYMBOL_TRADE_EXECUTION_INSTANT, filling_bits=0, spread=12,
)  # fmt: skip
USDJPY = replace(
    EURUSD, name="USDJPY", description="US dollar against yen", digits=3, filling_bits=FILL_IOC,
    base="USD", profit="JPY", margin="USD", anchor=150_000, reach=350, spread=9,
    swap_long=5 * amounts.UNIT, swap_short=-12 * amounts.UNIT,
)  # fmt: skip
XAUUSD = Instrument(
    name="XAUUSD", description="Gold against US dollar", digits=2, contract_size=100,
    volume_step=LOT // 100, volume_min=LOT // 100, volume_max=50 * LOT,
    exemode=mt5.SYMBOL_TRADE_EXECUTION_MARKET, filling_bits=FILL_FOK, calc_mode=mt5.SYMBOL_CALC_MODE_CFDLEVERAGE,
    base="XAU", profit="USD", margin="USD", anchor=240_000, reach=800, spread=20,
    stops_level=50, freeze_level=20, sessions=FIVE_DAYS_FROM_ONE,
    swap_mode=mt5.SYMBOL_SWAP_MODE_POINTS, swap_long=-35 * amounts.UNIT, swap_short=12 * amounts.UNIT,
)  # fmt: skip
US500 = Instrument(
    name="US500", description="Index of 500 US shares", digits=1, contract_size=1, tick_size=5,
    volume_step=LOT // 10, volume_min=LOT // 10, volume_max=500 * LOT,
    exemode=mt5.SYMBOL_TRADE_EXECUTION_EXCHANGE, filling_bits=FILL_FOK | FILL_IOC | FILL_BOC,
    calc_mode=mt5.SYMBOL_CALC_MODE_CFDLEVERAGE, base="USD", profit="USD", margin="USD",
    anchor=55_000, reach=150, spread=5, sessions=FIVE_DAYS_FROM_ONE,
    swap_mode=mt5.SYMBOL_SWAP_MODE_CURRENCY_DEPOSIT, swap_long=-amounts.UNIT, swap_short=amounts.UNIT // 4,
)  # fmt: skip
FUTX = Instrument(
    name="FUTX", description="A future of whole points", digits=0, contract_size=1, tick_value=5 * amounts.UNIT // 2,
    volume_step=LOT, volume_min=LOT, volume_max=200 * LOT,
    exemode=mt5.SYMBOL_TRADE_EXECUTION_EXCHANGE, filling_bits=0, calc_mode=mt5.SYMBOL_CALC_MODE_FUTURES,
    base="USD", profit="USD", margin="USD", anchor=12_000, reach=40, spread=1,
    margin_initial=500 * amounts.UNIT, expires_s=1_924_905_600, sessions=FIVE_DAYS_FROM_ONE, orders_hold_margin=True,
)  # fmt: skip
BTCUSD = Instrument(
    name="BTCUSD", description="Bitcoin against US dollar", digits=2, contract_size=1,
    volume_step=LOT // 100, volume_min=LOT // 100, volume_max=10 * LOT, volume_limit=5 * LOT,
    exemode=mt5.SYMBOL_TRADE_EXECUTION_MARKET, filling_bits=FILL_IOC, calc_mode=mt5.SYMBOL_CALC_MODE_CFDLEVERAGE,
    base="BTC", profit="USD", margin="USD", anchor=6_000_000, reach=20_000, spread=1_500, sessions=ALWAYS,
    swap_mode=mt5.SYMBOL_SWAP_MODE_INTEREST_CURRENT, swap_long=-18 * amounts.UNIT, swap_short=-9 * amounts.UNIT,
)  # fmt: skip
CLOSEDX = replace(
    EURUSD, name="CLOSEDX", description="A pair that may only be closed", volume_max=10 * LOT, filling_bits=FILL_FOK,
    trade_mode=mt5.SYMBOL_TRADE_MODE_CLOSEONLY,
)  # fmt: skip

BUILT_IN: dict[str, Instrument] = {
    each.name: each for each in (EURUSD, EURUSD_M, USDJPY, XAUUSD, US500, FUTX, BTCUSD, CLOSEDX)
}


def offered(special: Iterable[Instrument], *, always_open: bool = False) -> dict[str, Instrument]:
    """Return the built-in set with special instruments added, or in the place of those that have their name.

    `always_open` gives every symbol a market around the clock, which no broker offers.
    """
    found = BUILT_IN | {each.name: each for each in special}
    if not always_open:
        return found
    return {name: replace(each, sessions=ALWAYS) for name, each in found.items()}
