"""What the venue itself says of one order: the margin that it takes, and what it loses at its stop.

Source: execution reference §4. Both are asked while the account is read, where the venue answers there.
"""

from dataclasses import dataclass
from decimal import Decimal

from django.conf import settings
from django.db import connection

from nexus.core import money
from nexus.core.errors import OutsideError
from risk.types import Figure, Unknown
from trading import rules
from trading.models import TradableInstrument, TradingAccount
from trading.rules import ZERO
from trading.services import accounts
from trading.services.facts import Facts, Missing, Questions
from trading.types import AccountSnapshot, MarginQuestion, OrderIntent, ProfitQuestion, Quote

HALF = Decimal("0.5")


@dataclass(frozen=True, slots=True)
class Said:
    """What the venue has said of an order, in account currency. None: it was not asked.

    `loss_a_price` is what the whole order loses for each unit of price that the market goes against it; None also
    where the venue could not say.
    """

    margin: Figure | None = None
    loss_a_price: Decimal | None = None


UNASKED = Said()


def questions(intent: OrderIntent, *, instrument: TradableInstrument) -> Questions:
    """Return what to ask about an order. What only reduces binds no margin and reserves nothing: it asks nothing."""
    if intent.is_reducing:
        return Questions()
    price = intent.limit_price if intent.limit_price is not None else intent.stop_price
    margin = MarginQuestion(intent.symbol, intent.side, intent.quantity, price)
    return Questions(
        margin=margin if settings.MARGIN_FROM_BROKER else None,
        profit=_profit_question(intent, instrument=instrument) if settings.LOSS_FROM_BROKER else None,
    )


def told(*, account: TradingAccount, intent: OrderIntent, asked: Questions, facts: Facts | Missing) -> Said:
    """Return what the venue has said while the account was read. Network, for the margin of a venue that says it only
    by itself.
    """
    assert not connection.in_atomic_block
    snapshot, quote = _seen(account, intent, facts)
    if snapshot is None or quote is None:
        return UNASKED
    return Said(
        margin=_margin(account, intent, asked.margin, snapshot=snapshot, quote=quote),
        loss_a_price=_loss_a_price(intent, asked.profit, quote=quote, earned=snapshot.profit_asked),
    )


def ask(*, account: TradingAccount, intent: OrderIntent, asked: Questions, facts: Facts | Missing) -> Said:
    """Ask the venue about an order whose account was read without questions. Network."""
    said = told(account=account, intent=intent, asked=asked, facts=facts)
    _, quote = _seen(account, intent, facts)
    question = asked.profit
    if quote is None or question is None:
        return said
    opened = _opened_at(question, quote=quote)
    try:
        earned = accounts.broker_of(account).profit(
            symbol=intent.symbol,
            side=intent.side,
            quantity=question.quantity,
            price_open=opened,
            price_close=question.price_close,
        )
    except OutsideError:
        return said  # our own figure stands
    return Said(said.margin, _loss_a_price(intent, question, quote=quote, earned=earned))


def _seen(
    account: TradingAccount, intent: OrderIntent, facts: Facts | Missing
) -> tuple[AccountSnapshot | None, Quote | None]:
    if isinstance(facts, Missing):
        return None, None
    mine = next((each.snapshot for each in facts.accounts if each.account == account), None)
    return mine, facts.quotes.get(intent.symbol)


def _margin(
    account: TradingAccount,
    intent: OrderIntent,
    question: MarginQuestion | None,
    *,
    snapshot: AccountSnapshot,
    quote: Quote,
) -> Figure | None:
    """Return the order's margin, unknown when the venue cannot say it."""
    if question is None or snapshot.margin_asked is not None:
        return snapshot.margin_asked
    price = rules.worst_entry(intent, quote=quote, deviation=ZERO)
    try:
        return accounts.broker_of(account).margin(
            symbol=intent.symbol, side=intent.side, quantity=intent.quantity, price=price
        )
    except OutsideError as exc:
        return Unknown("MARGIN_UNKNOWN", str(exc))


def _profit_question(intent: OrderIntent, *, instrument: TradableInstrument) -> ProfitQuestion | None:
    """Return what to ask of the order's loss: at the worst price of its stop, or well away from a price it may have.

    It is asked of the largest order that the venue takes: amounts are rounded to cents, and those of a small one tell
    little. Our own share is reckoned from it.
    """
    opened = intent.limit_price if intent.limit_price is not None else intent.stop_price
    if intent.stop_loss is not None:
        closed = rules.worst_exit(intent.stop_loss, side=intent.side, gap=settings.GAP_ALLOWANCE)
    else:
        last = None if instrument.last_good is None else instrument.last_good[0]
        near = next((each for each in (opened, intent.entry_price, last) if each is not None), None)
        if near is None or settings.UNSTOPPED_MOVE is None:
            return None
        closed = rules.worst_exit(near, side=intent.side, gap=min(settings.UNSTOPPED_MOVE, HALF))
    tick = instrument.tick_size
    is_long = intent.side.direction > 0
    closed = money.floor_to(closed, tick) if is_long else money.ceil_to(closed, tick)
    if closed <= 0:
        return None
    most = max(intent.quantity, instrument.quantity_max)
    return ProfitQuestion(intent.symbol, intent.side, most, opened, closed)


def _opened_at(question: ProfitQuestion, *, quote: Quote) -> Decimal:
    return rules.reference_price(quote, question.side) if question.price_open is None else question.price_open


def _loss_a_price(
    intent: OrderIntent, question: ProfitQuestion | None, *, quote: Quote, earned: Decimal | None
) -> Decimal | None:
    if question is None or earned is None or not earned.is_finite():
        return None
    moved = intent.side.direction * (question.price_close - _opened_at(question, quote=quote))
    if moved >= 0:  # the stop stands on the wrong side: another check refuses it
        return None
    return max(ZERO, earned / moved) * intent.quantity / question.quantity
