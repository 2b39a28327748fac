"""One account on one page, to read: how it stands, what it holds, what waits, and the ways to what can be done."""

from typing import Any, ClassVar

from django.utils.timezone import now

from accounts.rules import Action
from nexus.alerts import selectors as alerts
from nexus.console import limits
from nexus.console.limits import Owner
from nexus.console.pages import Page
from nexus.console.venues import standing_of
from reconciliation import selectors as reconciliation
from risk.states import LimitScope, StopLevel
from trading import selectors as trading
from trading.services import facts

SHOWN = 20


class AccountPage(Page):
    """One account whole, in a fixed number of statements."""

    action: ClassVar = Action.ACCOUNT_READ
    template = "console/account.html"

    def context(self, **kwargs: Any) -> dict[str, Any]:
        """Read everything about the account."""
        at, clock = now(), facts.database_clock()
        account = trading.seen_account(self.person, public_id=kwargs["account_id"])
        standing, stops = standing_of(account, clock=clock, at=at)
        positions = list(trading.open_positions([account])[: SHOWN + 1])
        owner = Owner(LimitScope.ACCOUNT, str(account.pk), str(account))
        return {
            "title": str(account),
            "account": account,
            "row": standing,
            "stops": [(each, StopLevel(each.level).name) for each in stops],
            "positions": positions[:SHOWN],
            "has_more": len(positions) > SHOWN,
            "orders": trading.newest_orders(account, limit=SHOWN),
            "limits": [each for each in limits.lines_of(owner) if each.in_force is not None],
            "reviews": reconciliation.open_of(account),
            "alerts": alerts.open_about("trading_account", str(account.public_id)),
            "next": trading.account_after(self.person, account),
            "clock": clock,
            "at": at,
        }
