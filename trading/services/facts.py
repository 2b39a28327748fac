"""What the brokers say now of everything a trader holds. Network only: no transaction is open here."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from django.conf import settings
from django.db import connection

from nexus.core import statements
from nexus.core.errors import Invalid, OutsideError, Unavailable, Unreachable
from risk.types import Figure, Unknown
from trading import rules
from trading.models import TradableInstrument, TradingAccount
from trading.services import accounts, instruments
from trading.types import AccountSnapshot, OrderIntent, Quote


@dataclass(frozen=True, slots=True)
class AccountFacts:
    """One account of the trader, read live."""

    account: TradingAccount
    snapshot: AccountSnapshot


@dataclass(frozen=True, slots=True)
class Facts:
    """Every account of a trader as its broker sees it, the instruments met there, and the quotes that value them."""

    accounts: tuple[AccountFacts, ...]
    instruments: Mapping[tuple[int, str], TradableInstrument]
    quotes: Mapping[str, Quote]
    read_at: datetime  # the database's clock before the first broker was asked


@dataclass(frozen=True, slots=True)
class Missing:
    """The facts could not be had: why, in our words. Nothing may be admitted on them."""

    reason: str
    detail: str


def database_clock() -> datetime:
    """Return the database's clock, the only one that orders reads, fills and stops across processes."""
    clock: datetime = statements.fetch_only("SELECT clock_timestamp()")[0]
    return clock


def read(*, user_id: int, account: TradingAccount, symbol: str | None, at: datetime) -> Facts | Missing:
    """Read every active account of the trader live, with the quotes needed to judge an order on `symbol`, if any.

    One account that cannot be read leaves the whole picture missing: its losses would be invisible.
    """
    assert not connection.in_atomic_block
    read_at, owned = _owned(user_id)
    wanted = {symbol} if symbol else set()
    try:
        parts = [_read_account(each, symbols=wanted if each == account else set(), at=at) for each in owned]
    except OutsideError as exc:
        return Missing("BROKER_UNAVAILABLE", str(exc))
    quotes: dict[str, Quote] = {}
    known: dict[tuple[int, str], TradableInstrument] = {}
    taken = []
    for each, (snapshot, met) in zip(owned, parts, strict=True):
        # The order's own account speaks for its own prices, whatever another account shows under the same name.
        quotes = snapshot.quotes | quotes if each != account else quotes | snapshot.quotes
        known |= {(each.pk, name): instrument for name, instrument in met.items()}
        taken.append(AccountFacts(each, snapshot))
    return Facts(tuple(taken), known, quotes, read_at)


def _owned(user_id: int) -> tuple[datetime, list[TradingAccount]]:
    """Return the database's clock, and the user's active accounts, before any broker is asked."""
    read_at = database_clock()
    query = "SELECT {columns} FROM trading_account WHERE user_id = %s AND is_active ORDER BY id"
    return read_at, statements.objects(TradingAccount, query, [user_id])


def venue_margin(*, account: TradingAccount, intent: OrderIntent, facts: Facts | Missing) -> Figure | None:
    """Ask the venue how much margin the order would take, in account currency. Network, as `read`.

    Returns unknown when it cannot say; None when it is not to be asked, or there is no price to ask about.
    """
    assert not connection.in_atomic_block
    quote = None if isinstance(facts, Missing) else facts.quotes.get(intent.symbol)
    if quote is None or intent.is_reducing or not settings.MARGIN_FROM_BROKER:
        return None
    price = rules.worst_entry(intent, quote=quote, deviation=rules.ZERO)
    try:
        return accounts.broker_of(account).margin(
            symbol=intent.symbol, side=intent.side, quantity=intent.quantity, price=price
        )
    except OutsideError as exc:
        return Unknown("MARGIN_UNKNOWN", str(exc))


def _read_account(
    account: TradingAccount, *, symbols: set[str], at: datetime
) -> tuple[AccountSnapshot, dict[str, TradableInstrument]]:
    """Read one account; a position in an instrument we have not met is learned and the account read again."""
    broker = accounts.broker_of(account)
    known = statements.objects(
        TradableInstrument, "SELECT {columns} FROM instrument WHERE account_id = %s", [account.pk]
    )
    met = {row.symbol: row for row in known}
    snapshot = broker.snapshot(symbols=sorted(symbols | _conversions(account, met.values())))
    strangers = {position.symbol for position in snapshot.positions} - set(met)
    if not strangers:
        return snapshot, met
    for name in sorted(strangers):
        try:
            met[name] = instruments.get(account=account, broker=broker, symbol=name, at=at)
        except (Invalid, Unavailable) as exc:
            raise Unreachable(f"A position in {name} cannot be valued: {exc}") from exc
    return broker.snapshot(symbols=sorted(symbols | _conversions(account, met.values()))), met


def _conversions(account: TradingAccount, met: Iterable[TradableInstrument]) -> set[str]:
    return {row.usd_symbol for row in met if row.usd_symbol} | ({account.usd_symbol} if account.usd_symbol else set())
