"""What a process sees of each part it works on, and the refusal to work on another than was confirmed."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

from strata.catalog.ledger import Claim
from strata.clock import Clock
from strata.engine.parallel import answered
from strata.errors import SettingError
from strata.model.identity import NOTHING_SEEN, Identities, Identity
from strata.model.plan import BackupPlan
from strata.model.run import Run
from strata.model.tier import StorageTier, Tier
from strata.planning.identity import overlapping, refuse_difference, refuse_other_tiers, touched

Look = Callable[[], Identity]

LOOK_SECONDS: Final = 10.0
"""How long a sender waits for what it can reach: the rest the workers see."""


class Looks:
    """Looks at parts; what a run was started for is compared once for each run and part of a process."""

    def __init__(
        self, looks: Mapping[str, Look], beside: Callable[[], Sequence[tuple[str, Identity]]] = lambda: ()
    ) -> None:
        self._looks, self._beside = dict(looks), beside
        self._compared: set[tuple[str, str]] = set()

    def __bool__(self) -> bool:
        return bool(self._looks)

    def see(self, parts: Sequence[str]) -> Identities:
        """These parts as they are now; SettingError for one that is not configured here."""
        return Identities(parts=tuple(self._look(part) for part in parts))

    def reachable(self, clock: Clock, seconds: float = LOOK_SECONDS, without: Sequence[str] = ()) -> Identities:
        """All that can be seen within so many seconds; the rest is left out."""
        found = answered({part: one for part, one in self._looks.items() if part not in without}, clock, seconds)
        parts = tuple(found[part] for part in self._looks if part in found)
        return Identities(parts=parts, tiers=self._tiers)

    def compare(self, run_id: str, confirmed: Identities, *parts: str) -> None:
        """IdentityMismatch where a part is another than was confirmed; one that nobody saw is not compared."""
        for part in parts:
            known = confirmed.of(part)
            if known is not None and (run_id, part) not in self._compared:
                refuse_difference(known, self._look(part))
                self._compared.add((run_id, part))

    def compare_tiers(self, confirmed: Identities, of: Iterable[Tier] = tuple(Tier)) -> None:
        """IdentityMismatch where a tier is configured there and not here, or the other way round."""
        if self._looks:
            refuse_other_tiers(confirmed, self._tiers, of)

    def before(self, run: Run, claim: Claim) -> None:
        """The guard of a stage: its parts are those that were confirmed, and no restore removes what it needs."""
        plan = json.loads(run.plan or "{}")
        parts = touched(claim.stage, claim.unit, plan) if plan else ()
        self.compare(run.run_id, Identities.model_validate(plan.get("confirmed", NOTHING_SEEN)), *parts)
        if Tier.HOT in parts:
            self.keep_apart()

    def before_reading(self, plan: BackupPlan, tier: Tier) -> None:
        """The same before a tier is read; a document that was handed over is read in the place of all tiers."""
        if plan.override:
            return
        self.compare(plan.backup_id, plan.confirmed, tier)
        if tier is Tier.HOT:
            self.keep_apart()

    @property
    def _tiers(self) -> tuple[Tier, ...]:
        return tuple(tier for tier in Tier if tier in self._looks)

    @property
    def parts(self) -> tuple[str, ...]:
        """The parts that are configured here."""
        return tuple(self._looks)

    def has(self, part: str) -> bool:
        """Whether the part is configured here."""
        return part in self._looks

    def keep_apart(self) -> None:
        """SettingError where the broker or the ledger lies in a database of HOT: a restore would remove it."""
        if Tier.HOT not in self._looks or ("", Tier.HOT) in self._compared:
            return
        if shared := overlapping(self._look(Tier.HOT), self._beside()):
            raise SettingError(
                f"a database of {Tier.HOT.label} holds {' and '.join(shared)}: "
                "a restore would remove the ledger under itself",
                hint="Give broker and ledger a Redis of their own, or at least another database: STRATA_BROKER_URL "
                "and STRATA_RESULT_URL.",
            )
        self._compared.add(("", Tier.HOT))

    def _look(self, part: str) -> Identity:
        if part not in self._looks:
            raise SettingError(f"{_named(part)} is not configured here", hint="Give all workers the same settings.")
        return self._looks[part]()


def _named(part: str) -> str:
    names = [*Tier, *StorageTier]
    return f"STRATA_{part.upper()}_URL" if part in names else f"the {part}"
