"""Reads of who you are."""

import ipaddress
from datetime import datetime, timedelta
from uuid import UUID

from django.db.models import Exists, OuterRef

from accounts.models import RevokedToken, TokenFamily, User, normalized_email
from accounts.types import Claims

FAMILIAR = timedelta(days=1)


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


def user_by_email(email: str) -> User | None:
    """Find a user by login name, however it is written."""
    return User.objects.filter(email=normalized_email(email)).first()
