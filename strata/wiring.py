"""The one place that names concrete classes: from settings to a manager that works."""

from __future__ import annotations

import atexit
import shutil
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from functools import cached_property, partial
from hashlib import sha256
from pathlib import Path
from tempfile import mkdtemp
from typing import TYPE_CHECKING

from strata.catalog.catalogue import Catalogue
from strata.catalog.lease import FileLease, Lease, RedisLease
from strata.catalog.ledger import Ledger
from strata.catalog.memory import NoMemory, StoreMemory
from strata.catalog.memory_ledger import MemoryLedger
from strata.catalog.owner import Owner
from strata.clock import Clock
from strata.engine.collector import DataCollector
from strata.engine.copier import Copier
from strata.engine.depot import Depot, Depots
from strata.engine.looks import Look, Looks
from strata.engine.manager import BackupManager
from strata.engine.meeting import Pause
from strata.engine.planner import BackupOptions
from strata.engine.restore_store import RestoreStores
from strata.engine.runner import StageRunner, Watcher
from strata.engine.spool import Spool
from strata.errors import IntegrityError, KeyringError, SettingError
from strata.memory import keep_freed_memory
from strata.model.identity import KEYRING, LEDGER, RETENTION, Identity
from strata.model.tier import StorageTier, Tier
from strata.planning.backup import StackPolicy
from strata.planning.rounds import Rounds
from strata.settings import Settings, required
from strata.sources.port import StateSource
from strata.storage.filesystem import Durability, FilesystemStore, folder_of
from strata.storage.port import ObjectStore
from strata.storage.s3 import S3Store
from strata.store_wiring import ANSWER_SECONDS, StoreWiring
from strata.transport import s3_options

if TYPE_CHECKING:  # what few runs need is imported where it is built: a small backup takes most of its time to import
    from strata.catalog.beat_ticks import BeatTicks
    from strata.engine.prune_runs import PruneRuns
    from strata.engine.pruner import Pruner
    from strata.engine.store_prover import StoreProver
    from strata.engine.thaw_runs import ThawRuns
    from strata.engine.thawer import Thawer
    from strata.engine.upkeep import Upkeep
    from strata.sources.redis_flag import RedisFlag


class Wiring(StoreWiring):
    """Builds each part when it is first asked for; make one after a fork, never before."""

    def __init__(
        self,
        settings: Settings,
        watcher: Watcher | None = None,
        clock: Clock | None = None,
        tell: Callable[[str], None] = lambda _: None,
        lease_folder: Path | None = None,
        pause_is_left: Callable[[str], None] | None = None,
    ) -> None:
        super().__init__(settings, clock, tell)
        self._watcher, self._lease_folder, self._pause_is_left = watcher, lease_folder, pause_is_left
        keep_freed_memory()

    @cached_property
    def depots(self) -> Depots:
        """Every store with the parts that work on it."""
        parts, days = (self.sources, self.keyring, self.clock), self.retention.days
        return Depots(
            {tier: Depot.of(tier, store, *parts, self.locking.get(tier), days) for tier, store in self.stores.items()},
            self.catalogue,
        )

    @cached_property
    def spool(self) -> Spool:
        """Staging that all workers share."""
        return Spool(self.spool_store, self.keyring)

    @cached_property
    def spool_store(self) -> ObjectStore:
        """Where the spool lies."""
        url = required(self.settings.spool_url, "STRATA_SPOOL_URL", "the stages hand their work on through it")
        if url.startswith("s3://"):
            return S3Store(url, **s3_options(self.settings, "spool"))
        return FilesystemStore(folder_of(url, "STRATA_SPOOL_URL"), Durability.CACHED)

    @cached_property
    def sources(self) -> dict[Tier, StateSource]:
        """The source of each configured tier."""
        settings, sources = self.settings, dict[Tier, StateSource]()
        if settings.hot_url is not None:
            from strata.sources.redis_hot import RedisHot

            sources[Tier.HOT] = RedisHot(settings.hot_url.get_secret_value(), settings.hot_method, settings.tls)
            if (flag := self._flag) is not None:
                from strata.sources.hidden_key import HiddenKey

                sources[Tier.HOT] = HiddenKey(Tier.HOT, sources[Tier.HOT], flag.namespace, flag.key)
        if settings.warm_url is not None:
            from strata.sources.postgres_warm import PostgresWarm

            sources[Tier.WARM] = PostgresWarm(
                settings.warm_url.get_secret_value(), settings.warm_tables, settings.warm_parallel, settings.tls
            )
        if settings.cold_url is not None:
            from strata.sources.s3_cold import S3Cold

            sources[Tier.COLD] = S3Cold(
                settings.cold_url,
                threads=settings.cold_threads,
                cut_seconds=settings.pause_seconds / 2,
                **s3_options(settings, "cold"),
            )
        if (tier := settings.state_manager_tier) is not None:
            from strata.sources.state_manager import StateManagerSource

            assert settings.state_manager is not None
            sources[tier] = StateManagerSource(
                settings.state_manager, tier, settings.state_manager_keys, beside=tuple(sources)
            )
        return sources

    @cached_property
    def looks(self) -> Looks:
        """What this process sees of each part it works on, by what the servers say."""
        looks: dict[str, Look] = {tier: source.identity for tier, source in self.sources.items()}
        with suppress(SettingError):  # a sender may have neither a store nor a ledger
            looks |= {tier: partial(self._store_identity, tier) for tier in self.stores}
        looks |= {KEYRING: lambda: Identity(part=KEYRING, server=self.keyring.ids_by_purpose, words="the keys")}
        looks |= {RETENTION: lambda: _rules_identity(self.settings)}
        if self.settings.result_url is not None:
            looks |= {LEDGER: self._ledger_identity}
        return Looks(looks, self._beside)

    def _ledger_identity(self) -> Identity:
        from strata.catalog.ledger_identity import ledger_identity

        return ledger_identity(self._result_redis)

    def _store_identity(self, tier: StorageTier) -> Identity:
        """The store by its own id; by its URL where it has none yet, or this process has no key to trust it with."""
        found = None
        with suppress(KeyringError, IntegrityError):
            found = Owner(self.stores, self.keyring).identity(tier)
        server = {"store id": (found.store_id,)} if found else {}
        return Identity(part=tier, server=server, address=self.stores[tier].url)

    def _beside(self) -> list[tuple[str, Identity]]:
        """The Redis databases that a restore of HOT must not remove; AMQP brokers are none."""
        from strata.catalog.ledger_identity import redis_identity

        named = {"the broker": self.settings.broker_url, "the ledger": self.settings.result_url}
        urls = {name: url.get_secret_value() for name, url in named.items() if url is not None}
        return [
            (name, redis_identity(name, url, partial(self.brief_redis, url)))
            for name, url in urls.items()
            if url.startswith("redis")
        ]

    @cached_property
    def ticks(self) -> BeatTicks:
        """The ledger's clock and beat's ticks; who asks does not wait long."""
        from strata.catalog.beat_ticks import BeatTicks

        url = required(self.settings.result_url, "STRATA_RESULT_URL", "beat notes there when it sends something")
        return BeatTicks(self.brief_redis(url, ANSWER_SECONDS))

    @cached_property
    def lease(self) -> Lease:
        """The lease that all workers share."""
        return RedisLease(self._result_redis)

    @cached_property
    def memory(self) -> StoreMemory:
        """What all workers remember of the stores, beside the ledger."""
        from strata.catalog.redis_memory import RedisMemory

        return RedisMemory(self._result_redis)

    @cached_property
    def local_memory(self) -> StoreMemory:
        """The same for this process, which may have no ledger."""
        return self.memory if self.ledger_answers else NoMemory()

    @cached_property
    def copier(self) -> Copier:
        """Copies backups from store to store."""
        return Copier(self.depots, self.clock)

    def restoring(self) -> Wiring:
        """The same wiring for restores in this process: a machine without a spool is given one.

        The spool is of this process alone. The lease, which keeps two such restores apart, lies in this user's cache.
        """
        settings, lease_folder = self.settings, None
        if not (settings.spool_url or "").startswith("file://") and not self.ledger_answers:
            folder = Path(mkdtemp(prefix="strata-spool-"))
            atexit.register(shutil.rmtree, folder, ignore_errors=True)
            settings, lease_folder = settings.model_copy(update={"spool_url": folder.as_uri()}), settings.cache_folder
        return Wiring(settings, self._watcher, self.clock, self.tell, lease_folder)

    @cached_property
    def manager(self) -> BackupManager:
        """The manager of runs that go through the workers."""
        return self._manager(self.ledger, self.lease, self.memory, self.ledger)

    @cached_property
    def local_manager(self) -> BackupManager:
        """The manager of runs in this process: a ledger in memory, and the shared lease where it can be reached."""
        lease = self.lease if self.ledger_answers else self._file_lease
        return self._manager(MemoryLedger(), lease, self.local_memory, self.shared_ledger)

    @cached_property
    def restore_stores(self) -> RestoreStores:
        """The stores that restores read from, and what thaws them."""
        return RestoreStores(self.depots, self._thawers() if self.buckets else {})

    def _thawers(self) -> dict[StorageTier, Thawer]:
        from strata.engine.thawer import Thawer, ThawPolicy
        from strata.planning.thaw import prices_of

        settings = self.settings
        policy = ThawPolicy(
            settings.thaw_speed, settings.thaw_days, prices_of(settings.archive_prices), settings.thaw_look_seconds
        )
        return {
            tier: Thawer(bucket.url, bucket.thaw(), self.depots.of(tier).restorer, policy)
            for tier, bucket in self.buckets.items()
        }

    @cached_property
    def thaws(self) -> ThawRuns:
        """Brings restores that the workers do through their thaw."""
        from strata.engine.thaw_runs import ThawRuns

        return ThawRuns(self.manager)

    @cached_property
    def upkeep(self) -> Upkeep:
        """Finds runs that stopped moving, and what they left."""
        from strata.engine.upkeep import Tidied, Upkeep

        bare = () if self.settings.stores_read_only else self.bare_stores.values()
        tidied = [store for store in bare if isinstance(store, Tidied)]
        return Upkeep(self.manager, self.spool, self.clock, self.catalogue, self.strategy, self.retention, tidied)

    @cached_property
    def prunes(self) -> PruneRuns:
        """Prunes through the workers."""
        from strata.engine.prune_runs import PruneRuns

        return PruneRuns(self.manager, self._pruner(self.manager.owner), timekeeper=self.ledger)

    @cached_property
    def local_prunes(self) -> PruneRuns:
        """Prunes in this process."""
        from strata.engine.prune_runs import PruneRuns

        shared = self.shared_ledger
        pruner = self._pruner(self.local_manager.owner)
        return PruneRuns(self.local_manager, pruner, [shared] if shared else [], shared)

    @cached_property
    def prover(self) -> StoreProver:
        """Reads back what lies in the stores; what is kept of them here is not asked."""
        from strata.engine.store_prover import StoreProver

        catalogue = Catalogue(self.stores, self.keyring, None, (self.catalogue_cache, self.witness))
        return StoreProver(self.depots, catalogue, self.clock, self.promises)

    def _pruner(self, owner: Owner) -> Pruner:
        """It reads the catalogue from the stores; what is kept of it here only tells what disappeared."""
        from strata.engine.pruner import Pruner, Rules
        from strata.planning.prune import PruneRules

        grace = timedelta(hours=self.settings.prune_grace_hours)
        rules = Rules(self.retention, self.strategy, PruneRules(grace))
        witnesses = (self.catalogue_cache, self.witness)
        return Pruner(self.depots, Catalogue(self.stores, self.keyring, None, witnesses), rules, self.clock, owner)

    @property
    def _file_lease(self) -> Lease:
        url = required(self.settings.spool_url, "STRATA_SPOOL_URL", "the stages hand their work on through it")
        if not url.startswith("file://"):
            raise SettingError(
                "the ledger does not answer, and a lease of this machine needs a spool on disk",
                hint="Set STRATA_SPOOL_URL to file:///folder for this command.",
            )
        return FileLease((self._lease_folder or folder_of(url, "STRATA_SPOOL_URL")) / ".lease")

    def _manager(self, ledger: Ledger, lease: Lease, memory: StoreMemory, shared: Ledger | None) -> BackupManager:
        settings = self.settings
        options = BackupOptions(
            tiers=self.tiers,
            place=self.strategy.place,
            zstd_level=settings.zstd_level,
            segment_bytes=settings.segment_bytes,
            patterns=settings.patterns,
            pause=self._pause,
            meeting_seconds=settings.meeting_seconds,
            rounds=Rounds(settings.cut_rounds, settings.torn),
            policy=StackPolicy(settings.stack_depth, settings.rebase_dead_share, timedelta(days=settings.rebase_days)),
        )
        return BackupManager(
            StageRunner(ledger, lease, self.clock, self._watcher, self.looks.before),
            DataCollector(
                self.sources,
                self.spool,
                self.keyring,
                settings.emergency_seconds,
                settings.timestamp_fields,
                self.looks.before_reading,
            ),
            self.depots,
            self.spool,
            self.keyring,
            self.clock,
            options,
            self.restore_stores,
            self.looks,
            Owner(self.stores, self.keyring, memory, settings.installation),
            shared,
            self._pause_is_left,
        )

    @cached_property
    def _flag(self) -> RedisFlag | None:
        if self.settings.pause_key is None or self.settings.hot_url is None:
            return None
        from strata.sources.redis_flag import RedisFlag

        return RedisFlag(self.settings.hot_url.get_secret_value(), self.settings.pause_key, self.settings.tls)

    @property
    def _pause(self) -> Pause | None:
        settings, flag = self.settings, self._flag
        if flag is None and not settings.before_cut and not settings.after_cut:
            return None
        from strata.engine.pause import CutPause

        return CutPause(settings.before_cut or "", settings.after_cut or "", flag, settings.pause_seconds)


def _rules_identity(settings: Settings) -> Identity:
    """The rules by which backups go, as a number of their own: a sender with others showed another prune."""
    names = ("retention_days", "keep", "placement", "archive_after_days", "prune_grace_hours")
    rules = settings.model_dump_json(include=set(names))
    return Identity(part=RETENTION, server={"rules": (sha256(rules.encode()).hexdigest()[:16],)})
