"""What the brokers say now of everything a trader holds. Network only: no transaction is open here."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from decimal import Decimal
from types import MappingProxyType
from typing import LiteralString

from django.db import connection

from nexus.core import statements
from nexus.core.errors import Invalid, OutsideError, Unavailable
from nexus.idempotency.services import records
from trading.brokers import base, registry
from trading.brokers.base import Broker
from trading.models import CashMovement, TradableInstrument, TradingAccount
from trading.rules import ZERO
from trading.services import accounts, instruments, unlisted
from trading.services.unlisted import Missed, Newest
from trading.states import PAID, PositionMode
from trading.types import AccountSnapshot, MarginQuestion, ProfitQuestion, Quote, VenuePosition

# What our books hold open at each account: a terminal may list something of it late, or not at all. The instruments of
# orders on their way: what has filled of them and is not listed floats at a price that has to be read. And the stops
# that the fills of the last seconds have brought to what is netted: where its list shows others, it may hide them. Each
# stands there as one text, because they come once for each instrument.
OWNED: LiteralString = """
    SELECT {columns}, clock_timestamp(), brought.stops, waiting.symbols, held.positions FROM trading_account
    LEFT JOIN LATERAL (
        SELECT string_agg(venue_position_id || ' ' || quantity, E'\\n') AS positions FROM broker_positions
        WHERE account_id = trading_account.id AND closed_at IS NULL
    ) held ON true
    LEFT JOIN LATERAL (
        SELECT string_agg(DISTINCT symbol, E'\\n') AS symbols FROM trade_ledger
        WHERE user_id = trading_account.user_id AND reserved > 0 AND account_id = trading_account.id
    ) waiting ON true
    LEFT JOIN LATERAL (
        SELECT string_agg(
            DISTINCT few.venue_position_id || ' ' || few.side || ' ' || coalesce(made.stop_loss, 0), E'\\n'
        ) AS stops FROM (
            SELECT venue_position_id, side, order_id FROM fill
            WHERE account_id = trading_account.id AND trading_account.mode <> 'HEDGING' AND kind <> 'BUST'
            AND booked_at > statement_timestamp() - %(within)s AND booked_at < 'infinity'
            ORDER BY booked_at DESC LIMIT 32
        ) few LEFT JOIN trade_ledger made ON made.id = few.order_id AND made.venue_position_id = ''
    ) brought ON true
    LEFT JOIN instrument ON instrument.account_id = trading_account.id
"""
OWNED_AND_MADE: LiteralString = (
    OWNED.replace("clock_timestamp()", f"clock_timestamp(), {records.MADE}")
    + records.MADE_BESIDE
    + "trading_account.public_id::text"
)
OF_USER: LiteralString = " WHERE trading_account.user_id = %(number)s AND trading_account.is_active"
BY_ID: LiteralString = " ORDER BY trading_account.id"
LISTED_WITHIN = timedelta(seconds=10)  # a terminal may show a position so late (mt5.md)
UNTOLD_WITHIN = timedelta(hours=1)  # an account whose books are older than minutes admits nothing new
HIDES = "The broker shows margin in use, and neither a position nor an order."

UNTOLD = "Something was closed at the broker, and what was paid in since cannot be read: a loss may hide behind it."


@dataclass(frozen=True, slots=True)
class AccountFacts:
    """One account of the trader, read live. `unlisted` is what our books hold there and the venue does not list;
    `stops` are those, by name of their position, that its list may hide; `paid_in` is what our books do not know of,
    read where something was closed there that they hold, None where it could not be; `unpriced` are the instruments of
    which something may have filled that is not listed, and whose price could not be had.
    """

    account: TradingAccount
    snapshot: AccountSnapshot
    unlisted: tuple[VenuePosition, ...] = ()
    stops: Mapping[str, Decimal | None] = field(default_factory=dict)
    paid_in: Decimal | None = ZERO
    unpriced: frozenset[str] = frozenset()

    @property
    def positions(self) -> tuple[VenuePosition, ...]:
        """Return everything that may be held: for what it can lose, and never for what it could close."""
        shown = (
            replace(each, stop_loss=self.stops[each.venue_position_id])
            if each.venue_position_id in self.stops
            else each
            for each in self.snapshot.positions
        )
        return (*shown, *self.unlisted)


@dataclass(frozen=True, slots=True)
class Facts:
    """Every account of a trader as its broker sees it, the instruments met there, and the quotes that value them."""

    accounts: tuple[AccountFacts, ...]
    instruments: Mapping[tuple[int, str], TradableInstrument]
    quotes: Mapping[str, Quote]
    read_at: datetime  # what was booked since by the database's clock may not be in it
    asked_at: datetime  # the database's clock before the first broker was asked


@dataclass(frozen=True, slots=True)
class Owned:
    """What a trader has with us: the active accounts and the instruments met there, at `read_at` of the database.

    `held` are the open positions of our books by account, in signed lots by name; `waiting` the instruments of orders
    that may still fill; `brought` the names of netted positions, the side and the stop of what filled there in the last
    seconds, 0 for none; `made` is what a request's key has made at each account, in the words of `records.same`; None:
    nobody has looked.
    """

    accounts: tuple[TradingAccount, ...]
    instruments: dict[tuple[int, str], TradableInstrument]
    read_at: datetime
    held: Mapping[int, Mapping[str, Decimal]]
    waiting: Mapping[int, frozenset[str]]
    brought: Mapping[int, frozenset[tuple[str, str, Decimal]]]
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
    given = {"number": number, "within": LISTED_WITHIN, **asked}
    rows = statements.pairs(TradingAccount, TradableInstrument, query, given)
    beside = {account.pk: row for account, _, row in rows}
    return Owned(
        accounts=tuple({account.pk: account for account, _, _ in rows}.values()),
        instruments={(account.pk, met.symbol): met for account, met, _ in rows if met is not None},
        read_at=min(clock for _, _, (clock, *_) in rows) if rows else database_clock(),
        held={pk: _signed(row[-1]) for pk, row in beside.items() if row[-1]},
        waiting={pk: frozenset(row[-2].splitlines()) for pk, row in beside.items() if row[-2]},
        brought={pk: _stops(row[-3]) for pk, row in beside.items() if row[-3]},
        made={pk: (row[1], row[2]) for pk, row in beside.items() if row[2]} if asked else None,
    )


def only(owned: Owned, account: TradingAccount) -> Owned:
    """Leave out every other account, and what waits: for what only takes away from this one, be it put aside.

    What may float is no matter to it, and a price that cannot be had must not hold it up.
    """
    if account not in owned.accounts:
        owned = _owned(OWNED + " WHERE trading_account.id = %(number)s" + BY_ID, account.pk)
    return replace(owned, accounts=tuple(each for each in owned.accounts if each == account), waiting={})


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
    newest: dict[int, list[Newest]] = {}
    try:
        parts = [
            _read_account(
                each,
                owned,
                symbols=wanted if each == account else set(),
                questions=questions if each == account else NOTHING,
                newest=newest,
                at=at,
            )
            for each in owned.accounts
        ]
    except OutsideError as exc:
        return Missing("BROKER_UNAVAILABLE", str(exc))
    quotes: dict[str, Quote] = {}
    known: dict[tuple[int, str], TradableInstrument] = {}
    taken = []
    for part, met in parts:
        each, shown = part.account, part.snapshot.quotes
        # The order's own account speaks for its own prices, whatever another account shows under the same name.
        quotes = shown | quotes if each != account else quotes | shown
        known |= {(each.pk, name): instrument for name, instrument in met.items()}
        taken.append(part)
    return Facts(tuple(taken), known, quotes, read_at=unseen_since(owned, taken, known=newest), asked_at=owned.read_at)


def unseen_since(
    owned: Owned, taken: Iterable[AccountFacts], *, known: Mapping[int, list[Newest]] = MappingProxyType({})
) -> datetime:
    """Return when the oldest fill was booked that a broker does not show yet; when they were asked if all is shown.

    A terminal may list positions seconds late. One that stands there exactly as before our newest fills is as old as
    that: what has filled since would be counted neither as working nor as held. Which fills are new is asked only where
    a list and our books are apart. Takes: those that are `known` by account.
    """
    apart = {}
    for each in taken:
        held = owned.held.get(each.account.pk, {})
        if held and held.items() - (shown := unlisted.listed(each.snapshot)).items():
            apart[each.account.pk] = shown
    unasked = [pk for pk in apart if pk not in known]
    newest = [
        *(unlisted.newest(unasked, since=owned.read_at - LISTED_WITHIN) if unasked else []),
        *(fill for pk in apart for fill in known.get(pk, [])),
    ]
    return min([owned.read_at, *unlisted.unseen(newest, apart=apart)])


def _signed(held: str) -> dict[str, Decimal]:
    """Read the positions that stand beside an account: a name and signed lots a line."""
    lines = (line.rpartition(" ") for line in held.splitlines())
    return {name: Decimal(quantity) for name, _, quantity in lines}


def _stops(brought: str) -> frozenset[tuple[str, str, Decimal]]:
    """Read the stops that stand beside an account: the name of a position, the side of a fill and its stop a line."""
    lines = (line.rsplit(" ", 2) for line in brought.splitlines())
    return frozenset((name, side, Decimal(stop)) for name, side, stop in lines)


def _may_hide(snapshot: AccountSnapshot, *, brought: Collection[tuple[str, str, Decimal]]) -> bool:
    """Tell whether a netted position is listed with another stop than fills of the last seconds have brought to it."""
    if snapshot.mode is PositionMode.HEDGING:
        return False
    shown = {(each.venue_position_id, str(each.side)): each.stop_loss for each in snapshot.positions if each.stop_loss}
    return any(shown.get((name, side), stop) != stop for name, side, stop in brought)


def _read_account(
    account: TradingAccount,
    owned: Owned,
    *,
    symbols: set[str],
    questions: Questions,
    newest: dict[int, list[Newest]],
    at: datetime,
) -> tuple[AccountFacts, dict[str, TradableInstrument]]:
    """Read one account, with the prices of what is on its way. An instrument that is held or waited for and not met is
    learned and the account read again, and so it is with the prices of what our books hold and the venue does not list.
    """
    broker = accounts.broker_of(account)
    met = {name: row for (account_id, name), row in owned.instruments.items() if account_id == account.pk}
    margin, profit = questions.margin, questions.profit
    floating = set(owned.waiting.get(account.pk, ())) & met.keys()
    symbols = symbols | floating
    names = sorted(symbols | _conversions(account, met.values()))
    snapshot = broker.snapshot(symbols=names, margin=margin, profit=profit)
    held = owned.held.get(account.pk, {})
    missed: list[Missed] = []
    paid_in: Decimal | None = ZERO
    if names_lacking := unlisted.lacking(snapshot, held=held):
        newest[account.pk] = fills = unlisted.newest([account.pk], since=owned.read_at - LISTED_WITHIN)
        missed = unlisted.missed(account, snapshot, names=names_lacking, held=held, fills=fills)
        floating |= {fill.symbol for fill in fills} & met.keys()
        if unlisted.are_closed(snapshot, names=names_lacking, held=held, fills=fills):
            paid_in = _paid_in(account, broker, clock=owned.read_at)
    strangers = {each.row.symbol for each in missed} | {order.symbol for order in snapshot.orders}
    strangers = (strangers | {held.symbol for held in snapshot.positions}) - set(met)
    may_hide = _may_hide(snapshot, brought=owned.brought.get(account.pk, ()))
    if may_hide and account.pk not in newest:
        newest[account.pk] = unlisted.newest([account.pk], since=owned.read_at - LISTED_WITHIN)
    fills = newest[account.pk] if may_hide else []
    if not strangers and not missed and floating <= {*names} and paid_in == ZERO:
        unpriced, stops = unlisted.unpriced(snapshot, floating), unlisted.hidden_stops(snapshot, fills)
        return AccountFacts(account, snapshot, stops=stops, unpriced=unpriced), met
    for name in sorted(strangers):
        try:
            with base.sharing():
                met[name] = instruments.get(account=account, broker=broker, symbol=name, at=at)
        except (Invalid, Unavailable):
            continue  # without its terms nothing is opened beside it, and what closes another position goes on
    names = sorted(symbols | _conversions(account, met.values()))
    beside = sorted(({each.row.symbol for each in missed} & met.keys() | floating) - set(names))
    try:
        snapshot = broker.snapshot(symbols=[*names, *beside], margin=margin, profit=profit)
    except OutsideError:
        if not beside:
            raise
        # A price that cannot be had of what is not listed hides nothing else, and holds up no close.
        snapshot = broker.snapshot(symbols=names, margin=margin, profit=profit)
    unseen, unpriced = unlisted.as_last_seen(missed, snapshot), unlisted.unpriced(snapshot, floating)
    return AccountFacts(account, snapshot, unseen, unlisted.hidden_stops(snapshot, fills), paid_in, unpriced), met


def _paid_in(account: TradingAccount, broker: Broker, *, clock: datetime) -> Decimal | None:
    """Return what was paid in and is not in our books yet, or None when nobody can tell: a loss that is not there
    either must not hide behind it. It is read before the balance is once more, so that it is never more than that has.
    """
    if account.venue in registry.RESULTS_UNTOLD:
        return ZERO
    try:
        with base.sharing():  # what closes asks nobody what was lost, and reads the account after this
            told = [each for each in broker.cash_since(clock - UNTOLD_WITHIN) if each.kind in PAID]
    except OutsideError:
        return None
    known = CashMovement.objects.filter(account=account, venue_cash_id__in=[each.venue_cash_id for each in told])
    booked = set(known.values_list("venue_cash_id", flat=True))
    return sum((each.amount for each in told if each.venue_cash_id not in booked), start=ZERO)


def _conversions(account: TradingAccount, met: Iterable[TradableInstrument]) -> set[str]:
    return {row.usd_symbol for row in met if row.usd_symbol} | ({account.usd_symbol} if account.usd_symbol else set())
