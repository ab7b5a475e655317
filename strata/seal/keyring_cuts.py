"""Smaller keyrings, cut out of the whole one: each worker group is given the keys that its stages work with.

| group     | keys                         | and why                                                              |
|-----------|------------------------------|----------------------------------------------------------------------|
| control   | all                          | plans a backup, merges it, writes and signs its manifest             |
| collect   | spool, fingerprint           | fingerprints what it reads, and hands it on sealed; opens no backup  |
| seal      | spool, wrap, fingerprint     | takes it from the spool and seals it for the store; signs nothing    |
| store     | wrap, sign, fingerprint      | reads backups back, restores them, notes what it found               |
| emergency | all                          | all stages of EMERGENCY backups                                      |
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from strata.errors import KeyringError
from strata.seal.keyring import Entry, Purpose, make_keyring, read_entries, replace_keyring

CUTS: Final[Mapping[str, frozenset[Purpose]]] = {
    "control": frozenset(Purpose),
    "collect": frozenset({Purpose.SPOOL, Purpose.FINGERPRINT}),
    "seal": frozenset({Purpose.SPOOL, Purpose.WRAP, Purpose.FINGERPRINT}),
    "store": frozenset({Purpose.WRAP, Purpose.SIGN, Purpose.FINGERPRINT}),
    "emergency": frozenset(Purpose),
}
"""What the keys are for that each worker group of a deployment is given."""


@dataclass(frozen=True)
class Cut:
    """A keyring to be written: whose it is, where, and its keys."""

    group: str
    path: Path
    entries: tuple[Entry, ...] = field(repr=False)

    @property
    def purposes(self) -> list[str]:
        """What its keys are for, each once."""
        return [purpose.value for purpose in Purpose if purpose in CUTS[self.group]]


def plan_cuts(keyring: Path, folder: Path) -> list[Cut]:
    """What is to be cut out of a keyring; KeyringError where it is not a whole one, or would be overwritten."""
    entries = read_entries(keyring)
    missing = [purpose.value for purpose in Purpose if all(one["purpose"] != purpose for one in entries)]
    if missing:
        raise KeyringError(
            f"the keyring {keyring} holds no key to {missing[0]} with, so nothing can be cut out of it",
            hint="Cut from the whole keyring, which `strata keys init` made.",
        )
    cuts = [Cut(group, folder / f"keyring-{group}.json", _for(purposes, entries)) for group, purposes in CUTS.items()]
    for cut in cuts:
        if cut.path.exists() and cut.path.samefile(keyring):
            raise KeyringError(
                f"the cut for {cut.group} would take the place of the keyring {keyring} itself",
                hint="Name another folder, or give the keyring another name.",
            )
    return cuts


def write_new(cuts: Iterable[Cut]) -> None:
    """Write them where nothing is yet; KeyringError, and nothing is written, where one of the files is there."""
    cuts = list(cuts)
    for cut in cuts:
        if cut.path.exists() or cut.path.is_symlink():
            raise KeyringError(
                f"there is a file {cut.path} already, and nothing was written",
                hint="Use --replace to write all of them anew, or name another folder.",
            )
    for cut in cuts:
        make_keyring(cut.path, cut.entries)


def write_anew(cuts: Iterable[Cut]) -> None:
    """Write them, each in the place of what is there: whole, or not at all."""
    for cut in cuts:
        replace_keyring(cut.path, cut.entries)


def _for(purposes: frozenset[Purpose], entries: Iterable[Entry]) -> tuple[Entry, ...]:
    return tuple(one for one in entries if one["purpose"] in purposes)
