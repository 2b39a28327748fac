"""The container of a bundle: a ZIP64 whose members are stored as they are, with one time and one mode for all.

So every byte of it is known from the members alone, and the offline verifier finds any that was changed.
Source: PKWARE APPNOTE 6.3.10, §4.3 and §4.5.3.
"""

import struct
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256
from typing import BinaryIO

_LOCAL, _CENTRAL = struct.Struct("<4s5H3I2H"), struct.Struct("<4s6H3I5H2I")
_END64, _LOCATOR, _END = struct.Struct("<4sQ2H2I4Q"), struct.Struct("<4sIQI"), struct.Struct("<4s4H2IH")
_LOCAL_EXTRA, _CENTRAL_EXTRA = struct.Struct("<2H2Q"), struct.Struct("<2H3Q")
_ELSEWHERE, _UTF8, _VERSION, _MADE_BY = 0xFFFFFFFF, 0x0800, 45, 3 << 8 | 45
_DATE, _MODE = 0x21, 0o100644 << 16  # 1980-01-01; a file that its owner writes and everybody reads


@dataclass(frozen=True, slots=True)
class Member:
    """One member as it stands in the container."""

    name: bytes
    start: int
    size: int
    crc: int
    digest: str

    def local(self) -> bytes:
        """Return what stands before the member."""
        extra = _LOCAL_EXTRA.pack(1, 16, self.size, self.size)
        head = _LOCAL.pack(
            b"PK\x03\x04", _VERSION, _UTF8, 0, 0, _DATE, self.crc, _ELSEWHERE, _ELSEWHERE, len(self.name), len(extra)
        )
        return head + self.name + extra

    def central(self) -> bytes:
        """Return the member's entry in the directory."""
        extra = _CENTRAL_EXTRA.pack(1, 24, self.size, self.size, self.start)
        head = _CENTRAL.pack(
            b"PK\x01\x02", _MADE_BY, _VERSION, _UTF8, 0, 0, _DATE, self.crc, _ELSEWHERE, _ELSEWHERE, len(self.name),
            len(extra), 0, 0, 0, _MODE, _ELSEWHERE,
        )  # fmt: skip
        return head + self.name + extra


class Container:
    """A container that is written from its beginning to its end; its file can be wound back."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.members: list[Member] = []

    def add(self, name: str, chunks: Iterable[bytes]) -> Member:
        """Write a member from pieces of any size."""
        start, size, crc, digest = self._file.tell(), 0, 0, sha256()
        self._file.write(Member(name.encode("ascii"), start, 0, 0, "").local())
        for chunk in chunks:
            self._file.write(chunk)
            size += len(chunk)
            crc = zlib.crc32(chunk, crc)
            digest.update(chunk)
        member = Member(name.encode("ascii"), start, size, crc, digest.hexdigest())
        self._file.seek(start)
        self._file.write(member.local())
        self._file.seek(0, 2)
        self.members.append(member)
        return member

    def close(self) -> None:
        """Write the directory."""
        start = self._file.tell()
        directory = b"".join(member.central() for member in self.members)
        end, count = start + len(directory), len(self.members)
        self._file.write(directory)
        self._file.write(
            _END64.pack(b"PK\x06\x06", 44, _MADE_BY, _VERSION, 0, 0, count, count, len(directory), start)
            + _LOCATOR.pack(b"PK\x06\x07", 0, end, 1)
            + _END.pack(b"PK\x05\x06", 0, 0, 0xFFFF, 0xFFFF, _ELSEWHERE, _ELSEWHERE, 0)
        )
