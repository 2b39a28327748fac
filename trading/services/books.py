"""What our own books say for one judgement, in one statement: each owner's words, one snapshot of all of them.

Whoever judges holds the locks already: this is a later statement, and sees what the holders before it have committed.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from accounts import selectors as people
from nexus.core import statements
from risk.services import control, limits, sights, stats
from risk.services.control import StopState
from risk.services.stats import History
from risk.states import LimitKind
from risk.types import Figure, Limit
from trading import selectors
from trading.models import TradeLedger, TradingAccount
from trading.rules import ZERO
from trading.services import accounts, arming, aside, balances, usage
from trading.services.facts import Facts, Missing
from trading.services.usage import Counts
from trading.types import OrderIntent

PARTS = (
    usage.COUNT, selectors.IN_DOUBT, selectors.CHANGING, stats.PAST, stats.STARTS, sights.AGE, limits.IN_FORCE,
    control.STATE, people.IS_ACTIVE, balances.EXPLAINED, arming.STATE, aside.COST,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Books:
    """What is known of a user, an account and an instrument without asking anybody outside.

    `in_doubt` are the user's orders that the facts may or may not show; `changing` the USD that changes of stops add in
    the same way; both are empty on missing facts, on which nothing is admitted. `restopping` names the changes that
    nobody has answered yet of what an order would be netted with. `starts` has each account's equity at
    the start of its day with what was paid in since, and none for an account that nobody has looked at today. `aside`
    is what accounts that nobody looks at any more have lost today and may still lose, in USD.
    """

    counts: Counts
    in_doubt: list[TradeLedger]
    changing: Decimal
    restopping: str
    history: History
    starts: Mapping[int, Decimal]
    sight_age_s: Figure
    limits: Mapping[LimitKind, Limit]
    stop: StopState
    user_is_active: bool
    is_armed: bool
    account_is_active: bool
    aside: Decimal


def read(
    *,
    user_id: int,
    account: TradingAccount,
    symbol: str,
    intent: OrderIntent | None,
    facts: Facts | Missing,
    at: datetime,
) -> Books:
    """Read what stands beside `facts`. Takes: no `intent` when nobody asks for anything."""
    is_missing = isinstance(facts, Missing)
    ids = [account.pk] if isinstance(facts, Missing) else [each.account.pk for each in facts.accounts]
    given = {
        **usage.arguments(user_id=user_id, account_id=account.pk, account_ids=ids, intent=intent, at=at),
        **control.wanted(accounts.control_scopes(account, symbol=symbol)),
        "symbol": symbol,
        "held_account": account.pk,
        "since": at if isinstance(facts, Missing) else facts.read_at,
        "date": at.date(),
    }
    counts, in_doubt, changing, past, starts, age, in_force, stop, is_active, explained, held, cost = (
        statements.fetch_parts(PARTS, given)
    )
    return Books(
        counts=usage.as_counts(counts),
        in_doubt=[] if is_missing else selectors.as_orders(in_doubt),
        changing=ZERO if is_missing else changing[0],
        restopping=changing[1],
        history=History(*past),
        starts=balances.with_untold(stats.as_starts(starts), explained, facts=facts, at=at),
        sight_age_s=sights.as_age(age),
        limits=limits.as_limits(in_force),
        stop=control.as_state(stop),
        user_is_active=is_active[0],
        is_armed=held[0],
        account_is_active=held[1],
        aside=cost[0],
    )
