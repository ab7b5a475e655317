"""Owner: a store belongs to one keyring and one installation, whoever comes first, and nobody else writes there."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from threading import Barrier

import pytest

from strata.catalog.identity import IdentityBook
from strata.catalog.memory import NoMemory
from strata.catalog.owner import Owner
from strata.errors import IntegrityError, KeyringError, StoreForeign
from strata.model.manifest import manifest_name
from strata.model.store import STORE_DOCUMENT, StoreIdentity
from strata.model.tier import StorageTier
from strata.seal.keyring import FileKeyring
from strata.storage.filesystem import Durability, FilesystemStore
from strata.storage.memory import MemoryStore
from strata.storage.port import Buffer, ObjectStore
from strata.testing import FlakyStore

LOCAL, NETWORK = StorageTier.LOCAL, StorageTier.NETWORK
NOW = datetime(2025, 1, 2, 3, 4, 5, tzinfo=UTC)
BACKUP = "20250102-030405-full-601d00"


class Remembering(NoMemory):
    """A memory in this process."""

    def __init__(self, known: str | None = None) -> None:
        self.known = known

    def installation(self) -> str | None:
        return self.known

    def name(self, installation: str) -> str:
        self.known = self.known or installation
        return self.known


class Overwriting(MemoryStore):
    """A store without conditional put: of two writers of one name the last one's bytes stay."""

    def put(self, name: str, parts: Sequence[Buffer]) -> None:
        self.delete(name)
        super().put(name, parts)


@pytest.fixture
def keyring(folder: Path) -> FileKeyring:
    """A keyring."""
    return FileKeyring.create(folder / "keyring.json", NOW)


@pytest.fixture
def stores(folder: Path) -> dict[StorageTier, ObjectStore]:
    """Two empty stores."""
    return {tier: FilesystemStore(folder / tier, Durability.CACHED) for tier in (LOCAL, NETWORK)}


def names(store: ObjectStore) -> list[str]:
    """What is in a store."""
    return [info.name for info in store.list()]


def claim(owner: Owner, tier: StorageTier = LOCAL) -> StoreIdentity:
    """What a run that writes does at its start."""
    return owner.claim(tier, owner.foresee(tier, NOW))


def test_foreseeing_writes_nothing(stores: dict[StorageTier, ObjectStore], keyring: FileKeyring) -> None:
    """A dry run says which identity a store would get, and the store and the memory stay as they were."""
    memory = Remembering()
    foreseen = Owner(stores, keyring, memory).foresee(LOCAL, NOW)
    assert foreseen.store_id
    assert (names(stores[LOCAL]), memory.known) == ([], None)


def test_the_first_run_that_writes_names_store_and_installation(
    stores: dict[StorageTier, ObjectStore], keyring: FileKeyring
) -> None:
    """The identity stays from then on; a further store gets an id of its own, and the same installation."""
    memory = Remembering()
    owner = Owner(stores, keyring, memory)
    first = claim(owner)
    assert claim(owner) == first == owner.identity(LOCAL)
    other = claim(owner, NETWORK)
    assert other.store_id != first.store_id
    assert other.installation == first.installation == memory.known


def test_an_installation_may_be_named(stores: dict[StorageTier, ObjectStore], keyring: FileKeyring) -> None:
    """The name in the settings counts, and nothing is asked or told of the memory."""
    memory = Remembering("of-the-ledger")
    assert claim(Owner(stores, keyring, memory, "bot-v2")).installation == "bot-v2"
    assert memory.known == "of-the-ledger"


def test_another_keyring_is_refused_before_anything_is_written(
    folder: Path, stores: dict[StorageTier, ObjectStore], keyring: FileKeyring
) -> None:
    """A store whose identity was signed by a key that the keyring lacks is not written into, and says so."""
    claim(Owner(stores, keyring))
    before = names(stores[LOCAL])
    other = Owner(stores, FileKeyring.create(folder / "other.json", NOW))
    with pytest.raises(KeyringError, match="belongs to another keyring"):
        other.foresee(LOCAL, NOW)
    assert not other.owns(LOCAL)
    assert names(stores[LOCAL]) == before


def test_another_installation_is_refused(stores: dict[StorageTier, ObjectStore], keyring: FileKeyring) -> None:
    """The same keyring is not enough: a store belongs to one installation, and both are named."""
    mine = claim(Owner(stores, keyring, Remembering()))
    other = Owner(stores, keyring, Remembering("another"))
    with pytest.raises(StoreForeign, match=rf"belongs to installation {mine.installation}, and this one is another"):
        other.foresee(LOCAL, NOW)
    with pytest.raises(StoreForeign):
        other.require(LOCAL, "another")
    assert not other.owns(LOCAL)


def test_a_lost_ledger_adopts_what_the_stores_agree_on(
    stores: dict[StorageTier, ObjectStore], keyring: FileKeyring
) -> None:
    """Without a memory the stores tell the installation, to a new store too; the memory learns it again."""
    first = claim(Owner(stores, keyring, Remembering()))
    memory = Remembering()
    assert claim(Owner(stores, keyring, memory), NETWORK).installation == first.installation == memory.known


def test_stores_that_disagree_are_refused(stores: dict[StorageTier, ObjectStore], keyring: FileKeyring) -> None:
    """Where nothing else tells which installation this is, two stores of two installations stop a run."""
    claim(Owner(stores, keyring, named="one"), LOCAL)
    claim(Owner(stores, keyring, named="two"), NETWORK)
    with pytest.raises(StoreForeign, match="LOCAL to installation one and NETWORK to installation two"):
        Owner(stores, keyring).foresee(LOCAL, NOW)
    assert Owner(stores, keyring, named="one").foresee(LOCAL, NOW).installation == "one"


def test_a_silent_store_stops_no_run_in_another(stores: dict[StorageTier, ObjectStore], keyring: FileKeyring) -> None:
    """A store that does not answer is asked for its identity when it is its turn, and hides no other's."""
    silent = FlakyStore(stores[NETWORK], range(1, 100))
    assert claim(Owner({LOCAL: stores[LOCAL], NETWORK: silent}, keyring)).installation


def test_backups_without_an_identity_are_not_adopted(
    stores: dict[StorageTier, ObjectStore], keyring: FileKeyring
) -> None:
    """A store that holds manifests and no identity is named; whose they are is for a person to say."""
    stores[LOCAL].put(manifest_name(BACKUP), [b"{}"])
    with pytest.raises(StoreForeign, match=r"holds backups, but no store\.json"):
        Owner(stores, keyring).foresee(LOCAL, NOW)


def test_a_stray_file_makes_no_store_somebody_elses(
    stores: dict[StorageTier, ObjectStore], folder: Path, keyring: FileKeyring
) -> None:
    """An editor's copy beside the manifests is no manifest."""
    (folder / LOCAL / "manifests").mkdir(parents=True)
    (folder / LOCAL / "manifests" / f"{BACKUP}.json~").touch()
    assert claim(Owner(stores, keyring)).store_id


@pytest.mark.parametrize("at", [0, 20, -30, -3])
def test_a_damaged_identity_is_refused(stores: dict[StorageTier, ObjectStore], keyring: FileKeyring, at: int) -> None:
    """A flipped bit anywhere in it is found."""
    claim(Owner(stores, keyring))
    data = bytearray(stores[LOCAL].get(STORE_DOCUMENT))
    data[at] ^= 1
    stores[LOCAL].delete(STORE_DOCUMENT)
    stores[LOCAL].put(STORE_DOCUMENT, [bytes(data)])
    with pytest.raises((IntegrityError, KeyringError)):
        Owner(stores, keyring).foresee(LOCAL, NOW)


def test_a_torn_identity_is_named_with_its_store_and_the_way_out(
    stores: dict[StorageTier, ObjectStore], keyring: FileKeyring
) -> None:
    """Whoever meets it in an emergency reads which store it is of, and the command that ends it."""
    stores[LOCAL].put(STORE_DOCUMENT, [b'{"identity":'])
    with pytest.raises(IntegrityError, match=stores[LOCAL].url) as refused:
        Owner(stores, keyring).foresee(LOCAL, NOW)
    assert "strata stores adopt" in refused.value.hint


@pytest.mark.parametrize("kind", [MemoryStore, Overwriting])
def test_racers_end_with_one_identity(keyring: FileKeyring, kind: type[MemoryStore]) -> None:
    """Of writers that claim a new store at once one's identity stays; in a store that overwrites, all see it later."""
    store, barrier = kind(), Barrier(8)
    memory = Remembering()

    def race(_: int) -> StoreIdentity:
        owner = Owner({LOCAL: store}, keyring, memory)
        foreseen = owner.foresee(LOCAL, NOW)
        barrier.wait()
        return owner.claim(LOCAL, foreseen)

    with ThreadPoolExecutor(8) as pool:
        claimed = list(pool.map(race, range(8)))
    kept = IdentityBook(store, keyring).read()
    assert kept in claimed
    assert {one.installation for one in claimed} == {memory.known}
    if kind is MemoryStore:
        assert set(claimed) == {kept}
    assert Owner({LOCAL: store}, keyring, memory).require(LOCAL, str(memory.known)) == kept
