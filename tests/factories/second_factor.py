"""Devices, and the codes that they would show."""

import base64
import time
from datetime import datetime

from django.utils.timezone import now
from django_otp.oath import hotp

from accounts.models import TotpDevice, User
from accounts.models.second_factor import STEP_S
from nexus.core import ciphers

SEED = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"


def enrolled(user: User, *, seed: str = SEED, at: datetime | None = None) -> TotpDevice:
    """Give somebody a confirmed device, or return the one there is."""
    device: TotpDevice = TotpDevice.objects.get_or_create(
        user=user,
        confirmed=True,
        defaults={"name": "totp", "seed": ciphers.seal(seed), "created_at": at or now(), "confirmed_at": at or now()},
    )[0]
    return device


def code_at(seed: str, *, steps: int = 0) -> str:
    """Return the code that a device shows, some steps of half a minute from now."""
    return f"{hotp(base64.b32decode(seed), int(time.time()) // STEP_S + steps, 6):06d}"


def fresh_code(user: User) -> str:
    """Return a code that is accepted, also twice in one half minute: the device forgets which it has seen."""
    device = enrolled(user)
    TotpDevice.objects.filter(pk=device.pk).update(last_step=-1)
    return code_at(ciphers.unseal(device.seed))
