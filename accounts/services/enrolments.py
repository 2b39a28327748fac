"""The one-time link by which a new person sets the first password."""

import hashlib
import secrets
from datetime import datetime, timedelta

from django.db import transaction

from accounts.models import Enrolment, User
from accounts.services import lockout, refusals, users
from accounts.states import Role
from accounts.types import ClientInfo
from nexus.audit.services import trail
from nexus.audit.types import ANONYMOUS, Actor, Outcome, Target
from nexus.core.errors import Unauthenticated

LIFETIME = timedelta(hours=72)
TOKEN_SIZE = 32  # bytes of randomness
ENROLLED = "accounts.user.enrolled"


class EnrolmentInvalid(Unauthenticated):
    """Unknown, used or expired: the same answer."""

    code = "enrolment_invalid"
    title = "The enrolment link is not valid"

    def __init__(self) -> None:
        super().__init__("The enrolment link is not valid or no longer valid.")


@transaction.atomic(durable=True)
def found(*, email: str, full_name: str, actor: Actor, at: datetime) -> str:
    """Create an operator without a password, and return the token of the link. Raises: Invalid, users.EmailTaken."""
    users.check_email(email)
    user = users.create_without_password(email=email, role=Role.OPERATOR, actor=actor, full_name=full_name)
    return issue(user, at=at)


def issue(user: User, *, at: datetime) -> str:
    """Make a token for a user without a password, and return it: it is kept nowhere."""
    token = secrets.token_urlsafe(TOKEN_SIZE)
    Enrolment.objects.create(user=user, token_sha256=digest(token), expires_at=at + LIFETIME)
    return token


def enrol(*, token: str, password: str, client: ClientInfo, at: datetime) -> None:
    """Set the first password, and use the token up. Raises: EnrolmentInvalid, after it was kept; users.PasswordRefused.

    No transaction may be open.
    """
    try:
        _enrol(token=token, password=password, client=client, at=at)
    except EnrolmentInvalid:
        refusals.keep(
            action=ENROLLED, actor=ANONYMOUS, target=Target("user", ""), outcome=Outcome.FAILURE,
            pii=client.as_pii(), of=f"enrol {lockout.network_of(client.ip)}",
        )  # fmt: skip
        raise


@transaction.atomic(durable=True)
def _enrol(*, token: str, password: str, client: ClientInfo, at: datetime) -> None:
    rows = Enrolment.objects.select_for_update(of=("self",), no_key=True)
    held = rows.filter(token_sha256=digest(token), is_reset=False, used_at__isnull=True, expires_at__gt=at).first()
    if held is None:
        raise EnrolmentInvalid
    user = User.objects.locked().get(pk=held.user_id)
    if not user.is_active or user.has_usable_password():
        raise EnrolmentInvalid
    users.set_first_password(user, password)
    held.used_at = at
    held.save(update_fields=["used_at"])
    trail.record(
        action=ENROLLED,
        actor=Actor.user(user.public_id),
        target=Target("user", str(user.public_id)),
        occurred_at=at,
        pii=client.as_pii(),
    )


def digest(token: str) -> bytes:
    """Return what is kept of a link's token."""
    return hashlib.sha256(token.encode()).digest()
