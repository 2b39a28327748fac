"""Who may do what: one table, which every door asks and from which docs/accounts.md is checked."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from accounts.states import Role, Scope


class Reach(StrEnum):
    """Whose objects a role may touch. Anybody else's answer 404, as if they were not there."""

    NONE = "–"
    OWN = "own"
    ALL = "all"


class Step(StrEnum):
    """How fresh the second factor must be: none, one of the last 15 minutes, or one in this very request."""

    NONE = ""
    S15 = "S15"
    S0 = "S0"


class Action(StrEnum):
    """What a request wants to do. Each view declares one for each of its methods."""

    PROFILE_READ = "PROFILE_READ"
    SESSION_READ = "SESSION_READ"
    SESSION_END = "SESSION_END"
    SESSION_END_OF_OTHERS = "SESSION_END_OF_OTHERS"
    LOGIN_UNLOCK = "LOGIN_UNLOCK"
    SECOND_FACTOR_READ = "SECOND_FACTOR_READ"
    SECOND_FACTOR_CHANGE = "SECOND_FACTOR_CHANGE"
    PASSWORD_CHANGE = "PASSWORD_CHANGE"  # noqa: S105
    ACCOUNT_READ = "ACCOUNT_READ"
    ORDER_READ = "ORDER_READ"
    ORDER_PLACE = "ORDER_PLACE"
    ORDER_CANCEL = "ORDER_CANCEL"
    LIVE_ARM = "LIVE_ARM"
    LIVE_DISARM = "LIVE_DISARM"
    ACCOUNT_CHANGE = "ACCOUNT_CHANGE"
    RECONCILE = "RECONCILE"
    REVIEW_READ = "REVIEW_READ"
    REVIEW_CLAIM = "REVIEW_CLAIM"
    REVIEW_DECIDE = "REVIEW_DECIDE"
    STATUS_READ = "STATUS_READ"
    TRADING_STOP = "TRADING_STOP"
    TRADING_RESUME = "TRADING_RESUME"
    ALERT_READ = "ALERT_READ"
    ALERT_ACKNOWLEDGE = "ALERT_ACKNOWLEDGE"
    SUSPICION_CLEAR = "SUSPICION_CLEAR"
    APPROVAL_READ = "APPROVAL_READ"
    APPROVAL_DECIDE = "APPROVAL_DECIDE"
    AUDIT_READ = "AUDIT_READ"
    OWN_EVENT_READ = "OWN_EVENT_READ"
    AUDIT_VERIFY = "AUDIT_VERIFY"
    AUDIT_EXPORT = "AUDIT_EXPORT"
    SEARCH_KEEP = "SEARCH_KEEP"
    PII_REVEAL = "PII_REVEAL"
    LIMIT_CHANGE = "LIMIT_CHANGE"
    USER_READ = "USER_READ"
    USER_CHANGE = "USER_CHANGE"
    KEY_READ = "KEY_READ"
    KEY_CREATE = "KEY_CREATE"
    KEY_CHANGE = "KEY_CHANGE"
    KEY_REVOKE = "KEY_REVOKE"


@dataclass(frozen=True, slots=True)
class Rule:
    """One row of the matrix. `scopes`: an API key needs one of these; without any, no key may."""

    words: str
    operator: Reach
    compliance: Reach
    trader: Reach
    bot: Reach
    scopes: frozenset[Scope] = frozenset()
    step: Step = Step.NONE
    live_step: Step = Step.NONE  # where real money is; a key has none to show, and its scope stands in for it

    def reach(self, role: str) -> Reach:
        """Return how far this goes for a role; for one that nobody knows, nowhere."""
        reaches: dict[str, Reach] = {
            Role.OPERATOR.value: self.operator,
            Role.COMPLIANCE.value: self.compliance,
            Role.TRADER.value: self.trader,
            Role.BOT.value: self.bot,
        }
        return reaches.get(role, Reach.NONE)


_NONE, _OWN, _ALL = Reach.NONE, Reach.OWN, Reach.ALL
_WRITES = frozenset({Scope.ORDERS_WRITE_PAPER, Scope.ORDERS_WRITE_LIVE})
_ACCOUNT, _ORDERS = frozenset({Scope.ACCOUNT_READ}), frozenset({Scope.ORDERS_READ})

# Order of the columns: operator, compliance, trader, bot.
MATRIX: Mapping[Action, Rule] = {
    Action.PROFILE_READ: Rule("Read one's own profile", _OWN, _OWN, _OWN, _OWN),
    Action.SESSION_READ: Rule("See one's own sessions", _OWN, _OWN, _OWN, _OWN),
    Action.SESSION_END: Rule("End one's own sessions", _OWN, _OWN, _OWN, _OWN),
    Action.SESSION_END_OF_OTHERS: Rule("End anybody's sessions, with a reason", _ALL, _NONE, _NONE, _NONE),
    Action.LOGIN_UNLOCK: Rule("Unlock a login, with a reason", _ALL, _NONE, _NONE, _NONE),
    Action.SECOND_FACTOR_READ: Rule("See one's own second factor", _OWN, _OWN, _OWN, _OWN),
    Action.SECOND_FACTOR_CHANGE: Rule(
        "Set up, show and remove one's own second factor (password, and a code where there is one)",
        _OWN,
        _OWN,
        _OWN,
        _OWN,
    ),
    Action.PASSWORD_CHANGE: Rule(
        "Change one's own password (the old one, and a code where there is a second factor)", _OWN, _OWN, _OWN, _OWN
    ),
    Action.ACCOUNT_READ: Rule(
        "Read balances, positions, prices, limits and reconciliation", _ALL, _ALL, _OWN, _OWN, _ACCOUNT
    ),
    Action.ORDER_READ: Rule("Read orders", _ALL, _ALL, _OWN, _OWN, _ORDERS),
    Action.ORDER_PLACE: Rule("Place, change and close", _NONE, _NONE, _OWN, _OWN, _WRITES, live_step=Step.S15),
    Action.ORDER_CANCEL: Rule("Cancel an order (an operator with a reason)", _ALL, _NONE, _OWN, _OWN, _WRITES),
    Action.LIVE_ARM: Rule("Arm live trading on an account", _NONE, _NONE, _OWN, _NONE, step=Step.S0),
    Action.LIVE_DISARM: Rule("Disarm live trading (operators and compliance with a reason)", _ALL, _ALL, _OWN, _NONE),
    Action.ACCOUNT_CHANGE: Rule(
        "Ask for an account to be put aside or taken up again", _ALL, _NONE, _NONE, _NONE, step=Step.S0
    ),
    Action.RECONCILE: Rule("Reconcile now", _ALL, _NONE, _OWN, _OWN, _WRITES),
    Action.REVIEW_READ: Rule("See differences that wait for a person", _ALL, _ALL, _NONE, _NONE),
    Action.REVIEW_CLAIM: Rule("Take such a difference in hand", _ALL, _NONE, _NONE, _NONE),
    Action.REVIEW_DECIDE: Rule("Decide on such a difference, with a reason", _ALL, _NONE, _NONE, _NONE, step=Step.S0),
    Action.STATUS_READ: Rule("See what is stopped", _ALL, _ALL, _OWN, _OWN, _ACCOUNT),
    Action.TRADING_STOP: Rule("Stop trading", _ALL, _ALL, _OWN, _NONE),
    Action.TRADING_RESUME: Rule("Propose to ease a stop, and decide on it", _ALL, _NONE, _NONE, _NONE, step=Step.S0),
    Action.ALERT_READ: Rule("See alerts", _ALL, _ALL, _NONE, _NONE),
    Action.ALERT_ACKNOWLEDGE: Rule("Take an alert in hand", _ALL, _NONE, _NONE, _NONE),
    Action.SUSPICION_CLEAR: Rule(
        "Let orders pass that look suspicious, with a reason", _ALL, _NONE, _NONE, _NONE, step=Step.S0
    ),
    Action.APPROVAL_READ: Rule("See what waits for a second person", _ALL, _ALL, _NONE, _NONE),
    Action.APPROVAL_DECIDE: Rule(
        "Approve or reject what another asked for, cancel what one asked for", _ALL, _NONE, _NONE, _NONE, step=Step.S0
    ),
    Action.AUDIT_READ: Rule(
        "Read the audit log, without personal data, and its verification", _ALL, _ALL, _NONE, _NONE
    ),
    Action.OWN_EVENT_READ: Rule(
        "See what the audit log has of one's own acts, without personal data", _OWN, _OWN, _OWN, _NONE
    ),
    Action.AUDIT_VERIFY: Rule("Have the whole audit log verified now", _ALL, _ALL, _NONE, _NONE),
    Action.AUDIT_EXPORT: Rule("Export the audit log and take the bundle", _NONE, _ALL, _NONE, _NONE, step=Step.S0),
    Action.SEARCH_KEEP: Rule("Keep and forget one's own searches of the console", _ALL, _ALL, _NONE, _NONE),
    Action.PII_REVEAL: Rule(
        "Have the personal data of one event shown, with a reason", _NONE, _ALL, _NONE, _NONE, step=Step.S0
    ),
    Action.LIMIT_CHANGE: Rule("Lower a limit, ask for one to be raised", _ALL, _NONE, _NONE, _NONE, step=Step.S0),
    Action.USER_READ: Rule("See users", _ALL, _ALL, _NONE, _NONE),
    Action.USER_CHANGE: Rule(
        "Ask for a user to be created, given a role, deactivated, activated or rid of a lost second factor or password",
        _ALL,
        _NONE,
        _NONE,
        _NONE,
        step=Step.S0,
    ),
    Action.KEY_READ: Rule("See API keys (never their secrets)", _ALL, _ALL, _OWN, _NONE),
    Action.KEY_CREATE: Rule("Create or rotate an API key", _NONE, _NONE, _OWN, _NONE, step=Step.S0),
    Action.KEY_CHANGE: Rule("Narrow an API key", _NONE, _NONE, _OWN, _NONE, step=Step.S0),
    Action.KEY_REVOKE: Rule("Revoke an API key", _ALL, _NONE, _OWN, _NONE),
}


def may(role: str, action: Action) -> bool:
    """Tell whether a role may do this at all; whose objects, the query decides."""
    return MATRIX[action].reach(role) is not Reach.NONE


def table() -> str:
    """Return the matrix as docs/accounts.md shows it."""
    lines = [
        "| action | operator | compliance | trader | bot | second factor | API key |",
        "|---|---|---|---|---|---|---|",
    ]
    for rule in MATRIX.values():
        scopes = " or ".join(f"`{scope}`" for scope in sorted(rule.scopes)) or "–"
        lines.append(
            f"| {rule.words} | {rule.operator} | {rule.compliance} | {rule.trader} | {rule.bot} "
            f"| {_step(rule)} | {scopes} |"
        )
    return "\n".join(lines)


def _step(rule: Rule) -> str:
    return f"{rule.live_step} with real money" if rule.live_step else rule.step or "–"
