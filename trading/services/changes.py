"""Changing what stands: a position's stops. A request of its own, sent once; until it is known, the worse counts.

Source: execution reference §10. Widening a stop is an exposure increase and passes the daily loss; removing one is
refused unless a configured move bounds the loss. No emergency stop holds back a stop-loss that is set or tightened.
"""

import secrets
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from functools import partial
from typing import Any

import structlog
from django.conf import settings
from django.db import connection, transaction
from django.db.models import Manager, Q
from django.db.models.functions import Coalesce

from nexus.audit.services import trail
from nexus.audit.types import Actor, ActorType, Target
from nexus.core import money
from nexus.core.errors import Conflict, Invalid, OutcomeUnknown, OutsideError, Refused, Unavailable, Unreachable
from risk.services import control, stats
from risk.states import StopLevel
from trading import rules, selectors
from trading.models import BrokerPosition, ChangeRequest, Fill
from trading.rules import ZERO
from trading.services import (
    accounts,
    admission,
    arming,
    exposure,
    facts,
    haste,
    identifiers,
    orders,
    resolution,
    settlements,
    standing,
    triggers,
)
from trading.services.facts import Facts, Missing
from trading.states import IN_FLIGHT, ChangeKind, ChangeState, PositionMode, Side
from trading.types import StopsChange, VenuePosition

log = structlog.get_logger(__name__)

BATCH = 50
UNSENT = "Not sent: "  # how an answer begins that no broker has given: nothing has left us
PASSING = "Not now: "  # how one begins that says nothing of the change itself: another may be accepted soon


class ChangeRefused(Invalid):
    """The change may not be made: the detail says which limit or rule holds it back."""

    code = "change_refused"


class ChangeInFlight(Conflict):
    """An earlier change of the same thing has not been answered yet."""

    code = "change_in_flight"


def change_stops(
    *, position_id: int, stops: Mapping[str, Decimal | None], actor: Actor, reason: str, at: datetime
) -> ChangeRequest:
    """Change a position's `stop_loss` or `take_profit` or both; None takes one away. Returns the request as answered.

    Both are sent, so one that `stops` does not name is sent as the broker shows it now: ours may be a row from before
    somebody else's change. Raises: ChangeRefused, ChangeInFlight, TooManyRequests, Unavailable when the broker cannot
    be asked.
    """
    assert not connection.in_atomic_block
    position = BrokerPosition.objects.select_related("account").get(pk=position_id)
    account = position.account
    owned = facts.owned_by(account.user_id)
    alone = facts.only(owned, account)
    is_aside = account not in owned.accounts
    reading = partial(facts.read, user_id=account.user_id, account=account, symbol=position.symbol, at=at)
    with accounts.patience(purpose="PROTECT"):
        read = reading(owned=alone if is_aside else owned)
    change = partial(_change, position=position, stops=stops, is_aside=is_aside, actor=actor, reason=reason, at=at)
    has_others = len(owned.accounts) > 1 or owned.waiting
    if not isinstance(read, Missing) or is_aside or not has_others:
        return change(read)
    with accounts.patience(
        purpose="PROTECT"
    ):  # neither another account's broker, which may hang, nor a price holds up what protects
        return change(reading(owned=alone), missing=read)


def _change(
    read: Facts | Missing,
    *,
    position: BrokerPosition,
    stops: Mapping[str, Decimal | None],
    is_aside: bool,
    actor: Actor,
    reason: str,
    at: datetime,
    missing: Missing | None = None,
) -> ChangeRequest:
    """Change the stops by what was read. Takes: what is `missing` of others: then only what protects is done."""
    if isinstance(read, Missing):
        raise _unavailable(read)
    account, live = position.account, _live(position, read)
    if not read.instruments[(account.pk, position.symbol)].takes_stops:
        raise ChangeRefused("Positions carry no stops at this broker: place a stop order of its own instead.")
    named: Any = dict(stops)
    wanted = replace(live, **named)
    if is_aside and not _only_protects(live, wanted):
        raise ChangeRefused("The account is put aside: only a tighter stop-loss is accepted.")
    if missing and not _only_protects(live, wanted):
        raise _unavailable(missing)
    extra = _extra_risk(position, live=live, wanted=wanted, read=read, at=at)
    marked_s = time.monotonic()
    change = _claim(
        position=position, wanted=wanted, live=live, extra=extra, read=read, missing=missing, actor=actor,
        reason=reason, at=at,
    )  # fmt: skip
    return _send(change, position=position, wanted=wanted, send_by_s=marked_s + orders.SEND_WITHIN_S)


def _unavailable(missing: Missing) -> Unavailable:
    return Unavailable(f"The broker cannot be asked now: {missing.detail}", headers={"Retry-After": "5"})


def _live(position: BrokerPosition, read: Facts) -> VenuePosition:
    """Return the position as it stands: with the stops that we have set last, where the list is from before that, and
    with the nearest that an order has brought since.
    """
    mine = next(each for each in read.accounts if each.account.pk == position.account_id)
    for held in mine.snapshot.positions:
        if held.venue_position_id == position.venue_position_id:
            done = listed_late(position.changes, kind=ChangeKind.STOPS, asked_at=read.asked_at)
            stops = stops_of(held)
            if done and stops != done[-1].after and any(stops == change.before for change in done):
                told: Any = {name: stop and Decimal(stop) for name, stop in done[-1].after.items()}
                held = replace(held, **told)
            settled = [change.settled_at for change in done[-1:] if change.settled_at is not None]
            since = max([read.asked_at - facts.LISTED_WITHIN, *settled])
            return replace(held, stop_loss=_nearest(position, held, since=since))
    raise ChangeRefused("The broker holds no such position any more.")


def _nearest(position: BrokerPosition, held: VenuePosition, *, since: datetime) -> Decimal | None:
    """Return the stop of a netted position, or a nearer one that orders of these moments have brought to it: a list may
    be from before them, and what is wider than theirs does not only protect.
    """
    if position.account.mode == PositionMode.HEDGING:
        return held.stop_loss
    adding = Fill.objects.filter(
        account=position.account_id, venue_position_id=held.venue_position_id, side=held.side, booked_at__gte=since,
        order__venue_position_id="", order__stop_loss__isnull=False,
    )  # fmt: skip
    stops = {held.stop_loss, *adding.values_list("order__stop_loss", flat=True)} - {None}
    return (max if held.side is Side.BUY else min)(stops, default=None)


def listed_late(changes: Manager[ChangeRequest], *, kind: ChangeKind, asked_at: datetime) -> list[ChangeRequest]:
    """Return the changes that are done, and that a list asked for then may not show yet, the newest last. One that
    operators have decided was sent long before: whatever a list shows is the truth of it.
    """
    since = asked_at - facts.LISTED_WITHIN
    done = changes.filter(kind=kind, state=ChangeState.DONE, settled_at__gte=since)
    return list(done.exclude(answer=settlements.DECIDED).order_by("pk"))


def _risks(
    position: BrokerPosition, *, live: VenuePosition, wanted: VenuePosition, read: Facts
) -> tuple[Decimal | None, Decimal | None]:
    """Return what the position can lose with its stops as they are, and with the new ones, in USD; None for what has no
    bound, or no price to tell it by.
    """
    known = read.instruments[(position.account_id, position.symbol)]
    usd = rules.usd_rate(known.conversion, read.quotes, owed=True)
    if usd is None:
        return None, None
    gap, move = settings.GAP_ALLOWANCE, settings.UNSTOPPED_MOVE
    risk = partial(rules.open_risk, contract_size=known.contract_size, usd=usd, gap=gap, unstopped_move=move)
    return risk(live), risk(wanted)


def _extra_risk(
    position: BrokerPosition, *, live: VenuePosition, wanted: VenuePosition, read: Facts, at: datetime
) -> Decimal:
    """Return how much more the position could lose with the new stops, in USD; a stop-loss that only protects needs no
    price to tell. Raises: ChangeRefused.
    """
    if _only_protects(live, wanted):
        return ZERO
    known = read.instruments[(position.account_id, position.symbol)]
    if rules.usd_rate(known.conversion, read.quotes, owed=True) is None:
        raise ChangeRefused("There is no price to value this position in USD.")
    before, after = _risks(position, live=live, wanted=wanted, read=read)
    if after is None:
        raise ChangeRefused("A position may not be left without a stop-loss: its loss would not be bounded.")
    extra = ZERO if before is None else max(ZERO, after - before)  # any bound is less than none
    unfit = exposure.unfit_conversion(read, instrument=known, at=at) if extra else None
    if unfit is not None:
        raise ChangeRefused(f"What a wider stop may lose cannot be told in USD: {unfit.reason} ({unfit.detail}).")
    return extra


def _only_protects(live: VenuePosition, wanted: VenuePosition) -> bool:
    """Tell whether a change sets or tightens the stop-loss, and moves no take-profit that stands: docs/adr/0022."""
    before, after = live.stop_loss, wanted.stop_loss
    if after is None or live.take_profit not in (None, wanted.take_profit):
        return False
    return before is None or (after > before if live.side is Side.BUY else after < before)


@transaction.atomic(durable=True)
def _claim(
    *,
    position: BrokerPosition,
    wanted: VenuePosition,
    live: VenuePosition,
    extra: Decimal,
    read: Facts,
    missing: Missing | None,
    actor: Actor,
    reason: str,
    at: datetime,
) -> ChangeRequest:
    """Judge the change under the locks and store it as about to be sent. Takes: what is `missing` of other accounts."""
    account = position.account
    stats.lock(user_id=account.user_id, trading_date=at.date())
    if actor.type is not ActorType.SYSTEM:  # nothing holds up what protects by itself
        haste.refuse(account, symbol=position.symbol, protects=_only_protects(live, wanted))
    position = BrokerPosition.objects.select_for_update(no_key=True).get(pk=position.pk)
    in_flight = Q(state__in=IN_FLIGHT)
    unseen = Q(settled_at__gte=read.read_at)  # the broker was read before that change, or during it
    if position.changes.filter(in_flight | unseen, kind=ChangeKind.STOPS).exists():
        raise ChangeInFlight("Another change of these stops has not been answered yet, or was just now. Ask again.")
    control.lock_shared()
    stop = control.state(scopes=accounts.control_scopes(account, symbol=position.symbol))
    is_held_back = bool(extra) if stop.level is StopLevel.REDUCE_ONLY else not _only_protects(live, wanted)
    if stop.level is not StopLevel.ACTIVE and is_held_back:
        raise ChangeRefused(f"Trading is {stop.level.name} ({stop.reason}): only a tighter stop-loss is accepted.")
    if extra and not arming.is_armed(account):
        raise ChangeRefused("The account is not armed: only a tighter stop is accepted.")
    in_doubt = selectors.in_doubt(user_id=account.user_id, since=read.read_at)
    mine = next(each for each in read.accounts if each.account.pk == account.pk)
    extra += standing.moved_along(mine, in_doubt, live=live, held=wanted, facts=read)
    check = admission.judge_more_risk(
        account=account, extra=extra, symbol=position.symbol, facts=read, in_doubt=in_doubt, at=at
    )
    if extra and missing:
        raise _unavailable(missing)
    if extra and not check.passed:
        raise ChangeRefused(
            f"The wider stop could lose {money.as_text(extra)} USD more: {check.reason}, "
            f"with {money.as_text(check.headroom or ZERO)} USD left."
        )
    before, after = _risks(position, live=live, wanted=wanted, read=read)
    change = ChangeRequest.objects.create(
        change_id=f"{identifiers.draw()}-S",
        kind=ChangeKind.STOPS,
        state=ChangeState.SENDING,
        position=position,
        before=stops_of(live),
        after=stops_of(wanted),
        extra_risk=money.ceil_to(extra, money.CENT),
        risk_before=before and money.ceil_to(before, money.CENT),
        risk_after=after and money.ceil_to(after, money.CENT),
        reason=reason,
        requested_by=actor.id,
        requested_at=at,
        sent_at=facts.database_clock(),
    )
    trail.record(
        action="position.stops_requested",
        actor=actor,
        target=Target("position", str(position.public_id)),
        detail={"before": change.before, "after": change.after, "extra_risk": extra, "reason": reason},
        occurred_at=at,
    )
    return change


def _send(change: ChangeRequest, *, position: BrokerPosition, wanted: VenuePosition, send_by_s: float) -> ChangeRequest:
    request = StopsChange(
        change_id=change.change_id,
        venue_position_id=position.venue_position_id,
        symbol=position.symbol,
        stop_loss=wanted.stop_loss,
        take_profit=wanted.take_profit,
        send_by_s=send_by_s,
    )
    try:
        with accounts.patience(purpose="PROTECT"):
            accounts.broker_of(position.account).change_stops(request)
    except OutcomeUnknown as exc:
        return _settle(change, state=ChangeState.UNKNOWN, answer=str(exc))
    except (Refused, Unreachable) as exc:
        settled = _settle(change, state=ChangeState.REFUSED, answer=_begin(exc) + str(exc))
        triggers.account_refused(position.account, said=exc, at=change.sent_at)
        return settled
    return _settle(change, state=ChangeState.DONE, answer="")


def _begin(answer: Refused | Unreachable) -> str:
    """Return how an answer begins that is no refusal of the change as such."""
    if isinstance(answer, Unreachable):
        return UNSENT
    return "" if answer.retry_s is None else PASSING


@transaction.atomic(durable=True)
def _settle(change: ChangeRequest, *, state: ChangeState, answer: str, is_known: bool = True) -> ChangeRequest:
    return settlements.settle_stops(change, state=state, answer=answer, is_known=is_known)


def due() -> list[int]:
    """Return changes whose answer was lost, or whose process is gone; a cancel is found with its order.

    Every account has its turn before the second of any. One whose broker does not answer has no second, and none in
    most rounds, and which of its changes has it is drawn by lot: they take no turn from the others.
    """
    clock = facts.database_clock()
    lost = Q(state=ChangeState.UNKNOWN) | Q(
        state=ChangeState.SENDING, sent_at__lt=clock - timedelta(seconds=settings.SENDING_LEASE_S)
    )
    rows = ChangeRequest.objects.filter(lost).exclude(kind=ChangeKind.CANCEL).order_by("pk")
    of = Coalesce("order__account_id", "position__account_id")
    silent, turns = set(resolution.silent(clock)), Counter[int]()
    answering: list[tuple[int, int]] = []
    waiting: dict[int, list[int]] = {}
    for pk, account_id in rows.values_list("pk", of):
        turns[account_id] += 1
        if account_id not in silent:
            answering.append((turns[account_id], pk))
        else:
            waiting.setdefault(account_id, []).append(pk)
    drawn = [secrets.choice(each) for of, each in waiting.items() if resolution.has_turn(of, clock=clock)]
    return [*(pk for _, pk in sorted(answering)[:BATCH]), *drawn[:BATCH]]


def resolve(*, change_id: int, at: datetime) -> None:
    """Find out what became of a change of stops whose answer was lost: the broker's position shows it."""
    change = ChangeRequest.objects.select_related("position__account").get(pk=change_id)
    position = change.position
    if position is None or change.state not in IN_FLIGHT:
        return
    asked_at = facts.database_clock()
    try:
        snapshot = accounts.broker_of(position.account).snapshot(symbols=[])
    except OutsideError as exc:
        log.warning("trading.change.not_resolved", change_id=change.change_id, error=str(exc))
        return
    held = next((p for p in snapshot.positions if p.venue_position_id == position.venue_position_id), None)
    if held is None and position.closed_at is None:
        return  # our books hold it: a list may be late, or of an error, and tells nothing of stops
    late = [each.before for each in listed_late(position.changes, kind=ChangeKind.STOPS, asked_at=asked_at)]
    if held is not None and stops_of(held) == change.after in late:
        return  # it may be shown as before our last change: a list that is late proves nothing
    if held is None:
        _settle(change, state=ChangeState.REFUSED, answer=settlements.CLOSED, is_known=False)
    elif stops_of(held) == change.after:
        _settle(change, state=ChangeState.DONE, answer="")
    elif (facts.database_clock() - change.sent_at).total_seconds() > settings.CHANGE_PROOF_S:
        is_old = stops_of(held) == change.before  # else set since: ours would have arrived before
        _settle(
            change, state=ChangeState.REFUSED, answer=settlements.OLD if is_old else settlements.OTHERS, is_known=is_old
        )


def stops_of(position: VenuePosition) -> dict[str, str | None]:
    """Write stops as they are stored and compared."""
    prices = {"stop_loss": position.stop_loss, "take_profit": position.take_profit}
    return {name: None if price is None else money.as_text(price) for name, price in prices.items()}
