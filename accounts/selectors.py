"""Reads of who you are."""

import contextlib
import ipaddress
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import TypeVar
from uuid import UUID

from django.db.models import Count, Min, Model, QuerySet

from accounts.models import ApiKey, ApprovalRequest, TokenFamily, TotpDevice, User, normalized_email
from accounts.states import ApprovalState, Role
from accounts.types import Claims
from nexus.core import statements
from nexus.core.errors import FieldError, Invalid, NotFound
from nexus.core.statements import Part

P = TypeVar("P", bound=Model)
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


def sessions_of(user_id: int, *, at: datetime) -> list[TokenFamily]:
    """Return a user's sessions that are alive, the newest first."""
    return list(TokenFamily.objects.live(at=at).filter(user_id=user_id).order_by("-created_at", "-pk"))


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


def operators() -> int:
    """Return how many active operators there are."""
    return User.objects.filter(role=Role.OPERATOR, is_active=True).count()


def user_by_public_id(public_id: UUID) -> User | None:
    """Find a user by the id that the outside knows."""
    return User.objects.filter(public_id=public_id).first()


def user_by_id(user_id: int) -> User | None:
    """Find a user by the key that tables name."""
    return User.objects.filter(pk=user_id).first()


def users_by_id(ids: Iterable[int]) -> dict[int, User]:
    """Return users by the keys that tables name."""
    return User.objects.in_bulk(list(ids))


def names(public_ids: Iterable[str]) -> dict[str, str]:
    """Return people as operators know them, by the ids that tables and the audit name; what is no id is left out."""
    wanted = set()
    for text in public_ids:
        with contextlib.suppress(ValueError):
            wanted.add(UUID(text))
    if not wanted:
        return {}
    found = User.objects.filter(public_id__in=wanted).only("public_id", "full_name", "email")
    return {str(user.public_id): f"{user.full_name} ({user.email})".strip() for user in found}


def user_by_email(email: str) -> User | None:
    """Find a user by login name, however it is written."""
    return User.objects.filter(email=normalized_email(email)).first()


def approval(public_id: UUID) -> ApprovalRequest:
    """Return one request for a second person, with what was said. Raises: NotFound."""
    found = _approvals().filter(public_id=public_id).first()
    if found is None:
        raise NotFound("There is no such request.")
    return found


def approval_about(*, kind: str, object_id: object) -> ApprovalRequest | None:
    """Return the request about an object that waits for a second person, or None."""
    rows = ApprovalRequest.objects.filter(kind=kind, object_id=str(object_id), state=ApprovalState.PENDING)
    return rows.select_related("requested_by").first()


def approvals_waiting(*, at: datetime) -> tuple[int, datetime | None]:
    """Return how many requests wait for a second person, and since when the oldest does."""
    found = ApprovalRequest.objects.pending(at=at).aggregate(count=Count("pk"), oldest=Min("requested_at"))
    return found["count"], found["oldest"]


def approvals_pending(*, at: datetime, limit: int) -> list[ApprovalRequest]:
    """Return the requests that wait for a second person, the oldest first."""
    rows = _approvals().filter(state=ApprovalState.PENDING, expires_at__gt=at).order_by("requested_at", "pk")
    return list(rows[:limit])


def approvals_page(
    *, limit: int, state: str | None = None, before: UUID | None = None
) -> tuple[list[ApprovalRequest], UUID | None]:
    """Return a page of requests for a second person, the newest first, and where the next begins. Raises: Invalid."""
    rows = _approvals() if state is None else _approvals().filter(state=state)
    return page_of(rows, limit=limit, before=before)


def users_page(*, limit: int, before: UUID | None = None) -> tuple[list[User], UUID | None]:
    """Return a page of users, the newest first, and where the next begins. Raises: Invalid."""
    return page_of(User.objects.order_by("-pk"), limit=limit, before=before)


def users_found(
    *, email: str, role: str, is_active: bool | None, limit: int, before: int | None
) -> tuple[list[User], int | None]:
    """Return a page of users, the newest first, and the key that the next goes on before.

    Takes: the beginning of an address, and what does not matter as "" or None.
    """
    rows = User.objects.order_by("-pk")
    rows = rows.filter(email__startswith=normalized_email(email)) if email else rows
    rows = rows.filter(role=role) if role else rows
    rows = rows if is_active is None else rows.filter(is_active=is_active)
    page = list((rows if before is None else rows.filter(pk__lt=before))[: limit + 1])
    return page[:limit], page[limit - 1].pk if len(page) > limit else None


def user_after(user: User) -> User | None:
    """Return the user who follows in the order of `users_found`."""
    return User.objects.filter(pk__lt=user.pk).order_by("-pk").first()


def with_second_factor(ids: Iterable[int]) -> set[int]:
    """Return which of these users have a second factor that counts."""
    return set(TotpDevice.objects.filter(user_id__in=list(ids), confirmed=True).values_list("user_id", flat=True))


def live_sessions(ids: Iterable[int], *, at: datetime) -> dict[int, int]:
    """Return how many sessions of these users are alive; a user without one is left out."""
    rows = TokenFamily.objects.live(at=at).filter(user_id__in=list(ids))
    return dict(rows.values_list("user_id").annotate(Count("pk")))


def approvals_of(object_type: str, public_id: UUID, *, at: datetime) -> list[ApprovalRequest]:
    """Return what about a user or an account waits for a second person."""
    rows = ApprovalRequest.objects.pending(at=at).filter(object_type=object_type, object_id=str(public_id))
    return list(rows.select_related("requested_by").order_by("pk"))


def key_by_public_id(public_id: UUID) -> ApiKey | None:
    """Find an API key, with its owner."""
    return ApiKey.objects.select_related("user").filter(public_id=public_id).first()


def key_names(user_id: int) -> dict[str, str]:
    """Return what somebody calls each API key that was ever made for him, by the ids that the audit names."""
    rows = ApiKey.objects.filter(user_id=user_id).order_by("-pk").values_list("public_id", "name")
    return {str(public_id): name for public_id, name in rows}


def keys_found(
    *, email: str, key_id: str, is_live: bool | None, limit: int, before: int | None, at: datetime
) -> tuple[list[ApiKey], int | None]:
    """Return a page of API keys with their owners, the newest first, and the key that the next goes on before.

    Takes: an owner's whole address, the name of a key, and what does not matter as "" or None.
    """
    rows = ApiKey.objects.select_related("user").order_by("-pk")
    rows = rows.filter(user__email=normalized_email(email)) if email else rows
    rows = rows.filter(key_id=key_id) if key_id else rows
    if is_live is not None:
        live = ApiKey.objects.live(at=at)
        rows = rows.filter(pk__in=live) if is_live else rows.exclude(pk__in=live)
    page = list((rows if before is None else rows.filter(pk__lt=before))[: limit + 1])
    return page[:limit], page[limit - 1].pk if len(page) > limit else None


def _approvals() -> QuerySet[ApprovalRequest]:
    rows = ApprovalRequest.objects.select_related("requested_by")
    return rows.prefetch_related("decisions__decided_by").order_by("-pk")


def page_of(rows: QuerySet[P], *, limit: int, before: UUID | None) -> tuple[list[P], UUID | None]:
    """Cut a page out of rows in the descending order of their keys."""
    if before is not None:
        last = rows.model._default_manager.filter(public_id=before).values_list("pk", flat=True).first()
        if last is None:
            detail = "Nothing has this id."
            raise Invalid(detail, errors=[FieldError("/before", "not_found", detail)])
        rows = rows.filter(pk__lt=last)
    page = list(rows[: limit + 1])
    return page[:limit], page[limit - 1].public_id if len(page) > limit else None  # type: ignore[attr-defined]
