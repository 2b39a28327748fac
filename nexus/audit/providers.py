"""The outside world of the black box: where seals are kept that nobody at the database can take back."""

import json
import logging
import os
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Protocol
from urllib.parse import unquote, urlsplit

import httpx
import structlog

from nexus.audit.types import SealedHeader
from nexus.core import outgoing
from nexus.core.errors import OutsideError

HTTP_TIMEOUT_S = 5.0

LOGGER = "nexus.audit.anchor"

log = structlog.get_logger(LOGGER)


class NotKept(OutsideError):
    """The place did not take the seals, or did not say so."""


class Anchor(Protocol):
    """A place that keeps seals. A seal may come twice: the place keeps both, or knows it by its number."""

    @property
    def name(self) -> str:
        """Return what it is called where it is watched."""
        ...

    def keep(self, deployment: str, seals: list[SealedHeader]) -> None:
        """Keep seals, in order. Raises: NotKept."""
        ...


@dataclass(frozen=True, slots=True)
class File:
    """A file on separate or write-once storage; a line a seal, each on disk before the next."""

    name: str
    path: Path

    def keep(self, deployment: str, seals: list[SealedHeader]) -> None:
        """Append the seals."""
        try:
            with self.path.open("ab") as file:
                # A line that a crash has torn stays as it is; the next one begins a line of its own.
                torn = b"" if _ends_whole(self.path) else b"\n"
                file.write(torn + b"".join(as_line(deployment, seal) for seal in seals))
                file.flush()
                os.fsync(file.fileno())
        except OSError as exc:
            raise NotKept(f"{self.path}: {exc.strerror}") from exc


@dataclass(frozen=True, slots=True)
class LogLine:
    """A structured log line, for installations whose logs leave the machine."""

    name: str

    def keep(self, deployment: str, seals: list[SealedHeader]) -> None:
        """Say each seal."""
        if not logging.getLogger(LOGGER).isEnabledFor(logging.INFO):
            raise NotKept("LOG_LEVEL hides it: an anchor in the log needs INFO")
        for seal in seals:
            log.info(
                "audit.anchor", deployment=deployment, batch_no=seal.batch_no, header=seal.header.decode(),
                signature=seal.signature.hex(),
            )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Webhook:
    """Somebody else's public server: `POST` of lines as the file holds them. The address may hold a secret."""

    name: str
    url: str
    transport: httpx.BaseTransport | None = None
    resolve: outgoing.Resolve = outgoing.resolved

    def keep(self, deployment: str, seals: list[SealedHeader]) -> None:
        """Send the seals; any answer of 2xx means that they are kept."""
        body = b"".join(as_line(deployment, seal) for seal in seals)
        headers = {"Content-Type": "application/x-ndjson"}
        try:
            answer = outgoing.post(
                self.url, content=body, headers=headers, timeout_s=HTTP_TIMEOUT_S, transport=self.transport,
                resolve=self.resolve,
            )  # fmt: skip
        except outgoing.NotPublic as exc:
            raise NotKept(str(exc)) from exc
        except (httpx.HTTPError, httpx.InvalidURL) as exc:
            raise NotKept(type(exc).__name__) from exc  # its words may hold the address
        if not answer.is_success:
            raise NotKept(f"it answered {answer.status_code}")


def named(word: str) -> Anchor:
    """Return the anchor that a word of AUDIT_ANCHORS names. Raises: ValueError."""
    kind, _, rest = word.partition(":")
    match kind:
        case "file" if Path(unquote(rest)).is_absolute():
            return File(name=word, path=Path(unquote(rest)))
        case "log":
            return LogLine(name="log")
        case "https" if host := urlsplit(word).hostname:
            return Webhook(name=f"https://{host} {sha256(word.encode()).hexdigest()[:8]}", url=word)
    raise ValueError("AUDIT_ANCHORS may hold file:/absolute/path, log: and https://…, separated by blanks.")


def as_line(deployment: str, seal: SealedHeader) -> bytes:
    """Write a seal as one line."""
    line = {
        "deployment": deployment,
        "batch_no": seal.batch_no,
        "header": seal.header.decode(),
        "signature": seal.signature.hex(),
    }
    return json.dumps(line, sort_keys=True).encode() + b"\n"


def _ends_whole(path: Path) -> bool:
    with path.open("rb") as file:
        if not file.seek(0, os.SEEK_END):
            return True
        file.seek(-1, os.SEEK_END)
        return file.read(1) == b"\n"
