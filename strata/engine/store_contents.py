"""What lies in a store, for the doctor: whose it is, what disappeared, and what is not ours."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from strata.catalog.catalogue import Catalogue
from strata.catalog.history import is_failed_run
from strata.catalog.metadata import is_manifest
from strata.catalog.notes import parse_name
from strata.catalog.owner import Owner
from strata.catalog.removals import is_removal
from strata.engine.doctor import Finding, Verdict
from strata.engine.store_trial import FOLDER
from strata.model.layer import layer_of_object
from strata.model.store import STORE_DOCUMENT
from strata.model.tier import StorageTier
from strata.planning.soundness import counted, named
from strata.storage.port import ObjectStore
from strata.storage.share import MARKER

_OURS: Final = (is_manifest, parse_name, layer_of_object, is_failed_run, is_removal)


@dataclass(frozen=True)
class StoreContents:
    """Looks through one store; nothing is written."""

    tier: StorageTier
    store: ObjectStore
    owner: Owner
    catalogue: Catalogue

    def findings(self) -> Iterator[Finding]:
        """What was found; a KeyringError or StoreForeign where the store is not ours."""
        identity, installation = self.owner.check(self.tier)
        said = f"belongs to this installation ({installation})" if identity else "belongs to nobody yet"
        yield Finding("owner", Verdict.SAFE, said)
        yield self._gone()
        yield self._strays()

    def _gone(self) -> Finding:
        gone = [one.backup_id for one in self.catalogue.only(self.tier).view().gone]
        if not gone:
            return Finding("backups", Verdict.SAFE, "none disappeared")
        return Finding(
            "backups",
            Verdict.FAILED,
            f"{counted(len(gone), 'backup')} disappeared, and nothing of ours removed them: {named(gone)}",
            f"Bring the store back to what it was, or say `strata stores settle {self.tier}`.",
        )

    def _strays(self) -> Finding:
        strays = sorted(info.name for info in self.store.list() if not (info.regular and is_ours(info.name)))
        if not strays:
            return Finding("names", Verdict.SAFE, "holds nothing else")
        return Finding(
            "names",
            Verdict.WEAKER,
            f"{counted(len(strays), 'object')} there are not Strata's, or links: {named(strays)}",
            "They are neither read nor removed; give them a place of their own.",
        )


def is_ours(name: str) -> bool:
    """Whether an object's name is one that we give."""
    apart = name in {STORE_DOCUMENT, MARKER} or name.startswith(f"{FOLDER}/") or name.endswith("/")
    return apart or any(ours(name) for ours in _OURS)
