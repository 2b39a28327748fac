"""What would become of an order if it were sent now: its worst case and every check; no lock and no trace.

The same facts, evidence and gate as `orders.execute`. Nobody is told, nothing is stored, and the order itself is judged
anew: whatever comes in between may change the answer.
"""

import time
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from django.db import transaction

from accounts.types import Principal
from nexus.core.errors import Refused, Unavailable
from risk.rules import gate
from risk.services import stats
from risk.types import Context, Unknown, Verdict
from trading import selectors
from trading.models import TradableInstrument, TradingAccount
from trading.services import accounts, evidence, facts, instruments, reduction, shapes, venues
from trading.services.evidence import NOBODY, Question
from trading.services.facts import Missing
from trading.types import OrderIntent, Quote, Reservation


@dataclass(frozen=True, slots=True)
class Preview:
    """The verdict as of `at`, and the worst that the order can cost. `worst` is none where nobody can tell."""

    account: TradingAccount
    instrument: TradableInstrument
    intent: OrderIntent
    verdict: Verdict
    worst: Reservation | None
    quote: Quote | None
    at: datetime

    @property
    def risk(self) -> Decimal | None:
        """Return the worst that the order can cost in USD, or None where its loss has no bound that is known."""
        is_bounded = all(check.passed for check in self.verdict.checks if check.name == "BOUNDED_LOSS")
        return self.worst.risk if self.worst is not None and is_bounded else None

    @property
    def price(self) -> Decimal | None:
        """Return the market's price on the order's side."""
        if self.quote is None:
            return None
        return self.quote.ask if self.intent.side.direction > 0 else self.quote.bid


def read(
    *, user: Principal, account: TradingAccount, intent: OrderIntent, at: datetime, context: Context = NOBODY
) -> Preview:
    """Judge an order without placing it. Network: no transaction is open.

    Raises: Invalid when the intent cannot be an order of this instrument; Unavailable when nobody can be asked.
    """
    try:
        broker = accounts.broker_of(account)
    except Refused as exc:
        raise Unavailable(f"This account cannot be traded now: {exc}") from exc
    owned = facts.owned_by(user.pk)
    known = owned.instruments.get((account.pk, intent.symbol))
    instrument = instruments.fresh(known, account=account, broker=broker, symbol=intent.symbol, at=at)
    owned.instruments[(account.pk, intent.symbol)] = instrument
    shapes.refuse_misshapen(intent, instrument=instrument.as_instrument(), at=at)
    asked = venues.questions(intent, instrument=instrument)
    began = time.monotonic()
    found = facts.read(user_id=user.pk, account=account, symbol=intent.symbol, at=at, owned=owned, questions=asked)
    said = venues.told(account=account, intent=intent, asked=asked, facts=found)
    judged_at = at + timedelta(seconds=time.monotonic() - began)  # a slow read makes a quote older, not newer
    with transaction.atomic(durable=True):
        question = Question(
            user=user,
            account=account,
            instrument=instrument,
            intent=intent,
            facts=found,
            day=stats.today(user_id=user.pk, trading_date=at.date()),
            at=judged_at,
            context=context,
            reduction=reduction.read(account=account, intent=intent, facts=found),
            said=said,
        )
        gathered, _ = evidence.gather(question)
        worst = evidence.worst_case(
            question,
            beside=[] if isinstance(found, Missing) else selectors.in_doubt(user_id=user.pk, since=found.read_at),
        )
    return Preview(
        account=account,
        instrument=instrument,
        intent=intent,
        verdict=gate.judge(gathered),
        worst=None if isinstance(worst, Unknown) else worst,
        quote=question.quote,
        at=judged_at,
    )
