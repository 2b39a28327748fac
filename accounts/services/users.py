"""Create the people and bots that may come in."""

from django.contrib.auth.hashers import make_password
from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.db import IntegrityError, transaction

from accounts.models import EMAIL_LENGTH_MAX, User, normalized_email
from accounts.states import Role
from nexus.audit.services import trail
from nexus.audit.types import Actor, Target
from nexus.core.errors import Conflict, FieldError, Invalid

PASSWORD_LENGTH_MAX = 128


class EmailTaken(Conflict):
    """Another account has this address."""

    code = "email_taken"


class PasswordRefused(Invalid):
    """Too short, too long, too common or too much like the person."""

    code = "password_refused"


@transaction.atomic(durable=True)
def create(
    *,
    email: str,
    password: str,
    role: Role,
    actor: Actor,
    full_name: str = "",
) -> User:
    """Create an active account. Raises: Invalid, PasswordRefused, EmailTaken."""
    check_email(email)
    _check_password(password, User(email=normalized_email(email), full_name=full_name))
    return _store(email=email, password=password, role=role, full_name=full_name, actor=actor)


def create_without_password(*, email: str, role: Role, actor: Actor, full_name: str) -> User:
    """Create an account that nobody can enter before its enrolment, in the caller's transaction. Raises: EmailTaken."""
    return _store(email=email, password=None, role=role, full_name=full_name, actor=actor)


def set_first_password(user: User, password: str) -> None:
    """Give a password to who has none. Raises: PasswordRefused."""
    _check_password(password, user)
    user.set_password(password)
    user.save(update_fields=["password"])


def hashed(user: User, password: str) -> str:
    """Return another password of this user as it is kept. Raises: PasswordRefused."""
    _check_password(password, user)
    return make_password(password)


def check_email(email: str) -> None:
    """Refuse what is no address. Raises: Invalid."""
    if len(email) > EMAIL_LENGTH_MAX:
        raise Invalid("The email address is too long.", errors=[_email_error("too_long", "Too long.")])
    try:
        validate_email(normalized_email(email))
    except ValidationError as exc:
        raise Invalid("The email address is not valid.", errors=[_email_error("invalid", "Not an address.")]) from exc


def _store(*, email: str, password: str | None, role: Role, full_name: str, actor: Actor) -> User:
    try:
        with transaction.atomic():
            user = User.objects.create_user(email, password, role=role, full_name=full_name)
    except IntegrityError as exc:
        raise EmailTaken("An account with this email address exists.") from exc
    trail.record(
        action="accounts.user.created",
        actor=actor,
        target=Target("user", str(user.public_id)),
        detail={"role": user.role},
    )
    return user


def _check_password(password: str, user: User) -> None:
    if len(password) > PASSWORD_LENGTH_MAX:
        raise PasswordRefused(f"A password has {PASSWORD_LENGTH_MAX} characters at most.")
    try:
        validate_password(password, user)
    except ValidationError as exc:
        raise PasswordRefused(" ".join(exc.messages)) from exc


def _email_error(code: str, detail: str) -> FieldError:
    return FieldError(pointer="/email", code=code, detail=detail)
