"""Every page of the console beside the tables, and the ways to them that stand on each page."""

from typing import NamedTuple

from django.contrib.admin import AdminSite
from django.urls import URLPattern, path
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from accounts.rules import Action
from nexus.console import (
    account,
    alerts,
    approvals,
    audit,
    charts,
    exports,
    home,
    keys,
    limits,
    links,
    logins,
    lost,
    orders,
    releases,
    reveals,
    reviews,
    runbooks,
    searches,
    staff,
    stops,
    users,
    venues,
)
from nexus.console.pages import Page


class Way(NamedTuple):
    """A way that stands on every page. `key` is its keyboard shortcut, after `g`."""

    name: str
    words: str | Promise
    key: str
    action: Action


WAYS = (
    Way("admin:index", _("Home"), "h", Action.STATUS_READ),
    Way("admin:console_stops", _("Stops"), "s", Action.STATUS_READ),
    Way("admin:console_unknown", _("Unknown orders"), "u", Action.ORDER_READ),
    Way("admin:console_reviews", _("Reviews"), "r", Action.REVIEW_READ),
    Way("admin:console_approvals", _("Approvals"), "a", Action.APPROVAL_READ),
    Way("admin:console_alerts", _("Alerts"), "e", Action.ALERT_READ),
    Way("admin:console_logins", _("Locked logins"), "l", Action.USER_READ),
    Way("admin:trading_tradeledger_changelist", _("Orders"), "o", Action.ORDER_READ),
    Way("admin:console_accounts", _("Accounts"), "c", Action.ACCOUNT_READ),
    Way("admin:console_positions", _("Positions"), "x", Action.ACCOUNT_READ),
    Way("admin:console_users", _("Users"), "p", Action.USER_READ),
    Way("admin:console_keys", _("API keys"), "k", Action.KEY_READ),
    Way("admin:console_limits", _("Limits"), "m", Action.ACCOUNT_READ),
    Way("admin:console_audit", _("Audit"), "v", Action.AUDIT_READ),
    Way("admin:console_charts", _("Charts"), "d", Action.ACCOUNT_READ),
    Way("admin:console_tables", _("All tables"), "t", Action.STATUS_READ),
)

PAGES: tuple[tuple[str, type[Page], str], ...] = (
    ("live/", home.LivePart, "console_live"),
    ("stop/", stops.StopPage, "console_stop"),
    ("stops/", stops.StopsPage, "console_stops"),
    ("stops/<int:control_id>/", stops.OneStopPage, "console_one_stop"),
    ("stops/<int:control_id>/propose/", releases.ProposePage, "console_propose_release"),
    ("releases/<int:release_id>/approve/", releases.ApprovePage, "console_approve_release"),
    ("releases/<int:release_id>/refuse/", releases.RefusePage, "console_refuse_release"),
    ("reviews/", reviews.ReviewsPage, "console_reviews"),
    ("reviews/<uuid:review_id>/", reviews.ReviewPage, "console_review"),
    ("reviews/<uuid:review_id>/claim/", reviews.ClaimPage, "console_claim_review"),
    ("reviews/<uuid:review_id>/decide/<str:decision>/", reviews.DecidePage, "console_decide_review"),
    ("orders/unknown/", orders.UnknownPage, "console_unknown"),
    ("orders/<uuid:order_id>/", orders.OrderPage, "console_order"),
    ("orders/<uuid:order_id>/end/", orders.EndPage, "console_end_order"),
    ("changes/<uuid:change_id>/decide/", lost.DecidePage, "console_decide_change"),
    ("approvals/", approvals.ApprovalsPage, "console_approvals"),
    ("approvals/<uuid:approval_id>/", approvals.ApprovalPage, "console_approval"),
    ("approvals/<uuid:approval_id>/approve/", approvals.ApprovePage, "console_approve"),
    ("approvals/<uuid:approval_id>/reject/", approvals.RejectPage, "console_reject"),
    ("approvals/<uuid:approval_id>/take-back/", approvals.TakeBackPage, "console_take_back"),
    ("approvals/<uuid:agreed_id>/half/", links.ShowHalfPage, "console_link_half"),
    ("approvals/<uuid:agreed_id>/send/", links.SendAgainPage, "console_link_send"),
    ("alerts/", alerts.AlertsPage, "console_alerts"),
    ("alerts/<int:alert_id>/take/", alerts.TakePage, "console_take_alert"),
    ("alerts/<int:alert_id>/let-pass/", alerts.ClearPage, "console_clear_alert"),
    ("charts/", charts.ChartsPage, "console_charts"),
    ("charts/<uuid:account_id>/", charts.AccountPage, "console_account_charts"),
    ("runbooks/", runbooks.RunbooksPage, "console_runbooks"),
    ("runbooks/<slug:name>/", runbooks.RunbookPage, "console_runbook"),
    ("logins/", logins.LoginsPage, "console_logins"),
    ("logins/<str:bucket>/unlock/", logins.UnlockPage, "console_unlock"),
    ("venues/accounts/", venues.AccountsPage, "console_accounts"),
    ("venues/accounts/<uuid:account_id>/", account.AccountPage, "console_account"),
    ("venues/accounts/<uuid:account_id>/put-aside/", account.PutAsidePage, "console_put_aside"),
    ("venues/accounts/<uuid:account_id>/take-up/", account.TakeUpPage, "console_take_up"),
    ("venues/positions/", venues.PositionsPage, "console_positions"),
    ("users/", users.UsersPage, "console_users"),
    ("users/new/", staff.NewPage, "console_new_user"),
    ("users/<uuid:user_id>/", users.UserPage, "console_user"),
    ("users/<uuid:user_id>/role/", staff.RolePage, "console_user_role"),
    ("users/<uuid:user_id>/deactivate/", staff.DeactivatePage, "console_deactivate"),
    ("users/<uuid:user_id>/activate/", staff.ActivatePage, "console_activate"),
    ("users/<uuid:user_id>/reset-second-factor/", staff.ResetPage, "console_reset_factor"),
    ("users/<uuid:user_id>/end-sessions/", staff.EndSessionsPage, "console_end_sessions"),
    ("keys/", keys.KeysPage, "console_keys"),
    ("keys/<uuid:key_id>/revoke/", keys.RevokePage, "console_revoke_key"),
    ("limits/", limits.LimitsPage, "console_limits"),
    ("limits/<str:scope>/<str:kind>/", limits.LimitPage, "console_limit"),
    ("limits/<str:scope>/<str:kind>/change/", limits.ChangePage, "console_change_limit"),
    ("searches/<slug:page_name>/", searches.SearchesPage, "console_searches"),
    ("audit/", audit.AuditPage, "console_audit"),
    ("audit/events/<int:event_id>/", audit.EventPage, "console_event"),
    ("audit/events/<int:event_id>/reveal/", reveals.RevealPage, "console_reveal"),
    ("audit/verification/", audit.VerificationPage, "console_verification"),
    ("audit/verification/live/", audit.VerificationPart, "console_verification_live"),
    ("audit/verification/now/", audit.VerifyPage, "console_verify_now"),
    ("audit/exports/", exports.ExportsPage, "console_exports"),
    ("audit/exports/ask/", exports.AskPage, "console_ask_export"),
    ("audit/exports/<int:export_id>/", exports.ExportPage, "console_export"),
    ("audit/exports/<int:export_id>/live/", exports.ExportPart, "console_export_live"),
    ("audit/exports/<int:export_id>/take/", exports.TakePage, "console_take_export"),
)


def of(site: AdminSite) -> list[URLPattern]:
    """Return the routes of a site, each behind its login."""
    return [path(route, site.admin_view(page.as_view(site=site)), name=name) for route, page, name in PAGES]
