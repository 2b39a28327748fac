"""Begin, prolong and end sessions. A session is a family of tokens: one login and all that grew from it."""

import uuid
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import NamedTuple
from uuid import UUID

import structlog
from django.conf import settings
from django.db import InterfaceError, OperationalError, connection, transaction
from django.db.models import F
from django.http import HttpRequest

from accounts import selectors
from accounts.models import ApiKey, RevokedToken, TokenFamily, User
from accounts.services import entrances, gates, lockout, notices, tokens
from accounts.services.gates import Charge, Gate
from accounts.services.tokens import TokenInvalid
from accounts.states import NoticeKind, RevokeReason, TokenType
from accounts.types import Claims, ClientInfo, Principal, TokenPair
from nexus.audit.services import trail
from nexus.audit.types import Actor, Outcome, Target
from nexus.core.errors import Conflict, NotFound, Unauthenticated, Unavailable

REFRESHES = Gate("refresh", most=30, window=timedelta(minutes=1), lock=timedelta(minutes=1))

_USER_AGENT_LENGTH_MAX = 512
_PURGE_BATCH = 5_000
_PURGE_BATCHES_MAX = 200

log = structlog.get_logger(__name__)


class TokenReused(Unauthenticated):
    """A refresh token came twice. Somebody else may have it, so the whole session has ended."""

    code = "token_reused"
    title = "The refresh token was used before"

    def __init__(self) -> None:
        super().__init__("This refresh token was used before. The session has ended: log in again.")


class EndedAlready(Conflict):
    """Somebody else has ended these sessions since one looked."""

    code = "sessions_ended_already"
    title = "Somebody was faster"


class Purged(NamedTuple):
    """How many rows a purge deleted."""

    tokens: int
    families: int


def login(*, request: HttpRequest, email: str, password: str, client: ClientInfo, at: datetime) -> TokenPair:
    """Begin a session. Raises: InvalidCredentials, LoginLocked."""
    user = entrances.check_password(request=request, email=email, password=password, client=client, door="api")
    pair = _begin(checked=user, client=client, at=at)
    if pair is None:
        entrances.note_failure(email=email, client=client, door="api")
        raise entrances.InvalidCredentials
    lockout.came_in(request, user)
    return pair


@transaction.atomic(durable=True)
def _begin(*, checked: User, client: ClientInfo, at: datetime) -> TokenPair | None:
    """Open a family, or return None when the account changed while its password was checked."""
    same = User.objects.locked().filter(pk=checked.pk, is_active=True, token_version=checked.token_version)
    user = same.first()  # the lock lets one login at a time count this user's families
    if user is None:
        return None
    evicted = _evict(user=user, at=at)
    family = TokenFamily.objects.create(
        id=uuid.uuid4(),
        user=user,
        created_at=at,
        absolute_expires_at=at + settings.TOKEN_FAMILY_LIFETIME,
        last_seen_at=at,
        ip=client.ip,
        user_agent=client.user_agent[:_USER_AGENT_LENGTH_MAX] or None,
    )
    User.objects.filter(pk=user.pk).update(last_login=at)
    trail.record(
        action="auth.login.succeeded",
        actor=Actor.user(user.public_id),
        target=Target("session", str(family.pk)),
        detail={"door": "api", "methods": [entrances.PASSWORD_METHOD], "evicted": evicted},
        pii=client.as_pii(),
    )
    return _pair(user=user, family=family, authenticated_at=at, methods=(entrances.PASSWORD_METHOD,), at=at)


def _evict(*, user: User, at: datetime) -> list[str]:
    """End the oldest sessions so that one more fits."""
    live = TokenFamily.objects.live(at=at).filter(user=user).order_by("-created_at", "-pk")
    surplus = list(live.values_list("pk", flat=True)[settings.TOKEN_FAMILIES_MAX - 1 :])
    _end_families(surplus, reason=RevokeReason.EVICTED, at=at)
    return [str(pk) for pk in surplus]


def _end_families(pks: Iterable[UUID], *, reason: RevokeReason, at: datetime) -> int:
    """End these families, locked in order. Returns how many were alive."""
    rows = TokenFamily.objects.filter(pk__in=list(pks), revoked_at__isnull=True).locked()
    alive = list(rows.values_list("pk", flat=True))
    return TokenFamily.objects.filter(pk__in=alive).update(revoked_at=at, revoke_reason=reason)


def _pair(
    *, user: User, family: TokenFamily, authenticated_at: datetime, methods: tuple[str, ...], at: datetime
) -> TokenPair:
    access_expires_at = min(at + settings.ACCESS_TOKEN_LIFETIME, family.absolute_expires_at)
    refresh_expires_at = min(at + settings.REFRESH_TOKEN_LIFETIME, family.absolute_expires_at)
    access, refreshing = (
        tokens.issue(
            token_type=token_type,
            user_public_id=user.public_id,
            token_version=user.token_version,
            family_id=family.pk,
            authenticated_at=authenticated_at,
            methods=methods,
            at=at,
            expires_at=expires_at,
        )
        for token_type, expires_at in (
            (TokenType.ACCESS, access_expires_at),
            (TokenType.REFRESH, refresh_expires_at),
        )
    )
    return TokenPair(
        access_token=access.text,
        refresh_token=refreshing.text,
        access_expires_at=access_expires_at,
        refresh_expires_at=refresh_expires_at,
        expires_in_s=int((access_expires_at - at).total_seconds()),
    )


def identify(*, token: str, at: datetime) -> tuple[User, Claims]:
    """Find who sends this access token: both doors ask here, on every request.

    Raises: TokenInvalid; Unavailable when the database cannot say, which never means yes.
    """
    claims = tokens.read(token, token_type=TokenType.ACCESS, at=at)
    try:
        user = selectors.user_of(claims, at=at)
    except (OperationalError, InterfaceError) as exc:
        log.error("accounts.identify.failed", error=type(exc).__name__, detail=str(exc))  # noqa: TRY400
        raise Unavailable(
            "Who you are cannot be checked now. Nothing was executed.", headers={"Retry-After": "1"}
        ) from exc
    if user is None:
        raise TokenInvalid(claims.family_id)
    return user, claims


def refresh(*, token: str, client: ClientInfo, at: datetime) -> TokenPair:
    """Exchange a refresh token, which is used up by this. A second use ends the session.

    Raises: TokenInvalid, TokenReused, both after what they mean has been committed; TooManyRequests.
    """
    claims = tokens.read(token, token_type=TokenType.REFRESH, at=at)
    if wait := gates.charge([Charge(REFRESHES, str(claims.family_id))])[REFRESHES.kind]:
        raise gates.shut(REFRESHES, wait)
    outcome = _rotate(claims=claims, client=client, at=at)
    if isinstance(outcome, TokenPair):
        return outcome
    raise TokenReused if outcome is RevokeReason.REFRESH_REUSE else TokenInvalid(claims.family_id)


@transaction.atomic(durable=True)
def _rotate(*, claims: Claims, client: ClientInfo, at: datetime) -> TokenPair | RevokeReason | None:
    """Use the token up first, then issue. Returns the pair, REFRESH_REUSE, or None when the session is over."""
    user = selectors.user_by_public_id(claims.user_public_id)
    if user is None:
        return None
    if not _consume(claims, user_id=user.pk, reason=RevokeReason.ROTATED):
        return _note_reuse(user=user, claims=claims, client=client, at=at)
    alive = TokenFamily.objects.live(at=at).filter(pk=claims.family_id, user=user).update(last_seen_at=at)
    if not alive or not user.is_active or user.token_version != claims.token_version:
        trail.record(
            action="auth.refresh.denied",
            actor=Actor.user(user.public_id),
            target=Target("session", str(claims.family_id)),
            outcome=Outcome.DENIED,
            pii=client.as_pii(),
        )
        return None
    trail.record(
        action="auth.refresh.succeeded",
        actor=Actor.user(user.public_id),
        target=Target("session", str(claims.family_id)),
        pii=client.as_pii(),
    )
    family = TokenFamily.objects.get(pk=claims.family_id)
    return _pair(user=user, family=family, authenticated_at=claims.authenticated_at, methods=claims.methods, at=at)


def _note_reuse(*, user: User, claims: Claims, client: ClientInfo, at: datetime) -> RevokeReason | None:
    """End the family of a token that came twice; a token that a logout used up is only refused."""
    reason = RevokedToken.objects.values_list("reason", flat=True).get(jti_hash=claims.jti_hash)
    reused = reason == RevokeReason.ROTATED
    ended = 0
    if reused:
        ended = _end_families([claims.family_id], reason=RevokeReason.REFRESH_REUSE, at=at)
        notices.tell(user_id=user.pk, kind=NoticeKind.TOKEN_REUSED, at=at, quiet=True)
    trail.record(
        action="auth.refresh.reuse_detected" if reused else "auth.refresh.denied",
        actor=Actor.user(user.public_id),
        target=Target("session", str(claims.family_id)),
        outcome=Outcome.DENIED,
        detail={"session_ended": bool(ended)},
        pii=client.as_pii(),
    )
    return RevokeReason.REFRESH_REUSE if reused else None


def _consume(claims: Claims, *, user_id: int, reason: RevokeReason) -> bool:
    """Put a token on the deny list. True for exactly one caller, however many come at once."""
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO revoked_tokens (jti_hash, token_type, user_id, family_id, expires_at, reason)"
            " VALUES (%s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING RETURNING 1",
            [claims.jti_hash, claims.token_type, user_id, claims.family_id, claims.expires_at, reason],
        )
        return cursor.fetchone() is not None


@transaction.atomic(durable=True)
def logout(*, user: User, claims: Claims, refresh_token: str, client: ClientInfo, at: datetime) -> None:
    """End the session of `claims`. A refresh token of the same session is put on the deny list too."""
    spent = [claims]
    if refresh_token:
        try:
            other = tokens.read(refresh_token, token_type=TokenType.REFRESH, at=at)
        except TokenInvalid:
            other = claims  # a token that is dead already needs no entry
        if other.family_id == claims.family_id and other.user_public_id == claims.user_public_id:
            spent.append(other)
    for each in sorted({item.jti_hash: item for item in spent}.values(), key=lambda item: item.jti_hash):
        _consume(each, user_id=user.pk, reason=RevokeReason.LOGOUT)
    _end_families([claims.family_id], reason=RevokeReason.LOGOUT, at=at)
    trail.record(
        action="auth.logout",
        actor=Actor.user(user.public_id),
        target=Target("session", str(claims.family_id)),
        pii=client.as_pii(),
    )


@transaction.atomic(durable=True)
def revoke(*, user: User, session_id: UUID, client: ClientInfo, at: datetime) -> None:
    """End one session of one's own. Raises: NotFound, also when it is somebody else's."""
    if not TokenFamily.objects.filter(pk=session_id, user=user).exists():
        raise NotFound("There is no such session.")
    ended = _end_families([session_id], reason=RevokeReason.LOGOUT, at=at)
    trail.record(
        action="auth.session.revoked",
        actor=Actor.user(user.public_id),
        target=Target("session", str(session_id)),
        detail={"was_alive": bool(ended)},
        pii=client.as_pii(),
    )


@transaction.atomic(durable=True)
def end_of(
    *, public_id: UUID, reason: str, by: Principal, client: ClientInfo, at: datetime, seen: int | None = None
) -> int:
    """End every session of somebody, as an operator. Returns how many were alive.

    Takes: `seen`, the token version that was looked at, where one was. Raises: NotFound, EndedAlready.
    """
    user = User.objects.locked().filter(public_id=public_id).first()
    if user is None:
        raise NotFound("There is no such user.")
    if seen is not None and user.token_version != seen:
        raise EndedAlready("Sessions of this user were ended since you looked.")
    actor = Actor.user(by.public_id)
    trail.record(
        action="auth.sessions.ended_by_operator", actor=actor, target=Target("user", str(public_id)),
        detail={"reason": reason},
    )  # fmt: skip
    return end_all(user_id=user.pk, actor=actor, client=client, at=at)


@transaction.atomic(durable=True)
def revoke_all(*, user_id: int, actor: Actor, client: ClientInfo, at: datetime) -> int:
    """End every session of a user, console sessions too: the token version rises. Returns how many were alive."""
    return end_all(user_id=user_id, actor=actor, client=client, at=at)


def end_all(*, user_id: int, actor: Actor, client: ClientInfo, at: datetime) -> int:
    """Do what `revoke_all` does, in the caller's transaction: who changes what a user may calls this too."""
    assert connection.in_atomic_block
    user = User.objects.locked().get(pk=user_id)
    User.objects.filter(pk=user.pk).update(token_version=F("token_version") + 1)
    keys = ApiKey.objects.filter(user=user, revoked_at__isnull=True)
    keys_ended = keys.update(revoked_at=at, revoke_reason="All sessions ended.")
    live = TokenFamily.objects.live(at=at).filter(user=user).values_list("pk", flat=True)
    ended = _end_families(live, reason=RevokeReason.REVOKE_ALL, at=at)
    trail.record(
        action="auth.sessions.revoked",
        actor=actor,
        target=Target("user", str(user.public_id)),
        detail={"sessions_ended": ended, "api_keys_ended": keys_ended, "before": {"token_version": user.token_version},
                "after": {"token_version": user.token_version + 1}},
        pii=client.as_pii(),
    )  # fmt: skip
    return ended


def end_others(*, user: User, claims: Claims, client: ClientInfo, at: datetime, is_fresh: bool = False) -> TokenPair:
    """End every session but this one, which goes on with new tokens and ends no later than it would have.

    In the caller's transaction, with the user's row locked. Takes: `is_fresh` when a code was accepted just now.
    Raises: TokenInvalid when this one has ended since the request came: nothing brings it back to life.
    """
    this = TokenFamily.objects.live(at=at).filter(pk=claims.family_id, user=user).first()
    if this is None:
        raise TokenInvalid
    ends_at = this.absolute_expires_at
    end_all(user_id=user.pk, actor=Actor.user(user.public_id), client=client, at=at)
    family = TokenFamily.objects.create(
        id=uuid.uuid4(),
        user=user,
        created_at=at,
        absolute_expires_at=ends_at,
        last_seen_at=at,
        stepped_up_at=at if is_fresh else None,
        ip=client.ip,
        user_agent=client.user_agent[:_USER_AGENT_LENGTH_MAX] or None,
    )
    fresh = User.objects.get(pk=user.pk)
    return _pair(user=fresh, family=family, authenticated_at=claims.authenticated_at, methods=claims.methods, at=at)


def purge(*, at: datetime) -> Purged:
    """Delete what expired over a day ago, in batches that wait for nobody. Safe to run beside itself."""
    return Purged(
        tokens=_purge("revoked_tokens", "jti_hash", "expires_at", at=at),
        families=_purge("token_family", "id", "absolute_expires_at", at=at),
    )


def _purge(table: str, key: str, expiry: str, *, at: datetime) -> int:
    deleted = 0
    for _ in range(_PURGE_BATCHES_MAX):
        with transaction.atomic(durable=True), connection.cursor() as cursor:
            cursor.execute(
                f"DELETE FROM {table} WHERE {key} IN (SELECT {key} FROM {table}"  # noqa: S608  # nosec B608  # names from this module
                f" WHERE {expiry} < %s - interval '1 day' ORDER BY {expiry} LIMIT %s FOR UPDATE SKIP LOCKED)",
                [at, _PURGE_BATCH],
            )
            count = cursor.rowcount
        deleted += count
        if count < _PURGE_BATCH:
            break
    return deleted
