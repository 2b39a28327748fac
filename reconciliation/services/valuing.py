"""What differences are worth in USD: the broker's own marks, and its quotes where it holds nothing. Network: no
transaction is open here.

What cannot be valued stays without a value, and is treated as too much.
"""

from dataclasses import replace
from datetime import datetime
from decimal import Decimal

import structlog

from nexus.core import money
from nexus.core.errors import NexusError, OutsideError
from reconciliation import rules
from reconciliation.types import CASH, Finding
from trading import rules as trading_rules
from trading.brokers.base import Broker
from trading.services import accounts, instruments
from trading.services.accounts import Account
from trading.types import Difference, Quote

log = structlog.get_logger(__name__)
STORED = Decimal("0.00000001")  # USD, the step of what rows hold


class Quotes:
    """The broker's quotes, each asked for once. A symbol that it does not quote is absent."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._asked: set[str] = set()
        self.known: dict[str, Quote] = {}

    def of(self, symbol: str) -> Quote | None:
        """Return the quote of a symbol, or None."""
        if symbol and symbol not in self._asked:
            self._asked.add(symbol)
            try:
                self.known |= self._broker.snapshot(symbols=[symbol]).quotes
            except OutsideError as exc:
                log.warning("reconciliation.quote.missing", symbol=symbol, error=str(exc))
        return self.known.get(symbol)


def value(account: Account, differences: list[Difference], *, missing: Decimal, at: datetime) -> list[Finding]:
    """Return the differences of positions and of money with their worth, those of money last."""
    if not differences and not missing:
        return []
    broker = accounts.broker_of(account)
    quotes = Quotes(broker)
    findings = [_position(account, each, broker=broker, quotes=quotes, at=at) for each in differences]
    if missing:
        quotes.of(account.conversion.symbol)
        usd = trading_rules.usd_rate(account.conversion, quotes.known, owed=True)
        worth = _kept(None if usd is None else abs(missing) * usd)
        findings.append(Finding(CASH, "", None, missing, worth))
    return findings


def _position(account: Account, found: Difference, *, broker: Broker, quotes: Quotes, at: datetime) -> Finding:
    if found.contract_size is None or found.conversion is None:
        found = _met(account, found, broker=broker, at=at)
    if found.mark is None and (quote := quotes.of(found.symbol)) is not None:
        found = replace(found, mark=quote.ask)
    usd = None
    if found.conversion is not None:
        quotes.of(found.conversion.symbol)
        usd = trading_rules.usd_rate(found.conversion, quotes.known, owed=True)
    worth = _kept(rules.value(found, mark=found.mark, usd=usd))
    return Finding(found.key, found.symbol, found, rules.ZERO, worth)


def _kept(worth: Decimal | None) -> Decimal | None:
    """Return what can be written down of a worth, and no less: a bound that it passes is passed by this too."""
    return None if worth is None else money.ceil_to(worth, STORED)


def _met(account: Account, found: Difference, *, broker: Broker, at: datetime) -> Difference:
    """Learn an instrument that somebody else traded first."""
    try:
        instrument = instruments.get(account=account, broker=broker, symbol=found.symbol, at=at)
    except NexusError as exc:
        log.warning("reconciliation.instrument.missing", symbol=found.symbol, error=exc.detail)
        return found
    return replace(found, contract_size=instrument.contract_size, conversion=instrument.conversion)
