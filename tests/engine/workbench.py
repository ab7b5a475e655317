"""The engine on small real parts: a folder for each store, one for the spool, and tiers in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, cast

from strata.catalog.catalogue import Catalogue
from strata.catalog.lease import FileLease, Lease
from strata.catalog.ledger import Ledger
from strata.catalog.memory_ledger import MemoryLedger
from strata.catalog.owner import Owner
from strata.clock import Clock
from strata.engine.collector import DataCollector
from strata.engine.creator import BackupCreator
from strata.engine.depot import Depot, Depots
from strata.engine.layers import LayerReader
from strata.engine.local import backup_here, restore_here
from strata.engine.looks import Looks
from strata.engine.manager import BackupManager
from strata.engine.meeting import Pause
from strata.engine.planner import BackupOptions
from strata.engine.restorer import Restored
from strata.engine.runner import StageRunner
from strata.engine.spool import Spool
from strata.model.backup_type import BackupType
from strata.model.coverage import SourceKind
from strata.model.layer import Layer
from strata.model.manifest import BackupMetadata
from strata.model.tier import StorageTier, Tier
from strata.planning.rounds import Rounds, Torn
from strata.planning.tier_strategy import Placement
from strata.seal.keyring import FileKeyring
from strata.sources.port import RestoreMode
from strata.storage.filesystem import Durability, FilesystemStore
from strata.storage.port import ObjectStore
from strata.testing import MemoryRecord, MemorySource, SettableClock

RUN: Final = "20250102-030405-full-601d00"

Wrap = Callable[[ObjectStore], ObjectStore]


def as_it_is(store: ObjectStore) -> ObjectStore:
    """The store itself."""
    return store


@dataclass
class Workbench:
    """Everything a run needs; the wraps put a failing store around a whole one.

    Backups go to LOCAL, or where `places` says; NETWORK is there too.
    """

    folder: Path
    sources: dict[Tier, MemorySource]
    wrap_store: Wrap = as_it_is
    wrap_spool: Wrap = as_it_is
    wrap_network: Wrap = as_it_is
    places: dict[BackupType, Placement] = field(default_factory=dict)
    ledger: Ledger = field(default_factory=MemoryLedger)
    lease: Lease | None = None
    shared: Ledger | None = None
    """The ledger of the workers, where this bench is one of them or can ask it."""
    clock: Clock = field(default_factory=SettableClock)
    segment_bytes: int = 1 << 20
    zstd_level: int = 1
    installation: str | None = None
    meeting_seconds: float = 0.05
    pause: Pause | None = None
    rounds: Rounds = field(default_factory=lambda: Rounds(1, Torn.TELL))
    """Tests that do stage after stage collect one tier at a time: nobody comes to the meeting, and nobody waits."""

    def __post_init__(self) -> None:
        keys = self.folder / "keyring.json"
        self.keyring = FileKeyring.load(keys) if keys.exists() else FileKeyring.create(keys, self.clock.now())
        self.files = FilesystemStore(self.folder / "store", Durability.CACHED)
        self.spool_files = FilesystemStore(self.folder / "spool", Durability.CACHED)
        self.store = self.wrap_store(self.files)
        self.spool = Spool(self.wrap_spool(self.spool_files), self.keyring)
        self.lease = self.lease or FileLease(self.folder / "lease")
        self.runner = StageRunner(self.ledger, self.lease, self.clock)
        self.creator = BackupCreator(self.spool, self.store, self.keyring, self.clock)
        self.depot = Depot.of(StorageTier.LOCAL, self.store, self.sources, self.keyring, self.clock)
        self.metadata, self.restorer = self.depot.metadata, self.depot.restorer
        self.network_files = FilesystemStore(self.folder / "network", Durability.CACHED)
        self.network = Depot.of(
            StorageTier.NETWORK, self.wrap_network(self.network_files), self.sources, self.keyring, self.clock
        )
        depots = {StorageTier.LOCAL: self.depot, StorageTier.NETWORK: self.network}
        self.catalogue = Catalogue({tier: depot.store for tier, depot in depots.items()}, self.keyring)
        self.depots = Depots(depots, self.catalogue)
        self.owner = Owner(
            cast("dict[StorageTier, ObjectStore]", self.catalogue.stores), self.keyring, named=self.installation
        )
        self.manager = BackupManager(
            self.runner,
            DataCollector(self.sources, self.spool, self.keyring),
            self.depots,
            self.spool,
            self.keyring,
            self.clock,
            BackupOptions(
                tiers=dict.fromkeys(self.sources, SourceKind.LIVE),
                place=lambda kind: self.places.get(kind, Placement(StorageTier.LOCAL)),
                zstd_level=self.zstd_level,
                segment_bytes=self.segment_bytes,
                meeting_seconds=self.meeting_seconds,
                pause=self.pause,
                rounds=self.rounds,
            ),
            looks=Looks({tier: source.identity for tier, source in self.sources.items()}),
            owner=self.owner,
            shared=self.shared,
        )

    def backup(
        self, run_id: str = RUN, backup_type: BackupType = BackupType.FULL, *, fresh: bool = False
    ) -> BackupMetadata:
        """A backup in this process."""
        return backup_here(self.manager, backup_type, run_id, fresh=fresh)

    def restore(
        self, run_id: str = "restore", mode: RestoreMode = RestoreMode.EXACT, tiers: tuple[Tier, ...] = ()
    ) -> Restored:
        """A restore in this process of the backup that was made last, whatever it holds."""
        return restore_here(self.manager, self.catalogue.view().entries[0].backup_id, run_id, mode, tiers)

    def layers(self, manifest: BackupMetadata) -> list[Layer]:
        """The layers that a manifest names."""
        return LayerReader(self.files, self.keyring).load(manifest.layers)

    def stored(self, prefix: str = "") -> list[str]:
        """The names of the objects in the store."""
        return sorted(info.name for info in self.files.list(prefix))

    def spooled(self) -> list[str]:
        """The names of the objects in the spool."""
        return sorted(info.name for info in self.spool_files.list())

    def replace(self, name: str, data: bytes) -> None:
        """Put other bytes in the place of a stored object, as a bad disk would."""
        self.files.delete(name)
        self.files.put(name, [data])


def tiers_of(
    count: int,
    *,
    key: bytes = b"",
    value: Callable[[int], bytes] = lambda number: b"value %d" % number,
    tiers: Iterable[Tier] = Tier,
) -> dict[Tier, MemorySource]:
    """Tiers with so many records each, whose keys begin with the tier's name where `key` does not say otherwise."""
    return {
        tier: MemorySource(
            tier,
            {("0", (key or tier.encode() + b":%d") % number): MemoryRecord(value(number)) for number in range(count)},
        )
        for tier in tiers
    }
