"""Instruments as venues define them, read once and kept."""

import secrets
from collections.abc import Iterable, Mapping
from contextlib import nullcontext
from dataclasses import asdict
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, LiteralString

import structlog
from django.conf import settings

from nexus.core import money
from nexus.core.errors import FieldError, Invalid, OutsideError, Refused, Unavailable
from trading import rules
from trading.brokers import base
from trading.brokers.base import Broker
from trading.models import TradableInstrument, TradingAccount
from trading.types import Conversion, Quote

log = structlog.get_logger(__name__)

KEPT = timedelta(hours=1)
RENEWED_S_MAX = 2.0  # then a close goes on with what is known
PRICE_KEPT = timedelta(seconds=5)
PRICE_STEP = Decimal("1E-10")
# Whoever renews the instrument just now holds up no order: the price is noted with the next one.
NOTE: LiteralString = """
UPDATE instrument SET last_mid = %(noted_mid)s, last_mid_at = %(noted_at)s
WHERE id = (SELECT id FROM instrument WHERE id = %(noted_id)s FOR NO KEY UPDATE SKIP LOCKED)
"""


class UnknownSymbol(Invalid):
    """The venue does not know the symbol."""

    code = "symbol_unknown"
    title = "The broker does not know this symbol"


class NoConversion(Refused):
    """Nothing at the venue turns this currency into USD, so nothing in it can be judged."""


def get(
    *, account: TradingAccount, broker: Broker, symbol: str, at: datetime, reduces: bool = False
) -> TradableInstrument:
    """Return the instrument, reading it from the venue when we do not know it or know it from too long ago.

    Takes: `reduces`, as `fresh`. Raises: UnknownSymbol; Unavailable when it has to be read and the broker cannot be
    asked.
    """
    known = TradableInstrument.objects.filter(account=account, symbol=symbol).first()
    return fresh(known, account=account, broker=broker, symbol=symbol, at=at, reduces=reduces)


def fresh(
    known: TradableInstrument | None,
    *,
    account: TradingAccount,
    broker: Broker,
    symbol: str,
    at: datetime,
    reduces: bool = False,
) -> TradableInstrument:
    """Return the instrument as known, or as `get` does when that will not do. Takes: `reduces`, whether it is to take
    risk away: then what is known from too long ago will do where the broker cannot be asked, which judges by its own.
    """
    if known is not None and at - known.read_at < KEPT:
        return known
    old = known if reduces else None
    try:
        with base.sharing(most_s=RENEWED_S_MAX) if old else nullcontext():
            return _read(account=account, broker=broker, symbol=symbol, at=at)
    except NoConversion as exc:
        raise Invalid(str(exc), errors=[FieldError("/symbol", "no_conversion", str(exc))]) from exc
    except Refused as exc:
        detail = f"{symbol} is not an instrument of this account."
        raise UnknownSymbol(detail, errors=[FieldError("/symbol", "unknown", detail)]) from exc
    except OutsideError as exc:
        if old is not None:
            log.warning("trading.instrument.not_renewed", account_id=account.pk, symbol=symbol, error=str(exc))
            return old
        raise Unavailable(
            "The broker cannot be asked about this symbol now. Nothing was sent.", headers={"Retry-After": "5"}
        ) from exc


def renew(account: TradingAccount, broker: Broker, *, symbols: Iterable[str], at: datetime) -> None:
    """Read the one of these anew that was read the longest ago, where that is too long: what is held is valued by its
    terms, and nobody may order it for weeks. One that cannot be read stays as it is known. And read one that never was:
    what others alone trade has no terms else, and nobody sees what it may lose.
    """
    wanted = set(symbols)
    known = TradableInstrument.objects.filter(account=account, symbol__in=wanted)
    read_at = dict(known.values_list("symbol", "read_at"))
    unmet = sorted(wanted - set(read_at))
    # One that cannot be read holds up no other: by lot, as looks come in step with any count.
    turn = [secrets.choice(unmet)] if unmet else []
    old = [name for name in sorted(read_at, key=read_at.__getitem__) if read_at[name] <= at - KEPT]
    for symbol in (*turn, *old[:1]):
        try:
            _read(account=account, broker=broker, symbol=symbol, at=at)
        except OutsideError as exc:
            log.warning("trading.instrument.not_renewed", account_id=account.pk, symbol=symbol, error=str(exc))
            known.filter(symbol=symbol).update(read_at=at - KEPT)  # the others have their turn first


def quote_fault(quote: Quote | None, *, instrument: TradableInstrument | None, at: datetime) -> str:
    """Return why a quote cannot be trusted, or an empty text. Takes: no `instrument` of a pair that only converts."""
    return rules.quote_fault(
        quote,
        at=at,
        tick_size=None if instrument is None else instrument.tick_size,
        age_max=timedelta(seconds=settings.QUOTE_AGE_MAX_S),
        spread_max=settings.SPREAD_MAX,
        last_good=None if instrument is None else instrument.last_good,
        jump_max=settings.JUMP_MAX,
    )


def implausible(quote: Quote) -> str:
    """Return why nothing is to be opened on a quote, nor valued by it, by what is set for its instrument alone (§8)."""
    (spread_max,) = settings.SPREADS_MAX.get(quote.symbol, (None,))
    return rules.implausible(quote, spread_max=spread_max, band=settings.PRICE_BANDS.get(quote.symbol))


def noting(instrument: TradableInstrument, quote: Quote, *, at: datetime) -> Mapping[str, Any]:
    """Return what `NOTE` keeps of a price that could be trusted: the next one is judged by it. Nothing where one of the
    last seconds is kept.
    """
    if instrument.last_mid_at is not None and at - instrument.last_mid_at <= PRICE_KEPT:
        return {}
    mid = money.half_even_to((quote.bid + quote.ask) / 2, PRICE_STEP)
    return {"noted_id": instrument.pk, "noted_mid": mid, "noted_at": at}


def conversion_to_usd(broker: Broker, *, currency: str) -> Conversion:
    """Find the pair that turns `currency` into USD. Raises: NoConversion, or what the broker raises."""
    if currency == "USD":
        return Conversion("", usd_is_base=False)
    for symbol, usd_is_base in ((f"{currency}USD", False), (f"USD{currency}", True)):
        try:
            broker.instrument(symbol=symbol)
        except Refused:
            continue
        return Conversion(symbol, usd_is_base)
    raise NoConversion(f"The venue has no pair that turns {currency} into USD.")


def _read(*, account: TradingAccount, broker: Broker, symbol: str, at: datetime) -> TradableInstrument:
    instrument = broker.instrument(symbol=symbol)
    conversion = conversion_to_usd(broker, currency=instrument.profit_currency)
    facts = asdict(instrument) | {"usd_symbol": conversion.symbol, "usd_is_base": conversion.usd_is_base, "read_at": at}
    facts |= {"order_types": sorted(instrument.order_types), "times_in_force": sorted(instrument.times_in_force)}
    row, _ = TradableInstrument.objects.update_or_create(account=account, symbol=facts.pop("symbol"), defaults=facts)
    return row
