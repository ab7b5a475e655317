"""Writes the state of a backup out, in the clear: as JSON that a person can read, or as Parquet.

It takes the records as they come, whatever reads them, and holds a few MiB of them; Parquet a row group, and a large
value whole.
"""

from __future__ import annotations

import errno
import json
import os
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from strata.content.document import MARK, PART_BYTES, VERSION, compact, large_row, part_text, row_text, rows_of
from strata.errors import IntegrityError, SettingError, StorageError, StoreFull
from strata.model.manifest import BackupMetadata
from strata.model.record import MOMENT, LargeValue
from strata.model.tier import Tier

Items = Iterator[pa.Table | LargeValue]
"""A tier's records: tables of CONTENT_SCHEMA whose values all stand in them, and large values."""

ROW_GROUP_BYTES: Final = 32 << 20
_LARGEST_IN_PARQUET: Final = (1 << 31) - 1
_NO_LINKS: Final = {errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK}

PARQUET_SCHEMA: Final = pa.schema(
    [
        pa.field("tier", pa.dictionary(pa.int32(), pa.string()), nullable=False),
        pa.field("namespace", pa.dictionary(pa.int32(), pa.string()), nullable=False),
        pa.field("key", pa.large_binary(), nullable=False),
        pa.field("value", pa.large_binary(), nullable=False),
        pa.field("encoding", pa.dictionary(pa.int32(), pa.string()), nullable=False),
        pa.field("expires_at", MOMENT),
        pa.field("modified_at", MOMENT),
        pa.field("attrs", pa.string()),
    ]
)


@dataclass(frozen=True)
class Export:
    """What is exported: the backup, the tiers in their order, and what describes each tier's source."""

    manifest: BackupMetadata
    tiers: tuple[Tier, ...]
    details: Mapping[str, Any]

    @property
    def heads(self) -> dict[str, Any]:
        """What the document says of each tier."""
        contents = {tier: self.manifest.content(tier) for tier in self.tiers}
        return {
            tier.value: {"records": content.records, "cut": content.cut, "source": self.details[tier.value]}
            for tier, content in contents.items()
        }

    def check(self, written: Mapping[Tier, int]) -> None:
        """Raise where a tier came with other records than the backup says it has."""
        for tier in self.tiers:
            said, count = self.manifest.content(tier).records, written.get(tier, 0)
            if said != count:
                raise IntegrityError(
                    f"{self.manifest.backup_id} has {said:,} records of {tier.label}, and {count:,} were read"
                )


@dataclass
class Written:
    """What an export wrote: records of each tier, and bytes of their values."""

    records: dict[Tier, int] = field(default_factory=dict)
    bytes: int = 0

    def count(self, tier: Tier, records: int, size: int) -> None:
        """Add records."""
        self.records[tier] = self.records.get(tier, 0) + records
        self.bytes += size


def write_json(export: Export, read: Callable[[Tier], Items], target: BinaryIO) -> Written:
    """One JSON document, a record a line; content/document_reader.py takes it back byte for byte."""
    written, between = Written(), "\n"
    manifest = export.manifest
    head = {
        MARK: VERSION,
        "backup_id": manifest.backup_id,
        "type": manifest.backup_type.value,
        "created_at": manifest.created_at.isoformat(),
        "tiers": export.heads,
    }
    target.write(json.dumps(head, ensure_ascii=False, indent=1).removesuffix("\n}").encode() + b',\n "records": [')
    for tier in export.tiers:
        for lines, records, size in _json_lines(tier, read(tier)):
            for line in lines:
                target.write(f"{between}{line}".encode())
                between = ",\n"
            written.count(tier, records, size)
    export.check(written.records)
    target.write(b"\n]}\n")
    return written


def write_parquet(export: Export, read: Callable[[Tier], Items], target: BinaryIO) -> Written:
    """One Parquet file with a row for each record; the file's metadata says what the backup and its sources are."""
    written = Written()
    told = {"strata.backup_id": export.manifest.backup_id, "strata.tiers": compact(export.heads)}
    schema = PARQUET_SCHEMA.with_metadata(told)
    with pq.ParquetWriter(target, schema, compression="zstd", use_dictionary=["tier", "namespace", "encoding"]) as file:
        waiting: list[pa.Table] = []
        for tier in export.tiers:
            for item in read(tier):
                table = _parquet_rows(tier, item)
                written.count(tier, table.num_rows, pc.sum(pc.binary_length(table["value"])).as_py() or 0)
                waiting.append(table)
                if sum(one.nbytes for one in waiting) >= ROW_GROUP_BYTES:
                    _write_group(file, waiting)
        _write_group(file, waiting)
        export.check(written.records)
    return written


@contextmanager
def new_file(path: Path) -> Iterator[BinaryIO]:
    """A file that appears whole, readable by its owner alone, or not at all; one that is there is left alone."""
    refuse_existing(path)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with open(temporary, "xb", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        _appear(temporary, path)
    except FileExistsError:
        raise _taken(path) from None
    except OSError as error:
        kind = StoreFull if error.errno in {errno.ENOSPC, errno.EDQUOT} else StorageError
        raise kind(f"{path} cannot be written: {error.strerror or type(error).__name__}") from None
    finally:
        temporary.unlink(missing_ok=True)


def refuse_existing(path: Path) -> None:
    """Raise where there is something of that name, or no folder for it."""
    if path.exists() or path.is_symlink():
        raise _taken(path)
    if not path.parent.is_dir():
        raise SettingError(f"{path} cannot be written: there is no folder {path.parent}")


def _appear(temporary: Path, path: Path) -> None:
    """A link fails where the name was taken meanwhile; a rename, where there are no links, would overwrite."""
    try:
        os.link(temporary, path)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        refuse_existing(path)
        os.rename(temporary, path)


def _taken(path: Path) -> SettingError:
    return SettingError(f"{path} is there already, and an export overwrites nothing", hint="Name another file.")


def _json_lines(tier: Tier, items: Items) -> Iterator[tuple[Iterable[str], int, int]]:
    """Lines of the document, how many records they are, and the bytes of their values."""
    for item in items:
        if isinstance(item, LargeValue):
            yield [row_text(large_row(tier, item))], 1, item.size
            for part in _recut(item):
                yield [part_text(part)], 0, 0
        else:
            rows = list(rows_of(tier, item))
            yield map(row_text, rows), len(rows), sum(len(row.value or b"") for row in rows)


def _recut(value: LargeValue) -> Iterator[bytes]:
    """The value's bytes in parts of PART_BYTES; IntegrityError where they are not as many as it says."""
    held, total = bytearray(), 0
    for part in value.parts:
        held += part
        total += len(part)
        while len(held) >= PART_BYTES:
            yield bytes(held[:PART_BYTES])
            del held[:PART_BYTES]
    if held:
        yield bytes(held)
    if total != value.size:
        raise _short(value, total)


def _short(value: LargeValue, total: int) -> IntegrityError:
    return IntegrityError(f"a large value has {total:,} bytes in place of {value.size:,}")


def _parquet_rows(tier: Tier, item: pa.Table | LargeValue) -> pa.Table:
    if isinstance(item, LargeValue):
        item = _one_row(item)
    columns = {name: item[name] for name in PARQUET_SCHEMA.names if name != "tier"}
    names = pa.array([tier.value] * item.num_rows, pa.string()).dictionary_encode()
    return pa.table({"tier": names, **columns}).cast(PARQUET_SCHEMA)


def _one_row(value: LargeValue) -> pa.Table:
    if value.size > _LARGEST_IN_PARQUET:
        raise SettingError(
            "a value of 2 GiB or more does not fit into a row of Parquet", hint="Export it with --format json."
        )
    whole = b"".join(value.parts)
    if len(whole) != value.size:
        raise _short(value, len(whole))
    return pa.table(
        {
            "namespace": pa.array([value.namespace]).dictionary_encode(),
            "key": pa.array([value.key], pa.large_binary()),
            "value": pa.array([whole], pa.large_binary()),
            "encoding": pa.array([value.encoding.value]).dictionary_encode(),
            "expires_at": pa.array([value.expires_at], MOMENT),
            "modified_at": pa.array([value.modified_at], MOMENT),
            "attrs": pa.array([value.attrs], pa.string()),
        }
    )


def _write_group(file: pq.ParquetWriter, waiting: list[pa.Table]) -> None:
    if waiting:
        rows = pa.concat_tables(waiting).unify_dictionaries()
        file.write_table(rows, row_group_size=max(rows.num_rows, 1))
        waiting.clear()
