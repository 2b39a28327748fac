"""One account on one page: how it stands, what it holds, what waits; and whether anybody looks at it."""

from datetime import datetime
from typing import Any, ClassVar

from django.urls import reverse
from django.utils.html import format_html_join
from django.utils.timezone import now
from django.utils.translation import gettext as _

from accounts import selectors as people
from accounts.rules import Action
from nexus.alerts import selectors as alerts
from nexus.console import approvals, limits, reviews
from nexus.console.acts import Act, Done, Plan, version_of
from nexus.console.limits import Owner
from nexus.console.pages import Page
from nexus.console.staff import waits
from nexus.console.venues import standing_of
from nexus.console.words import ago, stamp, usd
from nexus.core import sentences
from reconciliation import selectors as reconciliation
from reconciliation.services import putting_aside
from risk.states import LimitScope, StopLevel
from trading import selectors as trading
from trading.services import facts
from trading.services.accounts import Account
from trading.services.putting_aside import Attention

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
            "waiting": [
                (each, approvals.words(each))
                for each in people.approvals_of("trading_account", account.public_id, at=at)
            ],
            "may_change": self.may(Action.ACCOUNT_CHANGE),
            "next": trading.account_after(self.person, account),
            "clock": clock,
            "at": at,
        }


class _Attention(Act):
    """What putting aside and taking up again share."""

    action: ClassVar = Action.ACCOUNT_CHANGE
    way: ClassVar[Attention]

    def _plan(self, public_id: Any, **words_of: Any) -> Plan:
        account = trading.seen_account(self.person, public_id=public_id)
        seen, obstacle = self.way.standing(account), self.way.obstacle(account)
        is_own = account.user_id == self.person.pk
        barred = obstacle.detail if obstacle else ""
        return Plan(
            version=version_of(**seen),
            facts=(
                (_("Account"), account),
                (_("Owner"), account.user.email),
                (_("Open positions"), seen["open_positions"]),
                (_("Orders that wait"), seen["open_orders"]),
                *_comparison(account, at=now()),
            ),
            before=_("Looked at every five seconds, and compared every minute.")
            if account.is_active
            else _("Put aside: nobody looks at it."),
            button=_("Ask for it"),
            back=reverse("admin:console_account", args=[public_id]),
            barred=_("The account is yours. Another operator asks for it.")
            if is_own
            else sentences.said(barred) or barred,
            is_grave=True,
            more={"seen": seen},
            **words_of,
        )

    def act(self, words: dict[str, Any], plan: Plan, **kwargs: Any) -> Done:
        """Ask for it."""
        return waits(
            self.way.ask(
                public_id=kwargs["account_id"], reason=words["reason"], by=self.person, at=now(), seen=plan.more["seen"]
            )
        )


class PutAsidePage(_Attention):
    """Ask for an account to be looked at no more."""

    way: ClassVar = putting_aside.PUT_ASIDE

    def plan(self, **kwargs: Any) -> Plan:
        """Show what is seen no more."""
        return self._plan(
            kwargs["account_id"],
            title=_("Put the account aside"),
            after=_("Put aside, once another operator agrees: nothing new is opened on it, and nobody looks at it."),
            consequences=(
                _("What is open stays open at the broker: no loss of it is seen, and no difference. Flatten it first."),
                _("What it has lost today, and what it could lose as last seen, still counts for its owner."),
                _("With real money it is disarmed."),
            ),
        )


class TakeUpPage(_Attention):
    """Ask for an account to be looked at again."""

    way: ClassVar = putting_aside.TAKE_UP

    def plan(self, **kwargs: Any) -> Plan:
        """Show what begins again."""
        return self._plan(
            kwargs["account_id"],
            title=_("Take the account up again"),
            after=_("Looked at again, once another operator agrees."),
            consequences=(
                _("It is compared with its broker at once, and nothing is admitted on it before."),
                _("Where a stop with a sweep stands over it, it is swept."),
            ),
        )


def _comparison(account: Account, *, at: datetime) -> list[tuple[str, object]]:
    """Return what the last comparison has found, when that was, and what of it nobody has decided."""
    cycle = reconciliation.compared([account]).get(account.pk)
    found, seen = _("unknown"), _("never")
    if cycle is not None and cycle.succeeded_at is not None:
        found = usd(cycle.discrepancy_usd) + (f" {_('and more')}" if cycle.is_unvalued else "")
        seen = f"{stamp(cycle.succeeded_at)} UTC ({ago(cycle.succeeded_at, at)})"
    waiting = format_html_join(
        ", ", '<a href="{}">{}</a> {}',
        (
            (reverse("admin:console_review", args=[each.public_id]), reviews.named(each), reviews.worth(each))
            for each in reconciliation.open_of(account)
        ),
    )  # fmt: skip
    return [(_("D (USD)"), found), (_("Compared"), seen), (_("Open reviews"), waiting or _("No difference waits."))]
