"""No difference is put aside: an account leaves the fleet's sum once people have decided what its books lack.

A complete run opens a review of every difference that it does not leave to the next run or correct by itself, so what
is not decided is an open review.
"""

from datetime import datetime
from typing import Any
from uuid import UUID

from nexus.core import money
from nexus.core.errors import Conflict
from reconciliation import selectors
from reconciliation.models import Cycle
from trading.services.accounts import Account
from trading.services.putting_aside import Attention


class AccountDiffers(Conflict):
    """A difference of the account waits for a person."""

    code = "account_differs"
    title = "A difference of this account is not decided"


class _PutAside(Attention):
    def locked(self, public_id: UUID, *, at: datetime) -> Account | None:
        """Lock the account's cycle as well: no run of it concludes meanwhile."""
        account = super().locked(public_id, at=at)
        Cycle.objects.select_for_update(of=("self",), no_key=True).filter(account=account).first()
        return account

    def standing(self, account: Account) -> dict[str, Any]:
        """Add what the last comparison has found."""
        cycle = selectors.compared([account]).get(account.pk)
        found = (
            "never compared" if cycle is None or cycle.succeeded_at is None else money.as_text(cycle.discrepancy_usd)
        )
        more = " and what nobody can value" if cycle is not None and cycle.is_unvalued else ""
        return super().standing(account) | {"discrepancy_usd": found + more}

    def obstacle(self, account: Account) -> Conflict | None:
        """Return also which differences nobody has decided."""
        keys = ", ".join(review.key for review in selectors.open_of(account))
        return super().obstacle(account) or (
            AccountDiffers(f"Nobody has decided these differences yet: {keys}. Decide their reviews first.")
            if keys
            else None
        )


PUT_ASIDE, TAKE_UP = _PutAside(is_active=False), Attention(is_active=True)
