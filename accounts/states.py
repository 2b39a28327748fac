"""The words of this app: roles, kinds of token, reasons of revocation."""

from django.db import models


class Role(models.TextChoices):
    """What an account is for. One role each, never a union."""

    TRADER = "TRADER", "Trader"
    BOT = "BOT", "Bot"
    OPERATOR = "OPERATOR", "Operator"
    COMPLIANCE = "COMPLIANCE", "Compliance"


STAFF_ROLES = frozenset({Role.OPERATOR, Role.COMPLIANCE})


class TokenType(models.TextChoices):
    """The two kinds of token; neither passes for the other."""

    ACCESS = "ACCESS", "Access"
    REFRESH = "REFRESH", "Refresh"


class RevokeReason(models.TextChoices):
    """Why a token or a family of tokens ended."""

    ROTATED = "ROTATED", "Rotated"
    LOGOUT = "LOGOUT", "Logout"
    REFRESH_REUSE = "REFRESH_REUSE", "Refresh token used twice"
    EVICTED = "EVICTED", "Too many sessions"
    REVOKE_ALL = "REVOKE_ALL", "All sessions ended"


class Scope(models.TextChoices):
    """What an API key may do. There is none for withdrawals, addresses, keys, users or the audit: none can be given."""

    ACCOUNT_READ = "account:read", "Read accounts"
    ORDERS_READ = "orders:read", "Read orders"
    ORDERS_WRITE_PAPER = "orders:write:paper", "Trade on paper"
    ORDERS_WRITE_LIVE = "orders:write:live", "Trade with money"


class KeyMode(models.TextChoices):
    """What kind of venue an API key reaches: a property of the key, never of a request."""

    LIVE = "live", "Live"
    PAPER = "paper", "Paper"


class ApprovalState(models.TextChoices):
    """How a request for a second person stands; all but the first are final."""

    PENDING = "PENDING", "Pending"
    EXECUTED = "EXECUTED", "Executed"
    REJECTED = "REJECTED", "Rejected"
    CANCELED = "CANCELED", "Canceled"
    STALE = "STALE", "Stale"
    EXPIRED = "EXPIRED", "Expired"


class ApprovalVerdict(models.TextChoices):
    """What one person decided."""

    APPROVE = "APPROVE", "Approve"
    REJECT = "REJECT", "Reject"


class NoticeKind(models.TextChoices):
    """What a person is told about the own account."""

    NEW_ADDRESS = "NEW_ADDRESS", "Login from a new address"
    LOGIN_LOCKED = "LOGIN_LOCKED", "Logins are locked"
    CODES_LOCKED = "CODES_LOCKED", "Codes are locked"
    TOKEN_REUSED = "TOKEN_REUSED", "A session token was used twice"
    PASSWORD_CHANGED = "PASSWORD_CHANGED", "The password was changed"
    SECOND_FACTOR_ON = "SECOND_FACTOR_ON", "A second factor was set up"
    SECOND_FACTOR_OFF = "SECOND_FACTOR_OFF", "The second factor was removed"
    RECOVERY_CODES_NEW = "RECOVERY_CODES_NEW", "There are new recovery codes"
    RECOVERY_CODE_USED = "RECOVERY_CODE_USED", "A recovery code was used"
    API_KEY_CREATED = "API_KEY_CREATED", "An API key was made"
    LIVE_ARMED = "LIVE_ARMED", "Live trading was armed"
    ENROLMENT_LINK = "ENROLMENT_LINK", "Set your first password"
    PASSWORD_LINK = "PASSWORD_LINK", "Set another password"
