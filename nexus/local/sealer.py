"""The sealer of the local run: its key, made once, and the file where its seals are kept beside the database."""

import sys
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from nexus.local.folder import ROOT, Folder, write_private
from nexus.local.processes import Child, Supervisor
from nexus.local.servers import RESTARTS


def start(supervisor: Supervisor, folder: Folder, *, env: Mapping[str, str]) -> Child:
    """Start the sealer. It alone learns where the signing key is; a person's own settings win."""
    known = _completed(env, {"AUDIT_SIGNING_KEY_FILE": str(_key(folder)), "AUDIT_ANCHORS": _anchor(folder)})
    command = [sys.executable, str(ROOT / "manage.py"), "audit_seal", "--loop"]
    return supervisor.start("sealer", command, env=known, cwd=ROOT, restarts=RESTARTS)


def for_verification(folder: Folder, *, env: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of who verifies: the key's public half, and where the seals are kept."""
    public = folder.audit / "public-key.pem"
    if not public.exists():
        key = load_pem_private_key(_key(folder).read_bytes(), password=None).public_key()
        public.write_bytes(key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    return _completed(env, {"AUDIT_PUBLIC_KEY_FILE": str(public), "AUDIT_ANCHORS": _anchor(folder)})


def _completed(env: Mapping[str, str], ours: Mapping[str, str]) -> dict[str, str]:
    return dict(env) | {name: value for name, value in ours.items() if not env.get(name)}


def _anchor(folder: Folder) -> str:
    return f"file:{quote(str(folder.audit / 'anchors.jsonl'))}"


def _key(folder: Folder) -> Path:
    """Return the signing key's file, made on the first run. The log is worth what this file is worth."""
    path = folder.audit / "signing-key.pem"
    if not path.exists():
        key = Ed25519PrivateKey.generate()
        write_private(path, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode())
    return path
