"""Accounts and their instruments: who may see them, and which one is meant."""

import contextlib
import uuid
from collections.abc import Iterable
from dataclasses import dataclass

from django.db.models import QuerySet

from accounts.states import Role
from accounts.types import Principal
from nexus.core.errors import FieldError, Invalid, NotFound
from trading.models import TradableInstrument, TradingAccount
from trading.types import AccountSnapshot

READS_ALL = frozenset({Role.OPERATOR, Role.COMPLIANCE})


@dataclass(frozen=True, slots=True)
class AccountView:
    """An account beside its live figures, or without them when its broker could not be asked."""

    account: TradingAccount
    live: AccountSnapshot | None


def accounts_of(user: Principal) -> QuerySet[TradingAccount]:
    """Return the accounts a person may see: operators and compliance all, everybody else their own."""
    rows = TradingAccount.objects.select_related("user").order_by("pk")
    rows = rows if user.role in READS_ALL else rows.filter(user_id=user.pk)
    return rows.filter(is_live=False) if user.is_paper_only else rows


def own_accounts(user: Principal) -> list[TradingAccount]:
    """Return the accounts that a person can trade: the own ones that were not put aside."""
    return list(TradingAccount.objects.filter(user_id=user.pk, is_active=True).order_by("pk"))


def active_accounts() -> QuerySet[TradingAccount]:
    """Return every account that is looked at."""
    return TradingAccount.objects.filter(is_active=True).order_by("pk")


def account_for(user: Principal, *, public_id: uuid.UUID | None) -> TradingAccount:
    """Return the user's account by its id; the id may be left out by a user who has just one.

    Raises: NotFound, or Invalid when it has to be named.
    """
    own = TradingAccount.objects.filter(user_id=user.pk, is_active=True).order_by("pk")
    own = own.filter(is_live=False) if user.is_paper_only else own
    return account_among(own if public_id is None else own.filter(public_id=public_id), public_id=public_id)


def account_among(own: Iterable[TradingAccount], *, public_id: uuid.UUID | None) -> TradingAccount:
    """Return the account that `account_for` would, from the user's active ones. Raises: as it."""
    if public_id is not None:
        named = next((account for account in own if account.public_id == public_id), None)
        if named is None:
            raise NotFound("You have no such account.", errors=[FieldError("/account", "not_found", "no such account")])
        return named
    rows = list(own)
    if not rows:
        raise NotFound("You have no trading account yet. Ask an operator to link one.")
    if len(rows) > 1:
        detail = "Name the account: you have more than one."
        raise Invalid(detail, errors=[FieldError("/account", "required", detail)])
    return rows[0]


def account_named(name: str) -> TradingAccount:
    """Return the account that goes by an id or by a number at its broker. Raises: NotFound, Invalid when several do."""
    found = list(TradingAccount.objects.filter(venue_account=name))
    if not found:
        with contextlib.suppress(ValueError):
            found = list(TradingAccount.objects.filter(public_id=uuid.UUID(name)))
    if len(found) > 1:
        raise Invalid(f"{len(found)} accounts have the number {name}. Name one by its id.")
    if not found:
        raise NotFound(f"There is no account {name}.")
    return found[0]


def seen_account(user: Principal, *, public_id: uuid.UUID) -> TradingAccount:
    """Return an account the person may see, with its owner. Raises: NotFound, also when it is somebody else's."""
    account = accounts_of(user).select_related("user", "figures").filter(public_id=public_id).first()
    if account is None:
        raise NotFound("You have no such account.")
    return account


def account_after(user: Principal, account: TradingAccount) -> TradingAccount | None:
    """Return the next account that a person may see, in the order of the list: the newest first."""
    return accounts_of(user).filter(pk__lt=account.pk).order_by("-pk").first()


def accounts_found(
    user: Principal, *, owner: int | None, text: str, is_live: bool | None, limit: int, before: int | None
) -> tuple[list[TradingAccount], int | None]:
    """Return a page of the accounts that a person may see, with owner and figures, and where the next one goes on.

    Takes: `text` as the beginning of a number at a broker; "" and None for what does not matter.
    """
    rows = accounts_of(user).select_related("user", "figures").order_by("-pk")
    rows = rows if owner is None else rows.filter(user_id=owner)
    rows = rows.filter(venue_account__startswith=text) if text else rows
    rows = rows if is_live is None else rows.filter(is_live=is_live)
    page = list((rows if before is None else rows.filter(pk__lt=before))[: limit + 1])
    return page[:limit], page[limit - 1].pk if len(page) > limit else None


def with_figures(owned: Iterable[TradingAccount], *, snapshots: dict[int, AccountSnapshot]) -> list[AccountView]:
    """Put each account beside its live figures."""
    return [AccountView(account, snapshots.get(account.pk)) for account in owned]


def instruments_met(owned: Iterable[TradingAccount]) -> dict[int, list[TradableInstrument]]:
    """Return the instruments that were met on some accounts, by the account's key and then by name."""
    found: dict[int, list[TradableInstrument]] = {}
    for row in TradableInstrument.objects.filter(account__in=list(owned)).order_by("symbol"):
        found.setdefault(row.account_id, []).append(row)
    return found


def symbols_met(user: Principal) -> list[str]:
    """Return the names of the instruments that were met on a person's own accounts."""
    rows = TradableInstrument.objects.filter(account__user_id=user.pk)
    return list(rows.order_by("symbol").values_list("symbol", flat=True).distinct())
