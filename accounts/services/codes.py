"""Check a code of the second factor: counted before it is looked at, accepted once, whatever door it comes through."""

import re
from collections.abc import Callable
from datetime import datetime
from typing import Any

import django_otp
from django.conf import settings
from django.contrib.auth.hashers import check_password, make_password
from django.db import transaction

from accounts.models import RecoveryCode, TotpDevice, User
from accounts.services import gates, notices, refusals
from accounts.services.gates import Charge, Gate
from accounts.services.lockout import QUARTER
from accounts.states import NoticeKind
from accounts.types import ClientInfo
from nexus.audit.services import trail
from nexus.audit.types import Actor, Outcome, Target
from nexus.core.errors import Unauthenticated
from nexus.core.http import TooManyRequests

OTP = Gate("otp", 5, QUARTER, QUARTER)
TOTP_METHOD, RECOVERY_METHOD = "otp", "rec"
SELECTOR_LENGTH = 4
DEMO = "demo"  # the name of a device whose seed stands in a file

_TOTP = re.compile(r"[0-9]{6}")
_NOBODY = "nobody's-recovery-code"


class OtpInvalid(Unauthenticated):
    """Wrong, used before, or of another: the same answer."""

    code = "otp_invalid"
    title = "The code is not valid"

    def __init__(self) -> None:
        super().__init__("The code is not valid. Each is accepted once: wait for the next one.")


class OtpLocked(TooManyRequests):
    """Too many codes were tried."""

    code = "otp_locked"
    title = "Codes are locked for now"


def device_of(user: User) -> TotpDevice | None:
    """Return a user's confirmed device. One whose seed stands in a file is none in production."""
    rows = TotpDevice.objects.filter(user=user, confirmed=True)
    if settings.NEXUS_ENV == "production":
        rows = rows.exclude(name=DEMO)
    device: TotpDevice | None = rows.first()
    return device


def check(*, user: User, code: str, purpose: str, client: ClientInfo, at: datetime) -> str:
    """Accept a code of this user, once, and return the method it came by. No transaction may be open.

    A try is charged first and given back when it was right. Raises: OtpInvalid, OtpLocked, both after they were kept.
    """
    return _try(lambda: _accepted(user, code, at=at), user=user, purpose=purpose, client=client, at=at)


def check_new(device: TotpDevice, *, code: str, client: ClientInfo, at: datetime) -> None:
    """Accept the first code of a device that is not in use yet. Raises: as `check`."""
    _try(lambda: TOTP_METHOD if accept(device, code) else "", user=device.user, purpose="confirm", client=client, at=at)


def _try(look: Callable[[], str], *, user: User, purpose: str, client: ClientInfo, at: datetime) -> str:
    charge = Charge(OTP, str(user.public_id), subject=user.email)
    wait = gates.charge([charge])[OTP.kind]
    if wait:
        refusals.keep(**_event(user, "auth.otp.locked", Outcome.DENIED, purpose=purpose, client=client))
        notices.tell(user_id=user.pk, kind=NoticeKind.CODES_LOCKED, at=at, quiet=True)
        raise gates.shut(OTP, wait, OtpLocked)
    method = look()
    if not method:
        _note(user, "auth.otp.failed", Outcome.FAILURE, purpose=purpose, client=client)
        raise OtpInvalid
    gates.give_back([charge])
    _note(user, "auth.otp.accepted", Outcome.SUCCESS, purpose=purpose, client=client, method=method)
    return method


def accept(device: TotpDevice, code: str) -> bool:
    """Accept a code of this very device, once: the last step is compared under the lock that django-otp takes."""
    return bool(_TOTP.fullmatch(code)) and django_otp.verify_token(device.user, device.persistent_id, code) is not None


def _accepted(user: User, code: str, *, at: datetime) -> str:
    device = device_of(user)
    if device is None:
        return ""
    if _TOTP.fullmatch(code):
        return TOTP_METHOD if accept(device, code) else ""
    return RECOVERY_METHOD if _use_recovery_code(user, code, at=at) else ""


def _use_recovery_code(user: User, text: str, *, at: datetime) -> bool:
    """Use a recovery code up. One hash is reckoned, whether there is such a code or not."""
    plain = normalized(text)
    selector, rest = plain[:SELECTOR_LENGTH], plain[SELECTOR_LENGTH:]
    held = RecoveryCode.objects.filter(user=user, selector=selector, used_at__isnull=True).first()
    if not check_password(rest, held.code_hash if held else _nobody()) or held is None:
        return False
    with transaction.atomic(durable=True):
        used = RecoveryCode.objects.filter(pk=held.pk, used_at__isnull=True).update(used_at=at)
        if used:  # exactly one of those who come at once
            notices.tell(user_id=user.pk, kind=NoticeKind.RECOVERY_CODE_USED, at=at)
    return bool(used)


def normalized(text: str) -> str:
    """Write a recovery code as it is hashed."""
    return text.replace("-", "").replace(" ", "").casefold()[:64]


def _nobody() -> str:
    global _nobodys_hash  # noqa: PLW0603 — made once a process, by its own hasher
    if not _nobodys_hash:
        _nobodys_hash = make_password(_NOBODY)
    return _nobodys_hash


_nobodys_hash = ""


def _note(user: User, action: str, outcome: Outcome, *, purpose: str, client: ClientInfo, method: str = "") -> None:
    trail.record_denied(**_event(user, action, outcome, purpose=purpose, client=client, method=method))


def _event(
    user: User, action: str, outcome: Outcome, *, purpose: str, client: ClientInfo, method: str = ""
) -> dict[str, Any]:
    return {
        "action": action,
        "actor": Actor.user(user.public_id),
        "target": Target("user", str(user.public_id)),
        "outcome": outcome,
        "detail": {"purpose": purpose, **({"method": method} if method else {})},
        "pii": client.as_pii(),
    }
