"""What an account's list of positions lacks of our books: what it shows late, or not at all (mt5.md §10).

A terminal may show a position, and what an order has made of it, seconds after the answer. The orders of those seconds
count what they could cost; what no order counts for is counted as last seen.
"""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import LiteralString, NamedTuple

from nexus.core import statements
from trading.models import BrokerPosition, Fill, TradingAccount
from trading.rules import ZERO
from trading.states import FillKind, PositionMode, Side
from trading.types import AccountSnapshot, VenuePosition

# The newest fills of some accounts, the newest first, and what our books hold of their positions. Of an order that only
# reduces nothing is reserved, and a reversal is of no order that counts.
NEWEST: LiteralString = """
    SELECT account.id, few.venue_position_id, position.quantity, few.part, few.booked_at,
           few.kind <> 'BUST' AND made.venue_position_id IS NOT DISTINCT FROM '', few.kind = 'BUST', made.stop_loss,
           position.symbol
    FROM unnest(%(numbers)s::bigint[]) account (id) CROSS JOIN LATERAL (
        SELECT id, venue_position_id, booked_at, CASE side WHEN 'BUY' THEN quantity ELSE -quantity END AS part,
               order_id, kind
        FROM fill WHERE account_id = account.id
        AND booked_at > %(since)s AND booked_at < 'infinity'
        ORDER BY booked_at DESC LIMIT 32
    ) few JOIN broker_positions position
    ON position.account_id = account.id AND position.venue_position_id = few.venue_position_id
    LEFT JOIN trade_ledger made ON made.id = few.order_id
    ORDER BY few.id DESC
"""


class Newest(NamedTuple):
    """A fill of the last seconds: its account and position, what our books hold of that, what the fill has added, when
    it was booked, whether an order made it that counts what it could cost, whether it is a reversal, the order's stop,
    and the instrument. Units: signed lots.
    """

    account_id: int
    venue_position_id: str
    held: Decimal
    part: Decimal
    booked_at: datetime
    is_counted: bool = True
    is_reversal: bool = False
    stop: Decimal | None = None
    symbol: str = ""


class Missed(NamedTuple):
    """A position of our books of which no order counts so many lots: what was `shown` of it, and its stop, if known."""

    row: BrokerPosition
    lots: Decimal
    shown: Decimal | None
    stop: Decimal | None


def newest(account_ids: Sequence[int], *, since: datetime) -> list[Newest]:
    """Return the newest fills of some accounts, the newest first."""
    rows = statements.fetch(NEWEST, {"numbers": [*account_ids], "since": since})
    return [Newest._make(row) for row in rows]


def unseen(newest: Iterable[Newest], *, apart: Mapping[int, Mapping[str, Decimal]]) -> list[datetime]:
    """Return when those fills were booked that accounts do not show. Takes: what each shows, in signed lots."""
    found = []
    before: dict[tuple[int, str], Decimal] = {}  # what the positions were before the fills that were looked at
    for fill in newest:
        place = fill.account_id, fill.venue_position_id
        quantity, stands = apart[fill.account_id].get(fill.venue_position_id, ZERO), before.get(place, fill.held)
        if stands == quantity:
            continue  # as it is shown: it has this fill, and those before it
        before[place] = stands - fill.part
        if before[place] == quantity:
            found.append(fill.booked_at)
    return found


def hidden_stops(snapshot: AccountSnapshot, fills: Sequence[Newest]) -> dict[str, Decimal | None]:
    """Return the stops by name of netted positions that a list may hide: as many lots stood there before an order that
    added, and others have reduced since, so that the list may be from before both. The furthest of them, None for one
    that nobody knows. Takes: the account's newest fills, the newest first.
    """
    found: dict[str, Decimal | None] = {}
    for held in snapshot.positions:
        lots, side = held.quantity * held.side.direction, held.side
        stops: list[Decimal | None] = []
        brought: list[Decimal | None] = []
        own = [each for each in fills if each.venue_position_id == held.venue_position_id]
        stands = own[0].held if own else lots
        is_late = stands != lots  # the orders since are in doubt, and count what they bring
        for fill in own:
            stands -= fill.part
            is_reduction = fill.part * side.direction < 0 or fill.is_reversal
            brought += [] if is_reduction else [fill.stop if fill.is_counted else None]
            if stands == lots:
                stops += [] if is_late else brought
                brought, is_late = [], False
        known = [stop for stop in (*stops, held.stop_loss) if stop is not None]
        if stops and len(known) <= len(stops):
            found[held.venue_position_id] = None
        elif stops:
            found[held.venue_position_id] = min(known) if side is Side.BUY else max(known)
    return found


def closed_unseen(
    account: TradingAccount, snapshot: AccountSnapshot, *, asked_at: datetime, within: timedelta
) -> dict[str, Decimal]:
    """Return by name how many lots were taken from positions that a list asked for then still shows as before.

    Only what was booked `within` so long before it: what is booked later, whoever reduces counts as pending.
    """
    shown, late = listed(snapshot), dict[str, Decimal]()
    fills = [fill for fill in newest([account.pk], since=asked_at - within) if fill.venue_position_id in shown]
    for name in {fill.venue_position_id for fill in fills}:
        own = [fill for fill in fills if fill.venue_position_id == name]
        stands, unseen = own[0].held, list[Newest]()
        for fill in own:
            if stands == shown[name]:
                break  # as it is shown: it has this fill, and those before it
            stands -= fill.part
            unseen.append(fill)
        if stands == shown[name]:
            taken = (fill.part * -_sign(stands) for fill in unseen if fill.booked_at < asked_at)
            late[name] = max(ZERO, sum(taken, start=ZERO))
    return late


def listed(snapshot: AccountSnapshot) -> dict[str, Decimal]:
    """Return what an account shows as held, in signed lots by name."""
    return {each.venue_position_id: each.quantity * each.side.direction for each in snapshot.positions}


def lacking(snapshot: AccountSnapshot, *, held: Mapping[str, Decimal]) -> list[str]:
    """Return the positions that our books hold, in signed lots by name, and the venue does not list, or less of."""
    shown = listed(snapshot)
    return [name for name, lots in held.items() if abs(lots) > max(ZERO, shown.get(name, ZERO) * _sign(lots))]


def are_closed(
    snapshot: AccountSnapshot, *, names: Sequence[str], held: Mapping[str, Decimal], fills: Sequence[Newest]
) -> bool:
    """Tell whether some of what `lacking` names was closed at the venue, or the list is not whole: no fill of the last
    seconds, that is listed late, makes the difference. Takes: as `missed`.
    """
    shown = listed(snapshot)
    for name in names:
        own = [fill for fill in fills if fill.venue_position_id == name]
        stood = itertools.accumulate([own[0].held if own else held[name], *(-fill.part for fill in own)])
        if shown.get(name, ZERO) not in stood:
            return True
    return False


def missed(
    account: TradingAccount,
    snapshot: AccountSnapshot,
    *,
    names: Sequence[str],
    held: Mapping[str, Decimal],
    fills: Sequence[Newest],
) -> list[Missed]:
    """Return what `lacking` names where no order counts for it. Takes: the newest fills.

    `unseen` tells of what is listed late, and the orders that made it count. None does for what somebody else has
    traded, nor for a close that was taken back. What is not listed otherwise was closed there and the deal is not
    booked yet, or the list is not whole; of what is, the list is believed.
    """
    shown = listed(snapshot)
    by_name = {name: [fill for fill in fills if fill.venue_position_id == name] for name in names}
    parts = {name: _uncounted(own, held=held[name], shown=shown.get(name)) for name, own in by_name.items()}
    wanted = [name for name, (lots, _) in parts.items() if lots]
    if not wanted:
        return []
    # What was closed in our books meanwhile is no more.
    rows = BrokerPosition.objects.filter(account=account, venue_position_id__in=wanted, closed_at=None).order_by("pk")
    is_netting = snapshot.mode is not PositionMode.HEDGING
    return [
        Missed(
            row, lots, shown.get(row.venue_position_id),
            None if is_moved else _worse_stop(row) if is_netting else row.stop_loss,
        )
        for row in rows for lots, is_moved in [parts[row.venue_position_id]]
    ]  # fmt: skip


def _uncounted(fills: Sequence[Newest], *, held: Decimal, shown: Decimal | None) -> tuple[Decimal, bool]:
    """Return how many lots of a position no order counts for, and whether nobody knows its stop: somebody else has
    added to it. Takes: its newest fills, the newest first; what is `shown` of it, None where it is not listed.
    """
    stands, lots, is_moved = fills[0].held if fills else held, ZERO, False
    whole, direction = abs(stands), _sign(stands)
    for fill in fills:
        if stands == (shown or ZERO):
            break
        stands -= fill.part
        if not fill.is_counted:
            lots += max(ZERO, fill.part * direction)
            is_moved = is_moved or not (fill.is_reversal or stands == 0)
    is_late = stands == (shown or ZERO)
    if shown is None:
        return (whole if lots or not is_late else ZERO), is_moved
    return (min(lots, whole) if is_late else ZERO), is_moved


def _worse_stop(row: BrokerPosition) -> Decimal | None:
    """Return the stop of a netted position, or that of the order which has added to it last, if that is further: our
    books have it by the next look, where it is listed.
    """
    adding = Fill.objects.filter(
        account=row.account_id, venue_position_id=row.venue_position_id, side=row.side, kind=FillKind.ORDER,
        order__venue_position_id="",
    )  # fmt: skip
    stops = {row.stop_loss, *adding.order_by("-pk").values_list("order__stop_loss", flat=True)[:1]}
    known = [stop for stop in stops if stop is not None]
    if len(known) < len(stops):
        return None
    further: Decimal = min(known) if row.side is Side.BUY else max(known)
    return further


def as_last_seen(found: Iterable[Missed], snapshot: AccountSnapshot) -> tuple[VenuePosition, ...]:
    """Return what the venue does not list, as our books have it, at its price now. Where it nets, the symbol tells.

    What has no price now has no mark: what it can lose is not bounded, for all that is new.
    """
    is_hedging = snapshot.mode is PositionMode.HEDGING
    named = {held.venue_position_id if is_hedging else held.symbol for held in snapshot.positions}
    shown = listed(snapshot)
    seen = []
    for row, lots, before, stop in found:
        is_listed = (row.venue_position_id if is_hedging else row.symbol) in named
        if is_listed if before is None else shown.get(row.venue_position_id) != before:
            continue  # it is by now
        quote = snapshot.quotes.get(row.symbol)
        price = ZERO if quote is None else quote.bid if row.side is Side.BUY else quote.ask
        seen.append(
            VenuePosition(
                venue_position_id=row.venue_position_id, symbol=row.symbol, side=row.side, quantity=lots,
                price_open=row.price_open, price_current=max(price, ZERO), stop_loss=stop, take_profit=row.take_profit,
                profit=ZERO, swap=ZERO, client_order_id="", opened_at=row.opened_at,
            )
        )  # fmt: skip
    return tuple(seen)


def unpriced(snapshot: AccountSnapshot, names: Iterable[str]) -> frozenset[str]:
    """Return the instruments among `names` that have no price: a terminal that has none yet shows zero."""
    quotes = snapshot.quotes
    return frozenset(name for name in names if name not in quotes or min(quotes[name].bid, quotes[name].ask) <= 0)


def _sign(lots: Decimal) -> int:
    return 1 if lots > 0 else -1
