"""Signing keys: their names, and how one vouches for the next."""

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

INTRODUCED = "audit.key_introduced"
KEY_OBJECT = "audit_key"

_ID_LENGTH = 16
_KEY_SIZE = 32

Keys = Mapping[str, Ed25519PublicKey]


@dataclass(frozen=True, slots=True)
class Signer:
    """A signing key and its name."""

    private: Ed25519PrivateKey

    @property
    def public(self) -> Ed25519PublicKey:
        """Return the half that may be known."""
        return self.private.public_key()

    @property
    def key_id(self) -> str:
        """Return the key's name."""
        return key_id(self.public)

    def sign(self, header: bytes) -> bytes:
        """Sign a header."""
        return self.private.sign(header)


def key_id(key: Ed25519PublicKey) -> str:
    """Return a key's name: the beginning of its hash."""
    return sha256(raw(key)).hexdigest()[:_ID_LENGTH]


def raw(key: Ed25519PublicKey) -> bytes:
    """Return a key's 32 bytes."""
    return key.public_bytes(Encoding.Raw, PublicFormat.Raw)


def is_signed(message: bytes, *, signature: bytes, by: Ed25519PublicKey) -> bool:
    """Tell whether a signature is this key's over this message."""
    try:
        by.verify(signature, message)
    except InvalidSignature:
        return False
    return True


def introduction(new: Ed25519PublicKey, *, by: Signer, deployment: str) -> dict[str, str]:
    """Return what the event says that introduces a key: the key, and the signature of the one that vouches for it.

    The first key vouches for itself. Anybody who may append events could name a key of their own otherwise.
    """
    return {
        "key_id": key_id(new),
        "public_key": raw(new).hex(),
        "introduced_by": by.key_id,
        "authorization": by.sign(_statement(new, deployment)).hex(),
    }


def introduced(detail: Any, *, known: Keys, deployment: str) -> Ed25519PublicKey | None:
    """Return the key that an event introduces, or None when no known key vouches for it."""
    new = named(detail)
    if new is None:
        return None
    voucher = known.get(str(detail.get("introduced_by")))
    try:
        authorization = bytes.fromhex(str(detail.get("authorization")))
    except ValueError:
        return None
    if voucher is None or not is_signed(_statement(new, deployment), signature=authorization, by=voucher):
        return None
    return new


def named(detail: Any) -> Ed25519PublicKey | None:
    """Return the key that an event names, vouched for or not; None when it names none."""
    try:
        held = bytes.fromhex(str(detail["public_key"]))
        key = Ed25519PublicKey.from_public_bytes(held) if len(held) == _KEY_SIZE else None
    except (KeyError, TypeError, ValueError):
        return None
    return key if key is not None and detail.get("key_id") == key_id(key) else None


def _statement(new: Ed25519PublicKey, deployment: str) -> bytes:
    return f"nexus-audit-key v1\n{deployment}\n{key_id(new)}\n{raw(new).hex()}\n".encode()
