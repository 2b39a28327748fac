"""The table of a bundle as Parquet: an extra, for whoever has installed its package (requirements-parquet.txt)."""

import importlib
from collections.abc import Iterable, Sequence
from typing import IO, Any

from nexus.audit.rules import bundle
from nexus.core.errors import Invalid

ROWS_AT_ONCE, BYTES_AT_ONCE = 5_000, 16 << 20  # of a row group, whichever comes first


class ParquetMissing(Invalid):
    """The process that writes bundles cannot write Parquet."""

    code = "audit_parquet_missing"
    title = "Parquet cannot be written here"


class Columns:
    """A table that is written in groups of rows. Memory does not grow with it."""

    def __init__(self, file: IO[bytes]) -> None:
        """Begin the table. Raises: ParquetMissing."""
        self._arrow, parquet = _packages()
        texts = [(name, self._arrow.string()) for name in bundle.TABLE_HEAD[1:]]
        self._schema = self._arrow.schema([("log_index", self._arrow.int64()), *texts])
        self._writer = parquet.ParquetWriter(file, self._schema, compression="zstd")
        self._waiting: list[Sequence[Any]] = []
        self._size = 0

    def write(self, rows: Iterable[Sequence[Any]]) -> None:
        """Add rows, each as `bundle.TABLE_HEAD` names its cells."""
        for row in rows:
            self._waiting.append(row)
            self._size += len(row[-1])
            if len(self._waiting) >= ROWS_AT_ONCE or self._size >= BYTES_AT_ONCE:
                self._flush()

    def close(self) -> None:
        """End the table; its file stays open."""
        self._flush()
        self._writer.close()

    def _flush(self) -> None:
        if self._waiting:
            cells = zip(*self._waiting, strict=True)
            arrays = [self._arrow.array(each, field.type) for each, field in zip(cells, self._schema, strict=True)]
            self._writer.write_batch(self._arrow.record_batch(arrays, schema=self._schema))
        self._waiting, self._size = [], 0


def _packages() -> tuple[Any, Any]:
    try:
        return importlib.import_module("pyarrow"), importlib.import_module("pyarrow.parquet")
    except ImportError as exc:
        raise ParquetMissing(
            "Parquet needs a package that is not installed where bundles are written:"
            " pip install --require-hashes -r requirements-parquet.txt"
        ) from exc
