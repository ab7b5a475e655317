"""The one place that names concrete classes: from settings to a manager that works."""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

from pydantic import SecretStr

from strata.catalog.lease import FileLease, Lease, RedisLease
from strata.catalog.ledger import Ledger
from strata.catalog.memory_ledger import MemoryLedger
from strata.catalog.metadata import BackupMetadataManager
from strata.catalog.redis_answers import refusing
from strata.catalog.redis_ledger import RedisLedger
from strata.clock import Clock, SystemClock
from strata.engine.collector import DataCollector
from strata.engine.creator import BackupCreator
from strata.engine.manager import BackupManager
from strata.engine.meeting import Pause
from strata.engine.pause import CutPause
from strata.engine.planner import BackupOptions
from strata.engine.restore_store import RestoreStore, RestoreStores
from strata.engine.restorer import BackupRestorer
from strata.engine.runner import StageRunner, Watcher
from strata.engine.spool import Spool
from strata.engine.thaw_runs import ThawRuns
from strata.engine.thawer import Thawer, ThawPolicy
from strata.engine.upkeep import Upkeep
from strata.errors import SettingError
from strata.memory import keep_freed_memory
from strata.model.tier import StorageTier, Tier
from strata.planning.backup import StackPolicy
from strata.planning.thaw import prices_of
from strata.seal.keyring import FileKeyring, Keyring
from strata.settings import Settings, required
from strata.sources.port import StateSource
from strata.storage.filesystem import Durability, FilesystemStore, folder_of
from strata.storage.port import ObjectStore
from strata.storage.s3 import S3Store

if TYPE_CHECKING:
    from strata.sources.redis_flag import RedisFlag

_ANSWER_SECONDS: Final = 2
"""How long a command waits to learn that there is no ledger: it has better to do."""


class Wiring:
    """Builds each part when it is first asked for; make one after a fork, never before."""

    def __init__(self, settings: Settings, watcher: Watcher | None = None, clock: Clock | None = None) -> None:
        self.settings = settings
        self._watcher = watcher
        self.clock = clock or SystemClock()
        keep_freed_memory()

    @cached_property
    def keyring(self) -> Keyring:
        """The keyring; KeyringError where there is none."""
        return FileKeyring.load(self.settings.keyring_file)

    @cached_property
    def stores(self) -> dict[StorageTier, ObjectStore]:
        """The store of each configured storage tier."""
        local: dict[StorageTier, ObjectStore] = {}
        if self.settings.local_url is not None:
            local[StorageTier.LOCAL] = FilesystemStore(folder_of(self.settings.local_url, "STRATA_LOCAL_URL"))
        return local | dict(self.buckets)

    @cached_property
    def buckets(self) -> dict[StorageTier, S3Store]:
        """The configured stores in S3, with the verbs that only S3 has."""
        urls = {StorageTier.CLOUD: self.settings.cloud_url, StorageTier.ARCHIVE: self.settings.archive_url}
        return {tier: self._s3_store(tier.value) for tier, url in urls.items() if url is not None}

    @property
    def store(self) -> ObjectStore:
        """The store that backups go to and come from: the first that is configured."""
        for store in self.stores.values():
            return store
        raise _no_store()

    @cached_property
    def spool(self) -> Spool:
        """Staging that all workers share."""
        url = required(self.settings.spool_url, "STRATA_SPOOL_URL", "the stages hand their work on through it")
        if url.startswith("s3://"):
            return Spool(self._s3_store("spool"), self.keyring)
        return Spool(FilesystemStore(folder_of(url, "STRATA_SPOOL_URL"), Durability.CACHED), self.keyring)

    @cached_property
    def sources(self) -> dict[Tier, StateSource]:
        """The source of each configured tier."""
        settings, sources = self.settings, dict[Tier, StateSource]()
        if settings.hot_url is not None:
            from strata.sources.redis_hot import RedisHot

            sources[Tier.HOT] = RedisHot(settings.hot_url.get_secret_value(), settings.hot_method)
            if (flag := self._flag) is not None:
                from strata.sources.hidden_key import HiddenKey

                sources[Tier.HOT] = HiddenKey(Tier.HOT, sources[Tier.HOT], flag.namespace, flag.key)
        if settings.warm_url is not None:
            from strata.sources.postgres_warm import PostgresWarm

            sources[Tier.WARM] = PostgresWarm(
                settings.warm_url.get_secret_value(), settings.warm_tables, settings.warm_parallel
            )
        if settings.cold_url is not None:
            from strata.sources.s3_cold import S3Cold

            sources[Tier.COLD] = S3Cold(settings.cold_url, threads=settings.cold_threads, **self._s3_options("cold"))
        if (tier := settings.state_manager_tier) is not None:
            from strata.sources.state_manager import StateManagerSource

            assert settings.state_manager is not None
            sources[tier] = StateManagerSource(
                settings.state_manager, tier, settings.state_manager_keys, beside=tuple(sources)
            )
        return sources

    @cached_property
    def ledger(self) -> Ledger:
        """The run ledger that all workers share."""
        return RedisLedger(self._result_redis)

    @cached_property
    def lease(self) -> Lease:
        """The lease that all workers share."""
        return RedisLease(self._result_redis)

    @cached_property
    def metadata(self) -> BackupMetadataManager:
        """The manifests of the store."""
        return BackupMetadataManager(self.store, self.keyring)

    @cached_property
    def restorer(self) -> BackupRestorer:
        """Reads backups, and writes them back."""
        return BackupRestorer(self.store, self.metadata, self.sources, self.keyring)

    @cached_property
    def manager(self) -> BackupManager:
        """The manager of runs that go through the workers."""
        return self._manager(self.ledger, self.lease)

    @cached_property
    def local_manager(self) -> BackupManager:
        """The manager of runs in this process: a ledger in memory, and the shared lease where it can be reached."""
        return self._manager(MemoryLedger(), self.lease if self.ledger_answers else self._file_lease)

    @cached_property
    def restore_stores(self) -> RestoreStores:
        """The stores that restores read from; the first that is configured, where none is named."""
        named = {tier: self._restore_store(tier, store) for tier, store in self.stores.items()}
        for usual in named.values():
            return RestoreStores(usual, named)
        raise _no_store()

    @cached_property
    def thaws(self) -> ThawRuns:
        """Brings restores that the workers do through their thaw."""
        return ThawRuns(self.manager)

    @cached_property
    def upkeep(self) -> Upkeep:
        """Finds runs that stopped moving, and what they left."""
        return Upkeep(self.manager, self.spool, self.clock)

    @cached_property
    def ledger_answers(self) -> bool:
        """Whether the ledger's Redis is configured and answers; BrokerUnavailable where it answers with a refusal.

        A server that refuses us may well serve the workers: a lease without it would let two runs go on at a time.
        """
        if self.settings.result_url is None:
            return False
        import redis

        client = redis.Redis.from_url(
            self.settings.result_url.get_secret_value(),
            socket_timeout=_ANSWER_SECONDS,
            socket_connect_timeout=_ANSWER_SECONDS,
            retry=None,
        )
        with client, suppress(redis.ConnectionError, redis.TimeoutError), refusing("the ledger"):
            return bool(client.ping())
        return False

    @property
    def _file_lease(self) -> Lease:
        url = required(self.settings.spool_url, "STRATA_SPOOL_URL", "the stages hand their work on through it")
        if not url.startswith("file://"):
            raise SettingError(
                "the ledger does not answer, and a lease of this machine needs a spool on disk",
                hint="Set STRATA_SPOOL_URL to file:///folder for this command.",
            )
        return FileLease(folder_of(url, "STRATA_SPOOL_URL") / ".lease")

    @cached_property
    def _result_redis(self) -> Any:
        import redis

        url = required(self.settings.result_url, "STRATA_RESULT_URL", "the run ledger and the lease are kept there")
        return redis.Redis.from_url(url, socket_timeout=10, socket_connect_timeout=5, health_check_interval=30)

    def _manager(self, ledger: Ledger, lease: Lease) -> BackupManager:
        settings = self.settings
        configured = {Tier.HOT: settings.hot_url, Tier.WARM: settings.warm_url, Tier.COLD: settings.cold_url}
        stores = {StorageTier.LOCAL: settings.local_url, StorageTier.CLOUD: settings.cloud_url}
        options = BackupOptions(
            tiers={tier: url is not None or tier is settings.state_manager_tier for tier, url in configured.items()},
            stores={tier: self.store.url for tier, url in stores.items() if url is not None},
            zstd_level=settings.zstd_level,
            segment_bytes=settings.segment_bytes,
            patterns=settings.patterns,
            pause=self._pause,
            meeting_seconds=settings.meeting_seconds,
            policy=StackPolicy(settings.stack_depth, settings.rebase_dead_share, timedelta(days=settings.rebase_days)),
        )
        return BackupManager(
            StageRunner(ledger, lease, self.clock, self._watcher),
            DataCollector(
                self.sources, self.spool, self.keyring, settings.emergency_seconds, settings.timestamp_fields
            ),
            BackupCreator(self.spool, self.store, self.keyring, self.clock),
            self.restorer,
            self.metadata,
            self.store,
            self.spool,
            self.keyring,
            self.clock,
            options,
            self.restore_stores,
        )

    def _restore_store(self, tier: StorageTier, store: ObjectStore) -> RestoreStore:
        metadata = BackupMetadataManager(store, self.keyring)
        restorer = BackupRestorer(store, metadata, self.sources, self.keyring)
        thawer = None
        if bucket := self.buckets.get(tier):
            settings = self.settings
            policy = ThawPolicy(
                settings.thaw_speed, settings.thaw_days, prices_of(settings.archive_prices), settings.thaw_look_seconds
            )
            thawer = Thawer(store.url, bucket.thaw(), restorer, policy)
        return RestoreStore(store.url, metadata, restorer, thawer)

    @cached_property
    def _flag(self) -> RedisFlag | None:
        if self.settings.pause_key is None or self.settings.hot_url is None:
            return None
        from strata.sources.redis_flag import RedisFlag

        return RedisFlag(self.settings.hot_url.get_secret_value(), self.settings.pause_key)

    @property
    def _pause(self) -> Pause | None:
        settings, flag = self.settings, self._flag
        if flag is None and not settings.before_cut and not settings.after_cut:
            return None
        return CutPause(settings.before_cut or "", settings.after_cut or "", flag, settings.pause_seconds)

    def _s3_store(self, prefix: str) -> S3Store:
        return S3Store(getattr(self.settings, f"{prefix}_url"), **self._s3_options(prefix))

    def _s3_options(self, prefix: str) -> dict[str, Any]:
        names = ("endpoint", "region", "access_key_id", "secret_access_key")
        values = {name: getattr(self.settings, f"{prefix}_{name}") for name in names}
        return {
            name: value.get_secret_value() if isinstance(value, SecretStr) else value for name, value in values.items()
        }


def _no_store() -> SettingError:
    return SettingError("no store is configured", hint="Set STRATA_LOCAL_URL, for example file:///var/lib/strata.")
