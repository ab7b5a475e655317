"""The part of the wiring that reads catalogues: the keyring, the stores, what lies in them, the ledger. No engine.

So a listing answers at once: the engine takes 0.3 s to import.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

from strata.catalog.cache import CatalogueCache
from strata.catalog.catalogue import Catalogue
from strata.catalog.memory import NoMemory, StoreMemory
from strata.clock import Clock, SystemClock
from strata.errors import BrokerUnavailable, SettingError
from strata.model.coverage import SourceKind
from strata.model.tier import StorageTier, Tier
from strata.planning.policy import Promises
from strata.planning.retention import RetentionService
from strata.planning.tables import copy_rule
from strata.planning.tier_strategy import TierStrategy
from strata.seal.keyring import FileKeyring, Keyring
from strata.settings import Settings, required
from strata.storage.port import Locking, ObjectStore
from strata.storage.s3 import S3Store
from strata.tls import redis_access
from strata.transport import TransportService

if TYPE_CHECKING:
    import redis

    from strata.catalog.ledger import Ledger

ANSWER_SECONDS: Final = 2
"""How long a command waits to learn that there is no ledger: it has better to do."""

_WITNESS_SECONDS: Final = 0.5


class StoreWiring:
    """Builds each part when it is first asked for; `tell` hears what a person may want to know beside the answer."""

    def __init__(
        self, settings: Settings, clock: Clock | None = None, tell: Callable[[str], None] = lambda _: None
    ) -> None:
        self.settings = settings
        self.clock = clock or SystemClock()
        self.tell = tell

    @cached_property
    def keyring(self) -> Keyring:
        """The keyring; KeyringError where there is none."""
        return FileKeyring.load(self.settings.keyring_file)

    @cached_property
    def stores(self) -> dict[StorageTier, ObjectStore]:
        """The store of each configured storage tier, nearest first; SettingError where there is none."""
        found = self._transport.stores()
        if not found:
            raise SettingError(
                "no store is configured", hint="Set STRATA_LOCAL_URL, for example file:///var/lib/strata."
            )
        return found

    @cached_property
    def bare_stores(self) -> dict[StorageTier, ObjectStore]:
        """The same stores without wrappers, for who wants to know at once whether one answers."""
        return {tier: self._transport.bare(tier) for tier in self.stores}

    @cached_property
    def locking(self) -> dict[StorageTier, Locking]:
        """The stores that refuse to remove what is locked, where the settings ask for that."""
        return self._transport.locking()

    @cached_property
    def buckets(self) -> dict[StorageTier, S3Store]:
        """The configured stores in S3, with the verbs that only S3 has."""
        tiers = (StorageTier.CLOUD, StorageTier.ARCHIVE)
        return {tier: self._transport.bucket(tier) for tier in tiers if tier in self.stores}

    @cached_property
    def strategy(self) -> TierStrategy:
        """Where backups go."""
        return TierStrategy(self.stores, self.settings.placement, self.settings.archive_after_days)

    @cached_property
    def retention(self) -> RetentionService:
        """Which backups are kept."""
        return RetentionService(self.settings.retention_days, self.settings.keep, frozenset(self.tiers))

    @cached_property
    def promises(self) -> Promises:
        """What is promised about backups."""
        locking = frozenset(self.locking)
        settings, tiers = self.settings, frozenset(self.tiers)
        rule = copy_rule(settings.copy_rule) if settings.copy_rule is not None else None
        within = timedelta(days=settings.verify_days)
        return Promises(settings.promised, rule, within, locking=locking, tiers=tiers)

    @cached_property
    def tiers(self) -> dict[Tier, SourceKind]:
        """The configured tiers, and from where each is read."""
        settings = self.settings
        urls = {Tier.HOT: settings.hot_url, Tier.WARM: settings.warm_url, Tier.COLD: settings.cold_url}
        live = {tier: SourceKind.LIVE for tier, url in urls.items() if url is not None}
        manager = settings.state_manager_tier
        return live if manager is None else {**live, manager: SourceKind.STATE_MANAGER}

    @cached_property
    def _transport(self) -> TransportService:
        return TransportService(self.settings, self.clock)

    @cached_property
    def catalogue(self) -> Catalogue:
        """The backups of all stores, by way of the cache: for showing."""
        return Catalogue(self.stores, self.keyring, self.catalogue_cache, (self.witness,), self.known_installation)

    @cached_property
    def witness(self) -> StoreMemory:
        """What the ledger remembers of the stores, asked for no longer than a listing can wait."""
        if self.settings.result_url is None:
            return NoMemory()
        from strata.catalog.redis_memory import RedisMemory

        return RedisMemory(self.brief_redis(self.settings.result_url.get_secret_value(), _WITNESS_SECONDS))

    @cached_property
    def ledger(self) -> Ledger:
        """The run ledger that all workers share."""
        from strata.catalog.redis_ledger import RedisLedger

        return RedisLedger(self._result_redis)

    @property
    def shared_ledger(self) -> Ledger | None:
        """The ledger that all workers share, where it answers."""
        return self.ledger if self.ledger_answers else None

    @cached_property
    def ledger_answers(self) -> bool:
        """Whether the ledger's Redis is configured and answers; BrokerUnavailable where it answers with a refusal.

        A server that refuses us may well serve the workers: a lease without it would let two runs go on at a time.
        """
        if self.settings.result_url is None:
            return False
        import redis

        from strata.catalog.redis_answers import refusing

        client = self.brief_redis(self.settings.result_url.get_secret_value(), ANSWER_SECONDS)
        with client, suppress(redis.ConnectionError, redis.TimeoutError), refusing("the ledger"):
            return bool(client.ping())
        return False

    @cached_property
    def _result_redis(self) -> Any:
        import redis

        url = required(self.settings.result_url, "STRATA_RESULT_URL", "the run ledger and the lease are kept there")
        bare, tls = redis_access(url, self.settings.tls)
        return redis.Redis.from_url(bare, **tls, socket_timeout=10, socket_connect_timeout=5, health_check_interval=30)

    def brief_redis(self, url: str, seconds: float) -> redis.Redis:
        """A client of the broker's or the ledger's Redis, which tries once and waits for so many seconds."""
        import redis  # most commands ask no ledger

        bare, tls = redis_access(url, self.settings.tls)
        return redis.Redis.from_url(bare, **tls, socket_timeout=seconds, socket_connect_timeout=seconds, retry=None)

    def known_installation(self) -> str | None:
        """The installation that settings or ledger name, if they do."""
        with suppress(BrokerUnavailable):
            return self.settings.installation or self.witness.installation()
        return None

    @cached_property
    def catalogue_cache(self) -> CatalogueCache:
        """What is kept of catalogues on this machine."""
        return CatalogueCache(self.settings.cache_folder, self.keyring, self.tell)
