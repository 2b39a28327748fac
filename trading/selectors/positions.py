"""Positions, open and past."""

import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from typing import LiteralString

from django.db.models import QuerySet

from accounts.types import Principal
from nexus.core import statements
from nexus.core.errors import NotFound
from trading.models import BrokerPosition, TradingAccount
from trading.selectors.accounts import READS_ALL
from trading.types import AccountSnapshot, VenuePosition

HELD: LiteralString = """
    SELECT {columns} FROM broker_positions JOIN trading_account ON trading_account.id = broker_positions.account_id
    WHERE broker_positions.closed_at IS NULL
"""
OF_USER: LiteralString = " AND trading_account.user_id = %(user)s"
ON_PAPER: LiteralString = " AND NOT trading_account.is_live"


@dataclass(frozen=True, slots=True)
class PositionView:
    """A position of ours beside the broker's own, or without it when the broker could not be asked."""

    position: BrokerPosition
    live: VenuePosition | None
    digits: int | None = None  # behind the point of its prices, where somebody asked


def position_of(user: Principal, *, public_id: uuid.UUID) -> BrokerPosition:
    """Return one position the person may act on. Raises: NotFound, the same for absent and for somebody else's."""
    rows = BrokerPosition.objects.select_related("account").filter(account__user_id=user.pk, public_id=public_id)
    position = rows.first()
    if position is None:
        raise NotFound("You have no such position.")
    return position


def open_positions(accounts: Iterable[TradingAccount]) -> QuerySet[BrokerPosition]:
    """Return the open positions of some accounts, the oldest first."""
    return (
        BrokerPosition.objects.filter(account__in=list(accounts), closed_at__isnull=True)
        .select_related("account")
        .order_by("pk")
    )


def positions_held(user: Principal) -> list[BrokerPosition]:
    """Return the open positions that a person may see, with their accounts, the oldest first. One statement."""
    seen: LiteralString = HELD + ("" if user.role in READS_ALL else OF_USER) + (ON_PAPER if user.is_paper_only else "")
    rows = statements.pairs(BrokerPosition, TradingAccount, seen + " ORDER BY broker_positions.id", {"user": user.pk})
    known: dict[int, TradingAccount] = {}
    held = []
    for position, account, _ in rows:
        assert account is not None
        position.account = known.setdefault(account.pk, account)
        held.append(position)
    return held


def positions_found(
    user: Principal,
    *,
    account: TradingAccount | None,
    symbol: str,
    is_open: bool | None,
    limit: int,
    before: int | None,
) -> tuple[list[BrokerPosition], int | None]:
    """Return a page of the positions that a person may see, the newest first, and where the next one goes on.

    Takes: "" and None for what does not matter.
    """
    rows = BrokerPosition.objects.select_related("account__user").order_by("-pk")
    rows = rows if user.role in READS_ALL else rows.filter(account__user_id=user.pk)
    rows = rows if account is None else rows.filter(account=account)
    rows = rows.filter(symbol=symbol) if symbol else rows
    rows = rows if is_open is None else rows.filter(closed_at__isnull=is_open)
    page = list((rows if before is None else rows.filter(pk__lt=before))[: limit + 1])
    return page[:limit], page[limit - 1].pk if len(page) > limit else None


def beside(positions: Iterable[BrokerPosition], *, snapshots: dict[int, AccountSnapshot]) -> list[PositionView]:
    """Put each position beside the broker's own view of it."""
    live = {
        (account_id, position.venue_position_id): position
        for account_id, snapshot in snapshots.items()
        for position in snapshot.positions
    }
    return [PositionView(row, live.get((row.account_id, row.venue_position_id))) for row in positions]
