"""The sealer of the local run: its key, made once, and the file where its seals are kept beside the database."""

import sys
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from nexus.local.folder import ROOT, Folder, write_private
from nexus.local.processes import Child, Supervisor
from nexus.local.servers import RESTARTS


def start(supervisor: Supervisor, folder: Folder, *, env: Mapping[str, str]) -> Child:
    """Start the sealer. It alone learns where the signing key is; a person's own settings win."""
    anchors = quote(str(folder.audit / "anchors.jsonl"))
    ours = {"AUDIT_SIGNING_KEY_FILE": str(_key(folder)), "AUDIT_ANCHORS": f"file:{anchors}"}
    known = dict(env) | {name: value for name, value in ours.items() if not env.get(name)}
    command = [sys.executable, str(ROOT / "manage.py"), "audit_seal", "--loop"]
    return supervisor.start("sealer", command, env=known, cwd=ROOT, restarts=RESTARTS)


def _key(folder: Folder) -> Path:
    """Return the signing key's file, made on the first run. The log is worth what this file is worth."""
    path = folder.audit / "signing-key.pem"
    if not path.exists():
        key = Ed25519PrivateKey.generate()
        write_private(path, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode())
    return path
