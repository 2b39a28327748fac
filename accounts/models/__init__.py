"""The tables of who you are, one subject a module."""

from accounts.models.users import (
    EMAIL_LENGTH_MAX,
    RevokedToken,
    TokenFamily,
    TokenFamilyQuerySet,
    User,
    UserManager,
    UserQuerySet,
    normalized_email,
)

__all__ = [
    "EMAIL_LENGTH_MAX",
    "RevokedToken",
    "TokenFamily",
    "TokenFamilyQuerySet",
    "User",
    "UserManager",
    "UserQuerySet",
    "normalized_email",
]
