"""The signing key: made, read, and introduced by the one before it. Only the sealer holds it."""

import os
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)
from django.conf import settings
from django.db import transaction

from nexus.audit import selectors
from nexus.audit.rules import evidence, keys
from nexus.audit.rules.keys import INTRODUCED, KEY_OBJECT, Signer
from nexus.audit.services import trail
from nexus.audit.types import Actor, Target
from nexus.core.errors import Conflict, Invalid

SEALER = Actor.system("sealer")

_PEM_END = b"-----END PUBLIC KEY-----"


class KeyUnusable(Invalid):
    """A key's file is missing, or holds no key of the kind."""

    code = "audit_key_unusable"
    title = "The signing key cannot be used"


class KeyNotIntroduced(Conflict):
    """The log is sealed by another key, and that one has not introduced this one."""

    code = "audit_key_not_introduced"
    title = "The signing key was not introduced"


def create(path: Path) -> Signer:
    """Make a signing key in a file of its own, readable by its owner alone. Raises: KeyUnusable when it exists."""
    signer = Signer(Ed25519PrivateKey.generate())
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError as exc:
        raise KeyUnusable(f"{path} exists already, and a key is never overwritten.") from exc
    with os.fdopen(descriptor, "wb") as file:
        file.write(signer.private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        file.flush()
        os.fsync(file.fileno())
    return signer


def load(path: Path) -> Signer:
    """Read a signing key. Raises: KeyUnusable."""
    try:
        key = load_pem_private_key(path.read_bytes(), password=None)
    except OSError as exc:
        raise KeyUnusable(f"The signing key {path} cannot be read: {exc.strerror}.") from exc
    except (TypeError, ValueError) as exc:
        raise KeyUnusable(f"{path} does not hold a private key as unencrypted PEM.") from exc
    if not isinstance(key, Ed25519PrivateKey):
        raise KeyUnusable(f"{path} holds a key of another kind than Ed25519.")
    return Signer(key)


def load_public(path: Path) -> dict[str, Ed25519PublicKey]:
    """Read every public key of a file, by name. Raises: KeyUnusable."""
    try:
        blocks = path.read_bytes().split(_PEM_END)[:-1]
        found = [load_pem_public_key(block.strip() + b"\n" + _PEM_END) for block in blocks]
    except OSError as exc:
        raise KeyUnusable(f"The public key {path} cannot be read: {exc.strerror}.") from exc
    except ValueError as exc:
        raise KeyUnusable(f"{path} does not hold public keys as PEM.") from exc
    known = {keys.key_id(key): key for key in found if isinstance(key, Ed25519PublicKey)}
    if not known or len(known) != len(found):
        raise KeyUnusable(f"{path} must hold public Ed25519 keys as PEM, and nothing else.")
    return known


def as_public_pem(key: Ed25519PublicKey) -> str:
    """Write a public key as others read it."""
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def introduce(new: Ed25519PublicKey, *, by: Signer) -> None:
    """Append the event that introduces a key; it may be used once that event is sealed under the old one."""
    with transaction.atomic():
        trail.record(
            action=INTRODUCED,
            actor=SEALER,
            target=Target(KEY_OBJECT, keys.key_id(new)),
            detail=keys.introduction(new, by=by, deployment=settings.DEPLOYMENT_ID),
        )


def stand(signer: Signer) -> None:
    """Make sure that this key may seal: it introduces itself to an empty log, and was introduced to any other.

    Raises: KeyNotIntroduced.
    """
    first = selectors.key_of_batch(0)
    if first is None:
        if not selectors.introductions(signer.key_id):
            introduce(signer.public, by=signer)
        return
    if signer.key_id not in {first, selectors.key_of_head()} and signer.key_id not in introduced_keys():
        raise KeyNotIntroduced(
            f"The log is sealed by {selectors.key_of_head()}, and no sealed event of that key's introduces"
            f" {signer.key_id}. Introduce it with the old key: manage.py audit_key introduce."
        )


def introduced_keys(
    trusted: dict[str, Ed25519PublicKey] | None = None, *, before: int | None = None, using: str = "default"
) -> dict[str, Ed25519PublicKey]:
    """Return the trusted keys and those that sealed events introduce, each vouched for by one before it.

    Takes: the `trusted` ones, or None to begin with the key that sealed the first batch, as the log itself names it;
    in `before` the log index up to which events count.
    """
    known = dict(trusted or {})
    if not trusted and (root := selectors.key_of_batch(0, using=using)) is not None:
        for canonical in selectors.introductions(root, using=using):
            key = keys.named(evidence.detail_of(canonical))
            if key is not None and keys.key_id(key) == root:
                known[root] = key
                break
    for canonical in selectors.introductions(before=before, is_sealed=True, using=using):
        key = keys.introduced(evidence.detail_of(canonical), known=known, deployment=settings.DEPLOYMENT_ID)
        if key is not None:
            known.setdefault(keys.key_id(key), key)
    return known
