"""Which accounts are looked at, decided by two: one is put aside, or taken up again, when a second operator agrees.

An account that is put aside is neither watched nor compared and takes no new exposure. What it holds stays at the
broker and counts for its owner as last seen (`aside`). Reconciliation, which stands above, says what else it rests on:
nobody puts a difference aside.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import transaction

from accounts.services import approvals
from accounts.services.approvals import Executed, Request, SecondPersonNeeded
from accounts.states import ApprovalState
from accounts.types import Principal
from nexus.audit.services import trail
from nexus.audit.types import Actor, Target
from nexus.core.errors import Conflict, NotFound
from nexus.core.jobs import enqueue
from risk.services import sights, stats
from risk.states import ControlScope
from trading.models import AccountFigures, BrokerPosition, TradeLedger, TradingAccount
from trading.services import arming, coverage, facts

KINDS = {False: "ACCOUNT_PUT_ASIDE", True: "ACCOUNT_TAKE_UP"}  # by whether it will be looked at


class NotChangeable(Conflict):
    """It is so already, or an order of it is on its way."""

    code = "account_not_changeable"
    title = "This account cannot be changed so"


class ChangedSince(Conflict):
    """The account holds something else than what who asked has looked at."""

    code = "changed_since"
    title = "The account has changed since you looked"


class Attention:
    """How an account is put aside, or taken up again."""

    def __init__(self, *, is_active: bool) -> None:
        self.is_active = is_active

    def locked(self, public_id: UUID, *, at: datetime) -> TradingAccount | None:
        """Lock the owner, under whom everything new is admitted, then the account, for whoever decides it."""
        rows = TradingAccount.objects.filter(public_id=public_id)
        user_id = rows.values_list("user_id", flat=True).first()
        if user_id is None:
            return None
        stats.lock(user_id=user_id, trading_date=at.date())
        return rows.select_for_update(of=("self",), no_key=True).get()

    def standing(self, account: TradingAccount) -> dict[str, Any]:
        """Say what it rests on: what our books know of the account."""
        working = TradeLedger.objects.open().filter(account=account)
        return {
            "account": str(account.public_id),
            "name": str(account),
            "is_active": account.is_active,
            "open_positions": BrokerPosition.objects.filter(account=account, closed_at=None).count(),
            "open_orders": working.count(),
        }

    def obstacle(self, account: TradingAccount) -> Conflict | None:
        """Return why it cannot be asked for now, if anything."""
        if account.is_active is self.is_active:
            return NotChangeable(
                "The account is looked at already." if self.is_active else "The account is put aside already."
            )
        _, changes = coverage.unanswered([account])
        on_its_way = TradeLedger.objects.filter(account=account, delivery__in=coverage.ON_THE_WAY)
        if not self.is_active and (on_its_way.exists() or changes.exists()):
            return NotChangeable(
                "Nobody knows yet what became of an order or a change of this account. Wait until it is found."
            )
        return None

    def ask(
        self, *, public_id: UUID, reason: str, by: Principal, at: datetime, seen: Mapping[str, Any] | None = None
    ) -> Request:
        """Ask for it. Takes: `seen`, the standing that was looked at, where one was.

        Raises: ChangedSince, NotChangeable or another obstacle, NotFound, SecondPersonNeeded, ApprovalPending, Invalid,
        Denied.
        """
        approvals.expire(at=at)
        return self._ask(public_id, reason=reason, by=by, at=at, seen=seen)

    @transaction.atomic(durable=True)
    def _ask(
        self, public_id: UUID, *, reason: str, by: Principal, at: datetime, seen: Mapping[str, Any] | None
    ) -> Request:
        approvals.require_operator(by)
        account = self.locked(public_id, at=at)
        if account is None:
            raise NotFound("There is no such account.")
        if account.user_id == by.pk:
            raise SecondPersonNeeded("The account is yours. Another operator asks for it.")
        if obstacle := self.obstacle(account):
            raise obstacle
        payload = self.standing(account)
        if seen is not None and seen != payload:
            raise ChangedSince("Somebody or something was faster. Nothing was asked for.")
        kind = KINDS[self.is_active]
        return approvals.ask(kind=kind, target=_target(account), payload=payload, by=by, reason=reason, at=at)

    def payload(self, request: Request) -> dict[str, Any] | None:
        """Lock the owner and the account, and say how it stands; nothing, while something of it is on its way."""
        account = self.locked(UUID(request.object_id), at=facts.database_clock())
        return None if account is None or self.obstacle(account) else self.standing(account)

    def examine(self, request: Request, *, by: Principal, at: datetime) -> None:
        """Refuse the owner. Raises: SecondPersonNeeded."""
        if TradingAccount.objects.filter(public_id=request.object_id, user_id=by.pk).exists():
            raise SecondPersonNeeded("The account is yours. Another operator decides it.")

    def execute(self, request: Request, *, by: Principal, reason: str, at: datetime) -> Executed:
        """Do it. What is put aside is armed no more; what is taken up is compared before anything is admitted on it."""
        account = TradingAccount.objects.get(public_id=request.object_id)
        actor = Actor.user(by.public_id)
        account.is_active = self.is_active
        account.save(update_fields=["is_active"])
        if self.is_active:
            sights.forget(account_id=account.pk)
            _expect_a_look(account)
            enqueue("reconciliation.reconcile_account", expires_s=60, account_id=account.pk, trigger="LINK")
        else:
            arming.disarm_under(ControlScope.ACCOUNT, str(account.pk), reason="It is put aside.", actor=actor, at=at)
        trail.record(
            action=f"trading.account_{'taken_up' if self.is_active else 'put_aside'}",
            actor=actor, target=_target(account), occurred_at=at, detail={"before": request.payload, "reason": reason},
        )  # fmt: skip
        return Executed(account)

    def close(self, request: Request, *, state: ApprovalState, by: Principal | None, reason: str, at: datetime) -> None:
        """Leave the account as it is."""


def _expect_a_look(account: TradingAccount) -> None:
    """Let people be told if nobody looks within the minute, and not at once of the time in which nobody was to look."""
    AccountFigures.objects.filter(account=account).update(
        failing_since=facts.database_clock(), fault="Nobody has looked at it since it was taken up again."
    )


def _target(account: TradingAccount) -> Target:
    return Target("trading_account", str(account.public_id))
