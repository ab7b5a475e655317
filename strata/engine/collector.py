"""DataCollector: reads one tier into sealed raw segments."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from strata.content.chunks import Chunker
from strata.content.fingerprint import Fingerprinter
from strata.engine.ahead import ahead
from strata.engine.assembly import TierAssembly
from strata.engine.handed import handed_source
from strata.engine.runner import Attempt
from strata.engine.spool import Spool
from strata.errors import SettingError, SourceError
from strata.memory import give_back_freed_memory
from strata.model.plan import BackupPlan
from strata.model.ticket import Collected
from strata.model.tier import Tier
from strata.seal.encryption import derive
from strata.seal.keyring import Keyring
from strata.sources.port import StateSource


class DataCollector:
    """Reads tiers through their sources."""

    def __init__(self, sources: Mapping[Tier, StateSource], spool: Spool, keyring: Keyring) -> None:
        self._sources = sources
        self._spool = spool
        self._keyring = keyring

    def collect(self, plan: BackupPlan, tier: Tier, attempt: Attempt) -> Collected:
        """Read the tier's scope whole; a tier that cannot be read raises SourceError, it never counts as empty."""
        secret = self._keyring.fingerprint_key(plan.fingerprint_key_id).secret
        assembly = TierAssembly(
            tier,
            plan.layer_id(tier),
            plan.segment_bytes,
            self._spool,
            Fingerprinter(secret),
            Chunker(derive(secret, b"chunk")),
            attempt,
        )
        with naming_tier(tier), self._source(plan, tier).connect() as session:
            cut = session.cut()
            try:
                with ahead(session.read(plan.tier(tier).scope)) as items:
                    for item in items:
                        assembly.add(item)
                return assembly.finish(cut, session.describe())
            finally:
                assembly.abort()
                give_back_freed_memory(assembly.logical_bytes)

    def _source(self, plan: BackupPlan, tier: Tier) -> StateSource:
        """What the tier is read from: itself, or the document that the run was handed."""
        if plan.override:
            return handed_source(self._spool, plan.backup_id, plan.override, tier)
        return source_of(self._sources, tier)


@contextmanager
def naming_tier(tier: Tier) -> Iterator[None]:
    """Adds the tier to a SourceError that does not name it."""
    try:
        yield
    except SourceError as error:
        if tier.label in error.sentence:
            raise
        raise type(error)(f"{tier.label}: {error.sentence}", hint=error.hint) from None


def source_of(sources: Mapping[Tier, StateSource], tier: Tier) -> StateSource:
    """The source of a tier; SettingError where this worker has none."""
    if tier not in sources:
        raise SettingError(
            f"{tier.label} has no URL here",
            hint=f"Set STRATA_{tier.upper()}_URL for the workers that read and restore it.",
        )
    return sources[tier]
