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
