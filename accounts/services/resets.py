"""The one-time link by which somebody sets another password, the old one being lost. Two operators agree to it.

Whoever holds it still needs a code of its owner's second factor, where there is one: operators set nobody's password.
"""

from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import QuerySet

from accounts.models import Enrolment, User
from accounts.services import codes, gates, lockout, notices, sessions, users
from accounts.services.enrolments import EnrolmentInvalid, digest
from accounts.services.gates import Charge, Gate
from accounts.states import NoticeKind
from accounts.types import ClientInfo
from nexus.audit.services import trail
from nexus.audit.types import ANONYMOUS, Actor, Outcome, Target

LIFETIME = timedelta(hours=1)
TRIES = Gate("password_reset", most=3, window=timedelta(hours=1), lock=timedelta(hours=1))


def reset(*, token: str, password: str, code: str, client: ClientInfo, at: datetime) -> None:
    """Set another password with a link, which this uses up. Every session and key of its owner ends.

    Tries are counted first, by address and by owner. No transaction may be open. Raises: EnrolmentInvalid,
    TooManyRequests, OtpInvalid, OtpLocked, PasswordRefused.
    """
    _count(_charges(client))
    held = _held(token, at=at).first()
    if held is None:
        trail.record_denied(
            action="accounts.password.reset", actor=ANONYMOUS, target=Target("user", ""),
            outcome=Outcome.FAILURE, pii=client.as_pii(),
        )  # fmt: skip
        raise EnrolmentInvalid
    _count(_charges(client, held.user)[1:])
    try:
        kept = users.hashed(held.user, password)
    except users.PasswordRefused:
        gates.give_back(_charges(client, held.user))  # who holds the link may think of a better one
        raise
    if codes.device_of(held.user) is not None:
        codes.check(user=held.user, code=code, purpose="password_reset", client=client, at=at)
    _store(token=token, kept=kept, client=client, at=at)


@transaction.atomic(durable=True)
def _store(*, token: str, kept: str, client: ClientInfo, at: datetime) -> None:
    held = _held(token, at=at).select_for_update(of=("self",), no_key=True).first()
    if held is None:
        raise EnrolmentInvalid  # another request has used it since
    held.used_at = at
    held.save(update_fields=["used_at"])
    actor = Actor.user(held.user.public_id)
    User.objects.filter(pk=held.user_id).update(password=kept)
    sessions.end_all(user_id=held.user_id, actor=actor, client=client, at=at)
    trail.record(
        action="accounts.password.reset",
        actor=actor,
        target=Target("user", str(held.user.public_id)),
        occurred_at=at,
        pii=client.as_pii(),
    )
    notices.tell(user_id=held.user_id, kind=NoticeKind.PASSWORD_CHANGED, at=at)


def _held(token: str, *, at: datetime) -> QuerySet[Enrolment]:
    rows = Enrolment.objects.filter(token_sha256=digest(token), is_reset=True, used_at__isnull=True, expires_at__gt=at)
    return rows.filter(user__is_active=True).select_related("user")


def _count(charges: list[Charge]) -> None:
    wait = gates.charge(charges)[TRIES.kind]
    if wait:
        raise gates.shut(TRIES, wait)


def _charges(client: ClientInfo, owner: User | None = None) -> list[Charge]:
    found = [Charge(TRIES, f"ip {lockout.network_of(client.ip)}")]
    return found if owner is None else [*found, Charge(TRIES, f"user {owner.public_id}", subject=owner.email)]
