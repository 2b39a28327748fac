"""What our own books say for one judgement, in one statement: each owner's words, one snapshot of all of them.

Whoever judges holds the locks already: this is a later statement, and sees what the holders before it have committed.
"""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from accounts import selectors as people
from nexus.core import statements
from nexus.core.statements import Row
from risk.services import control, limits, sights, stats
from risk.services.control import StopState
from risk.services.stats import History
from risk.states import LimitKind
from risk.types import Figure, Limit
from trading import selectors
from trading.models import TradeLedger, TradingAccount
from trading.rules import ZERO
from trading.services import accounts, arming, aside, balances, usage
from trading.services.aside import NOTHING, Aside
from trading.services.facts import LISTED_WITHIN, Facts, Missing
from trading.services.usage import Counts
from trading.types import OrderIntent

PARTS = (
    usage.COUNT, selectors.IN_DOUBT, selectors.CHANGING, stats.PAST, stats.STARTS, sights.AGE, limits.IN_FORCE,
    control.STATE, people.IS_ACTIVE, balances.EXPLAINED, arming.STATE, aside.ANY,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Books:
    """What is known of a user, an account and an instrument without asking anybody outside.

    `in_doubt` are the user's orders that the facts may or may not show; `changing` the USD that changes of stops add in
    the same way, those too that a list does not show yet; both are empty on missing facts, on which nothing is
    admitted. `restopping` names the changes that nobody has answered yet of what an order would be netted with.
    `starts` has each account's equity at the start of its day with what was paid in since, and none for an account that
    nobody has looked at today. `aside` is what accounts that nobody looks at any more have lost today and may still
    lose, and what stands there: read by a statement of its own, where there is one.
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
    aside: Aside


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
        **_seen(facts, at=at),
        "date": at.date(),
    }
    counts, in_doubt, changing, past, starts, age, in_force, stop, is_active, explained, held, others = (
        statements.fetch_parts(PARTS, given)
    )
    return Books(
        counts=usage.as_counts(counts),
        in_doubt=[] if is_missing else selectors.as_orders(in_doubt),
        changing=ZERO if isinstance(facts, Missing) else _changing(changing, facts=facts),
        restopping=changing[1],
        history=History(*past),
        starts=balances.with_untold(stats.as_starts(starts), explained, facts=facts, at=at),
        sight_age_s=sights.as_age(age),
        limits=limits.as_limits(in_force),
        stop=control.as_state(stop),
        user_is_active=is_active[0],
        is_armed=held[0],
        account_is_active=held[1],
        aside=(
            NOTHING
            if is_missing or not others[0] or (intent and intent.is_reducing)
            else aside.read(user_id=user_id, trading_date=at.date(), symbol=symbol, seen=ids)
        ),
    )


def changing_risk(*, user_id: int, facts: Facts) -> Decimal:
    """Return `Books.changing` alone."""
    given = {"user": user_id, "account": 0, "symbol": "", **_seen(facts, at=facts.read_at)}
    return _changing(statements.fetch_only(selectors.CHANGING.query, given), facts=facts)


def _seen(facts: Facts | Missing, *, at: datetime) -> Mapping[str, datetime]:
    """Return since when the facts may not show what was booked, and since when a list may not show what was set."""
    if isinstance(facts, Missing):
        return {"since": at, "listed_since": at}
    return {"since": facts.read_at, "listed_since": min(facts.read_at, facts.asked_at - LISTED_WITHIN)}


def _changing(row: Row, *, facts: Facts) -> Decimal:
    """Return what a row of `CHANGING` adds: of what was set before the facts were read, where it does not show."""
    shown = {
        (each.account.pk, held.venue_position_id): held.stop_loss
        for each in facts.accounts for held in each.snapshot.positions
    }  # fmt: skip
    stops: dict[tuple[int, str], Decimal | None] = {}
    added: dict[tuple[int, str], Decimal] = defaultdict(Decimal)
    for account_id, name, stop, extra in row[2] or ():
        place = int(account_id), name
        stops[place] = None if stop is None else Decimal(stop)
        added[place] += Decimal(extra)
    late = (extra for place, extra in added.items() if place in shown and shown[place] != stops[place])
    total: Decimal = row[0] + sum(late, start=ZERO)
    return total
