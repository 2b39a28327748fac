"""Bundles made, taken apart, put together again as a forger would, and verified by the offline verifier."""

import io
import json
import zipfile
from collections.abc import Callable
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

import nexus_audit_verify
from nexus.audit.services import bundling
from nexus.audit.services.container import Container
from nexus.audit.types import Selection
from tests.nexus.audit.sealed import KNOWN

LATER = datetime(2100, 1, 1, tzinfo=UTC)


def make(selection: Selection | None = None, *, at: datetime = LATER) -> bytes:
    """Write a bundle into memory."""
    file = io.BytesIO()
    bundling.write(
        selection or Selection(), file, folder=Path("/tmp"), asked_by="tests", at=at, using="default",  # noqa: S108
        progress=lambda _done, _total: None,
    )  # fmt: skip
    return file.getvalue()


def members(made: bytes) -> dict[str, bytes]:
    """Take a bundle apart, by somebody else's reader."""
    with zipfile.ZipFile(io.BytesIO(made)) as archive:
        assert archive.testzip() is None
        return {name: archive.read(name) for name in archive.namelist()}


def lines(held: dict[str, bytes], name: str) -> list[Any]:
    """Return the documents of a member."""
    return [json.loads(line) for line in held[name].splitlines()]


def as_lines(documents: list[Any]) -> bytes:
    """Write documents as a member."""
    return b"".join(json.dumps(document).encode() + b"\n" for document in documents)


def forge(held: dict[str, bytes], **said: Any) -> bytes:
    """Put members together as somebody does who knows everything but the key: sizes, checksums and hashes are right."""
    file = io.BytesIO()
    container = Container(file)
    manifest = json.loads(held["manifest.json"]) | said
    manifest["files"] = {}
    for name, content in held.items():
        if name != "manifest.json":
            container.add(name, [content])
            manifest["files"][name] = {"size": len(content), "sha256": sha256(content).hexdigest()}
    container.add("manifest.json", [json.dumps(manifest).encode()])
    container.close()
    return file.getvalue()


def verify(made: bytes, folder: Path, *, keys: dict[str, Any] | None = None, anchors: tuple[Path, ...] = ()) -> Any:
    """Verify a bundle offline; return the verifier's report."""
    path = folder / "bundle.zip"
    path.write_bytes(made)
    return nexus_audit_verify.verify(path, KNOWN if keys is None else keys, list(anchors))


def places(report: Any) -> set[tuple[str, int | None]]:
    """Return what was found, and at which index, or batch where there is none."""
    return {(found["kind"], found.get("log_index", found.get("batch_no"))) for found in report.findings}


Change = Callable[[dict[str, bytes]], dict[str, Any] | None]
