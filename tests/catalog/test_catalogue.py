"""The catalogue: every backup of all stores once, with its copies, whichever stores answer."""

from __future__ import annotations

import os
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from strata.catalog.catalogue import Catalogue
from strata.catalog.metadata import BackupMetadataManager
from strata.catalog.notes import NoteBook, NoteKind
from strata.catalog.readings import Reading
from strata.errors import BackupNotFound, IntegrityError, SettingError, StoreUnavailable
from strata.model.backup_type import BackupType
from strata.model.copies import BackupStatus
from strata.model.layer import LayerKind
from strata.model.manifest import BackupMetadata, manifest_name
from strata.model.tier import StorageTier, Tier
from strata.s3client import S3Access, make_client
from strata.seal.keyring import FileKeyring
from strata.storage.filesystem import Durability, FilesystemStore
from strata.storage.port import ObjectStore
from strata.storage.s3 import S3Store
from strata.testing import FlakyStore
from tests.catalog.test_metadata import NOW, a_manifest, identified
from workers.local_stack.servers import S3Server

LOCAL, NETWORK, CLOUD = StorageTier.LOCAL, StorageTier.NETWORK, StorageTier.CLOUD
FIRST, SECOND, THIRD = (f"2025010{day}-000000-full-abc{day}" for day in (1, 2, 3))


@pytest.fixture
def keyring(folder: Path) -> FileKeyring:
    """A new keyring."""
    return FileKeyring.create(folder / "keyring.json", NOW)


@pytest.fixture
def stores(folder: Path, s3_server: S3Server, keyring: FileKeyring) -> dict[StorageTier, ObjectStore]:
    """Two folders and a bucket on a real S3 server, which hold nothing but which store each is: its tier."""
    bucket = f"catalogue-{os.urandom(4).hex()}"
    make_client(S3Access(s3_server.endpoint, s3_server.access_key, s3_server.secret_key), 1).create_bucket(
        Bucket=bucket
    )
    cloud = S3Store(
        f"s3://{bucket}/backups",
        endpoint=s3_server.endpoint,
        access_key_id=s3_server.access_key,
        secret_access_key=s3_server.secret_key,
    )
    folders = {tier: FilesystemStore(folder / tier, Durability.CACHED) for tier in (LOCAL, NETWORK)}
    found: dict[StorageTier, ObjectStore] = {CLOUD: cloud, **folders}
    for tier, store in found.items():
        identified(store, keyring, tier.value)
    return found


@pytest.fixture
def made(stores: dict[StorageTier, ObjectStore], keyring: FileKeyring) -> list[BackupMetadata]:
    """Three backups, newest first: in LOCAL, in LOCAL and CLOUD, in NETWORK and CLOUD."""
    where = {FIRST: (NETWORK, CLOUD), SECOND: (LOCAL, CLOUD), THIRD: (LOCAL,)}
    manifests = []
    for number, (backup_id, tiers) in enumerate(where.items(), start=1):
        manifest = a_manifest(
            backup_id,
            generation=number,
            created_at=NOW + timedelta(days=number),
            store_url=stores[tiers[0]].url,
            store_id=tiers[0].value,
            storage_tier=tiers[0],
            backup_type=BackupType.SNAPSHOT if backup_id == SECOND else BackupType.FULL,
        )
        for tier in tiers:
            BackupMetadataManager(stores[tier], keyring).save(manifest)
        manifests.append(manifest)
    return manifests[::-1]


@pytest.fixture
def catalogue(stores: dict[StorageTier, ObjectStore], keyring: FileKeyring, made: list[BackupMetadata]) -> Catalogue:
    """A catalogue over the three stores."""
    return Catalogue(stores, keyring)


def silent(store: ObjectStore) -> ObjectStore:
    """The same store, which does not answer."""
    return FlakyStore(store, range(10_000))


def test_a_backup_of_several_stores_is_one_entry_with_its_copies(
    catalogue: Catalogue, stores: dict[StorageTier, ObjectStore], made: list[BackupMetadata]
) -> None:
    """Entries are newest first, say what the manifests say, and name every store that holds them."""
    entries, unreadable = catalogue.entries()
    assert ([entry.backup_id for entry in entries], unreadable) == ([THIRD, SECOND, FIRST], [])
    assert [[copy.storage_tier for copy in entry.copies] for entry in entries] == [
        [LOCAL],
        [LOCAL, CLOUD],
        [NETWORK, CLOUD],
    ]
    entry, manifest = entries[1], made[1]
    assert (entry.records, entry.logical_bytes, entry.added_bytes, entry.stacked_bytes) == (3, 50, 200, 200)
    assert (entry.tiers, entry.layers, entry.generation) == ((Tier.HOT,), (f"{SECOND}-hot",), manifest.generation)
    copy = entry.copy_in(CLOUD)
    assert copy
    assert copy.store_url == stores[CLOUD].url
    assert catalogue.silent_stores == {}


def test_a_store_that_does_not_answer_hides_no_other(
    stores: dict[StorageTier, ObjectStore], keyring: FileKeyring, made: list[BackupMetadata]
) -> None:
    """What the others hold is told, and that one is missing is told too."""
    catalogue = Catalogue({**stores, LOCAL: silent(stores[LOCAL])}, keyring)
    entries, _ = catalogue.entries()
    assert [entry.backup_id for entry in entries] == [SECOND, FIRST]
    assert list(catalogue.silent_stores) == [LOCAL]
    assert "does not answer" in catalogue.silent_stores[LOCAL]


@pytest.mark.parametrize("reference", ["latest", "20250102", SECOND[:-1]])
def test_nothing_passes_for_what_a_silent_store_may_hold(
    stores: dict[StorageTier, ObjectStore], keyring: FileKeyring, made: list[BackupMetadata], reference: str
) -> None:
    """While a store is silent the latest, or a unique beginning, cannot be told; a full id, or one store, can."""
    catalogue = Catalogue({**stores, LOCAL: silent(stores[LOCAL])}, keyring)
    with pytest.raises(StoreUnavailable, match="cannot be told") as raised:
        catalogue.resolve(reference)
    assert "--store network" in raised.value.hint
    assert catalogue.resolve(SECOND).stores == (CLOUD,)
    assert catalogue.resolve(reference, store=CLOUD).manifest.backup_id == SECOND


@pytest.mark.parametrize(
    ("reference", "kind", "store", "expected"),
    [
        ("latest", None, None, THIRD),
        ("latest", BackupType.SNAPSHOT, None, SECOND),
        ("latest", None, NETWORK, FIRST),
        ("20250102", None, None, SECOND),
        (FIRST, None, CLOUD, FIRST),
    ],
)
def test_a_reference_finds_its_backup_and_who_holds_it(
    catalogue: Catalogue, reference: str, kind: BackupType | None, store: StorageTier | None, expected: str
) -> None:
    """A full id, a unique beginning and `latest` each name one; the stores are in the order to read them."""
    found = catalogue.resolve(reference, kind, store)
    held = {FIRST: (NETWORK, CLOUD), SECOND: (LOCAL, CLOUD), THIRD: (LOCAL,)}[expected]
    assert found.manifest.backup_id == expected
    assert found.stores == ((store,) if store else held)


def test_what_is_not_there_or_ambiguous_is_said(catalogue: Catalogue) -> None:
    """An unknown id, one of several, and a store that is not configured are each told."""
    with pytest.raises(BackupNotFound, match="there is no backup '2099'"):
        catalogue.resolve("2099")
    with pytest.raises(BackupNotFound, match="could be any of"):
        catalogue.resolve("2025")
    with pytest.raises(SettingError, match="there is no ARCHIVE store"):
        catalogue.resolve(FIRST, store=StorageTier.ARCHIVE)


def damage(store: ObjectStore, backup_id: str) -> None:
    """Make a store's manifest another one."""
    store.delete(manifest_name(backup_id))
    store.put(manifest_name(backup_id), [b"garbage"])


def test_one_copys_damaged_manifest_hides_neither_backup_nor_copy(
    catalogue: Catalogue, stores: dict[StorageTier, ObjectStore]
) -> None:
    """It is named with its store; the backup is read from the next store, and is still the latest."""
    damage(stores[LOCAL], SECOND)
    stores[LOCAL].delete(manifest_name(THIRD))
    entries, (bad,) = catalogue.entries()
    assert [entry.backup_id for entry in entries] == [SECOND, FIRST]
    assert (bad.name, bad.store) == (manifest_name(SECOND), LOCAL)
    found = catalogue.resolve("latest")
    assert (found.manifest.backup_id, found.stores, list(found.unable)) == (SECOND, (CLOUD,), [LOCAL])


def test_a_manifest_that_no_store_gives_hides_the_latest_only(
    catalogue: Catalogue, stores: dict[StorageTier, ObjectStore]
) -> None:
    """`latest` names it, as an older one must not pass for it; the others are found."""
    damage(stores[LOCAL], THIRD)
    with pytest.raises(IntegrityError, match=f"the latest backup cannot be read: .*{THIRD}") as raised:
        catalogue.resolve("latest")
    assert SECOND in raised.value.hint
    with pytest.raises(IntegrityError, match=THIRD):
        catalogue.resolve(THIRD)
    assert catalogue.resolve(SECOND).store is LOCAL


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ({"backup_type": BackupType.SNAPSHOT}, [SECOND]),
        ({"since": NOW + timedelta(days=2)}, [THIRD, SECOND]),
        ({"until": NOW + timedelta(days=2)}, [FIRST]),
        ({"prefix": "20250103"}, [THIRD]),
        ({"store": CLOUD}, [SECOND, FIRST]),
        ({"status": BackupStatus.PINNED}, [FIRST]),
        ({"status": BackupStatus.DAMAGED}, [SECOND]),
        ({"status": BackupStatus.GOOD, "store": LOCAL}, [THIRD, SECOND]),
    ],
)
def test_find_gives_those_that_fit_all(
    catalogue: Catalogue,
    stores: dict[StorageTier, ObjectStore],
    keyring: FileKeyring,
    wanted: dict[str, Any],
    expected: list[str],
) -> None:
    """Type, time, beginning, store and status each narrow what is found."""
    catalogue.note(NoteKind.PINNED, FIRST, NOW)
    NoteBook(stores[CLOUD], keyring).add(NoteKind.DAMAGED, f"{SECOND}-hot", NOW + timedelta(days=9))
    assert [entry.backup_id for entry in catalogue.find(**wanted)] == expected


def test_a_pin_is_in_every_store_and_the_later_decision_counts(
    catalogue: Catalogue, stores: dict[StorageTier, ObjectStore], keyring: FileKeyring
) -> None:
    """Pins of one store count for all copies; what contradicts an earlier note comes after it, whatever the clock."""
    noted, missed = catalogue.note(NoteKind.PINNED, FIRST, NOW + timedelta(days=900), {"reason": "audit"})
    assert (noted, missed) == ([NETWORK, CLOUD], {})
    assert catalogue.find(prefix=FIRST)[0].pinned
    for name in [info.name for info in stores[NETWORK].list("notes/")]:
        stores[NETWORK].delete(name)
    assert catalogue.find(prefix=FIRST)[0].pinned
    catalogue.note(NoteKind.UNPINNED, FIRST, NOW)
    assert not catalogue.find(prefix=FIRST)[0].pinned
    catalogue.note(NoteKind.HELD, FIRST, NOW)
    assert catalogue.find(status=BackupStatus.HELD)[0].backup_id == FIRST
    catalogue.note(NoteKind.RELEASED, FIRST, NOW)
    assert catalogue.find(status=BackupStatus.HELD) == []


def test_a_pin_needs_one_store_that_takes_it(
    stores: dict[StorageTier, ObjectStore], keyring: FileKeyring, made: list[BackupMetadata]
) -> None:
    """Where one store fails the pin stands in the other, and that is told; where none takes it, it fails."""
    catalogue = Catalogue({**stores, NETWORK: FlakyStore(stores[NETWORK], range(1, 100))}, keyring)
    noted, missed = catalogue.note(NoteKind.PINNED, FIRST, NOW)
    assert (noted, list(missed)) == ([CLOUD], [NETWORK])
    assert Catalogue(stores, keyring).find(status=BackupStatus.PINNED)[0].backup_id == FIRST
    with pytest.raises(BackupNotFound, match="there is no backup nothing"):
        Catalogue(stores, keyring).note(NoteKind.PINNED, "nothing", NOW)
    with pytest.raises(StoreUnavailable, match="cannot be told"):
        Catalogue({LOCAL: silent(stores[LOCAL])}, keyring).note(NoteKind.PINNED, THIRD, NOW)
    alone = Catalogue({LOCAL: FlakyStore(stores[LOCAL], range(1, 100))}, keyring)
    with pytest.raises(StoreUnavailable):
        alone.note(NoteKind.PINNED, THIRD, NOW)


def test_removal_is_marked_until_the_mark_is_taken_back(
    catalogue: Catalogue, stores: dict[StorageTier, ObjectStore], keyring: FileKeyring
) -> None:
    """Marked again the first mark counts; kept, and marked anew, the new one."""
    book = NoteBook(stores[LOCAL], keyring)
    book.add(NoteKind.REMOVED, THIRD, NOW)
    book.add(NoteKind.REMOVED, THIRD, NOW + timedelta(hours=1))
    assert catalogue.find(prefix=THIRD)[0].removal_marked_at == NOW
    book.add(NoteKind.KEPT, THIRD, NOW + timedelta(hours=2))
    assert catalogue.find(prefix=THIRD)[0].removal_marked_at is None
    book.add(NoteKind.REMOVED, THIRD, NOW + timedelta(hours=3))
    assert catalogue.find(prefix=THIRD)[0].removal_marked_at == NOW + timedelta(hours=3)


def test_a_copy_says_when_it_was_proved_and_whether_damage_came_after(
    catalogue: Catalogue, stores: dict[StorageTier, ObjectStore], keyring: FileKeyring, made: list[BackupMetadata]
) -> None:
    """Making reads the first copy, copying or verifying another; damage of a layer is of that store's copy alone."""
    local, cloud = catalogue.find(prefix=SECOND)[0].copies
    assert (local.verified_at, cloud.verified_at) == (made[1].created_at, None)
    book = NoteBook(stores[CLOUD], keyring)
    book.add(NoteKind.COPIED, SECOND, NOW + timedelta(days=3), read(made[1], 3))
    book.add(NoteKind.DAMAGED, f"{SECOND}-hot", NOW + timedelta(days=4))
    book.add(NoteKind.LOCKED, SECOND, NOW + timedelta(days=4), {"until": "2026-01-01T00:00:00Z"})
    local, cloud = catalogue.find(prefix=SECOND)[0].copies
    assert (local.damaged, cloud.damaged) == (False, True)
    assert cloud.verified_at == NOW + timedelta(days=3)
    assert cloud.locked_until
    assert cloud.locked_until.year == 2026
    book.add(NoteKind.VERIFIED, SECOND, NOW + timedelta(days=5), {"objects": 12})
    book.add(NoteKind.VERIFIED, SECOND, NOW + timedelta(days=5), read(made[1], 3.9))
    assert catalogue.find(prefix=SECOND)[0].copies[1].damaged
    book.add(NoteKind.VERIFIED, SECOND, NOW + timedelta(days=5), read(made[1], 5))
    assert not catalogue.find(prefix=SECOND)[0].copies[1].damaged


def test_a_copy_with_noted_damage_is_read_last(
    catalogue: Catalogue, stores: dict[StorageTier, ObjectStore], keyring: FileKeyring
) -> None:
    """The store that is read is the first without known damage."""
    BackupMetadataManager(stores[LOCAL], keyring).note_damaged(f"{SECOND}-hot", NOW + timedelta(days=9))
    assert catalogue.resolve(SECOND).stores == (CLOUD, LOCAL)


def test_one_backup_is_told_without_reading_others(catalogue: Catalogue) -> None:
    """Its entry is the same as in the whole catalogue; its notes come with their stores."""
    catalogue.note(NoteKind.PINNED, SECOND, NOW, {"reason": "x"})
    entry, notes = catalogue.entry(catalogue.resolve(SECOND))
    assert entry == catalogue.find(prefix=SECOND)[0]
    assert [(tier, note.kind) for tier, note in notes] == [(LOCAL, NoteKind.PINNED), (CLOUD, NoteKind.PINNED)]


def read(backup: BackupMetadata, days: float) -> dict[str, Any]:
    """The body of a note that a backup was read, so many days after NOW."""
    return Reading.of_backup(backup, NOW + timedelta(days=days)).body


def test_a_backup_is_proved_since_its_layer_that_was_read_longest_ago(
    stores: dict[StorageTier, ObjectStore], keyring: FileKeyring
) -> None:
    """An INCREMENTAL reads what it wrote, not the layers below; a FULL does, and a note says which layers it is of."""
    base = a_manifest("20250102-000000-full-000001", store_id=LOCAL.value, generation=1)
    later = NOW + timedelta(days=40)
    upper = base.layers[0].model_copy(
        update={"layer_id": "upper", "backup_id": "x", "created_at": later, "kind": LayerKind.DELTA}
    )
    stack = base.tiers[0].model_copy(update={"stack": (*base.layers, upper)})

    def made(backup_id: str, kind: BackupType, days: int) -> None:
        moment = NOW + timedelta(days=days)
        fields = {"created_at": moment, "recorded_at": moment, "tiers": (stack,), "store_id": LOCAL.value}
        BackupMetadataManager(stores[LOCAL], keyring).save(a_manifest(backup_id, backup_type=kind, **fields))

    def proved() -> list[tuple[datetime | None, bool]]:
        entries = Catalogue(stores, keyring).find(prefix="20250211")
        return [(copy.verified_at, copy.damaged) for entry in entries for copy in entry.copies]

    made("20250211-000000-incremental-000002", BackupType.INCREMENTAL, 40)
    assert proved() == [(NOW, False)]
    book = NoteBook(stores[LOCAL], keyring)
    book.add(NoteKind.DAMAGED, base.layers[0].layer_id, NOW + timedelta(days=41))
    made("20250212-000000-incremental-000003", BackupType.INCREMENTAL, 42)
    assert proved() == [(NOW, True)]
    book.add(NoteKind.VERIFIED, "20250212-000000-incremental-000003", NOW, {"objects": 3})
    assert proved() == [(NOW, True)]
    made("20250213-000000-full-000004", BackupType.FULL, 43)
    assert proved() == [(NOW + timedelta(days=43), False)]


def test_chunks_that_are_read_for_one_backup_prove_nothing_of_the_lender(
    stores: dict[StorageTier, ObjectStore], keyring: FileKeyring
) -> None:
    """Of a layer that only lends, `strata verify` reads the chunks: its own backup stays damaged."""
    lender = a_manifest("20250102-000000-full-000001", store_id=LOCAL.value)
    borrower = a_manifest("20250103-000000-full-000002", store_id=LOCAL.value, borrowed=lender.layers)
    for backup in (lender, borrower):
        BackupMetadataManager(stores[LOCAL], keyring).save(backup)
    book = NoteBook(stores[LOCAL], keyring)
    book.add(NoteKind.DAMAGED, lender.layers[0].layer_id, NOW + timedelta(days=1))
    book.add(NoteKind.VERIFIED, borrower.backup_id, NOW + timedelta(days=2), read(borrower, 2))
    found = Catalogue(stores, keyring).find(store=LOCAL)
    assert [(entry.backup_id, entry.copies[0].damaged) for entry in found] == [
        (borrower.backup_id, False),
        (lender.backup_id, True),
    ]


def test_a_note_of_another_store_says_nothing_of_this_one(
    stores: dict[StorageTier, ObjectStore], keyring: FileKeyring, made: list[BackupMetadata]
) -> None:
    """A proof that was written into NETWORK and is put into CLOUD is ignored by name, cached or not."""
    cloud, network = stores[CLOUD], stores[NETWORK]
    NoteBook(cloud, keyring).add(NoteKind.DAMAGED, f"{FIRST}-hot", NOW + timedelta(days=4))
    NoteBook(network, keyring).add(NoteKind.VERIFIED, FIRST, NOW + timedelta(days=5), read(made[2], 5))
    (name,) = (info.name for info in network.list("notes/"))
    cloud.put(name, [network.get(name)])
    catalogue = Catalogue(stores, keyring)
    entry, view = catalogue.find(prefix=FIRST)[0], catalogue.view()
    assert [(copy.storage_tier, copy.damaged) for copy in entry.copies] == [(NETWORK, False), (CLOUD, True)]
    assert [copy.verified_at for copy in entry.copies] == [NOW + timedelta(days=5), None]
    assert [(one.store, one.name) for one in view.ignored] == [(CLOUD, name)]
    assert [note.kind for note in NoteBook(cloud, keyring).of(FIRST)] == []


def test_a_store_that_is_moved_as_a_whole_keeps_what_is_known_of_it(
    stores: dict[StorageTier, ObjectStore], keyring: FileKeyring, made: list[BackupMetadata], folder: Path
) -> None:
    """Its identity goes with it: its backups were made in it, its notes are its own, wherever it lies."""
    NoteBook(stores[LOCAL], keyring).add(NoteKind.PINNED, THIRD, NOW)
    before = Catalogue({LOCAL: stores[LOCAL]}, keyring).find(prefix=THIRD)[0]
    (folder / LOCAL).rename(folder / "elsewhere")
    there = Catalogue({LOCAL: FilesystemStore(folder / "elsewhere", Durability.CACHED)}, keyring)
    (after,) = there.find(prefix=THIRD)
    assert (after.pinned, after.copies[0].verified_at) == (True, made[0].created_at)
    assert before.copies[0].verified_at == after.copies[0].verified_at


@pytest.mark.parametrize("how", ["removed", "damaged"])
def test_a_store_that_does_not_say_which_it_is_proves_nothing(
    stores: dict[StorageTier, ObjectStore], keyring: FileKeyring, made: list[BackupMetadata], how: str
) -> None:
    """What its notes keep or doubt still counts, what they prove or let go of does not; damage of it is named."""
    local, book = stores[LOCAL], NoteBook(stores[LOCAL], keyring)
    book.add(NoteKind.HELD, SECOND, NOW)
    book.add(NoteKind.RELEASED, SECOND, NOW + timedelta(seconds=1))
    book.add(NoteKind.VERIFIED, THIRD, NOW + timedelta(days=5), read(made[0], 5))
    book.add(NoteKind.DAMAGED, f"{SECOND}-hot", NOW + timedelta(days=5))
    data = local.get("store.json")
    local.delete("store.json")
    if how == "damaged":
        local.put("store.json", [data.replace(b"store_id", b"store_ie")])
    view = Catalogue({LOCAL: local}, keyring).view()
    assert [(one.legal_hold, one.copies[0].damaged, one.copies[0].verified_at) for one in view.entries] == [
        (False, False, None),
        (True, True, None),
    ]
    assert ("store.json" in [one.name for one in view.ignored]) == (how == "damaged")


def sharing(backup_id: str, generation: int, layers: BackupMetadata) -> BackupMetadata:
    """A backup that has the other's layers, and none of its own."""
    return a_manifest(backup_id, generation=generation, tiers=layers.tiers, backup_type=BackupType.INCREMENTAL)


def test_statistics_count_each_layer_once_in_each_store(
    catalogue: Catalogue, stores: dict[StorageTier, ObjectStore], keyring: FileKeyring, made: list[BackupMetadata]
) -> None:
    """A layer that two backups name is stored once; a copy in another store takes its bytes there again."""
    BackupMetadataManager(stores[LOCAL], keyring).save(sharing("20250104-000000-incremental-abc4", 4, made[0]))
    found = catalogue.statistics()
    assert (found.all.backups, found.all.logical_bytes, found.all.stored_bytes) == (4, 200, 1000)
    assert {kind: (one.backups, one.stored_bytes) for kind, one in found.types.items()} == {
        BackupType.FULL: (2, 600),
        BackupType.SNAPSHOT: (1, 400),
        BackupType.INCREMENTAL: (1, 0),
    }
    assert {tier: (one.backups, one.stored_bytes) for tier, one in found.stores.items()} == {
        LOCAL: (3, 400),
        NETWORK: (1, 200),
        CLOUD: (2, 400),
    }
    assert found.all.ratio == pytest.approx(0.2)
    assert found.types[BackupType.INCREMENTAL].ratio is None


def test_an_empty_catalogue_is_empty(stores: dict[StorageTier, ObjectStore], keyring: FileKeyring) -> None:
    """No backup, no error; `latest` says how to make one."""
    empty = Catalogue(stores, keyring)
    assert empty.entries() == ([], [])
    assert empty.statistics().all.backups == 0
    with pytest.raises(BackupNotFound) as raised:
        empty.resolve("latest")
    assert "strata backup full" in raised.value.hint
