"""Reads of who you are."""

from datetime import datetime
from uuid import UUID

from django.db.models import Exists, OuterRef

from accounts.models import RevokedToken, TokenFamily, User, normalized_email
from accounts.types import Claims


def user_of(claims: Claims, *, at: datetime) -> User | None:
    """Find the user whom a verified token speaks for, in one indexed query, or None when it no longer does.

    It holds while the user is active, the token version is current, the family is this user's, neither revoked nor past
    its end, and the token's own hash is not on the deny list.
    """
    family = TokenFamily.objects.live(at=at).filter(pk=claims.family_id, user_id=OuterRef("pk"))
    return User.objects.filter(
        Exists(family),
        ~Exists(RevokedToken.objects.filter(jti_hash=claims.jti_hash)),
        public_id=claims.user_public_id,
        is_active=True,
        token_version=claims.token_version,
    ).first()


def is_active(*, user_id: int) -> bool:
    """Tell whether the user may act now, whatever an earlier read said."""
    return User.objects.filter(pk=user_id, is_active=True).exists()


def user_by_public_id(public_id: UUID) -> User | None:
    """Find a user by the id that the outside knows."""
    return User.objects.filter(public_id=public_id).first()


def user_by_email(email: str) -> User | None:
    """Find a user by login name, however it is written."""
    return User.objects.filter(email=normalized_email(email)).first()
