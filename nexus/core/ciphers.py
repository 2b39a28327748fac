"""Secrets that we must be able to read again, kept encrypted: seeds of second factors, credentials of venues.

Fernet (AES-128-CBC with HMAC-SHA-256), by the keys of `FIELD_ENCRYPTION_KEYS`: the first writes, all read.
"""

import base64
import hashlib
from functools import lru_cache

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured


class NotReadable(Exception):
    """None of our keys has written this, or somebody has changed it."""


def seal(text: str) -> str:
    """Encrypt a text with the first key."""
    return _ring().encrypt(text.encode()).decode("ascii")


def unseal(sealed: str) -> str:
    """Decrypt what one of our keys has encrypted. Raises: NotReadable."""
    try:
        return _ring().decrypt(sealed.encode()).decode()
    except InvalidToken as exc:
        raise NotReadable("no key of FIELD_ENCRYPTION_KEYS opens this") from exc


def reseal(sealed: str) -> str:
    """Encrypt anew with the first key what any of them has encrypted. Raises: NotReadable."""
    try:
        return _ring().rotate(sealed.encode()).decode("ascii")
    except InvalidToken as exc:
        raise NotReadable("no key of FIELD_ENCRYPTION_KEYS opens this") from exc


def _ring() -> MultiFernet:
    return _ring_of(tuple(settings.FIELD_ENCRYPTION_KEYS))


@lru_cache(maxsize=4)
def _ring_of(keys: tuple[str, ...]) -> MultiFernet:
    if not keys:
        raise ImproperlyConfigured("FIELD_ENCRYPTION_KEYS is empty.")
    return MultiFernet([Fernet(base64.urlsafe_b64encode(hashlib.sha256(key.encode()).digest())) for key in keys])
