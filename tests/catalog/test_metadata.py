"""Manifests: signed, written once, found by any unambiguous name, and trusted only as they were written."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from strata.catalog.catalogue import Catalogue
from strata.catalog.identity import IdentityBook
from strata.catalog.metadata import BackupMetadataManager
from strata.errors import BackupNotFound, IntegrityError, KeyringError, ObjectExists, StoreUnavailable
from strata.model.backup_type import BackupType
from strata.model.coverage import SourceKind
from strata.model.layer import LayerKind, LayerRef
from strata.model.manifest import FORMAT_VERSION, BackupMetadata, Changes, TierContent, manifest_name
from strata.model.store import StoreIdentity
from strata.model.tier import StorageTier, Tier
from strata.seal.keyring import FileKeyring
from strata.storage.filesystem import Durability, FilesystemStore
from strata.storage.port import ObjectStore
from strata.testing import FlakyStore

NOW = datetime(2025, 1, 2, 3, 4, 5, 678000, tzinfo=UTC)


def a_manifest(backup_id: str = "20250102-030405-full-601d00", **changed: Any) -> BackupMetadata:
    """A manifest of one layer."""
    layer = LayerRef(
        layer_id=f"{backup_id}-hot",
        backup_id=backup_id,
        created_at=NOW,
        tier=Tier.HOT,
        kind=LayerKind.BASE,
        fingerprint_key_id="f-0123456789ab",
        records=3,
        tombstones=0,
        chunked=1,
        logical_bytes=50,
        stored_bytes=200,
        objects=2,
        digest="ab" * 32,
    )
    cut = {"at": "\u00fc\u65e5"}
    hot = TierContent(
        tier=Tier.HOT,
        source=SourceKind.LIVE,
        stack=(layer,),
        records=3,
        logical_bytes=50,
        patterns=("*",),
        cut=cut,
        changes=Changes(new=3),
    )
    warm = TierContent(
        tier=Tier.WARM, source=None, stack=(), records=0, logical_bytes=0, patterns=("*",), cut={}, reason="not set"
    )
    fields: dict[str, Any] = {
        "format": FORMAT_VERSION,
        "backup_id": backup_id,
        "backup_type": BackupType.FULL,
        "generation": 1,
        "created_at": NOW,
        "recorded_at": NOW + timedelta(seconds=9),
        "storage_tier": StorageTier.LOCAL,
        "store_url": "file:///var/lib/strata",
        "store_id": "5a" * 16,
        "installation": "tests",
        "key_id": "w-0123456789ab",
        "wrapped_key": "AAAA",
        "fingerprint_key_id": "f-0123456789ab",
        "parent": None,
        "reasons": ("HOT (Redis) gets a fresh base",),
        "tiers": (hot, warm),
        "borrowed": (),
        "seconds": {"collect hot": 1.5},
        "written_by": "strata test",
        "details": "AAAA",
    }
    return BackupMetadata(**{**fields, **changed})


def identified(store: ObjectStore, keyring: FileKeyring, store_id: str) -> None:
    """Let a store say which it is."""
    identity = StoreIdentity(format=FORMAT_VERSION, store_id=store_id, installation="tests", created_at=NOW)
    IdentityBook(store, keyring).write(identity)


@pytest.fixture
def store(folder: Path) -> FilesystemStore:
    """An empty store."""
    return FilesystemStore(folder / "store", Durability.CACHED)


@pytest.fixture
def keyring(folder: Path) -> FileKeyring:
    """A new keyring."""
    return FileKeyring.create(folder / "keyring.json", NOW)


@pytest.fixture
def manager(store: FilesystemStore, keyring: FileKeyring) -> BackupMetadataManager:
    """A manager of an empty store."""
    return BackupMetadataManager(store, keyring)


Meant = Callable[..., BackupMetadata]


@pytest.fixture
def meant(store: FilesystemStore, keyring: FileKeyring) -> Meant:
    """The backup that a reference means, of a type where one is given."""

    def find(reference: str, kind: BackupType | None = None) -> BackupMetadata:
        return Catalogue({StorageTier.LOCAL: store}, keyring).resolve(reference, kind).manifest

    return find


def test_a_manifest_is_loaded_as_it_was_saved(manager: BackupMetadataManager) -> None:
    """Everything that was saved is read back, moments and every script included."""
    manager.save(a_manifest())
    assert manager.load(a_manifest().backup_id) == a_manifest()


def test_a_manifest_is_one_readable_document(manager: BackupMetadataManager, store: FilesystemStore) -> None:
    """On the day nothing else is left a person can read it: plain JSON with a newline at its end."""
    manager.save(a_manifest())
    data = store.get(manifest_name(a_manifest().backup_id))
    assert json.loads(data)["manifest"]["backup_id"] == a_manifest().backup_id
    assert data.endswith(b"}\n")
    assert data.isascii()


def test_a_backup_is_saved_once(manager: BackupMetadataManager) -> None:
    """A second manifest of one id is refused, and the first stays as it is."""
    manager.save(a_manifest())
    with pytest.raises(ObjectExists):
        manager.save(a_manifest(written_by="somebody else"))
    assert manager.load(a_manifest().backup_id) == a_manifest()


def test_a_backup_that_is_not_there_is_not_found(manager: BackupMetadataManager, store: FilesystemStore) -> None:
    """The error names the id, the store, and the command that shows what is there."""
    with pytest.raises(BackupNotFound, match="20990101") as caught:
        manager.load("20990101")
    assert store.url in caught.value.sentence
    assert "strata list" in caught.value.hint


def three(manager: BackupMetadataManager) -> list[BackupMetadata]:
    """Three backups, oldest first; the second is a snapshot."""
    kinds = [BackupType.FULL, BackupType.SNAPSHOT, BackupType.FULL]
    manifests = [
        a_manifest(f"2025010{day}-000000-{kind}-abc{day}", backup_type=kind, created_at=NOW + timedelta(days=day))
        for day, kind in enumerate(kinds, start=1)
    ]
    for number in (1, 2, 0):
        manager.save(manifests[number])
    return manifests


def test_history_is_newest_first(manager: BackupMetadataManager) -> None:
    """Backups are listed by the moment they began, the newest first."""
    assert manager.history() == ([], [])
    manifests = three(manager)
    assert manager.history() == (manifests[::-1], [])


@pytest.mark.parametrize(
    ("reference", "number"),
    [("20250102-000000-snapshot-abc2", 1), ("20250102", 1), ("20250103-", 2), ("latest", 2)],
)
def test_a_reference_finds_its_backup(
    manager: BackupMetadataManager, reference: str, number: int, meant: Meant
) -> None:
    """A full id, a prefix that fits one backup, and `latest` each name a backup."""
    manifests = three(manager)
    assert meant(reference) == manifests[number]


def test_the_latest_of_a_type_is_found(manager: BackupMetadataManager, meant: Meant) -> None:
    """`latest` with a type passes over newer backups of other types."""
    manifests = three(manager)
    assert meant("latest", BackupType.SNAPSHOT) == manifests[1]
    with pytest.raises(BackupNotFound):
        meant("latest", BackupType.EMERGENCY)


def test_a_prefix_of_several_backups_is_ambiguous(manager: BackupMetadataManager, meant: Meant) -> None:
    """The error shows the ids it could be; nothing is chosen."""
    three(manager)
    with pytest.raises(BackupNotFound, match="'2025010' could be any of 20250101-000000-full-abc1, 20250102-"):
        meant("2025010")
    for day in range(4, 9):
        manager.save(a_manifest(f"2025010{day}-x"))
    with pytest.raises(BackupNotFound, match=r"20250104-x, \.\.\.$"):
        meant("2025010")


def test_a_full_id_that_begins_another_is_no_prefix(manager: BackupMetadataManager, meant: Meant) -> None:
    """An id is found though a longer one begins with it."""
    manager.save(a_manifest("nightly"))
    manager.save(a_manifest("nightly-2"))
    assert meant("nightly").backup_id == "nightly"


def test_an_empty_reference_finds_nothing(manager: BackupMetadataManager, meant: Meant) -> None:
    """No id is not `any`, even where there is only one backup."""
    manager.save(a_manifest())
    with pytest.raises(BackupNotFound):
        meant("")


def test_the_latest_of_an_empty_store_is_not_found(manager: BackupMetadataManager, meant: Meant) -> None:
    """An empty store says so, and how to make the first backup."""
    with pytest.raises(BackupNotFound, match=r"there is no backup in .* yet") as caught:
        meant("latest")
    assert "strata backup full" in caught.value.hint


def _edited(data: bytes) -> bytes:
    return data.replace(b'"records":3', b'"records":2', 1)


def _pretty(data: bytes) -> bytes:
    return json.dumps(json.loads(data), indent=1).encode()


def _another_order(data: bytes) -> bytes:
    document = json.loads(data)
    document["manifest"] = dict(reversed(document["manifest"].items()))
    return json.dumps(document, separators=(",", ":")).encode() + b"\n"


def _added(data: bytes) -> bytes:
    return data.replace(b'{"manifest":{', b'{"manifest":{"a":1,', 1)


def _repeated(data: bytes) -> bytes:
    return data.replace(b'{"manifest":{', b'{"manifest":{"format":0,', 1)


def _signature_of_nothing(data: bytes) -> bytes:
    document = json.loads(data)
    document["signature"]["ed25519"] = base64.b64encode(bytes(64)).decode()
    body = json.dumps(document["manifest"], sort_keys=True, separators=(",", ":"))
    seal = json.dumps(document["signature"], sort_keys=True, separators=(",", ":"))
    return f'{{"manifest":{body},"signature":{seal}}}\n'.encode()


def _unsigned(data: bytes) -> bytes:
    return b'{"manifest":' + json.dumps(json.loads(data)["manifest"]).encode() + b"}\n"


def _of_the_future(data: bytes) -> bytes:
    return data.replace(b'"format":0', b'"format":99', 1)


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "one number edited": _edited,
    "whitespace changed": _pretty,
    "a space at the end": lambda data: data + b" ",
    "no newline at the end": lambda data: data[:-1],
    "another order": _another_order,
    "a field added": _added,
    "a field repeated": _repeated,
    "another signature": _signature_of_nothing,
    "no signature": _unsigned,
    "a later format": _of_the_future,
    "cut short": lambda data: data[: len(data) // 2],
    "empty": lambda _: b"",
    "no json": lambda _: b"\xff\xfe\x00",
    "a list": lambda _: b"[]",
    "a word": lambda _: b'"manifest"',
    "a number of too many digits": lambda _: b"9" * 10_000,
    "nested too deep": lambda _: b"[" * 100_000,
    "a manifest that is none": lambda _: b'{"manifest":7,"signature":{"ed25519":"","key_id":""}}\n',
    "a signature that is none": lambda data: data.replace(b'"signature":{', b'"signature":7,"x":{', 1),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
def test_a_manifest_that_is_not_as_it_was_written_is_refused(
    manager: BackupMetadataManager,
    store: FilesystemStore,
    damage: Callable[[bytes], bytes],
    meant: Meant,
) -> None:
    """Edited, forged, reformatted or damaged: it is refused by its name, and hides no other backup."""
    manager.save(a_manifest("20250101-good"))
    manager.save(a_manifest("20250102-bad"))
    name = manifest_name("20250102-bad")
    replace(store, name, damage(store.get(name)))
    with pytest.raises(IntegrityError, match=name):
        manager.load("20250102-bad")
    good, bad = manager.history()
    assert [metadata.backup_id for metadata in good] == ["20250101-good"]
    assert [(one.name, name in one.reason) for one in bad] == [(name, True)]
    assert meant("20250101").backup_id == "20250101-good"


def replace(store: FilesystemStore, name: str, data: bytes) -> None:
    """Put other bytes in the place of an object, as an attacker or a bad disk would."""
    store.delete(name)
    store.put(name, [data])


def test_one_flipped_bit_anywhere_is_refused(manager: BackupMetadataManager, store: FilesystemStore) -> None:
    """Whichever byte of a manifest differs, it is not loaded as if it were whole."""
    manager.save(a_manifest())
    name = manifest_name(a_manifest().backup_id)
    whole = store.get(name)
    for position in range(0, len(whole), 7):
        changed = bytearray(whole)
        changed[position] ^= 1
        replace(store, name, bytes(changed))
        with pytest.raises((IntegrityError, KeyringError)):
            manager.load(a_manifest().backup_id)


def test_a_manifest_under_another_name_is_refused(manager: BackupMetadataManager, store: FilesystemStore) -> None:
    """A true manifest copied to another id is not that backup."""
    manager.save(a_manifest("20250101-one"))
    store.put(manifest_name("20250102-two"), [store.get(manifest_name("20250101-one"))])
    with pytest.raises(IntegrityError, match=r"manifests/20250102-two\.json is that of 20250101-one"):
        manager.load("20250102-two")
    good, bad = manager.history()
    assert ([metadata.backup_id for metadata in good], len(bad)) == (["20250101-one"], 1)


def test_a_signature_of_another_keyring_is_no_signature(
    manager: BackupMetadataManager, store: FilesystemStore, folder: Path
) -> None:
    """A manifest that somebody else signed is refused: the key it names is not in the keyring."""
    stranger = FileKeyring.create(folder / "stranger.json", NOW)
    BackupMetadataManager(store, stranger).save(a_manifest())
    with pytest.raises(KeyringError, match="does not hold key s-"):
        manager.load(a_manifest().backup_id)
    good, (bad,) = manager.history()
    assert good == []
    assert "does not hold key" in bad.reason


def test_what_was_signed_as_something_else_is_no_manifest(
    manager: BackupMetadataManager, store: FilesystemStore, keyring: FileKeyring
) -> None:
    """A signature of the bare document, made for another purpose, does not make a manifest of it."""
    body = json.dumps(a_manifest().model_dump(mode="json"), sort_keys=True, separators=(",", ":")).encode()
    key_id, signature = keyring.sign(body)
    seal = json.dumps({"ed25519": base64.b64encode(signature).decode(), "key_id": key_id}, separators=(",", ":"))
    name = manifest_name(a_manifest().backup_id)
    store.put(name, [b'{"manifest":', body, b',"signature":', seal.encode(), b"}\n"])
    with pytest.raises(IntegrityError, match="damaged or forged"):
        manager.load(a_manifest().backup_id)


def test_latest_among_unreadable_manifests_alone_says_why(
    manager: BackupMetadataManager,
    store: FilesystemStore,
    meant: Meant,
) -> None:
    """Where every manifest is damaged `latest` names one and its damage; it does not say that there is no backup."""
    store.put(manifest_name("20250101-bad"), [b"garbage"])
    with pytest.raises(IntegrityError, match=r"manifests/20250101-bad\.json"):
        meant("latest")


def test_an_older_backup_does_not_pass_for_a_damaged_latest(
    manager: BackupMetadataManager,
    store: FilesystemStore,
    meant: Meant,
) -> None:
    """Where the newest manifest is damaged `latest` says so, and names the one to use."""
    manifests = three(manager)
    store.put(manifest_name("20240101-old"), [b"garbage"])
    assert meant("latest") == manifests[2]
    store.put(manifest_name("20990101-new"), [b"garbage"])
    with pytest.raises(IntegrityError, match="20990101-new") as raised:
        meant("latest")
    assert manifests[2].backup_id in raised.value.hint


def test_latest_with_another_keyring_is_no_damage(
    manager: BackupMetadataManager,
    store: FilesystemStore,
    folder: Path,
    meant: Meant,
) -> None:
    """Where the keyring lacks the newest manifest's key `latest` is a KeyringError: nothing is known to be damaged."""
    three(manager)
    keyring_of_another = FileKeyring.create(folder / "other.json", NOW)
    other = BackupMetadataManager(store, keyring_of_another)
    with pytest.raises(KeyringError, match=r"no manifest in .* can be read: .*does not hold key") as raised:
        Catalogue({StorageTier.LOCAL: store}, keyring_of_another).resolve("latest")
    assert "Bring back the keyring" in raised.value.hint
    other.save(a_manifest("20260101-000000-full-aaaaaa"))
    with pytest.raises(KeyringError, match=r"the latest backup cannot be read: .*does not hold key"):
        meant("latest")


def test_an_older_backup_does_not_pass_for_the_latest_when_the_store_fails(
    manager: BackupMetadataManager, store: FilesystemStore, keyring: FileKeyring
) -> None:
    """A manifest that could not be read just now may be the latest: `latest` fails, and ids still find the others."""
    manifests = three(manager)
    for number in range(4):
        with pytest.raises(StoreUnavailable):
            Catalogue({StorageTier.LOCAL: FlakyStore(store, {number})}, keyring).resolve("latest")
    flaky = BackupMetadataManager(FlakyStore(store, {1}), keyring)
    good, (bad,) = flaky.history()
    assert good == manifests[1::-1]
    assert (bad.name, bad.retryable) == (manifest_name(manifests[2].backup_id), True)
