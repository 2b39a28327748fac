"""Define the package's structures: named tuples that, like the originals, cannot be pickled.

Source: the compiled module of the wheel, fields in its order (reference: contract, structures).
"""

import operator
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

KINDS: dict[str, type] = {"i": int, "f": float, "s": str, "b": bool}
_PLAIN = frozenset(KINDS.values())


class Structure(tuple[Any, ...]):
    """Behave like a structure sequence: a tuple with attributes and `_asdict()`."""

    __module__ = "builtins"  # as the original says of itself; this is why pickling fails
    __slots__ = ()
    FIELDS: ClassVar[dict[str, type]] = {}
    KINDS: ClassVar[tuple[type, ...]] = ()  # of the fields, and what they are where nothing is said
    EMPTY: ClassVar[tuple[object, ...]] = ()

    def __init_subclass__(cls) -> None:
        cls.KINDS = tuple(cls.FIELDS.values())
        cls.EMPTY = tuple(kind() if kind in _PLAIN else None for kind in cls.KINDS)
        for index, name in enumerate(cls.FIELDS):
            setattr(cls, name, property(operator.itemgetter(index)))

    def _asdict(self) -> dict[str, Any]:
        """Return names and values, one level deep: a structure inside stays a structure."""
        return dict(zip(self.FIELDS, self, strict=True))

    def __repr__(self) -> str:
        inner = ", ".join(f"{name}={value!r}" for name, value in zip(self.FIELDS, self, strict=True))
        return f"{type(self).__name__}({inner})"

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any: ...


S = TypeVar("S", bound=Structure)


def build(kind: type[S], values: Mapping[str, object]) -> S:
    """Build a structure from named values; fields not named are zero, empty or false."""
    if unknown := values.keys() - kind.FIELDS.keys():
        raise AssertionError(f"{kind.__name__} has no {sorted(unknown)}")
    row = tuple(map(values.get, kind.FIELDS, kind.EMPTY))
    if tuple(map(type, row)) != kind.KINDS:
        name, value = next((n, v) for (n, each), v in zip(kind.FIELDS.items(), row, strict=True) if type(v) is not each)
        raise AssertionError(f"{kind.__name__}.{name} is {value!r}, not {kind.FIELDS[name].__name__}")
    return kind(row)


def _fields(text: str) -> dict[str, type]:
    """Read `name` (an integer) or `name:kind` words; kinds are f, s and b."""
    words = (word.partition(":") for word in text.split())
    return {name: KINDS[kind or "i"] for name, _, kind in words}


class TradePosition(Structure):
    __module__ = "builtins"
    __slots__ = ()
    FIELDS = _fields(
        "ticket time time_msc time_update time_update_msc type magic identifier reason volume:f price_open:f sl:f tp:f"
        " price_current:f swap:f profit:f symbol:s comment:s external_id:s"
    )


class TradeOrder(Structure):
    __module__ = "builtins"
    __slots__ = ()
    FIELDS = _fields(
        "ticket time_setup time_setup_msc time_done time_done_msc time_expiration type type_time type_filling state"
        " magic position_id position_by_id reason volume_initial:f volume_current:f price_open:f sl:f tp:f"
        " price_current:f price_stoplimit:f symbol:s comment:s external_id:s"
    )


class TradeDeal(Structure):
    __module__ = "builtins"
    __slots__ = ()
    FIELDS = _fields(
        "ticket order time time_msc type entry magic position_id reason volume:f price:f commission:f swap:f profit:f"
        " fee:f symbol:s comment:s external_id:s"
    )


class TradeRequest(Structure):
    __module__ = "builtins"
    __slots__ = ()
    FIELDS = _fields(
        "action magic order symbol:s volume:f price:f stoplimit:f sl:f tp:f deviation type type_filling type_time"
        " expiration comment:s position position_by"
    )


class OrderSendResult(Structure):
    __module__ = "builtins"
    __slots__ = ()
    FIELDS = _fields("retcode deal order volume:f price:f bid:f ask:f comment:s request_id retcode_external") | {
        "request": TradeRequest
    }


class OrderCheckResult(Structure):
    __module__ = "builtins"
    __slots__ = ()
    FIELDS = _fields("retcode balance:f equity:f profit:f margin:f margin_free:f margin_level:f comment:s") | {
        "request": TradeRequest
    }


class Tick(Structure):
    __module__ = "builtins"
    __slots__ = ()
    FIELDS = _fields("time bid:f ask:f last:f volume time_msc flags volume_real:f")


class BookInfo(Structure):
    __module__ = "builtins"
    __slots__ = ()
    FIELDS = _fields("type price:f volume volume_dbl:f")


class AccountInfo(Structure):
    __module__ = "builtins"
    __slots__ = ()
    FIELDS = _fields(
        "login trade_mode leverage limit_orders margin_so_mode trade_allowed:b trade_expert:b margin_mode"
        " currency_digits fifo_close:b balance:f credit:f profit:f equity:f margin:f margin_free:f margin_level:f"
        " margin_so_call:f margin_so_so:f margin_initial:f margin_maintenance:f assets:f liabilities:f"
        " commission_blocked:f name:s server:s currency:s company:s"
    )


class TerminalInfo(Structure):
    __module__ = "builtins"
    __slots__ = ()
    FIELDS = _fields(
        "community_account:b community_connection:b connected:b dlls_allowed:b trade_allowed:b tradeapi_disabled:b"
        " email_enabled:b ftp_enabled:b notifications_enabled:b mqid:b build maxbars codepage ping_last"
        " community_balance:f retransmission:f company:s name:s language:s path:s data_path:s commondata_path:s"
    )


class SymbolInfo(Structure):
    __module__ = "builtins"
    __slots__ = ()
    FIELDS = _fields(
        "custom:b chart_mode select:b visible:b session_deals session_buy_orders session_sell_orders volume volumehigh"
        " volumelow time digits spread spread_float:b ticks_bookdepth trade_calc_mode trade_mode start_time"
        " expiration_time trade_stops_level trade_freeze_level trade_exemode swap_mode swap_rollover3days"
        " margin_hedged_use_leg:b expiration_mode filling_mode order_mode order_gtc_mode option_mode option_right"
        " bid:f bidhigh:f bidlow:f ask:f askhigh:f asklow:f last:f lasthigh:f lastlow:f volume_real:f volumehigh_real:f"
        " volumelow_real:f option_strike:f point:f trade_tick_value:f trade_tick_value_profit:f"
        " trade_tick_value_loss:f trade_tick_size:f trade_contract_size:f trade_accrued_interest:f trade_face_value:f"
        " trade_liquidity_rate:f volume_min:f volume_max:f volume_step:f volume_limit:f swap_long:f swap_short:f"
        " margin_initial:f margin_maintenance:f session_volume:f session_turnover:f session_interest:f"
        " session_buy_orders_volume:f session_sell_orders_volume:f session_open:f session_close:f session_aw:f"
        " session_price_settlement:f session_price_limit_min:f session_price_limit_max:f margin_hedged:f"
        " price_change:f price_volatility:f price_theoretical:f price_greeks_delta:f price_greeks_theta:f"
        " price_greeks_gamma:f price_greeks_vega:f price_greeks_rho:f price_greeks_omega:f price_sensitivity:f"
        " basis:s category:s currency_base:s currency_profit:s currency_margin:s bank:s description:s exchange:s"
        " formula:s isin:s name:s page:s path:s"
    )
