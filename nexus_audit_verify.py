#!/usr/bin/env python3
"""Verify an exported bundle of a Nexus audit log, offline. Needs this file, Python 3.11 and `cryptography`.

What an events.parquet says is compared too, where `pyarrow` is installed; else the verdict says that it was not.

    python nexus_audit_verify.py BUNDLE.zip --public-key audit-public.pem [--anchor anchors.jsonl] [--json]

Exit code 0: everything in the bundle is what was sealed. 1: it is not, and each finding says what and where. 3: usage.
Docs: docs/audit.md. It shares no code with the program that writes bundles.
"""

import argparse
import csv
import importlib
import io
import json
import struct
import sys
import zlib
from collections import Counter
from collections.abc import Iterator
from datetime import datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key

FORMAT = "nexus-audit-bundle v1"
CLEAN, TAMPERED, USAGE = 0, 1, 3
KEPT_MAX, CHUNK, HASH, PARQUET_ROWS = 1_000, 1 << 20, 32, 1_000
SKEW, ANCHORED_WITHIN = timedelta(seconds=5), timedelta(seconds=60)
DRIFT = timedelta(minutes=10) + SKEW  # what stands later in the log was recorded at most so much earlier
UNREADABLE = (IndexError, KeyError, MemoryError, OSError, RuntimeError, TypeError, ValueError)  # what pyarrow raises
PEM_END = b"-----END PUBLIC KEY-----"
COLUMNS = ("id", "recorded_at", "occurred_at", "db_user", "action", "outcome", "actor_type", "actor_id", "object_type",
           "object_id", "request_id", "pii_sha256")  # fmt: skip
FILTERED_BY = ("action", "actor_id", "object_type", "object_id")
# The container: a ZIP64 whose members are stored as they are. Every byte of it that is no member's is known in advance.
LOCAL, CENTRAL = struct.Struct("<4s5H3I2H"), struct.Struct("<4s6H3I5H2I")
END64, LOCATOR, END = struct.Struct("<4sQ2H2I4Q"), struct.Struct("<4sIQI"), struct.Struct("<4s4H2IH")
FULL, UTF8, V45, DATE, UNIX, MODE = 0xFFFFFFFF, 0x800, 45, 0x21, 3 << 8, 0o100644 << 16


class Damaged(Exception):
    """The bundle cannot be read on from here."""


class Report:
    """What was looked at, and what was found."""

    def __init__(self) -> None:
        self.findings: list[dict[str, Any]] = []
        self.counts: Counter[str] = Counter()
        self.facts: dict[str, Any] = {}

    def add(self, kind: str, detail: str, **place: int | None) -> None:
        self.counts[kind] += 1
        if len(self.findings) < KEPT_MAX:
            where = {name: value for name, value in place.items() if value is not None}
            self.findings.append({"kind": kind, "detail": detail} | where)


# --- The container ----------------------------------------------------------------------------------------------------
class Bundle:
    """The members of a bundle, each a stretch of its file."""

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        self.places: dict[str, tuple[int, int, int]] = {}  # name -> (start, size, crc)
        tail = END64.size + LOCATOR.size + END.size
        end = file.seek(0, io.SEEK_END) - tail
        _require(end >= 0, "it is too short to be a bundle")
        ending = self._at(end, tail)
        count, size, start = END64.unpack(ending[: END64.size])[7:]
        expected = END64.pack(b"PK\x06\x06", 44, UNIX | V45, V45, 0, 0, count, count, size, start)
        expected += LOCATOR.pack(b"PK\x06\x07", 0, end, 1) + END.pack(b"PK\x05\x06", 0, 0, *[0xFFFF] * 2, FULL, FULL, 0)
        _require(ending == expected and start + size == end and size < CHUNK, "the end of the container is damaged")
        directory, place, at = self._at(start, size), 0, 0
        for _ in range(count):
            _require(at + CENTRAL.size <= size, "the container's directory is damaged")
            crc, length = CENTRAL.unpack_from(directory, at)[7], CENTRAL.unpack_from(directory, at)[10]
            name = directory[at + CENTRAL.size : at + CENTRAL.size + length]
            extra = at + CENTRAL.size + length + 4
            held = struct.unpack_from("<Q", directory, extra)[0] if extra + 8 <= size else 0
            entry = CENTRAL.pack(b"PK\x01\x02", UNIX | V45, V45, UTF8, 0, 0, DATE, crc, FULL, FULL, len(name), 28, 0, 0,
                                 0, MODE, FULL) + name + struct.pack("<2H3Q", 1, 24, held, held, place)  # fmt: skip
            _require(directory[at : at + len(entry)] == entry, "the container's directory is damaged")
            local = LOCAL.pack(b"PK\x03\x04", V45, UTF8, 0, 0, DATE, crc, FULL, FULL, len(name), 20)
            local += name + struct.pack("<2H2Q", 1, 16, held, held)
            _require(self._at(place, len(local)) == local, f"the head of {name!r} is damaged")
            _require(name.decode("ascii", "replace") not in self.places, f"{name!r} is there twice")
            self.places[name.decode("ascii", "replace")] = (place + len(local), held, crc)
            at, place = at + len(entry), place + len(local) + held
        _require(at == size and place == start, "the container holds something between its members")

    def _at(self, start: int, size: int) -> bytes:
        self.file.seek(start)
        return self.file.read(size)

    def digest(self, name: str) -> tuple[str, bool]:
        """Return a member's SHA-256, and whether its checksum in the container is right."""
        found, crc = sha256(), 0
        for chunk in self.chunks(name):
            found.update(chunk)
            crc = zlib.crc32(chunk, crc)
        return found.hexdigest(), crc == self.places[name][2]

    def chunks(self, name: str) -> Iterator[bytes]:
        start, left, _ = self.places[name]
        while left and (chunk := self._at(start, min(left, CHUNK))):
            yield chunk
            start, left = start + len(chunk), left - len(chunk)

    def lines(self, name: str) -> Iterator[bytes]:
        """Return a member's lines, each without its line feed."""
        rest = b""
        for chunk in self.chunks(name) if name in self.places else ():
            *whole, rest = (rest + chunk).split(b"\n")
            yield from whole
        if rest:
            yield rest

    def exactly(self, name: str) -> "Reader":
        return Reader(self.chunks(name) if name in self.places else iter(()))


class Window(io.RawIOBase):
    """A member as a file of its own, for a reader that jumps about in it."""

    def __init__(self, bundle: Bundle, name: str) -> None:
        super().__init__()
        self.bundle, self.at = bundle, 0
        self.start, self.size, _ = bundle.places[name]

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, place: int, whence: int = io.SEEK_SET) -> int:
        self.at = max(0, {io.SEEK_SET: 0, io.SEEK_CUR: self.at, io.SEEK_END: self.size}[whence] + place)
        return self.at

    def tell(self) -> int:
        return self.at

    def readinto(self, buffer: Any) -> int:
        self.bundle.file.seek(self.start + self.at)
        held = self.bundle.file.read(max(0, min(len(buffer), self.size - self.at)))
        buffer[: len(held)] = held
        self.at += len(held)
        return len(held)


class Reader:
    """A member, read by a number of bytes."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self.chunks, self.held, self.at = chunks, b"", 0

    def read(self, size: int) -> bytes:
        while len(self.held) - self.at < size and (chunk := next(self.chunks, b"")):
            self.held, self.at = self.held[self.at :] + chunk, 0
        found = self.held[self.at : self.at + size]
        self.at += len(found)
        return found


def _require(holds: object, words: str) -> None:
    if not holds:
        raise Damaged(words)


# --- Hashes and keys --------------------------------------------------------------------------------------------------
def leaf_of(canonical: bytes) -> bytes:
    return sha256(b"\x00" + canonical).digest()


def root_of(leaves: list[bytes]) -> bytes:
    """Return the root over leaf hashes. Source: RFC 9162 section 2.1."""
    while len(leaves) > 1:
        odd = leaves[-1:] if len(leaves) % 2 else []
        leaves = [sha256(b"\x01" + left + right).digest() for left, right in zip(leaves[::2], leaves[1::2])] + odd  # noqa: B905
    return leaves[0]


def root_by(path: list[bytes], leaf: bytes, index: int, count: int) -> bytes | None:
    """Return the root that an inclusion path leads to. Source: RFC 9162 section 2.1.3.2."""
    place, last, found = index, count - 1, leaf
    for node in path:
        if last == 0:
            return None
        if place % 2 or place == last:
            found = sha256(b"\x01" + node + found).digest()
            while not place % 2 and place:
                place, last = place >> 1, last >> 1
        else:
            found = sha256(b"\x01" + found + node).digest()
        place, last = place >> 1, last >> 1
    return found if last == 0 else None


def key_id(key: Ed25519PublicKey) -> str:
    return sha256(key.public_bytes(Encoding.Raw, PublicFormat.Raw)).hexdigest()[:16]


def is_signed(text: bytes, signature: str, key: Ed25519PublicKey | None) -> bool:
    try:
        if key is not None:
            key.verify(bytes.fromhex(signature), text)
    except (InvalidSignature, TypeError, ValueError):
        return False
    return key is not None


def load_keys(path: Path) -> dict[str, Ed25519PublicKey]:
    blocks = [block.strip() + b"\n" + PEM_END for block in path.read_bytes().split(PEM_END)[:-1]]
    keys = [load_pem_public_key(block) for block in blocks]
    if not keys or not all(isinstance(key, Ed25519PublicKey) for key in keys):
        raise ValueError("it must hold public Ed25519 keys as PEM")
    return {key_id(key): key for key in keys if isinstance(key, Ed25519PublicKey)}


# --- Verification -----------------------------------------------------------------------------------------------------
class Header:
    """The nine lines that a batch's seal is made of."""

    def __init__(self, text: str) -> None:
        lines = text.split("\n")
        _require(len(lines) == 10 and lines[0] == "nexus-audit-batch v1" and not lines[9], "a header is damaged")
        self.deployment, self.key_id = lines[1], lines[8]
        self.batch_no, self.first, self.count = (int(line) for line in lines[2:5])
        self.root, self.prev, self.sealed_at = lines[5], lines[6], moment(lines[7])
        self.digest = sha256(text.encode()).hexdigest()
        _require(self.count > 0 and self.first >= 0, "a header is damaged")


def moment(text: Any) -> datetime:
    found = datetime.fromisoformat(text)
    if found.tzinfo is None:
        raise ValueError(f"{text} has no time zone")
    return found


class Verifier:
    """One bundle, its evidence, and what has been seen so far. Memory does not grow with the events."""

    def __init__(self, bundle: Bundle, report: Report, keys: dict[str, Ed25519PublicKey]) -> None:
        self.bundle, self.report, self.keys = bundle, report, keys
        self.lost: list[tuple[int, int]] = []  # batches that a recovery has lost, by signed statements
        self.headers: dict[int, str] = {}  # number -> digest, kept when there are anchors
        self.batch: Header | None = None
        self.events = self.hidden = 0
        self.is_past_low, self.doubtful = False, -1  # the first hidden event that only its lateness may excuse
        self.pii = iter(self.bundle.lines("pii.jsonl"))
        self.next_pii: Any = None
        self.csv: Reader | None = None
        self.parquet: Iterator[dict[str, Any]] | None = None
        self.damaged: set[str] = set()

    def run(self, anchors: list[Path]) -> None:
        self._read_manifest()
        self._read_statements()
        self._begin_csv()
        self._begin_parquet()
        self._step_pii()
        (self._check_filtered if self.is_filtered else self._check_range)()
        if self.csv is not None and self.csv.read(1):
            self.report.add("csv_mismatch", "events.csv has more rows than there are events")
        if self.parquet is not None and self._next_of_parquet() is not None:
            self.report.add("parquet_mismatch", "events.parquet has more rows than there are events")
        if self.next_pii is not None:
            self.report.add("pii_modified", f"personal data of event {self.next_pii.get('event_id')} belongs to none")
        self._compare_counts()
        for path in anchors:
            self._compare_anchor(path)

    def _read_manifest(self) -> None:
        bundle, report = self.bundle, self.report
        _require("manifest.json" in bundle.places, "it holds no manifest.json")
        digest, is_whole = bundle.digest("manifest.json")
        if not is_whole:
            report.add("file_damaged", "manifest.json is not what was exported")
        self.manifest = json.loads(b"".join(bundle.chunks("manifest.json")))
        report.facts["manifest_sha256"] = digest
        _require(self.manifest["format"] == FORMAT, f"it is not of the format {FORMAT}")
        self.deployment, self.filter = self.manifest["deployment"], self.manifest["filter"]
        _require(self.manifest["completeness"] in ("range", "filtered"), "the manifest's completeness is unknown")
        self.is_filtered = any(self.filter[name] for name in FILTERED_BY)
        if self.is_filtered != (self.manifest["completeness"] == "filtered"):
            report.add("manifest_mismatch", "the manifest's completeness contradicts its filter")
        self.low, self.high = (moment(self.filter[name]) if self.filter[name] else None for name in ("from", "to"))
        wanted = {"events.jsonl", "batches.jsonl", "statements.jsonl"}
        wanted |= {"proofs.jsonl"} if self.is_filtered else {"leaves.bin"}
        for name in sorted(wanted - set(bundle.places)):
            report.add("file_missing", f"{name} is not there")
        if set(bundle.places) - {"manifest.json"} != set(self.manifest["files"]):
            report.add("manifest_mismatch", "the manifest names other files than there are")
        for name, said in self.manifest["files"].items():
            if name in bundle.places:
                found, is_whole = bundle.digest(name)
                if not is_whole or found != said["sha256"] or bundle.places[name][1] != said["size"]:
                    report.add("file_damaged", f"{name} is not what was exported")
                    self.damaged.add(name)

    def _read_statements(self) -> None:
        """Know the keys that known keys vouch for, and what signed statements say was lost in a recovery."""
        for line in self.bundle.lines("statements.jsonl"):
            try:
                self._believe(json.loads(line))
            except (AttributeError, KeyError, TypeError, ValueError):
                continue  # whoever may append events can write such a one, and it means nothing

    def _believe(self, said: dict[str, Any]) -> None:
        detail = said["detail"]
        by = self.keys.get(detail.get("introduced_by", detail.get("signed_by")))
        if said["action"] == "audit.key_introduced":
            new = Ed25519PublicKey.from_public_bytes(bytes.fromhex(detail["public_key"]))
            text = f"nexus-audit-key v1\n{self.deployment}\n{key_id(new)}\n{detail['public_key']}\n"
            if is_signed(text.encode(), detail["authorization"], by):
                self.keys.setdefault(key_id(new), new)
        elif said["action"] == "audit.recovery":
            first, last = int(detail["first_lost"]), int(detail["last_lost"])
            text = f"nexus-audit-recovery v1\n{self.deployment}\n{first}\n{last}\n{detail['lost_head_hash']}\n"
            if is_signed(text.encode(), detail["authorization"], by):
                self.lost.append((first, last))

    def _check_header(self, line: bytes) -> dict[str, Any]:
        """Check a seal against its key and the seal before it."""
        said, before, report = json.loads(line), self.batch, self.report
        self.batch = batch = Header(said["header"])
        place = {"batch_no": batch.batch_no, "log_index": batch.first}
        if said["batch_no"] != batch.batch_no or batch.deployment != self.deployment:
            report.add("header_hash", "the header is of another batch or deployment", **place)
        if not is_signed(said["header"].encode(), said["signature"], self.keys.get(batch.key_id)):
            report.add("bad_signature", f"no known key {batch.key_id} has signed this header", **place)
        genesis = sha256(f"nexus-audit-genesis v1\n{self.deployment}\n".encode()).hexdigest()
        if batch.batch_no == 0 and (batch.prev != genesis or batch.first != 0):
            report.add("chain_break", "the first batch does not begin the log", **place)
        if before is not None and batch.batch_no == before.batch_no + 1:
            if batch.prev != before.digest:
                report.add("chain_break", "it does not name the header before it", **place)
            if batch.first != before.first + before.count:
                report.add("leaf_index", "it does not begin where the batch before it ends", **place)
        elif before is not None and (not self.is_filtered or batch.batch_no <= before.batch_no):
            report.add("chain_break", f"it follows batch {before.batch_no}", **place)
        if before is not None and batch.sealed_at < before.sealed_at:
            report.add("clock_backwards", "it was sealed before the batch before it", **place)
        self.headers[batch.batch_no] = batch.digest
        return said  # type: ignore[no-any-return]

    def _check_range(self) -> None:
        """Recompute every root: no event was changed, and none is missing."""
        leaves, events = self.bundle.exactly("leaves.bin"), self.bundle.lines("events.jsonl")
        for line in self.bundle.lines("batches.jsonl"):
            said = self._check_header(line)
            assert self.batch is not None
            batch = self.batch
            hidden: set[int] = set()
            for start, count in said["hidden"]:
                is_inside = start >= 0 and count > 0 and start + count <= batch.count
                _require(is_inside, "a batch's hidden events are damaged")
                hidden.update(range(start, start + count))
            stored = leaves.read(HASH * batch.count)
            listed = [stored[at : at + HASH] for at in range(0, len(stored), HASH)]
            if len(stored) != HASH * batch.count:
                self.report.add("leaf_count", "leaves.bin ends too early", batch_no=batch.batch_no)
                return
            computed = list(listed)
            for offset in range(batch.count):
                if offset in hidden:
                    self.hidden += 1
                    if offset not in said["missing"]:
                        self._doubt(batch.first + offset)
                    continue
                canonical = next(events, None)
                if canonical is None:
                    self.report.add("event_missing", "events.jsonl ends too early", log_index=batch.first + offset)
                    return
                computed[offset] = leaf_of(canonical)
                self._check_event(canonical, batch.first + offset, computed[offset])
            for offset in sorted(hidden - set(said["missing"])) if self.low is None and self.high is None else ():
                words = "the event is left out, though nothing says that it was not asked for"
                self.report.add("event_hidden", words, log_index=batch.first + offset)
            for offset in said["missing"]:
                words = "the log had lost it when this was exported"
                self.report.add("event_missing", words, log_index=batch.first + offset)
            self._judge(batch, listed, computed)
        if next(events, None) is not None or leaves.read(1):
            self.report.add("leaf_count", "there are more events than the seals cover")

    def _doubt(self, index: int) -> None:
        """Note a hidden event: between two that are well inside the time, none lies outside it."""
        is_timed = self.low is not None or self.high is not None
        if is_timed and self.doubtful < 0 and (self.is_past_low or self.low is None):
            self.doubtful = index

    def _place(self, recorded_at: datetime) -> None:
        """Judge by a shown event whether those that were hidden before it may have been recorded outside the time."""
        if self.doubtful >= 0 and (self.high is None or recorded_at + DRIFT < self.high):
            words = "from here on events are left out that were recorded within the time that was asked for"
            self.report.add("event_hidden", words, log_index=self.doubtful)
            self.doubtful = -1
        self.is_past_low = self.is_past_low or (self.low is not None and recorded_at - DRIFT >= self.low)

    def _judge(self, batch: Header, listed: list[bytes], computed: list[bytes]) -> None:
        differing = [batch.first + at for at, (old, new) in enumerate(zip(listed, computed)) if old != new]  # noqa: B905
        by_leaf, by_event = root_of(listed).hex() == batch.root, root_of(computed).hex() == batch.root
        for index in differing:
            if by_event:
                self.report.add("leaf_changed", "the leaf's hash was changed, the event is whole", log_index=index)
            else:
                self.report.add("event_modified", "the event is not the one that was sealed", log_index=index)
        if not by_leaf and not by_event:
            words = "the events do not come to this root"
            self.report.add("merkle_root", words, batch_no=batch.batch_no, log_index=batch.first)

    def _check_filtered(self) -> None:
        """Follow every event's path to a signed root: each is authentic, and others may have been left out."""
        batches, proofs, newest = self.bundle.lines("batches.jsonl"), self.bundle.lines("proofs.jsonl"), -1
        for canonical in self.bundle.lines("events.jsonl"):
            line = next(proofs, None)
            if line is None:
                self.report.add("leaf_count", "there are fewer proofs than events")
                return
            proof = json.loads(line)
            index = int(proof["log_index"])
            while self.batch is None or self.batch.batch_no < proof["batch_no"]:
                following = next(batches, None)
                _require(following is not None, f"the batch {proof['batch_no']} is not there")
                self._check_header(following or b"")
            batch, leaf = self.batch, leaf_of(canonical)
            path = [bytes.fromhex(node) for node in proof["path"]]
            if index <= newest:
                self.report.add("leaf_index", "the events are not in the order of the log", log_index=index)
            newest, inside = index, batch.batch_no == proof["batch_no"] and 0 <= index - batch.first < batch.count
            root = root_by(path, leaf, index - batch.first, batch.count) if inside else None
            if root is None or root.hex() != batch.root:
                self.report.add("event_modified", "the event is not the one that was sealed here", log_index=index)
            self._check_event(canonical, index, leaf)
        for line in batches:
            self._check_header(line)
        if next(proofs, None) is not None:
            self.report.add("event_missing", "there are more proofs than events")

    def _check_event(self, canonical: bytes, index: int, leaf: bytes) -> None:
        self.events += 1
        try:
            event = json.loads(canonical)
            recorded_at = moment(event["recorded_at"])
            committed, number = event["pii_sha256"], event["id"]
        except (KeyError, TypeError, ValueError):
            self.report.add("event_modified", "it is not the text of an event", log_index=index)
            return
        assert self.batch is not None
        if recorded_at > self.batch.sealed_at + SKEW:
            self.report.add("clock_backwards", "it was recorded after its seal", log_index=index, event_id=number)
        is_inside = (self.low is None or recorded_at >= self.low) and (self.high is None or recorded_at < self.high)
        if not is_inside or any(self.filter[name] not in ("", event[name]) for name in FILTERED_BY):
            self.report.add("outside_filter", "it is not what the manifest says was asked for", log_index=index)
        if not self.is_filtered and (self.low is not None or self.high is not None):
            self._place(recorded_at)
        if self.csv is not None:
            self._check_row(event, canonical, index, leaf)
        if self.parquet is not None:
            self._check_parquet(event, canonical, index, leaf)
        if self.next_pii is not None and self.next_pii.get("event_id") == number:
            held = bytes.fromhex(self.next_pii["salt"]) + self.next_pii["data"].encode()
            if sha256(held).hexdigest() != committed:
                words = "the personal data is not what the event commits to"
                self.report.add("pii_modified", words, log_index=index, event_id=number)
            self._step_pii()

    def _step_pii(self) -> None:
        line = next(self.pii, None)
        self.next_pii = None if line is None else json.loads(line)

    def _begin_csv(self) -> None:
        if "events.csv" in self.bundle.places:
            self.csv = self.bundle.exactly("events.csv")
            head = _row(["log_index", "leaf_sha256", *COLUMNS, "canonical"])
            if self.csv.read(len(head)) != head:
                self.report.add("csv_mismatch", "the head of events.csv is another")
                self.csv = None

    def _check_row(self, event: Any, canonical: bytes, index: int, leaf: bytes) -> None:
        assert self.csv is not None
        cells = ("" if event.get(name) is None else str(event[name]) for name in COLUMNS)
        safe = ("'" + cell if cell[:1] in tuple("=+-@\t\r\n") else cell for cell in cells)
        row = _row([str(index), leaf.hex(), *safe, canonical.decode()])
        if self.csv.read(len(row)) != row:
            self.report.add("csv_mismatch", "the row of events.csv says something else than the event", log_index=index)
            self.csv = None  # where the next row begins is not known any more

    def _begin_parquet(self) -> None:
        """Read the rows of events.parquet, where Parquet can be read. It is no proof by itself: nothing signs it."""
        if "events.parquet" not in set(self.bundle.places) - self.damaged:  # what is found already, no reader is asked
            return
        try:
            parquet = importlib.import_module("pyarrow.parquet")
        except ImportError:
            self.report.facts["not_compared"] = ["events.parquet"]
            return
        try:
            file = parquet.ParquetFile(Window(self.bundle, "events.parquet"))
            self.parquet = (row for rows in file.iter_batches(batch_size=PARQUET_ROWS) for row in rows.to_pylist())
        except UNREADABLE as exc:
            self.report.add("parquet_mismatch", f"events.parquet cannot be read: {type(exc).__name__}")

    def _next_of_parquet(self) -> dict[str, Any] | None:
        assert self.parquet is not None
        try:
            return next(self.parquet, None)
        except UNREADABLE as exc:
            return {"unreadable": type(exc).__name__}

    def _check_parquet(self, event: Any, canonical: bytes, index: int, leaf: bytes) -> None:
        cells = {name: None if event.get(name) is None else str(event[name]) for name in COLUMNS}
        expected = {"log_index": index, "leaf_sha256": leaf.hex(), **cells, "canonical": canonical.decode()}
        if self._next_of_parquet() != expected:
            words = "the row of events.parquet says something else than the event"
            self.report.add("parquet_mismatch", words, log_index=index)
            self.parquet = None

    def _compare_counts(self) -> None:
        found = {"events": self.events, "hidden": self.hidden, "batches": len(self.headers)}
        if any(self.manifest["counts"][name] != count for name, count in found.items()):
            self.report.add("manifest_mismatch", f"the manifest counts otherwise: there are {found}")
        first, last = (min(self.headers), max(self.headers)) if self.headers else (None, None)
        if (self.manifest["from_batch"], self.manifest["to_batch"]) != (first, last):
            self.report.add("manifest_mismatch", f"the batches are {first} to {last}, the manifest says otherwise")
        if not self.is_filtered:
            self._compare_ends(first, last)
        said = ("completeness", "sealed_through", "deployment", "filter")
        self.report.facts |= found | {name: self.manifest[name] for name in said}
        self.report.facts |= {"from_batch": first, "to_batch": last}

    def _compare_ends(self, first: int | None, last: int | None) -> None:
        """Hold the batches against the time: without a beginning the log's first is there, without an end its last."""
        if self.low is None and first != 0 and not (first is None and self.high is not None):
            self.report.add("batches_missing", "no beginning was asked for, and the log's first batch is not there")
        is_whole = last == self.manifest["sealed_through"]["batch_no"]
        if self.high is None and not is_whole and not (last is None and self.low is not None):
            self.report.add("batches_missing", "no end was asked for, and the last sealed batch is not there")
        if self.high is None and self.doubtful >= 0:
            words = "from here on events are left out that were recorded within the time that was asked for"
            self.report.add("event_hidden", words, log_index=self.doubtful)

    def _is_left_out(self, number: int, sealed_at: datetime) -> bool:
        """Tell whether a batch that an anchor knows belongs to the time that was asked for, and is not here."""
        if self.is_filtered or number in self.headers or number > self.manifest["sealed_through"]["batch_no"]:
            return False
        is_after = self.low is None or sealed_at >= self.low + SKEW
        return is_after and (self.high is None or sealed_at < self.high - SKEW)

    def _compare_anchor(self, path: Path) -> None:
        """Hold every seal against what left the database when it was made."""
        name, seen = path.name, set()
        newest, made_at = self.manifest["sealed_through"]["batch_no"], moment(self.manifest["created_at"])
        for number, header in _seals(path):
            is_lost = any(first <= number <= last for first, last in self.lost)
            seen.add(number)
            if number in self.headers and sha256(header.encode()).hexdigest() != self.headers[number] and not is_lost:
                self.report.add("history_rewritten", f"{name} has another batch of this number", batch_no=number)
            sealed_at = moment(header.split("\n")[7])
            if self._is_left_out(number, sealed_at) and not is_lost:
                self.report.add("batches_missing", f"{name} has this batch of the time asked for", batch_no=number)
            is_due = number > newest and sealed_at < made_at - ANCHORED_WITHIN
            if is_due and not is_lost:
                self.report.add("tail_truncated", f"{name} had this batch when the bundle was made", batch_no=number)
        for number in sorted(set(self.headers) - seen):
            if number < max(seen, default=1 << 62):
                self.report.add("anchor_missing", f"{name} lacks this batch", batch_no=number)


def _seals(path: Path) -> Iterator[tuple[int, str]]:
    with path.open("rb") as file:
        for line in file:
            try:
                said = json.loads(line)
                yield int(said["batch_no"]), str(said["header"])
            except (KeyError, TypeError, ValueError):
                continue  # a line that a crash has torn


def _row(cells: list[str]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\r\n").writerow(cells)
    return text.getvalue().encode()


def verify(path: Path, keys: dict[str, Ed25519PublicKey], anchors: list[Path]) -> Report:
    """Verify a bundle."""
    report = Report()
    with path.open("rb") as file:
        try:
            Verifier(Bundle(file), report, dict(keys)).run(anchors)
        except Damaged as exc:
            report.add("bundle_damaged", str(exc))
        except (AttributeError, IndexError, KeyError, TypeError, ValueError, struct.error) as exc:
            report.add("bundle_damaged", f"something in it cannot be read: {type(exc).__name__}: {exc}")
    return report


def words(report: Report) -> str:
    """Say what was found."""
    lines = []
    for found in report.findings:
        where = ", ".join(f"{name} {found[name]}" for name in ("batch_no", "log_index", "event_id") if name in found)
        lines.append(": ".join(part for part in (found["kind"], where, found["detail"]) if part))
    if sum(report.counts.values()) > len(report.findings):
        lines.append(f"... and {sum(report.counts.values()) - len(report.findings)} more")
    facts = report.facts
    if "events" in facts:
        lines.append(f"{facts['events']} events, {facts['hidden']} more as hashes, of {facts['batches']} batches"
                     f" ({facts['from_batch']} to {facts['to_batch']}) of {facts['deployment']}")  # fmt: skip
        lines.append(
            "Asked for: "
            + (", ".join(f"{name} {text}" for name, text in facts["filter"].items() if text) or "everything")
        )
        lines.append("Complete: every event of these batches is here or counted as a hash."
                     if facts["completeness"] == "range"
                     else "Filtered: each event is authentic; that none was left out cannot be proven.")  # fmt: skip
    if "manifest_sha256" in facts:
        lines.append(f"SHA-256 of manifest.json: {facts['manifest_sha256']}; the log's event audit.exported names it")
    if "not_compared" in facts:
        lines.append("NOT COMPARED: events.parquet. Nothing is known of its rows; comparing them needs pyarrow.")
    lines.append("TAMPERED: " + ", ".join(f"{name} {n}" for name, n in sorted(report.counts.items()))
                 if report.counts else "CLEAN")  # fmt: skip
    return "\n".join(lines)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(USAGE, f"{self.format_usage()}{self.prog}: {message}\n")


def main(arguments: list[str] | None = None) -> int:
    """Verify the bundle that the command line names, and return the exit code."""
    parser = _Parser(prog="nexus-audit-verify", description="Verify an exported bundle of a Nexus audit log.")
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--public-key", type=Path, required=True, help="PEM, from elsewhere than the bundle")
    parser.add_argument("--anchor", type=Path, action="append", default=[], help="a file of anchored seals")
    parser.add_argument("--json", action="store_true", help="one JSON document instead of words")
    given = parser.parse_args(arguments)
    try:
        for path in given.anchor:
            path.open("rb").close()
        report = verify(given.bundle, load_keys(given.public_key), given.anchor)
    except (OSError, ValueError) as exc:
        parser.error(str(exc))
    document = {"verdict": "tampered" if report.counts else "clean", "counts": dict(report.counts)}
    document |= {"findings": report.findings} | report.facts
    print(json.dumps(document, indent=2) if given.json else words(report))
    return TAMPERED if report.counts else CLEAN


if __name__ == "__main__":
    sys.exit(main())
