"""Owner: which installation this is, and whether a store is its own; asked before anything is written.

A store belongs to one installation. The installation is the one that STRATA_INSTALLATION names, or else that of the
ledger, or else that of the stores that answer, where they agree. Reading needs none of this.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import datetime
from functools import partial
from typing import Any, NamedTuple, Protocol

from strata.catalog.identity import IdentityBook
from strata.catalog.memory import NoMemory, StoreMemory
from strata.catalog.metadata import MANIFESTS, is_manifest
from strata.catalog.signed import Signer
from strata.errors import BrokerUnavailable, IntegrityError, StoreForeign, StrataError
from strata.model.copies import CatalogueEntry
from strata.model.manifest import FORMAT_VERSION
from strata.model.plan import BackupPlan
from strata.model.store import STORE_DOCUMENT, StoreIdentity, new_installation, new_store_id
from strata.model.tier import StorageTier
from strata.planning.ownership import agreed, refuse_foreign, refuse_nameless, sole_maker


class OwnedStore(Protocol):
    """The verbs of a store that its owner needs."""

    @property
    def url(self) -> str: ...

    def put(self, name: str, parts: Any) -> None: ...

    def get(self, name: str, offset: int = 0, length: int | None = None) -> bytes: ...

    def list(self, prefix: str) -> Any: ...

    def delete(self, name: str) -> None: ...


class Adoption(NamedTuple):
    """The identity that a store would get, and what is to be said of it now."""

    identity: StoreIdentity
    said: str
    renewed: bool
    """Whether it gets a new id: what is noted under the old one counts no more."""


class Owner:
    """Says of stores whose they are; `named` is the installation that the settings name."""

    def __init__(
        self,
        stores: Mapping[StorageTier, OwnedStore],
        signer: Signer,
        memory: StoreMemory | None = None,
        named: str | None = None,
    ) -> None:
        self._stores, self._signer = stores, signer
        self._memory, self._named = memory or NoMemory(), named

    def identity(self, tier: StorageTier) -> StoreIdentity | None:
        """What a store says of itself; KeyringError or IntegrityError where that cannot be trusted."""
        return IdentityBook(self._stores[tier], self._signer).read()

    def installation(self) -> str | None:
        """The installation that this is; None where nothing tells yet, StoreForeign where the stores disagree."""
        return self._told() or agreed(self._answered(self._stores))

    def check(self, tier: StorageTier) -> tuple[StoreIdentity | None, str]:
        """A store's identity, if it has one, and the installation that may write into it: this one.

        StoreForeign where it is not this installation's, KeyringError where it is another keyring's.
        """
        found, url = self.identity(tier), self._stores[tier].url
        if found is None and any(is_manifest(info.name) for info in self._stores[tier].list(MANIFESTS)):
            refuse_nameless(tier, url)
        installation = self._told()
        if installation is None:
            others = self._answered(other for other in self._stores if other is not tier)
            installation = agreed(others | ({tier: found} if found else {})) or new_installation()
        if found:
            refuse_foreign(tier, url, found, installation)
        return found, installation

    def foresee(self, tier: StorageTier, now: datetime) -> StoreIdentity:
        """The identity of a store that is about to be written into, or the one that it would get; writes nothing."""
        found, installation = self.check(tier)
        return found or StoreIdentity(
            format=FORMAT_VERSION, store_id=new_store_id(), installation=installation, created_at=now
        )

    def foresee_untold(self, tier: StorageTier, makers: Collection[str], listed: int, now: datetime) -> StoreIdentity:
        """As `foresee`; and for what must be written though the store does not tell whose it is: one without an id.

        `makers` are the installations that made the backups which can be read there, of so many that are `listed`.
        StoreForeign, KeyringError or IntegrityError where the store may be another's.
        """
        try:
            return self.foresee(tier, now)
        except (IntegrityError, StoreForeign):
            maker = sole_maker(makers, listed, self._told())
            if maker is None or self._is_told(tier):
                raise
            return StoreIdentity(format=FORMAT_VERSION, store_id="", installation=maker, created_at=now)

    def _is_told(self, tier: StorageTier) -> bool:
        """Whether the store says whose it is, so that it can be trusted."""
        try:
            return self.identity(tier) is not None
        except IntegrityError:
            return False

    def claim(self, tier: StorageTier, foreseen: StoreIdentity) -> StoreIdentity:
        """The identity that the store has from now on: of several writers that claim it at once, one's."""
        told = self._named or self._memory.name(foreseen.installation)
        wanted = foreseen.model_copy(update={"installation": told or foreseen.installation})
        found = self.identity(tier) or IdentityBook(self._stores[tier], self._signer).write(wanted)
        if told:
            refuse_foreign(tier, self._stores[tier].url, found, told)
        return found

    def claim_new(self, tier: StorageTier, now: datetime) -> StoreIdentity:
        """The identity of a store that is written into now, whether it had one or not."""
        return self.claim(tier, self.foresee(tier, now))

    def settle(self, plan: BackupPlan) -> BackupPlan:
        """The plan of a backup, once its store says whose it is; as it is where it goes ahead though none does."""
        if not plan.store_id:
            return plan
        foreseen = StoreIdentity(
            format=FORMAT_VERSION,
            store_id=plan.store_id,
            installation=plan.installation,
            created_at=plan.created_at,
        )
        identity = self.claim(plan.storage_tier, foreseen)
        return plan.model_copy(update={"store_id": identity.store_id, "installation": identity.installation})

    def require(self, tier: StorageTier, installation: str) -> StoreIdentity:
        """The identity of a store that was claimed; StoreForeign where it is another installation's by now."""
        found = self.identity(tier)
        if found is None:
            refuse_nameless(tier, self._stores[tier].url)
        refuse_foreign(tier, self._stores[tier].url, found, installation)
        return found

    def owning(self, tier: StorageTier) -> Callable[[], bool]:
        """A question that can be asked later: whether the store is ours."""
        return partial(self.owns, tier)

    def owns(self, tier: StorageTier) -> bool:
        """Whether a note may be left in the store: it is this installation's, or nobody's yet."""
        try:
            self.check(tier)
        except StrataError:
            return False
        return True

    def adoption(self, tier: StorageTier, entries: Sequence[CatalogueEntry], now: datetime) -> Adoption:
        """What making a store this installation's own would write; KeyringError where it is another keyring's."""
        try:
            found = self.identity(tier)
        except IntegrityError:
            found = None
        others = self._answered(other for other in self._stores if other is not tier)
        installation = self._told() or agreed(others) or (found.installation if found else new_installation())
        makers = {*(found.installations if found else ()), *(entry.installation for entry in entries)}
        base = found or StoreIdentity(
            format=FORMAT_VERSION, store_id=new_store_id(), installation=installation, created_at=now
        )
        identity = base.model_copy(
            update={"installation": installation, "formerly": tuple(sorted(makers - {installation}))}
        )
        said = f"belongs to installation {found.installation}" if found else "says not whose it is"
        return Adoption(identity, f"{said}, and holds {len(entries):,} backups", found is None)

    def adopt(self, tier: StorageTier, identity: StoreIdentity) -> StoreIdentity:
        """Replace the identity of a store."""
        self._stores[tier].delete(STORE_DOCUMENT)
        self._memory.name(identity.installation)
        return IdentityBook(self._stores[tier], self._signer).write(identity)

    def remember(self, url: str, backup_id: str, generation: int) -> None:
        """Remember that a store holds a backup. It is there already: nothing fails where that is not possible."""
        with suppress(BrokerUnavailable):
            self._memory.remember(url, backup_id, generation)

    def forget(self, url: str, backups: Sequence[str]) -> None:
        """Remember no longer what was removed from a store; the removal in the store tells it too."""
        with suppress(BrokerUnavailable):
            self._memory.forget(url, backups)

    def _told(self) -> str | None:
        return self._named or self._memory.installation()

    def _answered(self, tiers: Iterable[StorageTier]) -> dict[StorageTier, StoreIdentity]:
        """The identities of the stores that answer and can be trusted, all asked at once."""

        def read(tier: StorageTier) -> StoreIdentity | None:
            try:
                return self.identity(tier)
            except StrataError:  # it is refused, or named, where it is that store's turn
                return None

        asked = list(tiers)
        with ThreadPoolExecutor(len(asked) or 1, thread_name_prefix="owners") as pool:
            found = dict(zip(asked, pool.map(read, asked), strict=True))
        return {tier: identity for tier, identity in found.items() if identity}
