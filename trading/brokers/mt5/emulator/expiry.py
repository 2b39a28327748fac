"""Say when an order expires. Units: microseconds of UTC, 0 for never; requests in seconds of server time."""

from trading.brokers.mt5.emulator import constants as mt5
from trading.brokers.mt5.emulator.zones import DAY_S, ServerZone

BIT_OF = {  # bits of `expiration_mode`; the wheel does not name them
    mt5.ORDER_TIME_GTC: 1,
    mt5.ORDER_TIME_DAY: 2,
    mt5.ORDER_TIME_SPECIFIED: 4,
    mt5.ORDER_TIME_SPECIFIED_DAY: 8,
}
ALL_BITS = 15
DAY_MS = DAY_S * 1_000


def instant_us(type_time: int, expiration_s: int, now_us: int, zone: ServerZone, *, is_daily: bool = False) -> int:
    """Return the instant at which an order of this lifetime ends; on a daily symbol no order outlives its day."""
    if type_time == mt5.ORDER_TIME_DAY or is_daily:
        return midnight_after_us(now_us, zone)
    if type_time == mt5.ORDER_TIME_SPECIFIED:
        return zone.to_utc_ms(expiration_s * 1_000) * 1_000
    if type_time == mt5.ORDER_TIME_SPECIFIED_DAY:
        return zone.to_utc_ms((expiration_s // DAY_S + 1) * DAY_MS) * 1_000
    return 0


def midnight_after_us(now_us: int, zone: ServerZone) -> int:
    """Return the next midnight of the server."""
    server_ms = zone.to_server_ms(now_us // 1_000)
    return zone.to_utc_ms((server_ms // DAY_MS + 1) * DAY_MS) * 1_000
