"""The spool: sealed staging, of which nothing is readable and nothing is left."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from strata.engine.spool import Held, Spool
from strata.errors import IntegrityError, ObjectNotFound
from strata.model.backup_type import BackupType
from strata.model.layer import ObjectKind
from strata.model.run import Stage
from strata.model.tier import Tier
from strata.seal.frame import Compression
from strata.seal.keyring import FileKeyring
from strata.storage.filesystem import Durability, FilesystemStore
from strata.testing import MemoryRecord, MemorySource
from tests.engine.workbench import RUN, Workbench

SECRET = b"PLANTED-SECRET-0123456789"


@pytest.fixture
def files(folder: Path) -> FilesystemStore:
    """The folder of the spool."""
    return FilesystemStore(folder / "spool", Durability.CACHED)


@pytest.fixture
def spool(folder: Path, files: FilesystemStore) -> Spool:
    """An empty spool."""
    return Spool(files, FileKeyring.create(folder / "keyring.json", datetime.now(UTC)))


HELD = Held(ObjectKind.SEGMENT, 0, Tier.HOT)


def put(spool: Spool, run_id: str, name: str, *blocks: bytes, held: Held = HELD) -> None:
    """Store an object of a few blocks."""
    with spool.begin(run_id, name, held, Compression.NONE) as writer:
        for block in blocks:
            writer.add(block, len(block), 1)
        writer.commit()


def test_what_was_put_is_opened(spool: Spool) -> None:
    """Whole or block by block, a run reads what it wrote."""
    put(spool, "run", "run/a", b"one", b"two")
    assert list(spool.open("run", "run/a", HELD)) == [b"one", b"two"]
    assert spool.open_ranged("run", "run/a", HELD).read(1) == b"two"


def test_a_document_comes_back(spool: Spool) -> None:
    """Small JSON documents are sealed and read like everything else."""
    document = {"tables": ["a", "\u00fc"], "none": None, "rows": [1, 2]}
    spool.put_document("run", "run/d", document)
    assert spool.document("run", "run/d") == document


def test_another_run_cannot_open_it(spool: Spool) -> None:
    """What one run staged is refused by every other, and the error names the object."""
    put(spool, "run", "run/a", b"one")
    for opened in (spool.open, spool.open_ranged):
        with pytest.raises(IntegrityError, match="run/a in the spool is damaged: it is segment 0 of run-hot"):
            opened("other", "run/a", HELD)


@pytest.mark.parametrize(
    "other",
    [Held(ObjectKind.PACK, 0, Tier.HOT), Held(ObjectKind.SEGMENT, 1, Tier.HOT), Held(ObjectKind.SEGMENT, 0, Tier.WARM)],
)
def test_what_an_object_holds_is_compared_with_what_is_expected(spool: Spool, other: Held) -> None:
    """An object of another kind, number or tier is refused under the very name that a ticket gives."""
    put(spool, "run", "run/a", b"one", held=other)
    with pytest.raises(IntegrityError, match=r"run/a in the spool is damaged: .* in the wrong place"):
        spool.open("run", "run/a", HELD)


def test_an_object_opens_only_under_its_own_name(spool: Spool, files: FilesystemStore) -> None:
    """Two objects that say the same of themselves and are exchanged, are both refused by name."""
    for name in ("run/collect.hot.1-aa/segment-000000", "run/collect.hot.2-bb/segment-000000"):
        put(spool, "run", name, b"one")
    first, second = (info.name for info in sorted(files.list("run/"), key=lambda info: info.name))
    data = {first: files.get(second), second: files.get(first)}
    for name, bytes_there in data.items():
        files.delete(name)
        files.put(name, [bytes_there])
    for name in data:
        with pytest.raises(IntegrityError, match=f"{name} in the spool is damaged"):
            spool.open("run", name, HELD)


@pytest.mark.parametrize("position", [0, 30, 100, 210, -1])
def test_damage_is_named(spool: Spool, files: FilesystemStore, position: int) -> None:
    """Whichever byte of a staged object differs, reading it fails."""
    put(spool, "run", "run/a", b"one" * 20)
    data = bytearray(files.get("run/a"))
    data[position] ^= 1
    files.delete("run/a")
    files.put("run/a", [data])
    with pytest.raises(IntegrityError):
        list(spool.open("run", "run/a", HELD))


def test_an_object_that_is_gone_is_said_to_be_gone(spool: Spool) -> None:
    """Reading what was swept is an error that names it."""
    with pytest.raises(ObjectNotFound, match="run/a"):
        spool.open("run", "run/a", HELD)


def test_a_sweep_takes_one_run_and_no_other(spool: Spool, files: FilesystemStore) -> None:
    """Everything of the run goes; runs whose ids begin alike stay."""
    for run in ("run", "run-2", "ru"):
        put(spool, run, f"{run}/collect.hot.1/a", b"x")
        put(spool, run, f"{run}/merge.merge.1/b", b"x")
    spool.sweep("run")
    spool.sweep("run")
    assert set(spool.runs()) == {"run-2", "ru"}
    assert len(list(files.list())) == 4


def test_runs_are_folders(spool: Spool, folder: Path) -> None:
    """A file beside the runs (the lease of this machine lies there) is not one."""
    put(spool, "run", "run/a", b"x")
    (folder / "spool" / ".lease").write_text("{}")
    assert set(spool.runs()) == {"run"}


def test_a_run_tells_when_it_last_wrote(spool: Spool, folder: Path) -> None:
    """Also one of which no object is there: a folder and half a file, as a killed writer leaves them."""
    put(spool, "run", "run/a", b"x")
    half = folder / "spool" / "dead" / "collect" / ".tmp-0123456789abcdef"
    half.parent.mkdir(parents=True)
    half.touch()
    assert set(spool.runs()) == {"run", "dead"}
    for newest in spool.runs().values():
        assert abs(datetime.now(UTC) - newest) < timedelta(minutes=1)
    spool.sweep("dead")
    assert set(spool.runs()) == {"run"}


def planted() -> MemorySource:
    """A tier whose keys, values, attributes and names all hold the secret."""
    text = SECRET.decode()
    records = {
        (text, b"key " + SECRET): MemoryRecord(SECRET * 3, attrs=f'{{"a": "{text}"}}'),
        ("0", SECRET): MemoryRecord(b""),
        ("0", b"large"): MemoryRecord(SECRET * 100_000),
        ("0", b"many"): MemoryRecord(SECRET * 10_000),
    }
    return MemorySource(Tier.HOT, records)


def test_nothing_is_readable_at_any_moment_of_a_backup(folder: Path) -> None:
    """After every stage, no file of spool or store and no ticket holds a planted key, value, name or attribute."""
    bench = Workbench(folder, {Tier.HOT: planted()})
    manager = bench.manager
    manager.start(BackupType.FULL, RUN)
    looked: list[int] = []

    def look() -> None:
        files = [path for part in ("spool", "store") for path in (folder / part).rglob("*") if path.is_file()]
        looked.append(len(files))
        for path in files:
            data = path.read_bytes()
            assert SECRET not in data, path
            assert b"\x28\xb5\x2f\xfd" not in data, path  # a zstd frame could be unpacked by anybody
            assert b"ARROW" not in data, path
            assert SECRET.decode() not in str(path)
            assert path.stat().st_mode & 0o077 == 0, path
        run = bench.ledger.run(RUN)
        assert run
        tickets = [run.plan, *(text for stage in Stage for text in bench.ledger.results(RUN, stage).values())]
        assert not any(SECRET.decode() in ticket for ticket in tickets)

    def after(stage: Callable[[], object]) -> None:
        stage()
        look()

    after(lambda: manager.collect(RUN, Tier.HOT))
    merged = manager.merge(RUN)
    look()
    for spooled in merged.objects:
        for stage in (manager.compress, manager.encrypt, manager.store):
            after(lambda stage=stage, label=spooled.unit.label: stage(RUN, label))  # type: ignore[misc]
    after(lambda: manager.verify(RUN))
    after(lambda: manager.record(RUN))
    assert bench.spooled() == []
    assert max(looked) >= 5
    bench.sources[Tier.HOT].records.clear()
    bench.restore()
    assert bench.sources[Tier.HOT].records == planted().records


def test_raw_segments_that_are_exchanged_are_not_recorded(folder: Path) -> None:
    """The run fails and names one of them, no backup comes of it, and the next one restores whole."""
    source = planted()
    source.records |= {("0", b"%d" % number): MemoryRecord(bytes([number % 251]) * 2000) for number in range(2000)}
    wanted = dict(source.records)
    bench = Workbench(folder, {Tier.HOT: source})
    bench.manager.start(BackupType.FULL, RUN)
    collected = bench.manager.collect(RUN, Tier.HOT)
    assert collected is not None
    first, second, *_ = (one.name for one in collected.objects if one.unit.kind is ObjectKind.SEGMENT)
    data = bench.spool_files.get(first), bench.spool_files.get(second)
    for name, other in zip((second, first), data, strict=True):
        bench.spool_files.delete(name)
        bench.spool_files.put(name, [other])
    bench.manager.merge(RUN)
    with pytest.raises(IntegrityError, match=f"{first} in the spool is damaged: it is segment 1 of {RUN}-hot"):
        bench.manager.compress(RUN, "hot/segment/0")
    bench.manager.abandon(RUN)
    assert bench.stored("manifests/") == []
    bench.backup("20250102-030406-full-601d01")
    source.records.clear()
    bench.restore()
    assert source.records == wanted
