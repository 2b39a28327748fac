"""A broker's complete answer: read, and read again until both say the same. Network only: no transaction is open here.

A call that fails, an answer that cannot be, an account that moves all the time: each is no answer, and changes nothing.
"""

from collections.abc import Sequence
from datetime import datetime

from django.db import connection

from nexus.core.errors import Unreachable
from reconciliation.types import Reading
from trading.brokers.base import Broker
from trading.services import accounts, facts
from trading.services.accounts import Account
from trading.types import AccountSnapshot, FillReport

ATTEMPTS = 3
MOVES = f"The account was read {ATTEMPTS} times, and moved each time."


class Incomplete(Unreachable):
    """The answers do not agree with each other, or with the account: nothing may be concluded from them."""


def read(account: Account, *, since: datetime) -> Reading:
    """Read the account, its positions, orders and deals since then. Raises: OutsideError, Incomplete among them."""
    assert not connection.in_atomic_block
    broker = accounts.broker_of(account)
    fault = MOVES
    for _ in range(ATTEMPTS):
        started_at = facts.database_clock()
        first = _checked(account, broker.snapshot(symbols=[]))
        fills, cash = tuple(broker.fills_since(since)), tuple(broker.cash_since(since))
        again = _checked(account, broker.snapshot(symbols=[]))
        if again.hides_something:
            fault = facts.HIDES  # for longer than a position needs to close between two answers
        elif _face(first) == _face(again) and not _has_new(broker, fills, since=since):
            newest = max(
                [(each.filled_at, each.venue_fill_id) for each in fills]
                + [(each.moved_at, each.venue_cash_id) for each in cash],
                default=None,
            )
            return Reading(again, fills, cash, started_at, "" if newest is None else newest[1])
    raise Incomplete(fault)


def _has_new(broker: Broker, fills: Sequence[FillReport], *, since: datetime) -> bool:
    """Tell whether the broker shows a deal by now that it did not show before."""
    known = {each.venue_fill_id for each in fills}
    newest = max((each.filled_at for each in fills), default=since)
    return any(each.venue_fill_id not in known for each in broker.fills_since(newest))


def _checked(account: Account, snapshot: AccountSnapshot) -> AccountSnapshot:
    """Refuse an answer of another kind of account, or one that lists a position twice."""
    if snapshot.currency != account.currency or snapshot.mode != account.mode:
        raise Incomplete(f"The broker shows a {snapshot.mode} account in {snapshot.currency}, not ours.")
    names = [each.venue_position_id for each in snapshot.positions]
    if len(set(names)) != len(names):
        raise Incomplete("The broker lists a position twice.")
    if not snapshot.balance.is_finite():
        raise Incomplete("The broker shows no balance.")
    return snapshot


def _face(snapshot: AccountSnapshot) -> object:
    """Return what must not change between two readings: all but what moves with the market."""
    return (
        snapshot.balance,
        sorted((p.venue_position_id, p.symbol, p.side, p.quantity, p.price_open) for p in snapshot.positions),
        sorted((order.venue_order_id, order.quantity_left) for order in snapshot.orders),
    )
