"""When a message that did not get through is tried again, and where it is written what to do about each kind."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

FIRST_PAUSE_S, LONGEST_PAUSE_S = 5, 600
ATTEMPTS_MAX = 14  # with these pauses about an hour and a half
ATTEMPTS_TOLD = 3  # a channel that failed this often in a row is itself an alert


def pause(attempts: int) -> timedelta:
    """Return how long to wait after so many attempts: twice as long each time, ten minutes at most."""
    return timedelta(seconds=min(FIRST_PAUSE_S * 2 ** max(0, attempts - 1), LONGEST_PAUSE_S))


# Where docs/runbooks/ says what to do about each kind. A test holds this to every alert that the code opens.
RUNBOOKS: Mapping[str, str] = {
    **dict.fromkeys(("TRADING_STOPPED", "STOP_NOT_FOLLOWED", "SWEEP_NOT_PROVEN", "DATABASE_CONNECTIONS_LOW"), "stops"),
    **dict.fromkeys(
        (
            "HEALTH_DEGRADED", "ACCOUNT_NOT_WATCHED", "GATEWAY_SENDS_NOTHING", "MARGIN_LEVEL_LOW", "ACCOUNT_REFUSED",
            "JOURNAL_CHANGED",
        ),
        "accounts",
    ),
    **dict.fromkeys(
        (
            "ORDER_UNKNOWN", "CHANGE_UNKNOWN", "ORDER_STILL_WORKS", "LATE_FILL", "OVERFILL", "STOPS_MISSING",
            "TERMS_MOVED", "EXTERNAL_FILL", "FILL_TAKEN_BACK", "HIGH_SLIPPAGE", "REQUEST_NOT_VALID",
            "ORDER_NUMBERS_SKIPPED",
        ),
        "orders",
    ),
    **dict.fromkeys(
        (
            "DISCREPANCY_REVIEW", "DISCREPANCY_STOPPED", "FLEET_DISCREPANCY", "RECONCILIATION_STALE",
            "RECONCILIATION_FAILED", "RECONCILIATION_STOPPED",
        ),
        "reconciliation",
    ),
    **dict.fromkeys(("AUDIT_SEAL_LATE", "AUDIT_ANCHOR_LATE", "AUDIT_NOT_CLEAN", "AUDIT_UNVERIFIED"), "audit"),
    **dict.fromkeys(("ALERT_NOT_DELIVERED", "API_KEY_ADDRESS", "BREAK_GLASS", "LINK_NOT_DELIVERED"), "people"),
}  # fmt: skip
# What has happened and does not go on: nothing ends it, so it is over once somebody has taken it in hand.
HAPPENED = frozenset(
    {
        "LATE_FILL", "OVERFILL", "EXTERNAL_FILL", "FILL_TAKEN_BACK", "HIGH_SLIPPAGE", "REQUEST_NOT_VALID",
        "TERMS_MOVED", "ACCOUNT_REFUSED", "STOP_ACCOUNT_REFUSED", "STOP_STOP_LOSS_REFUSED", "API_KEY_ADDRESS",
        "BREAK_GLASS", "LINK_NOT_DELIVERED", "JOURNAL_CHANGED", "ORDER_NUMBERS_SKIPPED",
    }
)  # fmt: skip
SUSPICION = "SUSPICION_"  # and what it is about: orders unlike their trader
FAMILIES: Mapping[str, str] = {"STOP_": "stops", SUSPICION: "people"}  # kinds with a name behind it: one section


@dataclass(frozen=True, slots=True)
class Runbook:
    """Where something is explained: a file of docs/runbooks/, and the heading in it."""

    name: str
    anchor: str

    @property
    def file(self) -> str:
        """Return the place in the repository, as a link in it would name it."""
        return f"docs/runbooks/{self.name}.md" + (f"#{self.anchor}" if self.anchor else "")


INDEX = Runbook("README", "")


def has_happened(kind: str) -> bool:
    """Tell whether an alert of this kind tells of something that does not go on."""
    return kind in HAPPENED or kind.startswith(SUSPICION)


def runbook(kind: str) -> Runbook:
    """Return what explains a kind of alert; for one that nobody knows, the list of all."""
    if kind in RUNBOOKS:
        return Runbook(RUNBOOKS[kind], kind.lower())
    family = next((family for family in FAMILIES if kind.startswith(family)), None)
    return INDEX if family is None else Runbook(FAMILIES[family], family.lower())
