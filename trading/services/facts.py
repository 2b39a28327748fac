"""What the brokers say now of everything a trader holds. Network only: no transaction is open here."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from typing import LiteralString, NamedTuple

from django.db import connection

from nexus.core import statements
from nexus.core.errors import Invalid, OutsideError, Unavailable, Unreachable
from nexus.idempotency.services import records
from trading.models import TradableInstrument, TradingAccount
from trading.rules import ZERO
from trading.services import accounts, instruments
from trading.types import AccountSnapshot, MarginQuestion, ProfitQuestion, Quote

# The newest fills of each account, and what our books hold of their positions: a terminal may show those late.
OWNED: LiteralString = """
    SELECT {columns}, clock_timestamp(), newest.* FROM trading_account
    LEFT JOIN LATERAL (
        SELECT array_agg(name ORDER BY few.id DESC), array_agg(position.quantity ORDER BY few.id DESC),
               array_agg(part ORDER BY few.id DESC), array_agg(booked_at ORDER BY few.id DESC)
        FROM (
            SELECT id, venue_position_id AS name, booked_at,
                   CASE side WHEN 'BUY' THEN quantity ELSE -quantity END AS part
            FROM fill WHERE account_id = trading_account.id
            AND booked_at > now() - interval '10 seconds' AND booked_at < 'infinity'
            ORDER BY booked_at DESC LIMIT 32
        ) few JOIN broker_positions position
        ON position.account_id = trading_account.id AND position.venue_position_id = few.name
    ) newest ON true
    LEFT JOIN instrument ON instrument.account_id = trading_account.id
"""
OWNED_AND_MADE: LiteralString = (
    OWNED.replace("clock_timestamp()", f"clock_timestamp(), {records.MADE}")
    + records.MADE_BESIDE
    + "trading_account.public_id::text"
)
OF_USER: LiteralString = " WHERE trading_account.user_id = %(number)s AND trading_account.is_active"
BY_ID: LiteralString = " ORDER BY trading_account.id"
HIDES = "The broker shows margin in use, and neither a position nor an order."


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
    read_at: datetime  # what was booked since by the database's clock may not be in it
    asked_at: datetime  # the database's clock before the first broker was asked


class Newest(NamedTuple):
    """A fill of the last seconds: its position, what our books hold of that, what the fill has added, and when it was
    booked. Units: signed lots.
    """

    venue_position_id: str
    held: Decimal
    part: Decimal
    booked_at: datetime


@dataclass(frozen=True, slots=True)
class Owned:
    """What a trader has with us: the active accounts and the instruments met there, at `read_at` of the database.

    `newest` are the fills of the last seconds by account; `made` is what a request's key has made at each account, in
    the words of `records.same`; None: nobody has looked.
    """

    accounts: tuple[TradingAccount, ...]
    instruments: dict[tuple[int, str], TradableInstrument]
    read_at: datetime
    newest: Mapping[int, tuple[Newest, ...]]
    made: Mapping[int, tuple[bytes, str]] | None = None


@dataclass(frozen=True, slots=True)
class Questions:
    """What a venue is asked about one order while its account is read."""

    margin: MarginQuestion | None = None
    profit: ProfitQuestion | None = None


NOTHING = Questions()


@dataclass(frozen=True, slots=True)
class Missing:
    """The facts could not be had: why, in our words. Nothing may be admitted on them."""

    reason: str
    detail: str


def database_clock() -> datetime:
    """Return the database's clock, the only one that orders reads, fills and stops across processes."""
    clock: datetime = statements.fetch_only("SELECT clock_timestamp()")[0]
    return clock


def owned_by(user_id: int, *, principal: str = "", key: str = "") -> Owned:
    """Return what the trader has with us, and the database's clock before any broker is asked.

    Takes: the `key` of a request and its `principal`, to say in the same round trip what it has made already.
    """
    if not key:
        return _owned(OWNED + OF_USER + BY_ID, user_id)
    return _owned(OWNED_AND_MADE + OF_USER + BY_ID, user_id, principal=principal, key=key)


def _owned(query: LiteralString, number: int, **asked: str) -> Owned:
    rows = statements.pairs(TradingAccount, TradableInstrument, query, {"number": number, **asked})
    beside = {account.pk: row for account, _, row in rows}
    return Owned(
        accounts=tuple({account.pk: account for account, _, _ in rows}.values()),
        instruments={(account.pk, met.symbol): met for account, met, _ in rows if met is not None},
        read_at=min(clock for _, _, (clock, *_) in rows) if rows else database_clock(),
        newest={pk: tuple(map(Newest._make, zip(*row[-4:], strict=True))) for pk, row in beside.items() if row[-1]},
        made={pk: (row[1], row[2]) for pk, row in beside.items() if row[2]} if asked else None,
    )


def only(owned: Owned, account: TradingAccount) -> Owned:
    """Leave out every other account: for what only takes away from this one, also when it was put aside."""
    if account not in owned.accounts:
        return _owned(OWNED + " WHERE trading_account.id = %(number)s" + BY_ID, account.pk)
    return replace(owned, accounts=tuple(each for each in owned.accounts if each == account))


def read(
    *,
    user_id: int,
    account: TradingAccount,
    symbol: str | None,
    at: datetime,
    owned: Owned | None = None,
    questions: Questions = NOTHING,
) -> Facts | Missing:
    """Read every active account of the trader live, with the quotes needed to judge an order on `symbol`, if any.

    One account that cannot be read leaves the whole picture missing: its losses would be invisible. Takes: `owned` from
    whoever has read it just now; the `questions` that the order's own account is asked in the same unit.
    """
    assert not connection.in_atomic_block
    owned = owned or owned_by(user_id)
    wanted = {symbol} if symbol else set()
    try:
        parts = [
            _read_account(
                each,
                owned,
                symbols=wanted if each == account else set(),
                questions=questions if each == account else NOTHING,
                at=at,
            )
            for each in owned.accounts
        ]
    except OutsideError as exc:
        return Missing("BROKER_UNAVAILABLE", str(exc))
    quotes: dict[str, Quote] = {}
    known: dict[tuple[int, str], TradableInstrument] = {}
    taken = []
    for each, (snapshot, met) in zip(owned.accounts, parts, strict=True):
        # The order's own account speaks for its own prices, whatever another account shows under the same name.
        quotes = snapshot.quotes | quotes if each != account else quotes | snapshot.quotes
        known |= {(each.pk, name): instrument for name, instrument in met.items()}
        taken.append(AccountFacts(each, snapshot))
    return Facts(tuple(taken), known, quotes, read_at=unseen_since(owned, taken), asked_at=owned.read_at)


def unseen_since(owned: Owned, taken: Iterable[AccountFacts]) -> datetime:
    """Return when the oldest fill was booked that a broker does not show yet; when they were asked if all is shown.

    A terminal may list positions seconds late. One that stands there exactly as before our newest fills is as old as
    that: what has filled since would be counted neither as working nor as held.
    """
    since = owned.read_at
    for each in taken:
        shown = {held.venue_position_id: held.quantity * held.side.direction for held in each.snapshot.positions}
        before: dict[str, Decimal] = {}  # what the positions were before the fills that were looked at
        for fill in owned.newest.get(each.account.pk, ()):
            name = fill.venue_position_id
            quantity, stands = shown.get(name, ZERO), before.get(name, fill.held)
            if stands == quantity:
                continue  # as it is shown: it has this fill, and those before it
            before[name] = stands - fill.part
            if before[name] == quantity:
                since = min(since, fill.booked_at)
    return since


def _read_account(
    account: TradingAccount, owned: Owned, *, symbols: set[str], questions: Questions, at: datetime
) -> tuple[AccountSnapshot, dict[str, TradableInstrument]]:
    """Read one account; an instrument that is held or waited for and not met is learned and the account read again."""
    broker = accounts.broker_of(account)
    met = {name: row for (account_id, name), row in owned.instruments.items() if account_id == account.pk}
    margin, profit = questions.margin, questions.profit
    names = sorted(symbols | _conversions(account, met.values()))
    snapshot = broker.snapshot(symbols=names, margin=margin, profit=profit)
    strangers = {held.symbol for held in snapshot.positions} | {order.symbol for order in snapshot.orders}
    strangers -= set(met)
    if not strangers:
        return snapshot, met
    for name in sorted(strangers):
        try:
            met[name] = instruments.get(account=account, broker=broker, symbol=name, at=at)
        except Invalid:
            continue  # without its terms nothing is opened beside it, and what closes another position goes on
        except Unavailable as exc:
            raise Unreachable(f"A position in {name} cannot be valued: {exc}") from exc
    names = sorted(symbols | _conversions(account, met.values()))
    return broker.snapshot(symbols=names, margin=margin, profit=profit), met


def _conversions(account: TradingAccount, met: Iterable[TradableInstrument]) -> set[str]:
    return {row.usd_symbol for row in met if row.usd_symbol} | ({account.usd_symbol} if account.usd_symbol else set())
