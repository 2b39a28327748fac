"""Read a paper broker's profile from plain data: its house rules, its account's terms, its symbols."""

from collections.abc import Mapping
from dataclasses import fields, replace
from decimal import Decimal, InvalidOperation
from typing import Any

from trading.brokers.mt5.emulator import amounts
from trading.brokers.mt5.emulator.instruments import BUILT_IN, FILL_BOC, FILL_FOK, FILL_IOC, Instrument
from trading.brokers.mt5.emulator.profiles import AccountProfile, BrokerProfile

OTHER_LOGIN = 9_000_000  # what the login of somebody else's account is larger by
FILLINGS = {"FOK": FILL_FOK, "IOC": FILL_IOC, "BOC": FILL_BOC}
PRICES = ("anchor", "reach", "spread")
LOTS = ("volume_step", "volume_min", "volume_max", "volume_limit")
SWAPS = ("swap_long", "swap_short")
NUMBERS = ("contract_size", "stops_level", "freeze_level", "swap_rollover3days")
TEXTS = ("description", "base", "profit", "margin")
# What may be told; everything else follows from the gateway's own settings, or would break the file.
HOUSE = (
    "latency_ms", "slippage_ticks", "positive_slippage", "done_without_ticket", "orders_delay_ms",
    "positions_delay_ms", "history_delay_ms", "generated_lots", "first_ticket",
)  # fmt: skip
ACCOUNT = (
    "name", "currency_digits", "commission_per_lot", "commission_per_deal", "commission_on_entry",
    "commission_on_exit", "fee_per_deal", "swaps", "comment_policy", "fifo_close", "hedge_allowed", "margin_call",
    "stop_out", "corrects_negative_balance", "limit_positions", "limit_orders", "requests_per_second",
    "stops_keep_magic",
)  # fmt: skip


def house(rules: Mapping[str, Any], symbols: Mapping[str, Any], **settled: Any) -> BrokerProfile:
    """Return the broker's rules. Takes: rules and symbols as a settings file says them. Raises: ValueError."""
    told = _told("house", rules, BrokerProfile(), HOUSE)
    instruments = tuple(_instrument(name, terms) for name, terms in sorted(symbols.items()))
    return BrokerProfile(**told, instruments=instruments, **settled)


def account(terms: Mapping[str, Any], **settled: Any) -> AccountProfile:
    """Return an account's terms. Raises: ValueError."""
    return AccountProfile(**settled, **_told("account", terms, AccountProfile(1, ""), ACCOUNT))


def _told(section: str, given: Mapping[str, Any], usual: BrokerProfile | AccountProfile, names: tuple[str, ...]) -> Any:
    """Return the given values, each of the type that is usual for its name."""
    types = {each.name: type(getattr(usual, each.name)) for each in fields(usual) if each.name in names}
    for name, value in given.items():
        kind = types.get(name)
        if kind is None:
            raise ValueError(f"{section}.{name}: is not known; {', '.join(sorted(types))} are")
        is_right = _is_range(value) if kind is tuple else type(value) is kind
        if not is_right:
            wanted = "[LEAST, MOST]" if kind is tuple else kind.__name__
            raise ValueError(f"{section}.{name}: must be of type {wanted}, and is {value!r}")
    return {name: tuple(value) if types[name] is tuple else value for name, value in given.items()}


def _is_range(value: object) -> bool:
    is_pair = isinstance(value, list) and len(value) == 2 and all(type(each) is int for each in value)
    return is_pair and 0 <= value[0] <= value[1]  # type: ignore[index]  # it is a list


def _instrument(name: str, terms: Mapping[str, Any]) -> Instrument:
    """Return a symbol of its own terms, for the rest `like` another one, or itself."""
    rest = dict(terms)
    like = rest.pop("like", name)
    if like not in BUILT_IN:
        known = ", ".join(BUILT_IN)
        raise ValueError(f"symbols.{name}: is not built in; say which one it is `like`, of {known}")
    digits = rest.pop("digits", BUILT_IN[like].digits)
    if type(digits) is not int or not 0 <= digits <= 8:
        raise ValueError(f"symbols.{name}.digits: must be 0 to 8")
    changes: dict[str, Any] = {"name": name, "digits": digits}
    for key, value in rest.items():
        changes |= _term(f"symbols.{name}.{key}", key, value, digits)
    return replace(BUILT_IN[like], **changes)


def _term(where: str, key: str, value: object, digits: int) -> dict[str, Any]:
    """Return one term in the broker's own units."""
    if key == "fillings":
        if not isinstance(value, list) or not set(map(str, value)) <= FILLINGS.keys():
            raise ValueError(f"{where}: must be a list of {', '.join(FILLINGS)}")
        return {"filling_bits": sum(FILLINGS[name] for name in set(map(str, value)))}
    if key in TEXTS and isinstance(value, str):
        return {key: value}
    if key in NUMBERS and type(value) is int and value >= 0:
        return {key: value}
    if key in (*PRICES, *LOTS, *SWAPS) and isinstance(value, str):
        try:
            counted = amounts.scaled(Decimal(value), digits if key in PRICES else 8)
        except InvalidOperation:
            counted = None
        if counted is not None and (counted > 0 or key in SWAPS):
            return {key: counted}
        raise ValueError(f"{where}: {value!r} is no amount, or finer than this symbol counts")
    known = ", ".join(("like", "digits", "fillings", *TEXTS, *NUMBERS, *PRICES, *LOTS, *SWAPS))
    raise ValueError(f"{where}: is not known or of the wrong type; known are {known} (amounts as text)")
