"""Change one's own password: every other session ends."""

from datetime import datetime

from django.db import transaction
from django.http import HttpRequest

from accounts.models import User
from accounts.services import codes, entrances, notices, sessions, standing, users
from accounts.states import NoticeKind
from accounts.types import Claims, ClientInfo, TokenPair
from nexus.audit.services import trail
from nexus.audit.types import Actor, Target


def change(
    *,
    request: HttpRequest,
    user: User,
    old: str,
    new: str,
    code: str,
    claims: Claims,
    client: ClientInfo,
    at: datetime,
) -> TokenPair:
    """Give another password, with the old one and, where there is a second factor, a code.

    Raises: InvalidCredentials, LoginLocked, OtpInvalid, OtpLocked, PasswordRefused.
    """
    entrances.confirm_password(request=request, user=user, password=old, client=client)
    if codes.device_of(user) is not None:
        codes.check(user=user, code=code, purpose="password", client=client, at=at)
    kept = users.hashed(user, new)
    with transaction.atomic(durable=True):
        locked = standing.locked(user)
        User.objects.filter(pk=user.pk).update(password=kept)
        trail.record(
            action="accounts.password.changed",
            actor=Actor.user(user.public_id),
            target=Target("user", str(user.public_id)),
            pii=client.as_pii(),
        )
        notices.tell(user_id=user.pk, kind=NoticeKind.PASSWORD_CHANGED, at=at)
        return sessions.end_others(user=locked, claims=claims, client=client, at=at)
