"""How much room each limit leaves now: the figures of a verdict, without an order."""

from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from functools import partial

from django.conf import settings
from django.db import transaction

from accounts.types import Principal
from nexus.core import money
from risk.rules import gate
from risk.rules.limits import plus
from risk.services import policy, stats
from risk.states import StopLevel
from risk.types import Access, Check, Evidence, Exposure, Figure, Freshness, Market, Shape, Stop, Unknown
from trading import rules
from trading.models import TradableInstrument, TradingAccount
from trading.rules import ONE, ZERO
from trading.services import books, evidence, exposure, facts, venues
from trading.services.books import Books
from trading.services.facts import Facts, Missing, Questions
from trading.states import Side
from trading.types import MarginQuestion, OrderIntent, Reservation

NOTHING = Reservation(risk=ZERO, value=ZERO, units=ZERO, deviation=ZERO)
NOT_JUDGED = Shape("", "", "", instrument_is_tradable=True, entry_fault="", stops_fault="")


@dataclass(frozen=True, slots=True)
class Headroom:
    """Every limit of an account's owner with what is used of it. Without `symbol`, positions are not looked at."""

    account: TradingAccount
    symbol: str
    checks: tuple[Check, ...]
    missing: str  # why the broker's figures are not in it, or nothing


@dataclass(frozen=True, slots=True)
class _Asked:
    """What is looked at; and of an instrument, an order of about a lot with the margin that its venue asks for it: what
    waits there is held against the gate's rule by that. The order itself is none.
    """

    account: TradingAccount
    symbol: str | None
    sides: tuple[Side, ...]
    sample: Reservation = NOTHING
    venue_margin: Figure | None = None


def read(
    *, user: Principal, account: TradingAccount, symbol: str | None, at: datetime, side: Side | None = None
) -> Headroom:
    """Read the broker live and hold what stands against every limit, as an order of nothing would be.

    No lock is taken: an order placed meanwhile may leave less. Takes: the `side` that is looked at, else the larger.
    """
    owned = facts.owned_by(user.pk)
    sides = (side,) if side else tuple(Side)
    intent = _sample(owned.instruments.get((account.pk, symbol or "")), side=sides[0])
    asks = settings.MARGIN_FROM_BROKER and intent is not None
    question = MarginQuestion(intent.symbol, intent.side, intent.quantity) if intent and asks else None
    questions = Questions(margin=question)
    found = facts.read(user_id=user.pk, account=account, symbol=symbol, at=at, owned=owned, questions=questions)
    asked = _Asked(account, symbol, sides)
    if intent is not None and isinstance(found, Facts):
        said = venues.told(account=account, intent=intent, asked=questions, facts=found)
        asked = replace(asked, sample=_reserve(intent, found, account=account), venue_margin=said.margin)
    with transaction.atomic(durable=True):
        gathered = _evidence(asked, user=user, found=found, at=at)
    verdict = {check.name: check for check in gate.judge(gathered).checks}
    return Headroom(
        account=account,
        symbol=symbol or "",
        checks=tuple(verdict[name] for name in gate.LIMITS if name in verdict),
        missing=found.reason if isinstance(found, Missing) else "",
    )


def _sample(instrument: TradableInstrument | None, *, side: Side) -> OrderIntent | None:
    if instrument is None:
        return None
    lots = money.floor_to(min(ONE, instrument.quantity_max), instrument.quantity_step)
    return OrderIntent(symbol=instrument.symbol, side=side, quantity=max(lots, instrument.quantity_min))


def _reserve(intent: OrderIntent, found: Facts, *, account: TradingAccount) -> Reservation:
    """Return what the sample is worth, nothing where nobody knows: then leverage tells of what waits."""
    instrument, quote = found.instruments[(account.pk, intent.symbol)], found.quotes.get(intent.symbol)
    usd = rules.usd_rate(instrument.conversion, found.quotes, owed=True)
    if quote is None or usd is None:
        return NOTHING
    reference = rules.reference_price(quote, intent.side)
    worth = rules.reserve(
        intent,
        instrument=instrument.as_instrument(),
        quote=quote,
        usd=usd,
        deviation=money.ceil_to(reference * settings.PRICE_DEVIATION, instrument.tick_size),
        gap=ZERO,
        unstopped_move=ONE,
        commission_per_lot=ZERO,
    )
    assert worth is not None
    return worth


def _evidence(asked: _Asked, *, user: Principal, found: Facts | Missing, at: datetime) -> Evidence:
    account = asked.account
    day = stats.today(user_id=user.pk, trading_date=at.date())
    known = books.read(user_id=user.pk, account=account, symbol=asked.symbol or "", intent=None, facts=found, at=at)
    return Evidence(
        access=Access(user_is_active=True, may_trade=True, account_is_usable=True, account_is_live=False),
        stop=Stop(StopLevel.ACTIVE, "", ""),
        freshness=Freshness("", "", ZERO, known.sight_age_s, ""),
        shape=NOT_JUDGED,
        market=Market("", "", ZERO, ""),
        exposure=_exposure(asked, found, known, at=at),
        usage=evidence.usage_of(known.counts, past=known.history, day=day, facts=found),
        limits=known.limits,
        policy=policy.current(),
    )


def _exposure(asked: _Asked, found: Facts | Missing, known: Books, *, at: datetime) -> Exposure:
    in_doubt, account, symbol = known.in_doubt, asked.account, asked.symbol or ""
    stands = exposure.standing(found, in_doubt=in_doubt, starts=known.starts, at=at)
    one_way = partial(exposure.one_way, found, account=account, in_doubt=in_doubt, symbol=symbol)
    margin = exposure.margin(
        found, account=account, symbol=symbol, in_doubt=in_doubt, reservation=asked.sample,
        venue_margin=asked.venue_margin,
    )  # fmt: skip
    instrument = found.instruments.get((account.pk, symbol)) if isinstance(found, Facts) else None
    return Exposure(
        order_quantity=ZERO,
        venue_quantity_max=None if instrument is None else instrument.quantity_max,
        order_value=ZERO,
        order_risk=ZERO,
        position_order=ZERO,
        position_now=_larger_side(asked, found, known),
        positions_now=plus(stands.positions, known.aside.positions),
        loss_today=plus(stands.loss_today, known.aside.cost),
        aside=known.aside.known_cost,
        open_risk=stands.open_risk,
        reserved=stands.reserved + known.changing,
        margin_required=margin.required if isinstance(margin.required, Unknown) else ZERO,
        margin_working=margin.working,
        margin_free=margin.free,
        venue_one_way_max=None if instrument is None else instrument.one_way_max,
        one_way_now=_larger([one_way(side=side) for side in asked.sides]),
    )


def _larger_side(asked: _Asked, found: Facts | Missing, known: Books) -> Figure:
    """Return the larger of the sides that are asked about: each side has the limit to itself."""
    if not asked.symbol:
        return Unknown("SYMBOL_NOT_NAMED")
    held = partial(exposure.position, found, in_doubt=known.in_doubt, symbol=asked.symbol)
    return _larger([plus(held(side=side), known.aside.units[side]) for side in asked.sides])


def _larger(sides: list[Figure]) -> Figure:
    known = [side for side in sides if isinstance(side, Decimal)]
    return max(known) if len(known) == len(sides) else next(side for side in sides if isinstance(side, Unknown))
