"""What each kind of alert tells of, in a few words of the reader's language. Its own text stays as it was written."""

from django.utils.translation import gettext_lazy as _

HEADLINES = {
    "TRADING_STOPPED": _("Trading was stopped"),
    "STOP_NOT_FOLLOWED": _("A stop holds, but nobody carries it on"),
    "SWEEP_NOT_PROVEN": _("A sweep is not proven: something may be left at the broker"),
    "DATABASE_CONNECTIONS_LOW": _("The database has few connections left: soon nobody can stop trading"),
    "HEALTH_DEGRADED": _("Nobody looks at accounts"),
    "ACCOUNT_NOT_WATCHED": _("An account cannot be read"),
    "GATEWAY_SENDS_NOTHING": _("A gateway sends nothing: its disk takes no more"),
    "MARGIN_LEVEL_LOW": _("The margin level is low"),
    "REQUEST_NOT_VALID": _("The broker finds a request of ours not valid"),
    "ACCOUNT_REFUSED": _("The broker refuses everything on an account"),
    "JOURNAL_CHANGED": _("A gateway has another journal, or an older one"),
    "ORDER_UNKNOWN": _("Nobody knows whether an order has arrived"),
    "CHANGE_UNKNOWN": _("Nobody knows whether a change or a cancel has arrived"),
    "ORDER_STILL_WORKS": _("An order works at the broker that is over here"),
    "LATE_FILL": _("An order filled after it was closed"),
    "OVERFILL": _("An order filled for more than it asked"),
    "STOPS_MISSING": _("A position stands without its stops"),
    "TERMS_MOVED": _("Somebody has moved stops or prices outside of Nexus"),
    "EXTERNAL_FILL": _("Somebody traded outside of Nexus"),
    "FILL_TAKEN_BACK": _("The broker has taken a deal back"),
    "HIGH_SLIPPAGE": _("An order filled far from the market"),
    "ORDER_NUMBERS_SKIPPED": _("The database is older than what was sent"),
    "DISCREPANCY_REVIEW": _("Books and broker differ: a person decides"),
    "DISCREPANCY_STOPPED": _("Books and broker differ by too much: the account was stopped"),
    "FLEET_DISCREPANCY": _("All accounts together differ by too much: everything was stopped"),
    "RECONCILIATION_STALE": _("An account was not compared in time"),
    "RECONCILIATION_FAILED": _("A comparison came to nothing"),
    "RECONCILIATION_STOPPED": _("Comparisons came to nothing again and again: the account was stopped"),
    "AUDIT_SEAL_LATE": _("Seals of the audit log are late"),
    "AUDIT_ANCHOR_LATE": _("An anchor of the audit log is behind"),
    "AUDIT_NOT_CLEAN": _("The audit log is not what was sealed"),
    "AUDIT_UNVERIFIED": _("The audit log was not verified"),
    "ALERT_NOT_DELIVERED": _("A channel takes no alerts"),
    "API_KEY_ADDRESS": _("An API key was used from a wrong address"),
    "LINK_NOT_DELIVERED": _("A link for a password could not be sent"),
    "BREAK_GLASS": _("Somebody has come in with the break-glass account"),
}
FAMILIES = {
    "STOP_": _("A trigger would have stopped trading, and is switched off"),
    "SUSPICION_": _("Orders look unlike their trader"),
}


def headline(kind: str) -> str:
    """Say in a few words what an alert of a kind tells of; a kind that nobody knows as it is called."""
    if kind in HEADLINES:
        return str(HEADLINES[kind])
    family = next((each for each in FAMILIES if kind.startswith(each)), "")
    return f"{FAMILIES[family]} ({kind.removeprefix(family)})" if family else kind
