"""Whether an order that only reduces may be sent: the position is read live, and what already closes it is counted.

Source: execution reference §4 (reduce-only). A verified reduction risks nothing, so loss, volume, value and size limits
do not hold it back; a stop of level REDUCE_ONLY lets it pass.
"""

from datetime import datetime, timedelta

from django.conf import settings

from nexus.core import money
from risk.services import control
from risk.states import StopLevel
from risk.types import Check, Verdict
from trading import rules
from trading.models import TradableInstrument, TradeLedger, TradingAccount
from trading.rules import ZERO
from trading.services import accounts
from trading.services.admission import Judgement
from trading.services.facts import Facts, Missing
from trading.states import Delivery
from trading.types import OrderIntent, Reservation, VenuePosition


def judge(
    *,
    account: TradingAccount,
    instrument: TradableInstrument,
    intent: OrderIntent,
    facts: Facts | Missing,
    at: datetime,
) -> Judgement:
    """Judge an order that only reduces. The caller holds the user's day."""
    stop = control.state(scopes=accounts.control_scopes(account, symbol=intent.symbol))
    checks = [
        Check(
            "TRADING_STATE",
            "TRADING_HALTED",
            passed=stop.level < StopLevel.HALTED,
            scope=stop.scope,
            detail=stop.reason,
        )
    ]
    if isinstance(facts, Missing):
        checks.append(Check("BROKER_FACTS", facts.reason, passed=False, detail=facts.detail))
        return Judgement(Verdict(tuple(checks)), None)
    position = _position(account, intent=intent, facts=facts)
    closing = list(TradeLedger.objects.open().filter(account=account, venue_position_id=intent.venue_position_id))
    lost = [order for order in closing if order.delivery == Delivery.UNKNOWN]
    pending = sum((order.leaves for order in closing), start=ZERO)
    held = position.quantity if position else ZERO
    quote = facts.quotes.get(intent.symbol)
    fault = rules.quote_fault(
        quote,
        at=at,
        tick_size=instrument.tick_size,
        age_max=timedelta(seconds=settings.QUOTE_AGE_MAX_S),
        spread_max=settings.SPREAD_MAX,
    )
    checks += [
        Check("POSITION", "POSITION_NOT_FOUND", passed=position is not None),
        Check("UNKNOWN_CLOSES", "CLOSE_ALREADY_UNKNOWN", passed=not lost, detail=", ".join(map(str, lost))[:200]),
        Check(
            "REDUCTION",
            "QUANTITY_EXCEEDS_POSITION",
            passed=pending + intent.quantity <= held,
            limit=held,
            used=pending,
            asked=intent.quantity,
            unit="lots",
        ),
        Check("QUOTE", fault, passed=not fault),
    ]
    deviation = ZERO
    if quote is not None and not fault:
        reference = rules.reference_price(quote, intent.side)
        deviation = money.ceil_to(reference * settings.PRICE_COLLAR, instrument.tick_size)
    return Judgement(Verdict(tuple(checks)), Reservation(risk=ZERO, value=ZERO, units=ZERO, deviation=deviation))


def _position(account: TradingAccount, *, intent: OrderIntent, facts: Facts) -> VenuePosition | None:
    """Find the position that the order is to reduce: the one it names, on its own instrument, on the other side."""
    mine = next(each for each in facts.accounts if each.account.pk == account.pk)
    for position in mine.snapshot.positions:
        is_named = position.venue_position_id == intent.venue_position_id
        if is_named and position.symbol == intent.symbol and position.side is not intent.side:
            return position
    return None
