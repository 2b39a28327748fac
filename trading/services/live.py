"""Reading brokers for people who look: what cannot be read is absent, and never guessed."""

from collections.abc import Iterable

import structlog

from nexus.core.errors import FieldError, NotFound, OutsideError, Refused, Unavailable
from trading.brokers import base
from trading.models import TradingAccount
from trading.services import accounts
from trading.types import AccountSnapshot, Quote

log = structlog.get_logger(__name__)


def snapshots(owned: Iterable[TradingAccount]) -> dict[int, AccountSnapshot]:
    """Read accounts at their brokers. An account whose broker cannot be asked is absent."""
    found = {}
    for account in owned:
        try:
            with base.sharing():
                found[account.pk] = accounts.broker_of(account).snapshot(symbols=[])
        except OutsideError as exc:
            log.warning("trading.account.not_read", account_id=account.pk, error=str(exc))
    return found


def quote(account: TradingAccount, *, symbol: str) -> Quote:
    """Read one price. Raises: NotFound for an unknown symbol, Unavailable when the broker has none to give."""
    try:
        broker = accounts.broker_of(account)
        broker.instrument(symbol=symbol)
        found = broker.snapshot(symbols=[symbol]).quotes.get(symbol)
    except Refused as exc:
        detail = f"{symbol} is not an instrument of this account."
        raise NotFound(detail, errors=[FieldError("/symbol", "unknown", detail)]) from exc
    except OutsideError as exc:
        raise Unavailable("The broker cannot be asked now.", headers={"Retry-After": "5"}) from exc
    if found is None:
        raise Unavailable(f"The broker has no price of {symbol} now.", headers={"Retry-After": "5"})
    return found
