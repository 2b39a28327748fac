"""Reads of who you are."""

import ipaddress
from datetime import datetime, timedelta
from uuid import UUID

from accounts.models import TokenFamily, User, normalized_email
from accounts.types import Claims
from nexus.core import statements
from nexus.core.statements import Part

FAMILIAR = timedelta(days=1)
IS_ACTIVE = Part("SELECT EXISTS (SELECT FROM users WHERE id = %(user)s AND is_active)", width=1)


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
    return bool(statements.fetch_only(IS_ACTIVE.query, {"user": user_id})[0])


def knows_network(*, user_id: int, ip: str, at: datetime) -> bool | None:
    """Tell whether a session of the user began in this network a day or more ago, or None when the user has none.

    A network is the first 24 bits of an address, or the first 48 of version 6. The sessions of the last day prove
    nothing: a thief's is among them.
    """
    sessions = TokenFamily.objects.filter(user_id=user_id, ip__isnull=False).values_list("ip", "created_at")
    if not sessions:
        return None
    return _network(ip) in {_network(address) for address, began in sessions if address and began <= at - FAMILIAR}


def _network(address: str) -> object:
    """Return the network that an address belongs to."""
    bits = 24 if ipaddress.ip_address(address).version == 4 else 48
    return ipaddress.ip_network(f"{address}/{bits}", strict=False)


def user_by_public_id(public_id: UUID) -> User | None:
    """Find a user by the id that the outside knows."""
    return User.objects.filter(public_id=public_id).first()


def user_by_id(user_id: int) -> User | None:
    """Find a user by the key that tables name."""
    return User.objects.filter(pk=user_id).first()


def user_by_email(email: str) -> User | None:
    """Find a user by login name, however it is written."""
    return User.objects.filter(email=normalized_email(email)).first()


def sessions_of(user: User, *, at: datetime) -> list[TokenFamily]:
    """Return a person's sessions of the API that are alive, the newest first."""
    return list(TokenFamily.objects.live(at=at).filter(user=user).order_by("-created_at"))
