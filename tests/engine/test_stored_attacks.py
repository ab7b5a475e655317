"""Attacks on what is stored: what comes back is what was backed up, or the object is named; nothing is proved by them.

The matrix is generated: every object of a store with a history in it, under every attack of tests/engine/attacks.py and
with every other object of its kind in its place: of the same backup, of another tier, of an older backup, of the other
store, of the store of another installation under the same keyring.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import pytest

from strata.catalog.cache import CatalogueCache
from strata.catalog.catalogue import Catalogue
from strata.catalog.notes import NoteKind
from strata.catalog.readings import Reading
from strata.catalog.view import View
from strata.engine.failures import FailureLog
from strata.engine.local import copy_here
from strata.errors import IntegrityError, ObjectNotFound, StrataError
from strata.model.backup_type import BackupType
from strata.model.manifest import BackupMetadata
from strata.model.record import LargeValue
from strata.model.run import Run, RunKind, RunState
from strata.model.tier import StorageTier, Tier
from strata.testing import MemoryRecord, SettableClock
from tests.engine.attacks import ALONE, Recording, attacked, exchanged
from tests.engine.test_staged_attacks import sources
from tests.engine.workbench import Workbench

FULL = "20250102-030405-full-601d00"
INCREMENTAL = "20250102-040405-incremental-601d01"

Held = dict[tuple[Tier, str, bytes], bytes]


class Stored:
    """A FULL and an INCREMENTAL on it in LOCAL, the FULL in NETWORK too, notes of every meaning, and a failed run."""

    def __init__(self, folder: Path, seed: int = 0) -> None:
        self.recording: list[Recording] = []
        self.bench = bench = Workbench(folder, sources(seed), wrap_store=self._wrap, segment_bytes=200_000)
        assert isinstance(bench.clock, SettableClock)
        bench.backup(FULL)
        copy_here(bench.manager, FULL, "copy", StorageTier.NETWORK)
        bench.clock.advance(timedelta(hours=1))
        for source in bench.sources.values():
            source.records["0", b"new"] = MemoryRecord(b"new" * (seed + 1))
            source.records.pop(next(iter(source.records)))
        self.made = bench.backup(INCREMENTAL, BackupType.INCREMENTAL)
        self._note()

    def _wrap(self, store: object) -> Recording:
        self.recording.append(Recording(store))  # type: ignore[arg-type]
        return self.recording[0]

    def _note(self) -> None:
        """In each store a proof, a pin and damage of a layer; a later proof in NETWORK alone."""
        bench, full = self.bench, self.bench.metadata.load(FULL)
        for depot in (bench.depot, bench.network):
            now = bench.clock.now()
            depot.book.add(NoteKind.VERIFIED, FULL, now, Reading.of_backup(full, now).body)
            depot.book.add(NoteKind.PINNED, FULL, now)
            depot.book.add(NoteKind.DAMAGED, full.layers[0].layer_id, now + timedelta(hours=1))
        later = bench.clock.now() + timedelta(hours=2)
        bench.network.book.add(NoteKind.VERIFIED, FULL, later, Reading.of_backup(full, later).body)
        bench.network.book.add(NoteKind.UNPINNED, FULL, later)
        run = Run(
            run_id="20250103-000000-full-601d02",
            kind=RunKind.BACKUP,
            state=RunState.FAILED,
            reason="it failed",
            created_at=later,
            updated_at=later,
        )
        FailureLog(bench.files, bench.keyring, bench.clock).keep(run)

    def read_back(self) -> Held:
        """What a restore of the INCREMENTAL would write, once all that it reads is proved."""
        manifest, restorer = self.bench.metadata.load(INCREMENTAL), self.bench.restorer
        restorer.verify(manifest, tuple(self.bench.sources), lambda _: None)
        return {key: value for tier in self.bench.sources for key, value in self._held(manifest, tier)}

    def _held(self, manifest: BackupMetadata, tier: Tier) -> Iterator[tuple[tuple[Tier, str, bytes], bytes]]:
        for item in self.bench.restorer.items(manifest, tier):
            if isinstance(item, LargeValue):
                yield (tier, item.namespace, item.key), b"".join(item.parts)
            else:
                for row in item.select(["namespace", "key", "value"]).to_pylist():
                    yield (tier, row["namespace"], row["key"]), row["value"]

    def truth(self) -> Held:
        """What the tiers hold."""
        return {
            (tier, *key): record.value
            for tier, source in self.bench.sources.items()
            for key, record in source.records.items()
        }

    def others_of(self, name: str, *benches: Workbench) -> dict[str, bytes]:
        """Objects that might be taken for the one: of its kind, from each place at most four."""
        found: dict[str, bytes] = {}
        places = {
            f"{bench.folder.name}/{files.url[-7:]}": files
            for bench in benches
            for files in (bench.files, bench.network_files)
        }
        for place, files in places.items():
            alike = [one.name for one in files.list() if kind_of(one.name) == kind_of(name)]
            alike.sort(key=lambda other: (other != name, other))
            found |= {f"{place}:{other}": files.get(other) for other in alike[:4]}
        return found


def kind_of(name: str) -> str:
    """What an object is, by its name."""
    return re.sub(r"[^/]*[0-9][^/]*(?=[./-])|[0-9]", "", name.replace("-verified", ".v").replace("-damaged", ".d"))


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Stored:
    """The history that is attacked; every attack is taken back."""
    return Stored(tmp_path_factory.mktemp("ours"))


@pytest.fixture(scope="module")
def theirs(ours: Stored, tmp_path_factory: pytest.TempPathFactory) -> Stored:
    """The same history of other state under the same keyring: every object has a namesake."""
    folder = tmp_path_factory.mktemp("theirs")
    shutil.copy(ours.bench.folder / "keyring.json", folder)
    return Stored(folder, seed=1)


def test_what_comes_back_is_what_was_backed_up_or_an_object_is_named(ours: Stored, theirs: Stored) -> None:
    """Every object that a restore reads, under every attack: it is named before anything is given back."""
    assert ours.read_back() == ours.truth()
    names = ours.recording[0].reads_of(ours.read_back)
    wrong: list[str] = []
    judged = 0
    for name in names:
        others = ours.others_of(name, ours.bench, theirs.bench)
        for kind, attack in {**ALONE, **exchanged(others)}.items():
            with attacked(ours.bench.files, name, attack) as changed:
                if changed:
                    judged += 1
                    wrong += filter(None, [not_named(ours, name, kind)])
    assert not wrong, "\n".join([f"{len(wrong)} wrong", *wrong[:25]])
    assert judged > 300
    assert ours.read_back() == ours.truth()


def not_named(ours: Stored, name: str, attack: str) -> str:
    """Why an attack was not answered by the object's name; of a namesake's manifest, by that of its first layer."""
    known = {name, INCREMENTAL, f"layers/{FULL}-hot/layer.json"} if name.startswith("manifests/") else {name}
    try:
        ours.bench.metadata.load(INCREMENTAL)
        ours.read_back()
    except (IntegrityError, ObjectNotFound) as error:
        return "" if any(one in error.sentence for one in known) else f"{attack} of {name}: {error.sentence}"
    except StrataError as error:
        return "" if INCREMENTAL in error.sentence else f"{attack} of {name}: {error.sentence}"
    return f"{attack} of {name}: not refused"


class Said(NamedTuple):
    """What the catalogue says of one store's copy of a backup."""

    verified_at: datetime | None
    damaged: bool
    kept: bool


def said(view: View) -> dict[tuple[str, StorageTier], Said]:
    """What a view says of each copy."""
    return {
        (entry.backup_id, copy.storage_tier): Said(copy.verified_at, copy.damaged, entry.pinned or entry.legal_hold)
        for entry in view.entries
        for copy in entry.copies
    }


def test_nothing_that_is_exchanged_proves_a_copy_or_hides_its_damage(ours: Stored, theirs: Stored) -> None:
    """Every object of LOCAL's catalogue, under every attack: the view is as it was, or says less and names the object.

    That a note is gone, nobody can tell: what it said is not said then, and no copy is proved by that. Of a store that
    says it is another one, or that has another one's manifest of that name, what keeps and doubts counts; nothing is
    proved there.
    """
    right, wrong, judged = said(ours.bench.catalogue.view()), [], 0
    for name in [one.name for one in ours.bench.files.list()]:
        if name.startswith(("layers/", "chunks/")):
            continue
        for kind, attack in {**ALONE, **exchanged(ours.others_of(name, ours.bench, theirs.bench))}.items():
            with attacked(ours.bench.files, name, attack) as changed:
                if changed:
                    judged += 1
                    view = ours.bench.catalogue.view()
                    wrong += [f"{kind} of {name}: {why}" for why in untrue(right, view, name, gone=kind == "removed")]
    assert not wrong, "\n".join([f"{len(wrong)} wrong", *wrong[:25]])
    assert judged > 100
    assert said(ours.bench.catalogue.view()) == right


def untrue(right: dict[tuple[str, StorageTier], Said], view: View, name: str, *, gone: bool) -> Iterator[str]:
    """What a view says that is not so."""
    now = said(view)
    named = {one.name for one in (*view.unreadable, *view.ignored)}
    for copy, words in now.items():
        if copy not in right:
            yield f"{copy} is not there"
            continue
        then = right[copy].verified_at
        if words.verified_at and (then is None or words.verified_at > then):
            yield f"{copy} was proved {words.verified_at}"
        if right[copy].damaged and not words.damaged and name not in named and not gone:
            yield f"{copy} is whole"
    less = now.keys() == right.keys() and all(now[one] == right[one] or not now[one].verified_at for one in now)
    if now != right and not less and name not in named and not gone:
        yield "it is not named"


def test_the_cache_of_this_machine_says_what_the_store_says(ours: Stored, tmp_path: Path) -> None:
    """A byte of it differs, anywhere: what it says is as the store says it, or it is not used, and a note says so."""
    bench, told = ours.bench, list[str]()
    stores = {StorageTier.LOCAL: bench.files}

    def view() -> View:
        return Catalogue(stores, bench.keyring, CatalogueCache(tmp_path / "cache", bench.keyring, told.append)).view()

    right = Catalogue(stores, bench.keyring).view()
    assert view().entries == right.entries
    (file,) = (tmp_path / "cache").glob("*.sqlite")
    whole = file.read_bytes()
    for at in range(0, len(whole), max(len(whole) // 400, 1)):
        file.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        found = view()
        assert (found.entries, said(found)) == (right.entries, said(right)), at
        assert found.statistics() == right.statistics(), at
