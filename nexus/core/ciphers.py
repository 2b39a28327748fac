"""Secrets that we must be able to read again, kept encrypted: seeds of second factors, tokens of links on their way.

Fernet (AES-128-CBC with HMAC-SHA-256), by the keys of `FIELD_ENCRYPTION_KEYS`: the first writes, all read.
"""

import base64
import hashlib
from functools import lru_cache
from typing import Any

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.db import transaction
from django.db.models import QuerySet


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


def reseal_rows(rows: QuerySet[Any], column: str) -> int:
    """Do what `reseal` does to a column of these rows, each under its lock; one without a secret is left alone.

    Returns how many there were. Raises: NotReadable.
    """
    count = 0
    for pk in rows.exclude(**{column: ""}).order_by("pk").values_list("pk", flat=True):
        with transaction.atomic(durable=True):
            row = rows.filter(pk=pk).select_for_update(of=("self",), no_key=True).values_list(column, flat=True).first()
            if row:  # it may have been used up since
                rows.filter(pk=pk).update(**{column: reseal(row)})
                count += 1
    return count


def _ring() -> MultiFernet:
    return _ring_of(tuple(settings.FIELD_ENCRYPTION_KEYS))


@lru_cache(maxsize=4)
def _ring_of(keys: tuple[str, ...]) -> MultiFernet:
    if not keys:
        raise ImproperlyConfigured("FIELD_ENCRYPTION_KEYS is empty.")
    return MultiFernet([Fernet(base64.urlsafe_b64encode(hashlib.sha256(key.encode()).digest())) for key in keys])
