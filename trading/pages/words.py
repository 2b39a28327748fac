"""Trading's words on pages, in the reader's language: checks, statuses, and how full a limit is."""

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any
from urllib.parse import urlencode

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from nexus.core.money import as_text
from risk.types import Check
from trading.models import TradeLedger

HUNDRED = Decimal(100)
PER_POSITION = frozenset({"POSITION_SIZE"})  # each side of an instrument has it to itself: without one, nothing is used
NEARLY = 80  # percent, from which a limit is shown as nearly used up

CHECKS: dict[str, Promise] = {
    "USER_ACTIVE": _("User is active"),
    "PERMISSION": _("Role may trade"),
    "ACCOUNT": _("Account can be used"),
    "STEP_UP": _("Second factor for real money"),
    "ARMED": _("Real money is armed"),
    "TRADING_STATE": _("Trading is not stopped"),
    "BROKER_LINK": _("Broker answers"),
    "SNAPSHOT_AGE": _("Age of the account's figures"),
    "RECONCILIATION_AGE": _("Last reconciliation"),
    "UNKNOWN_ORDERS": _("No order in doubt"),
    "SYMBOL_FORMAT": _("Symbol"),
    "AMOUNT": _("Quantity"),
    "PRICE": _("Prices"),
    "INSTRUMENT": _("Instrument can be traded"),
    "ENTRY": _("Waiting price"),
    "STOPS": _("Stop and target"),
    "DUPLICATE": _("No duplicate"),
    "QUOTE": _("Quote can be trusted"),
    "PLAUSIBLE": _("Quote is plausible"),
    "PRICE_COLLAR": _("Distance from the market"),
    "CONVERSION": _("Conversion to USD"),
    "ORDER_QUANTITY_MAX": _("Quantity of one order"),
    "TRADE_VALUE_MIN": _("Least value of one order"),
    "TRADE_VALUE_MAX": _("Value of one order"),
    "REDUCTION": _("Only reduces"),
    "POSITION_SIZE": _("Position size"),
    "ONE_WAY_QUANTITY": _("Lots on one side"),
    "POSITION_COUNT": _("Open positions"),
    "BOUNDED_LOSS": _("Loss has a bound"),
    "DAILY_LOSS": _("Loss of the day"),
    "DAILY_QUANTITY": _("Quantity of the day"),
    "DAILY_VALUE": _("Value of the day"),
    "ORDERS_PER_DAY": _("Orders a day"),
    "ORDERS_PER_HOUR": _("Orders an hour"),
    "BALANCE": _("Funds"),
    "MARGIN": _("Margin"),
    "ORDERS_PER_SECOND": _("Orders a second"),
    "COOLDOWN": _("Pause after failures"),
    "BURST": _("Pace of orders"),
    "UNUSUAL_SIZE": _("Usual size"),
    "OPPOSITE_ORDERS": _("No opposite orders"),
    "NEW_NETWORK": _("Known network"),
}
UNITS: dict[str, Promise | str] = {
    "USD": "USD",
    "lots": _("lots"),
    "orders": _("orders"),
    "requests": _("requests"),
    "base units": _("units"),
    "positions": _("positions"),
    "of the price": "",
    "failures": _("failures"),
    "s": "s",
}
STATUSES: dict[str, Promise] = {
    "PENDING": _("Pending"),
    "PARTIALLY_FILLED": _("Partly filled"),
    "FILLED": _("Filled"),
    "CANCELED": _("Canceled"),
    "EXPIRED": _("Expired"),
    "REJECTED": _("Rejected"),
    "UNKNOWN": _("In doubt"),
}
SIDES: dict[str, Promise] = {"BUY": _("Buy"), "SELL": _("Sell")}
TYPES: dict[str, Promise] = {
    "MARKET": _("Market"),
    "LIMIT": _("Limit"),
    "STOP": _("Stop"),
    "STOP_LIMIT": _("Stop limit"),
}
SCOPES: dict[str, Promise] = {
    "SYSTEM": _("for everybody"),
    "BROKER": _("for everything at this broker"),
    "ACCOUNT": _("for an account of yours"),
    "USER": _("for you"),
    "INSTRUMENT": _("for an instrument"),
}
TIMES: dict[str, Promise] = {
    "GTC": _("Until canceled"),
    "DAY": _("Today"),
    "GTD": _("Until a time"),
    "IOC": _("Now, rest canceled"),
    "FOK": _("All now or nothing"),
}


@dataclass(frozen=True, slots=True)
class LimitRow:
    """One check as a page shows it. `percent` says how much of the limit is used with what is asked, or nothing."""

    check: Check
    label: Promise | str
    unit: Promise | str
    percent: int | None

    @property
    def left(self) -> Decimal | None:
        """Return what is left of the limit once what is asked for is taken."""
        room = self.check.headroom
        return None if room is None else max(Decimal(0), room - (self.check.asked or Decimal(0)))

    @property
    def is_nearly(self) -> bool:
        """Tell whether little is left."""
        return self.percent is not None and self.percent >= NEARLY


def limits_of(checks: Iterable[Check]) -> list[LimitRow]:
    """Return the checks that hold something against a limit and passed; the age of a figure is no room."""
    return [row_of(check) for check in checks if check.limit is not None and check.passed and check.unit != "s"]


def room_of(checks: Iterable[Check]) -> list[LimitRow]:
    """Return the limits as they stand when nobody orders anything: only one that is used up is over."""
    return [
        row_of(check._replace(passed=check.headroom != 0, asked=None, reason=f"{check.name}_EXCEEDS_LIMIT"))
        for check in checks
        if check.limit is not None and (check.used is not None or check.name not in PER_POSITION)
    ]


def stored(checks: Iterable[dict[str, Any]]) -> list[Check]:
    """Return the checks that an order was judged by, as they are stored beside it."""
    return [
        Check(
            name=each["name"],
            reason=each["reason"],
            passed=each["passed"],
            limit=_figure(each["limit"]),
            used=_figure(each["used"]),
            asked=_figure(each["asked"]),
            unit=each["unit"],
            scope=each["scope"],
            detail=each["detail"],
        )
        for each in checks
    ]


def again(order: TradeLedger) -> str:
    """Return the query with which a ticket begins as this order was written."""
    named = {
        "account": str(order.account.public_id),
        "symbol": order.symbol,
        "side": str(order.side),
        "type": str(order.order_type),
        **{
            name: as_text(value)
            for name in ("quantity", "limit_price", "stop_price", "stop_loss", "take_profit")
            if (value := getattr(order, name)) is not None
        },
    }
    return urlencode(named)


def row_of(check: Check) -> LimitRow:
    """Return one check in words."""
    return LimitRow(check, CHECKS.get(check.name, check.name), UNITS.get(check.unit, check.unit), _percent(check))


def _percent(check: Check) -> int | None:
    """Return how full the limit is. Of a least value there is nothing to fill."""
    if not check.limit or check.name == "TRADE_VALUE_MIN" or (check.used is None and check.asked is None):
        return None
    filled = (check.used or Decimal(0)) + (check.asked or Decimal(0))
    return int(max(Decimal(0), min(HUNDRED, filled / check.limit * HUNDRED)))


def _figure(text: str | None) -> Decimal | None:
    return None if text is None else Decimal(text)
