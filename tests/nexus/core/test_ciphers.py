"""Secrets that are read again: unreadable without a key, and no key is for ever."""

import pytest
from django.core.exceptions import ImproperlyConfigured

from nexus.core import ciphers

OLD, NEW = "o" * 40, "n" * 40


def test_it_reads_what_it_wrote_and_writes_nothing_in_clear(settings):
    settings.FIELD_ENCRYPTION_KEYS = [OLD]

    sealed = ciphers.seal("a secret")

    assert "secret" not in sealed
    assert sealed != ciphers.seal("a secret")
    assert ciphers.unseal(sealed) == "a secret"


def test_a_key_is_changed_by_putting_the_new_one_first(settings):
    settings.FIELD_ENCRYPTION_KEYS = [OLD]
    sealed = ciphers.seal("a secret")
    settings.FIELD_ENCRYPTION_KEYS = [NEW, OLD]
    assert ciphers.unseal(sealed) == "a secret"

    moved = ciphers.reseal(sealed)

    settings.FIELD_ENCRYPTION_KEYS = [NEW]
    assert ciphers.unseal(moved) == "a secret"
    for read in (ciphers.unseal, ciphers.reseal):
        with pytest.raises(ciphers.NotReadable):
            read(sealed)


def test_what_somebody_changed_is_not_read(settings):
    settings.FIELD_ENCRYPTION_KEYS = [OLD]
    sealed = ciphers.seal("a secret")
    middle = len(sealed) // 2
    other = "A" if sealed[middle] != "A" else "B"

    with pytest.raises(ciphers.NotReadable):
        ciphers.unseal(sealed[:middle] + other + sealed[middle + 1 :])


def test_without_a_key_nothing_is_written(settings):
    settings.FIELD_ENCRYPTION_KEYS = []

    with pytest.raises(ImproperlyConfigured):
        ciphers.seal("a secret")
