"""Tables of the second factor: the device that makes codes, and the codes for the day it is lost."""

import base64
import hmac
from typing import ClassVar

from django.db import models
from django.utils import timezone
from django_otp.models import Device
from django_otp.oath import hotp

from nexus.core import ciphers

STEP_S = 30
DIGITS = 6
TOLERANCE = 1  # steps before and after this one


class TotpDevice(Device):  # type: ignore[misc]
    """A time-based device (RFC 6238, SHA-1, 6 digits, 30 s). Its seed is kept encrypted."""

    user = models.ForeignKey("accounts.User", on_delete=models.CASCADE, related_name="+")
    seed = models.TextField(help_text="base32, encrypted")
    last_step = models.BigIntegerField(
        default=-1, help_text="of the last code that was accepted; none before it is again"
    )
    created_at = models.DateTimeField()
    confirmed_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        db_table = "totp_device"
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["user", "confirmed"], name="totp_device_one_of_each"),
        ]

    def verify_token(self, token: str) -> bool:
        """Accept a code once. `django_otp.verify_token` calls this with the row locked, and nobody else does."""
        step = self.step_of(token, at_step=int(timezone.now().timestamp()) // STEP_S)
        if step is None or step <= self.last_step:
            return False
        self.last_step = step
        self.save(update_fields=["last_step"])
        return True

    def step_of(self, token: str, *, at_step: int) -> int | None:
        """Return the newest step near this one whose code this is, or None. Every candidate is compared in full."""
        key, found = self.key, None
        for step in range(at_step - TOLERANCE, at_step + TOLERANCE + 1):
            code = f"{hotp(key, step, DIGITS):0{DIGITS}d}"
            if hmac.compare_digest(code.encode(), token.encode()):
                found = step
        return found

    @property
    def key(self) -> bytes:
        """Return the seed's bytes."""
        return base64.b32decode(ciphers.unseal(self.seed))


class RecoveryCode(models.Model):
    """A code that stands in for a lost device, once. The first part finds it, the rest is hashed."""

    user = models.ForeignKey("accounts.User", on_delete=models.CASCADE, related_name="+")
    selector = models.CharField(max_length=8)
    code_hash = models.CharField(max_length=128)
    used_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        db_table = "recovery_code"
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["user", "selector"], name="recovery_code_one_a_selector"),
        ]

    def __str__(self) -> str:
        return f"recovery code {self.selector}"
