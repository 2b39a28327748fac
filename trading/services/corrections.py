"""Moving our books to the broker's where no deal explains a difference: entries of their own, never an edit of a deal.

An entry's id is made of what is corrected to what, as of which broker state, so booking it again changes nothing.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from django.db import connection
from django.db.models import Q

from nexus.audit.services import trail
from nexus.audit.types import Actor, Target
from nexus.core import money, statements
from nexus.core.errors import Conflict
from trading import rules
from trading.models import BookCorrection, BrokerPosition, TradeLedger, TradingAccount
from trading.services import balances, settling
from trading.services.settling import Held
from trading.states import CorrectionKind, PositionMode
from trading.types import Difference, Holding

PRICE_STEP = Decimal("1E-10")


class BooksMoved(Conflict):
    """Our books are not what they were when the difference was seen."""

    code = "books_moved"


class NoPrice(Conflict):
    """No positive price explains the difference: somebody has to look."""

    code = "correction_without_price"


@dataclass(frozen=True, slots=True)
class Origin:
    """Why an entry is made, by whom, and as of which broker state (the newest deal that its answer showed)."""

    kind: CorrectionKind
    reason: str
    actor: Actor
    as_of: str


def plan(account: TradingAccount, difference: Difference) -> tuple[rules.Leg, ...]:
    """Return the entries that `restate` would book now. Raises: BooksMoved, NoPrice."""
    return _plan(difference, list(_rows(account, difference)))


def restate(account: TradingAccount, difference: Difference, *, origin: Origin, at: datetime) -> list[str]:
    """Turn our position into the broker's; return the ids of the new entries, none for a replay.

    Runs in the caller's transaction. Raises: BooksMoved, NoPrice; nothing is written then.
    """
    assert connection.in_atomic_block
    target = f"{difference.key}|{difference.venue_quantity.normalize():f}|{_text(difference.venue_price)}"
    base = correction_id(account, target=target, origin=origin)
    if BookCorrection.objects.filter(correction_id__startswith=base).exists():
        return []
    if difference.venue_quantity:
        _take(account, difference, at=at)
    rows = list(_rows(account, difference, is_locking=True))
    legs = _plan(difference, rows)
    made = [
        BookCorrection(
            account=account,
            correction_id=f"{base}-{number}",
            kind=origin.kind,
            venue_position_id=leg.venue_position_id,
            symbol=difference.symbol,
            quantity=leg.quantity,
            price=money.half_even_to(leg.price, PRICE_STEP),
            as_of=origin.as_of,
            reason=origin.reason[:500],
            made_by=origin.actor.id,
            created_at=at,
        )
        for number, leg in enumerate(legs)
    ]
    BookCorrection.objects.bulk_create(made)
    settling.hold(_after(difference, row, at=at) for row in rows)
    _note(account, made, difference, origin=origin, at=at)
    return [entry.correction_id for entry in made]


def restate_cash(account: TradingAccount, amount: Decimal, *, balance: Decimal, origin: Origin, at: datetime) -> str:
    """Move the expected balance to the broker's by `amount`; return the entry's id, empty for a replay.

    Runs in the caller's transaction.
    """
    assert connection.in_atomic_block
    name = correction_id(account, target=f"balance|{money.as_text(balance)}", origin=origin)
    entry, is_new = BookCorrection.objects.get_or_create(
        correction_id=name,
        defaults={
            "account": account,
            "kind": origin.kind,
            "amount": amount,
            "as_of": origin.as_of,
            "reason": origin.reason[:500],
            "made_by": origin.actor.id,
            "created_at": at,
        },
    )
    if not is_new:
        return ""
    if origin.kind != CorrectionKind.OPENING:
        balances.note_found(account, amount, at=at)
    _note(account, [entry], None, origin=origin, at=at)
    return name


def is_untouched(account: TradingAccount) -> bool:
    """Tell whether nothing was ever sent for the account: then whatever stands there was there before us."""
    return not TradeLedger.objects.filter(account=account, attempts__gt=0).exists()


def correction_id(account: TradingAccount, *, target: str, origin: Origin) -> str:
    """Return the id of the correction of an account to a target, as of a broker state."""
    return hashlib.sha256(f"{account.public_id}|{origin.kind}|{target}|{origin.as_of}".encode()).hexdigest()[:40]


def _rows(account: TradingAccount, difference: Difference, *, is_locking: bool = False) -> Sequence[BrokerPosition]:
    rows = BrokerPosition.objects.filter(account=account).order_by("pk")
    if is_locking:
        rows = rows.select_for_update(of=("self",), no_key=True)
    if account.mode == PositionMode.NETTING:
        is_meant = Q(closed_at__isnull=True) | Q(venue_position_id=difference.venue_position_id)
        return list(rows.filter(is_meant, symbol=difference.key))
    return list(rows.filter(venue_position_id=difference.key))


def _plan(difference: Difference, rows: Sequence[BrokerPosition]) -> tuple[rules.Leg, ...]:
    open_rows = [row for row in rows if row.closed_at is None and row.quantity]
    quantity = sum((row.quantity for row in open_rows), start=rules.ZERO)
    value = sum((row.quantity * row.price_open for row in open_rows), start=rules.ZERO)
    price = money.half_even_to(value / quantity, PRICE_STEP) if quantity else None
    if quantity != difference.quantity or price != difference.price:
        raise BooksMoved("Our books have moved since the difference was seen.")
    held = {row.venue_position_id: Holding(row.quantity, row.price_open) for row in open_rows}
    legs = rules.correction_legs(difference, held=held)
    if legs is None:
        raise NoPrice("No positive price explains the difference.")
    return legs


def _take(account: TradingAccount, difference: Difference, *, at: datetime) -> None:
    """Make the position that the broker holds, when we have never known it."""
    statements.fetch(
        "SELECT id FROM position_take(%s, %s, %s, %s, %s, %s, %s)",
        [account.pk, difference.venue_position_id, difference.symbol, difference.venue_price, None, None, at],
    )


def _after(difference: Difference, row: BrokerPosition, *, at: datetime) -> Held:
    """Return what a position of the key is once it is corrected."""
    if row.venue_position_id == difference.venue_position_id and difference.venue_quantity:
        assert difference.venue_price is not None
        is_turned = row.quantity * difference.venue_quantity < 0  # its stops were those of the other side
        return Held(row.pk, difference.venue_quantity, difference.venue_price, None, is_turned)
    return Held(row.pk, rules.ZERO, row.price_open, row.closed_at or at)


def _note(
    account: TradingAccount,
    made: list[BookCorrection],
    difference: Difference | None,
    *,
    origin: Origin,
    at: datetime,
) -> None:
    before = None if difference is None else {"quantity": difference.quantity, "price": difference.price}
    after = None if difference is None else {"quantity": difference.venue_quantity, "price": difference.venue_price}
    trail.record(
        action="books.corrected",
        actor=origin.actor,
        target=Target("trading_account", str(account.public_id)),
        detail={
            "kind": origin.kind,
            "reason": origin.reason,
            "as_of": origin.as_of,
            "key": "" if difference is None else difference.key,
            "before": before,
            "after": after,
            "entries": [
                {
                    "id": each.correction_id,
                    "position": each.venue_position_id,
                    "quantity": each.quantity,
                    "price": each.price,
                    "amount": each.amount,
                }
                for each in made
            ],
        },
        occurred_at=at,
    )


def _text(price: Decimal | None) -> str:
    return "" if price is None else money.as_text(price)
