"""What a trader's desk shows: accounts, prices, positions and last orders as one look, and what changes each second."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from typing import Any

import structlog

from accounts.types import Principal
from nexus.core.errors import OutsideError
from nexus.core.money import CENT, as_text, half_even_to
from trading import selectors
from trading.brokers import base
from trading.models import TradableInstrument, TradeLedger, TradingAccount
from trading.selectors import PositionView
from trading.services import accounts, glances, live
from trading.types import AccountSnapshot, Quote

ORDERS = 8  # the last ones
QUOTES = 12  # of one account
HUNDRED = Decimal(100)

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class PriceView:
    """One instrument of one account with its price now, or without it."""

    account: TradingAccount
    instrument: TradableInstrument
    quote: Quote | None


@dataclass(frozen=True, slots=True)
class Holding:
    """One account as the desk shows it. Without `live`, its broker could not be asked just now."""

    account: TradingAccount
    live: AccountSnapshot | None
    prices: list[PriceView]

    @property
    def margin_level(self) -> Decimal | None:
        """Return equity over the margin in use in percent, or None where none is in use."""
        seen = self.live
        return seen.equity / seen.margin_used * HUNDRED if seen is not None and seen.margin_used else None


@dataclass(frozen=True, slots=True)
class Desk:
    """Everything that the overview shows, read at one time."""

    holdings: list[Holding]
    positions: list[PositionView]
    orders: list[TradeLedger]
    at: datetime

    @property
    def prices(self) -> list[PriceView]:
        """Return every price of every account."""
        return [price for holding in self.holdings for price in holding.prices]


def read(user: Principal, *, at: datetime) -> Desk:
    """Read everything that a person may see, live. Network: no transaction is open."""
    owned = list(selectors.accounts_of(user))
    holdings = look(owned)
    snapshots = {each.account.pk: each.live for each in holdings if each.live is not None}
    orders, _ = selectors.ledger_page(
        user, limit=ORDERS, status=None, symbol=None, created_from=None, created_to=None, before=None
    )
    held = selectors.beside(selectors.open_positions(owned), snapshots=snapshots)
    return Desk(holdings, _with_digits(held), orders, at)


def positions(user: Principal) -> list[PositionView]:
    """Return the open positions that a person may see, beside the broker's own. Network, as `read`."""
    owned = list(selectors.accounts_of(user))
    held = list(selectors.open_positions(owned))
    keys = {row.account_id for row in held}
    found = selectors.beside(held, snapshots=live.snapshots([each for each in owned if each.pk in keys]))
    return _with_digits(found)


def _with_digits(views: list[PositionView]) -> list[PositionView]:
    """Say with how many digits each position's prices are written."""
    met = selectors.instruments_met({view.position.account for view in views})
    digits = {(key, each.symbol): each.digits for key, known in met.items() for each in known}
    return [replace(view, digits=digits.get((view.position.account_id, view.position.symbol))) for view in views]


def look(owned: Iterable[TradingAccount]) -> list[Holding]:
    """Read some accounts at their brokers, with the prices of the instruments met there. Network, as `read`."""
    owned = list(owned)
    met = selectors.instruments_met(owned)
    return [_holding(account, met.get(account.pk, [])[:QUOTES]) for account in owned]


def glance(account: TradingAccount, *, at: datetime) -> Holding | None:
    """Read one account as `look` does, if anything there has moved."""
    met = selectors.instruments_met([account]).get(account.pk, [])[:QUOTES]
    return _holding(account, met) if glances.has_moved(account, symbols=[each.symbol for each in met], at=at) else None


def _holding(account: TradingAccount, met: list[TradableInstrument]) -> Holding:
    seen: AccountSnapshot | None = None
    try:
        with base.sharing():
            seen = accounts.broker_of(account).snapshot(symbols=[each.symbol for each in met])
    except OutsideError as exc:
        log.warning("trading.account.not_read", account_id=account.pk, error=str(exc))
    quotes = {} if seen is None else seen.quotes
    return Holding(account, seen, [PriceView(account, each, quotes.get(each.symbol)) for each in met])


def pulse(holding: Holding, *, at: datetime) -> dict[str, Any]:
    """Return what of an account changes each second, as it goes to its open pages. Numbers are texts.

    A position goes by the broker's own identifier: pages know both.
    """
    account, seen = holding.account, holding.live
    beat: dict[str, Any] = {"account": str(account.public_id), "at": at.isoformat(), "is_live": seen is not None}
    if seen is None:
        return beat
    return beat | {
        "figures": {
            "balance": _cents(seen.balance),
            "equity": _cents(seen.equity),
            "margin_free": _cents(seen.margin_free),
        },
        "positions": {
            each.venue_position_id: {"price": as_text(each.price_current), "profit": _cents(each.profit)}
            for each in seen.positions
        },
        "quotes": {
            name: {"bid": as_text(quote.bid), "ask": as_text(quote.ask), "at": quote.at.isoformat()}
            for name, quote in seen.quotes.items()
        },
    }


def _cents(amount: Decimal) -> str:
    """Write an amount to its cent, as pages do: the two must not differ by how they round."""
    return f"{half_even_to(amount, CENT):.2f}"
