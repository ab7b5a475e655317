"""What cannot be read of a store's catalogue, and what may still be called the latest backup beside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from strata.errors import BackupNotFound, IntegrityError, KeyringError, StoreUnavailable, StrataError
from strata.model.manifest import manifest_name
from strata.model.tier import StorageTier


@dataclass(frozen=True)
class Unreadable:
    """A manifest that cannot be trusted, and why; it hides no other."""

    name: str
    reason: str
    retryable: bool = False
    """Whether it may be whole: the store did not answer when it was read."""
    generation: int = 0
    """The generation that its bytes still tell, though nothing vouches for it."""
    keyless: bool = False
    """Whether it may be whole: the keyring lacks the key that would check it."""
    store: StorageTier | None = None
    """The store that it lies in, where several were read."""


class Ordered(Protocol):
    """A recorded backup, as far as its order goes."""

    @property
    def backup_id(self) -> str: ...

    @property
    def generation(self) -> int: ...


Backup = TypeVar("Backup", bound=Ordered)


def unreadable(name: str, error: StrataError, generation: int = 0, store: StorageTier | None = None) -> Unreadable:
    """What an error says of the manifest that was read."""
    return Unreadable(name, error.sentence, error.retryable, generation, isinstance(error, KeyringError), store)


def latest(good: Sequence[Backup], bad: Sequence[Unreadable], where: str) -> Backup:
    """The latest of the backups that will do, newest first; an older one never passes for one that cannot be read."""
    unread = next((one for one in bad if one.retryable), None)
    if unread:  # it may be the latest
        raise StoreUnavailable(
            f"which backup is the latest cannot be told: {unread.reason}", hint="Try again, or name the backup."
        )
    found = next(iter(good), None)
    # Ids sort by time; where a clock was set back, the damaged manifest may still tell its generation.
    newer = [
        one for one in bad if found and (one.name > manifest_name(found.backup_id) or one.generation > found.generation)
    ]
    if found and newer:  # nobody who asks for the latest means an older one without knowing
        raise _kind_of(newer[0])(
            f"the latest backup cannot be read: {newer[0].reason}",
            hint=f"Name an older one: the latest that can be read is {found.backup_id}.",
        )
    if found:
        return found
    if bad:
        raise _kind_of(bad[0])(
            f"no manifest in {where} can be read: {bad[0].reason}",
            hint="Bring back the keyring the backups were made with." if bad[0].keyless else "",
        )
    raise BackupNotFound(f"there is no backup in {where} yet", hint="Make one: `strata backup full`.")


def among(reference: str, ids: Sequence[str], where: str) -> str:
    """The id that is meant by a full one or a unique beginning of one; BackupNotFound otherwise."""
    found = [reference] if reference in ids else sorted(one for one in ids if one.startswith(reference))
    if len(found) > 1:
        shown = ", ".join(found[:4]) + (", ..." if len(found) > 4 else "")  # noqa: PLR2004 - a handful
        raise BackupNotFound(f"{reference!r} could be any of {shown}", hint="Give more of the id.")
    if not found or not reference:
        raise BackupNotFound(f"there is no backup {reference!r} in {where}", hint="`strata list` shows what is there.")
    return found[0]


def _kind_of(one: Unreadable) -> type[StrataError]:
    return KeyringError if one.keyless else IntegrityError
