"""Reads of who you are."""

from datetime import datetime
from uuid import UUID

from accounts.models import User, normalized_email
from accounts.types import Claims
from nexus.core import statements


def user_of(claims: Claims, *, at: datetime) -> User | None:
    """Find the user whom a verified token speaks for, in one indexed query, or None when it no longer does.

    It holds while the user is active, the token version is current, the family is this user's, neither revoked nor past
    its end, and the token's own hash is not on the deny list.
    """
    found = statements.objects(
        User,
        """
        SELECT {columns} FROM users
        WHERE public_id = %(user)s AND is_active AND token_version = %(version)s
          AND EXISTS (SELECT FROM token_family WHERE id = %(family)s AND user_id = users.id
                      AND revoked_at IS NULL AND absolute_expires_at > %(at)s)
          AND NOT EXISTS (SELECT FROM revoked_tokens WHERE jti_hash = %(token)s)
        """,
        {
            "user": claims.user_public_id,
            "version": claims.token_version,
            "family": claims.family_id,
            "token": claims.jti_hash,
            "at": at,
        },
    )
    return found[0] if found else None


def is_active(*, user_id: int) -> bool:
    """Tell whether the user may act now, whatever an earlier read said."""
    return statements.fetch_one("SELECT 1 FROM users WHERE id = %s AND is_active", [user_id]) is not None


def user_by_public_id(public_id: UUID) -> User | None:
    """Find a user by the id that the outside knows."""
    return User.objects.filter(public_id=public_id).first()


def user_by_email(email: str) -> User | None:
    """Find a user by login name, however it is written."""
    return User.objects.filter(email=normalized_email(email)).first()
