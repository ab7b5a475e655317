"""What an export writes: whole and exact, or nothing; in bounded memory; readable by its owner alone."""

from __future__ import annotations

import io
import json
import random
import stat
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from strata.content.document import PART_BYTES
from strata.engine import export as module
from strata.engine.export import Export, new_file, write_json, write_parquet
from strata.errors import IntegrityError, SettingError, StorageError
from strata.model.manifest import BackupMetadata
from strata.model.record import Encoding, LargeValue
from strata.model.tier import Tier
from strata.testing import Key, MemoryRecord, MemorySource
from tests.engine.workbench import Workbench

MOMENT = datetime(2026, 11, 23, 22, 45, 1, 123_000, UTC)
LARGE = random.Random(1).randbytes(5 * (1 << 20) + 7)
STATES: dict[Tier, dict[Key, MemoryRecord]] = {
    Tier.HOT: {
        ("0", b"position:1"): MemoryRecord(b'{"qty":1}', Encoding.REDIS_STRING, MOMENT),
        ("3", b"\xff\x00"): MemoryRecord(b"\x00\xff", Encoding.REDIS_DUMP),
        **{("0", b"order:%d" % number): MemoryRecord(b"%d" % number, Encoding.REDIS_STRING) for number in range(500)},
    },
    Tier.COLD: {
        ("", b"model.bin"): MemoryRecord(LARGE, Encoding.S3_OBJECT, None, MOMENT, '{"content_type":"x/y"}'),
        ("", b"empty"): MemoryRecord(b"", Encoding.S3_OBJECT),
    },
}


@pytest.fixture
def bench(folder: Path) -> Workbench:
    """An engine with two tiers."""
    return Workbench(folder, {tier: MemorySource(tier, state, batch_rows=50) for tier, state in STATES.items()})


def exporting(bench: Workbench, manifest: BackupMetadata, *tiers: Tier) -> tuple[Export, Any]:
    """What is exported, and what reads it."""
    export = Export(manifest, tiers or tuple(STATES), bench.restorer.details(manifest))
    return export, lambda tier: bench.restorer.items(manifest, tier)


def test_a_document_lists_every_record_of_every_tier(bench: Workbench) -> None:
    """One JSON document: what the backup is, what its tiers are, and a record a line."""
    manifest = bench.backup()
    target = io.BytesIO()
    written = write_json(*exporting(bench, manifest), target)
    document = json.loads(target.getvalue())
    assert (document["strata_export"], document["backup_id"]) == (1, manifest.backup_id)
    assert document["tiers"]["hot"]["records"] == len(STATES[Tier.HOT])
    assert document["tiers"]["cold"]["source"] == {"tier": "cold"}
    records = [record for record in document["records"] if isinstance(record, dict)]
    assert len(records) == sum(map(len, STATES.values()))
    (position,) = [record for record in records if record.get("key") == "position:1"]
    assert position == {
        "tier": "hot",
        "namespace": "0",
        "key": "position:1",
        "value_json": {"qty": 1},
        "encoding": "redis/string",
        "expires_at": "2026-11-23T22:45:01.123Z",
    }
    assert target.getvalue().count(b"\n") > len(records)
    assert written.records == {tier: len(state) for tier, state in STATES.items()}
    assert written.bytes == sum(len(record.value) for state in STATES.values() for record in state.values())


def test_a_document_is_written_in_small_pieces(bench: Workbench) -> None:
    """A large value of any size goes out part by part: no write is larger than a part in base64 and a little."""
    pieces: list[int] = []

    class Watching(io.BytesIO):
        def write(self, data: Any) -> int:
            pieces.append(len(data))
            return super().write(data)

    write_json(*exporting(bench, bench.backup(), Tier.COLD), Watching())
    assert max(pieces) < PART_BYTES * 4 / 3 + 100


def test_one_tier_can_be_exported(bench: Workbench) -> None:
    """The document names that tier and no other."""
    target = io.BytesIO()
    write_json(*exporting(bench, bench.backup(), Tier.COLD), target)
    document = json.loads(target.getvalue())
    assert set(document["tiers"]) == {"cold"}
    assert {record["tier"] for record in document["records"] if isinstance(record, dict)} == {"cold"}


def test_parquet_holds_every_record_in_bounded_row_groups(
    bench: Workbench, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A row for each record, large values included, and what the backup is in the file's metadata."""
    monkeypatch.setattr(module, "ROW_GROUP_BYTES", 4096)
    manifest = bench.backup()
    with new_file(folder / "state.parquet") as file:
        written = write_parquet(*exporting(bench, manifest), file)
    read = pq.ParquetFile(folder / "state.parquet")
    rows = {
        (row["tier"], row["namespace"], row["key"]): MemoryRecord(
            row["value"], Encoding(row["encoding"]), row["expires_at"], row["modified_at"], row["attrs"]
        )
        for row in read.read().to_pylist()
    }
    assert rows == {(tier.value, *key): record for tier, state in STATES.items() for key, record in state.items()}
    assert read.num_row_groups == 2
    metadata = read.schema_arrow.metadata
    assert metadata[b"strata.backup_id"].decode() == manifest.backup_id
    assert json.loads(metadata[b"strata.tiers"])["hot"]["records"] == len(STATES[Tier.HOT])
    assert sum(written.records.values()) == len(rows)


def test_an_empty_backup_is_an_empty_export(folder: Path) -> None:
    """Both formats have a shape for nothing."""
    bench = Workbench(folder, {Tier.HOT: MemorySource(Tier.HOT)})
    export, read = exporting(bench, bench.backup(), Tier.HOT)
    target = io.BytesIO()
    write_json(export, read, target)
    assert json.loads(target.getvalue())["records"] == []
    with new_file(folder / "empty.parquet") as file:
        write_parquet(export, read, file)
    assert pq.read_table(folder / "empty.parquet").num_rows == 0


@pytest.mark.parametrize("write", [write_json, write_parquet])
def test_records_that_are_missing_fail_the_export(bench: Workbench, folder: Path, write: Any) -> None:
    """Counts are those of the manifest, or there is no file."""
    export, read = exporting(bench, bench.backup())
    with pytest.raises(IntegrityError, match="502 records of HOT"), new_file(folder / "out") as file:
        write(export, lambda tier: iter(list(read(tier))[1:]), file)
    assert not (folder / "out").exists()
    assert not list(folder.glob(".out*"))


@pytest.mark.parametrize("write", [write_json, write_parquet])
def test_a_large_value_that_is_cut_short_fails_the_export(bench: Workbench, folder: Path, write: Any) -> None:
    """What is streamed must be as long as it says."""
    export, _ = exporting(bench, bench.backup(), Tier.COLD)
    short = LargeValue("", b"model.bin", Encoding.S3_OBJECT, 10, iter([b"12345", b"6789"]))
    with pytest.raises(IntegrityError, match="has 9 bytes in place of 10"), new_file(folder / "out") as file:
        write(export, lambda _: iter([short]), file)
    assert not (folder / "out").exists()


def test_a_value_that_parquet_cannot_hold_is_refused_in_words(bench: Workbench, folder: Path) -> None:
    """2 GiB is its limit; JSON has none."""
    export, _ = exporting(bench, bench.backup(), Tier.COLD)
    huge = LargeValue("", b"model.bin", Encoding.S3_OBJECT, 1 << 31, iter([]))
    with pytest.raises(SettingError, match="2 GiB"), new_file(folder / "out") as file:
        write_parquet(export, lambda _: iter([huge]), file)


def test_a_file_is_its_owners_alone_and_appears_whole(folder: Path) -> None:
    """Mode 0600 from the first byte, and nothing of that name before the end."""
    with new_file(folder / "out") as file:
        file.write(b"x")
        assert not (folder / "out").exists()
        (temporary,) = folder.glob(".out*")
        assert stat.S_IMODE(temporary.stat().st_mode) == 0o600
    assert (folder / "out").read_bytes() == b"x"
    assert stat.S_IMODE((folder / "out").stat().st_mode) == 0o600
    assert [path.name for path in folder.iterdir()] == ["out"]


def test_a_file_that_is_there_is_left_alone(folder: Path) -> None:
    """Neither one that was there before, nor one that came meanwhile, nor a dangling link is written over."""
    (folder / "out").write_bytes(b"mine")
    with pytest.raises(SettingError, match="overwrites nothing"), new_file(folder / "out"):
        pass
    with pytest.raises(SettingError, match="overwrites nothing"), new_file(folder / "late"):
        (folder / "late").write_bytes(b"mine")
    (folder / "link").symlink_to(folder / "nowhere")
    with pytest.raises(SettingError, match="overwrites nothing"), new_file(folder / "link"):
        pass
    assert (folder / "out").read_bytes() == (folder / "late").read_bytes() == b"mine"
    assert sorted(path.name for path in folder.iterdir()) == ["late", "link", "out"]


def test_a_place_that_cannot_be_written_is_told_in_words(folder: Path) -> None:
    """No folder, or one that takes no files."""
    with pytest.raises(SettingError, match="there is no folder"), new_file(folder / "none" / "out"):
        pass
    with pytest.raises(StorageError, match="cannot be written"), new_file(Path("/proc/out")):
        pass
