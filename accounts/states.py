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
