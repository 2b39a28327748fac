"""Set the second factor up, and take it away: with the password, and with a code where there is a device already."""

import secrets
from base64 import b32encode
from dataclasses import dataclass
from datetime import datetime, timedelta
from urllib.parse import quote, urlencode

import segno
from django.conf import settings
from django.contrib.auth.hashers import make_password
from django.db import transaction
from django.http import HttpRequest

from accounts.models import RecoveryCode, TotpDevice, User
from accounts.models.second_factor import DIGITS, STEP_S
from accounts.services import codes, entrances, notices, sessions, standing
from accounts.states import NoticeKind
from accounts.types import Claims, ClientInfo, TokenPair
from nexus.audit.services import trail
from nexus.audit.types import Actor, Target
from nexus.core import ciphers
from nexus.core.errors import Conflict, Denied

SEED_SIZE = 20  # bytes: 160 bits
ENROLMENT_LIFETIME = timedelta(minutes=15)
RECOVERY_CODES = 10
RECOVERY_SECRET_LENGTH = 16  # of 32 letters and digits: 80 bits
Made = tuple[RecoveryCode, str]  # as it is kept, and as it is shown
_ALPHABET = "abcdefghijkmnpqrstuvwxyz23456789"  # 32 without look-alikes


class NoEnrolment(Conflict):
    """There is no new device that waits for its first code, or it has waited too long."""

    code = "no_enrolment"
    title = "Nothing waits to be confirmed"


class NoSecondFactor(Conflict):
    """There is no second factor to change."""

    code = "no_second_factor"
    title = "There is no second factor"


@dataclass(frozen=True, slots=True)
class Enrolment:
    """What an authenticator app needs, shown once."""

    secret: str
    uri: str
    qr: str  # a data URI of an SVG
    svg: str  # the same as markup: our pages load no data URI


@dataclass(frozen=True, slots=True)
class State:
    """Whether somebody has a second factor."""

    is_on: bool
    confirmed_at: datetime | None
    recovery_codes_left: int


@dataclass(frozen=True, slots=True)
class Confirmed:
    """What comes of a confirmed device: codes for the day it is lost, and the one session that goes on."""

    recovery_codes: list[str]
    tokens: TokenPair | None


def state_of(user: User) -> State:
    """Return how somebody's second factor stands."""
    device = codes.device_of(user)
    left = RecoveryCode.objects.filter(user=user, used_at__isnull=True).count() if device else 0
    return State(device is not None, device.confirmed_at if device else None, left)


def is_begun(user: User, *, at: datetime) -> bool:
    """Tell whether a new device waits for its first code."""
    begun = TotpDevice.objects.filter(user=user, confirmed=False, created_at__gt=at - ENROLMENT_LIFETIME)
    return bool(begun.exists())


def begin(*, request: HttpRequest, user: User, password: str, code: str, client: ClientInfo, at: datetime) -> Enrolment:
    """Make a device that waits for its first code; one that exists goes on until then.

    Raises: InvalidCredentials, LoginLocked, OtpInvalid, OtpLocked.
    """
    _prove(request=request, user=user, password=password, code=code, purpose="enrol", client=client, at=at)
    return prepare(user=user, at=at)


def prepare(*, user: User, at: datetime, actor: Actor | None = None) -> Enrolment:
    """Do what `begin` does for somebody who has proven who it is already."""
    secret = b32encode(secrets.token_bytes(SEED_SIZE)).decode("ascii")
    with transaction.atomic(durable=True):
        standing.locked(user)
        TotpDevice.objects.filter(user=user, confirmed=False).delete()
        TotpDevice.objects.create(user=user, name="totp", confirmed=False, seed=ciphers.seal(secret), created_at=at)
        _record("accounts.second_factor.begun", user, actor=actor)
    uri = _uri(user, secret)
    code = segno.make(uri, error="m")
    svg = code.svg_inline(scale=4, border=4, light="#fff", omitsize=True)  # light in the dark too: cameras want it
    return Enrolment(secret=secret, uri=uri, qr=code.svg_data_uri(scale=4, border=4), svg=svg)


def confirm(
    *, user: User, code: str, claims: Claims | None, client: ClientInfo, at: datetime, actor: Actor | None = None
) -> Confirmed:
    """Take the new device into use by its first code. Every other session ends; this one goes on with new tokens.

    Raises: NoEnrolment, OtpInvalid, OtpLocked.
    """
    device = TotpDevice.objects.filter(user=user, confirmed=False, created_at__gt=at - ENROLMENT_LIFETIME).first()
    if device is None:
        raise NoEnrolment("Begin again: a new device waits for its first code for 15 minutes.")
    codes.check_new(device, code=code, client=client, at=at)
    made = _made_codes(user)
    return _take_into_use(user=user, device=device, made=made, claims=claims, client=client, at=at, actor=actor)


@transaction.atomic(durable=True)
def _take_into_use(
    *,
    user: User,
    device: TotpDevice,
    made: list[Made],
    claims: Claims | None,
    client: ClientInfo,
    at: datetime,
    actor: Actor | None,
) -> Confirmed:
    locked = standing.locked(user)
    TotpDevice.objects.filter(user=locked, confirmed=True).delete()
    if not TotpDevice.objects.filter(pk=device.pk, confirmed=False).update(confirmed=True, confirmed_at=at):
        raise NoEnrolment("Another device was begun meanwhile. Begin again.")
    shown = _replace_codes(locked, made)
    _record("accounts.second_factor.confirmed", locked, actor=actor)
    notices.tell(user_id=locked.pk, kind=NoticeKind.SECOND_FACTOR_ON, at=at)
    return Confirmed(shown, _go_on(user=locked, claims=claims, client=client, at=at, is_fresh=True, actor=actor))


def remove(
    *,
    request: HttpRequest,
    user: User,
    password: str,
    code: str,
    claims: Claims | None,
    client: ClientInfo,
    at: datetime,
) -> TokenPair | None:
    """Take the second factor away. Every other session ends, and so do the API keys.

    Takes: `claims` of the one session that goes on, None when that is no session of tokens. Raises: NoSecondFactor, as
    `begin`.
    """
    if codes.device_of(user) is None:
        raise NoSecondFactor("There is no second factor to remove.")
    _prove(request=request, user=user, password=password, code=code, purpose="remove", client=client, at=at)
    with transaction.atomic(durable=True):
        locked = standing.locked(user)
        forget(locked, actor=Actor.user(user.public_id), at=at)
        return _go_on(user=locked, claims=claims, client=client, at=at)


def forget(user: User, *, actor: Actor, at: datetime) -> None:
    """Delete the device and its codes, in the caller's transaction, which ends the sessions too."""
    TotpDevice.objects.filter(user=user).delete()
    RecoveryCode.objects.filter(user=user).delete()
    _record("accounts.second_factor.removed", user, actor=actor)
    notices.tell(user_id=user.pk, kind=NoticeKind.SECOND_FACTOR_OFF, at=at)


def renew_recovery_codes(
    *, request: HttpRequest, user: User, password: str, code: str, client: ClientInfo, at: datetime
) -> list[str]:
    """Make ten new codes; the old ones are void. Raises: NoSecondFactor, as `begin`."""
    if codes.device_of(user) is None:
        raise NoSecondFactor("Enrol a second factor first.")
    _prove(request=request, user=user, password=password, code=code, purpose="recovery_codes", client=client, at=at)
    made = _made_codes(user)
    with transaction.atomic(durable=True):
        shown = _replace_codes(standing.locked(user), made)
        _record("accounts.second_factor.recovery_codes_renewed", user)
        notices.tell(user_id=user.pk, kind=NoticeKind.RECOVERY_CODES_NEW, at=at)
    return shown


def install_demo(*, user: User, secret: str, at: datetime) -> None:
    """Give a demo person a device whose seed stands in a file. Raises: Denied in production."""
    if settings.NEXUS_ENV == "production":
        raise Denied("A seed that stands in a file is no second factor.")
    with transaction.atomic(durable=True):
        TotpDevice.objects.filter(user=user).delete()
        TotpDevice.objects.create(
            user=user, name=codes.DEMO, confirmed=True, seed=ciphers.seal(secret), created_at=at, confirmed_at=at
        )
        _record("accounts.second_factor.confirmed", user, actor=Actor.system("demo"))


def reseal() -> int:
    """Encrypt every seed with the first key. Returns how many."""
    return ciphers.reseal_rows(TotpDevice.objects.all(), "seed")


def _prove(
    *, request: HttpRequest, user: User, password: str, code: str, purpose: str, client: ClientInfo, at: datetime
) -> None:
    """Ask for the password, and for a code where there is a device."""
    entrances.confirm_password(request=request, user=user, password=password, client=client)
    if codes.device_of(user) is not None:
        codes.check(user=user, code=code, purpose=purpose, client=client, at=at)


def _go_on(
    *,
    user: User,
    claims: Claims | None,
    client: ClientInfo,
    at: datetime,
    is_fresh: bool = False,
    actor: Actor | None = None,
) -> TokenPair | None:
    if claims is None:
        sessions.end_all(user_id=user.pk, actor=actor or Actor.user(user.public_id), client=client, at=at)
        return None
    return sessions.end_others(user=user, claims=claims, client=client, at=at, is_fresh=is_fresh)


def _made_codes(user: User) -> list[Made]:
    """Make ten recovery codes. Their hashes take seconds, so no transaction is open: it would be ended as idle."""
    shown: dict[str, str] = {}
    while len(shown) < RECOVERY_CODES:
        shown[_letters(codes.SELECTOR_LENGTH)] = _letters(RECOVERY_SECRET_LENGTH)
    return [
        (
            RecoveryCode(user=user, selector=selector, code_hash=make_password(rest)),
            "-".join([selector, *(rest[i : i + 4] for i in range(0, len(rest), 4))]),
        )
        for selector, rest in shown.items()
    ]


def _replace_codes(user: User, made: list[Made]) -> list[str]:
    """Replace a user's recovery codes and return them in clear: they are kept as hashes."""
    RecoveryCode.objects.filter(user=user).delete()
    RecoveryCode.objects.bulk_create(row for row, _ in made)
    return [text for _, text in made]


def _letters(count: int) -> str:
    return "".join(secrets.choice(_ALPHABET) for _ in range(count))


def _uri(user: User, secret: str) -> str:
    name = settings.ENROLMENT_NAME
    query = urlencode({"secret": secret, "issuer": name, "algorithm": "SHA1", "digits": DIGITS, "period": STEP_S})
    return f"otpauth://totp/{quote(name)}:{quote(user.email)}?{query}"


def _record(action: str, user: User, *, actor: Actor | None = None) -> None:
    trail.record(action=action, actor=actor or Actor.user(user.public_id), target=Target("user", str(user.public_id)))
