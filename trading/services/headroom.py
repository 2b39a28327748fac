"""How much room each limit leaves now: the figures of a verdict, without an order."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from functools import partial

from django.db import transaction

from accounts.types import Principal
from risk.rules import gate
from risk.rules.limits import plus
from risk.services import policy, stats
from risk.states import StopLevel
from risk.types import Access, Check, Evidence, Exposure, Figure, Freshness, Market, Shape, Stop, Unknown
from trading.models import TradingAccount
from trading.rules import ZERO
from trading.services import books, evidence, exposure, facts
from trading.services.books import Books
from trading.services.facts import Facts, Missing
from trading.states import Side
from trading.types import Reservation

NOTHING = Reservation(risk=ZERO, value=ZERO, units=ZERO, deviation=ZERO)
NOT_JUDGED = Shape("", "", "", instrument_is_tradable=True, entry_fault="", stops_fault="")


@dataclass(frozen=True, slots=True)
class Headroom:
    """Every limit of an account's owner with what is used of it. Without `symbol`, positions are not looked at."""

    account: TradingAccount
    symbol: str
    checks: tuple[Check, ...]
    missing: str  # why the broker's figures are not in it, or nothing


def read(
    *, user: Principal, account: TradingAccount, symbol: str | None, at: datetime, side: Side | None = None
) -> Headroom:
    """Read the broker live and hold what stands against every limit, as an order of nothing would be.

    No lock is taken: an order placed meanwhile may leave less. Takes: the `side` that is looked at, else the larger.
    """
    found = facts.read(user_id=user.pk, account=account, symbol=symbol, at=at)
    with transaction.atomic(durable=True):
        asked = _evidence(
            user=user, account=account, symbol=symbol, sides=[side] if side else list(Side), found=found, at=at
        )
    verdict = {check.name: check for check in gate.judge(asked).checks}
    return Headroom(
        account=account,
        symbol=symbol or "",
        checks=tuple(verdict[name] for name in gate.LIMITS if name in verdict),
        missing=found.reason if isinstance(found, Missing) else "",
    )


def _evidence(
    *,
    user: Principal,
    account: TradingAccount,
    symbol: str | None,
    sides: list[Side],
    found: Facts | Missing,
    at: datetime,
) -> Evidence:
    day = stats.today(user_id=user.pk, trading_date=at.date())
    known = books.read(user_id=user.pk, account=account, symbol=symbol or "", intent=None, facts=found, at=at)
    return Evidence(
        access=Access(user_is_active=True, may_trade=True, account_is_usable=True, account_is_live=False),
        stop=Stop(StopLevel.ACTIVE, "", ""),
        freshness=Freshness("", "", ZERO, known.sight_age_s, ""),
        shape=NOT_JUDGED,
        market=Market("", "", ZERO, ""),
        exposure=_exposure(found, known, account=account, symbol=symbol, sides=sides, at=at),
        usage=evidence.usage_of(known.counts, past=known.history, day=day, facts=found),
        limits=known.limits,
        policy=policy.current(),
    )


def _exposure(
    found: Facts | Missing,
    known: Books,
    *,
    account: TradingAccount,
    symbol: str | None,
    sides: list[Side],
    at: datetime,
) -> Exposure:
    in_doubt = known.in_doubt
    stands = exposure.standing(found, in_doubt=in_doubt, starts=known.starts, at=at)
    one_way = partial(exposure.one_way, found, account=account, in_doubt=in_doubt, symbol=symbol or "")
    margin = exposure.margin(
        found, account=account, symbol="", in_doubt=in_doubt, reservation=NOTHING, venue_margin=None
    )
    instrument = found.instruments.get((account.pk, symbol or "")) if isinstance(found, Facts) else None
    return Exposure(
        order_quantity=ZERO,
        venue_quantity_max=None if instrument is None else instrument.quantity_max,
        order_value=ZERO,
        order_risk=ZERO,
        position_order=ZERO,
        position_now=_larger_side(found, known, symbol=symbol, sides=sides),
        positions_now=plus(stands.positions, known.aside.positions),
        loss_today=plus(stands.loss_today, known.aside.cost),
        aside=known.aside.known_cost,
        open_risk=stands.open_risk,
        reserved=stands.reserved + known.changing,
        margin_required=margin.required,
        margin_working=margin.working,
        margin_free=margin.free,
        venue_one_way_max=None if instrument is None else instrument.one_way_max,
        one_way_now=_larger([one_way(side=side) for side in sides]),
    )


def _larger_side(found: Facts | Missing, known: Books, *, symbol: str | None, sides: list[Side]) -> Figure:
    """Return the larger of the two sides held: each side has the limit to itself."""
    if not symbol:
        return Unknown("SYMBOL_NOT_NAMED")
    held = [
        plus(exposure.position(found, in_doubt=known.in_doubt, symbol=symbol, side=side), known.aside.units[side])
        for side in sides
    ]
    return _larger(held)


def _larger(sides: list[Figure]) -> Figure:
    known = [side for side in sides if isinstance(side, Decimal)]
    return max(known) if len(known) == len(sides) else next(side for side in sides if isinstance(side, Unknown))
