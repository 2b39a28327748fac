"""What our own books say for one judgement, in one statement: each owner's words, one snapshot of all of them.

Whoever judges holds the locks already: this is a later statement, and sees what the holders before it have committed.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import NamedTuple

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
from trading.services import accounts, arming, aside, balances, standing, usage
from trading.services.aside import NOTHING, Aside
from trading.services.facts import LISTED_WITHIN, AccountFacts, Facts, Missing
from trading.services.usage import Counts
from trading.types import OrderIntent

PARTS = (
    usage.COUNT, selectors.IN_DOUBT, selectors.CHANGING, stats.PAST, stats.STARTS, sights.AGE, limits.IN_FORCE,
    control.STATE, people.IS_ACTIVE, balances.EXPLAINED, arming.STATE, aside.ANY,
)  # fmt: skip


class _Change(NamedTuple):
    """A change of stops: the stop-loss, what it added when it was asked for, and when it was told, if that was before
    the facts were read. Units: USD.
    """

    stop: Decimal | None
    extra: Decimal
    told_at: datetime | None


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
    doubted = [] if is_missing else selectors.as_orders(in_doubt)
    return Books(
        counts=usage.as_counts(counts),
        in_doubt=doubted,
        changing=ZERO if isinstance(facts, Missing) else _changing(changing, facts=facts, in_doubt=doubted),
        restopping=changing[0],
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


def changing_risk(*, user_id: int, facts: Facts, in_doubt: Sequence[TradeLedger]) -> Decimal:
    """Return `Books.changing` alone."""
    given = {"user": user_id, "account": 0, "symbol": "", **_seen(facts, at=facts.read_at)}
    return _changing(statements.fetch_only(selectors.CHANGING.query, given), facts=facts, in_doubt=in_doubt)


def _seen(facts: Facts | Missing, *, at: datetime) -> Mapping[str, datetime]:
    """Return since when the facts may not show what was booked, and since when a list may not show what was set."""
    if isinstance(facts, Missing):
        return {"since": at, "listed_since": at}
    return {"since": facts.read_at, "listed_since": min(facts.read_at, facts.asked_at - LISTED_WITHIN)}


def _changing(row: Row, *, facts: Facts, in_doubt: Sequence[TradeLedger]) -> Decimal:
    """Return what a row of `CHANGING` adds: of what was set before the facts were read, where it does not show."""
    found: dict[tuple[int, str], list[_Change]] = defaultdict(list)
    for account_id, name, stop, extra, told_at in row[1] or ():
        change = _Change(
            None if stop is None else Decimal(stop), Decimal(extra),
            None if told_at is None else datetime.fromisoformat(told_at),
        )  # fmt: skip
        found[int(account_id), name].append(change)
    parts = {each.account.pk: each for each in facts.accounts}
    return sum((
        _added(changes, name=name, part=parts.get(account_id), facts=facts, in_doubt=in_doubt)
        for (account_id, name), changes in found.items()
    ), start=ZERO)  # fmt: skip


def _added(
    changes: Sequence[_Change], *, name: str, part: AccountFacts | None, facts: Facts, in_doubt: Sequence[TradeLedger]
) -> Decimal:
    """Return what changes of a position's stops add: what they did when they were asked for, or what they do now where
    that is more. A stop that is taken away costs the more, the nearer the price has come to it.
    """
    counted = [change for change in changes if change.told_at is None]
    stands = counted[:]
    told = [change for change in changes if change.told_at is not None]
    shown = [] if part is None else [p.stop_loss for p in part.snapshot.positions if p.venue_position_id == name]
    if told and shown and shown != [told[-1].stop]:
        counted, stands = counted + told, stands + told[-1:]
    total = sum((change.extra for change in counted), start=ZERO)
    if part is None:
        return total
    for change in stands:
        # What was sent since has brought a stop of its own.
        before = [each for each in in_doubt if each.sent_at and change.told_at and each.sent_at < change.told_at]
        doubted = in_doubt if change.told_at is None else before
        total = max(total, standing.restop(part, doubted, name=name, stop=change.stop, facts=facts))
    return total
