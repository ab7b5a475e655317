"""Trying a store: what it promises, measured on objects below `doctor/` that are removed again."""

from __future__ import annotations

import os
import secrets
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Final

from strata.clock import Clock
from strata.engine.doctor import Finding, Verdict
from strata.errors import ObjectExists, ObjectLocked, StorageError, StoreUnavailable, StrataError
from strata.storage.attributes import is_immutable
from strata.storage.beneath import file
from strata.storage.port import LockingStore, LockMode, ObjectStore

FOLDER: Final = "doctor"
_RACES: Final = 5
_SKEW_SECONDS: Final = 5.0
"""Clocks further apart than this are told; a listing's times are whole seconds."""
_LOCK_SECONDS: Final = 3
_FAR_SECONDS: Final = 10.0
"""A lock that ends later than this is not the trial's own: nobody waits for it."""
_LITTLE_SHARE, _LITTLE_BYTES = 0.05, 1 << 30


@dataclass(frozen=True)
class StoreTrial:
    """Tries one store.

    `folder` is where its files lie, if they do; `classed` whether sealed data has a storage class of its own there;
    `locking` is None where nothing is locked.
    """

    store: ObjectStore
    clock: Clock
    folder: Path | None = None
    classed: bool = False
    locking: LockingStore | None = None
    lock_mode: LockMode = LockMode.GOVERNANCE
    sleep: Callable[[float], None] = time.sleep

    def findings(self) -> Iterator[Finding]:
        """What was found, one after the other; StorageError where the store does not do what everything rests on."""
        base = f"{FOLDER}/{secrets.token_hex(8)}"
        kept: ObjectLocked | None = None
        try:
            yield from self._reading(base)
            yield self._racing(base)
            if self.classed:
                yield self._archived(f"{base}/0.seg")
            if self.locking:
                yield self._locked(self.locking, base)
            if self.folder:
                yield self._room(self.folder)
        finally:
            try:
                self.store.clear(base)
            except ObjectLocked as locked:
                kept = locked
            except StrataError:
                pass  # what is left is told below
        yield self._gone(base, kept)

    def _reading(self, base: str) -> Iterator[Finding]:
        name, body = f"{base}/one", os.urandom(4096)
        before = self.clock.now()
        self.store.put(name, [body])
        after = self.clock.now()
        if self.store.get(name) != body or self.store.get(name, 1000, 100) != body[1000:1100]:
            raise StorageError("what was read back is not what was written", hint="Do not use this store.")
        yield Finding("put and get", Verdict.SAFE, "written and read back, whole and in part")
        listed = [info for info in self.store.list(f"{base}/") if info.name == name]
        if not listed:
            yield Finding(
                "list", Verdict.WEAKER, "a new object is not listed at once", "Backups appear later than they are made."
            )
            return
        yield Finding("list", Verdict.SAFE, "listed at once")
        ahead = max((listed[0].modified - after).total_seconds(), 0) or min(
            (listed[0].modified - before).total_seconds() + 1, 0
        )
        if abs(ahead) <= _SKEW_SECONDS:
            yield Finding("clock", Verdict.SAFE, "its clock is ours")
            return
        side = "ahead of" if ahead > 0 else "behind"
        yield Finding(
            "clock",
            Verdict.WEAKER,
            f"its clock is {abs(ahead):,.0f} s {side} this machine's",
            "Set the one that is wrong.",
        )

    def _archived(self, name: str) -> Finding:
        self.store.put(name, [b"sealed"])
        try:
            self.store.get(name)
        except StoreUnavailable:
            raise
        except StorageError:
            return Finding("storage class", Verdict.SAFE, "sealed data has to be brought back before it can be read")
        return Finding("storage class", Verdict.SAFE, "sealed data can be read at once")

    def _racing(self, base: str) -> Finding:
        for number in range(_RACES):
            if self._winners(f"{base}/race-{number}") != 1:
                return Finding(
                    "conditional put",
                    Verdict.WEAKER,
                    "of two writers of one name both win, and the last one's bytes stay: it knows no conditional put",
                    "Let one deployment only write to this store; see docs/how-to/storage-tiers.md.",
                )
        return Finding("conditional put", Verdict.SAFE, "of two writers of one name one wins")

    def _winners(self, name: str) -> int:
        barrier = threading.Barrier(2)

        def won(body: bytes) -> bool:
            barrier.wait()
            try:
                self.store.put(name, [body])
            except ObjectExists:
                return False
            return True

        with ThreadPoolExecutor(2) as pool:
            return list(pool.map(won, (b"one", b"two"))).count(True)

    def _locked(self, store: LockingStore, base: str) -> Finding:
        name = f"{base}/locked"
        store.put(name, [b"locked"])
        store.lock(name, self.clock.now() + timedelta(seconds=_LOCK_SECONDS), self.lock_mode)
        until = store.locked_until(name)
        try:
            store.delete(name)
        except ObjectLocked:
            kept = not self.folder or _is_immutable(self.folder, name)
        else:
            return Finding("lock", Verdict.FAILED, "a locked object was removed", "Do not rely on locks there.")
        left = (until - self.clock.now()).total_seconds() if until else 0.0
        if until and left > _FAR_SECONDS:
            return Finding("lock", Verdict.SAFE, f"the bucket itself locks until {until:%Y-%m-%d %H:%M:%S} UTC")
        if until:
            self.sleep(max(0.0, left) + 0.1)
        store.delete(name)
        if kept:
            return Finding("lock", Verdict.SAFE, "locked objects stay")
        return Finding(
            "lock",
            Verdict.WEAKER,
            "files cannot be made immutable there: only Strata itself keeps to their locks",
            "It takes a file system with that attribute, such as ext4 or xfs, and the right to set it.",
        )

    def _room(self, folder: Path) -> Finding:
        usage = shutil.disk_usage(folder)
        said = f"{usage.free / (1 << 30):,.1f} GiB free of {usage.total / (1 << 30):,.1f}"
        if usage.free < _LITTLE_BYTES or usage.free < usage.total * _LITTLE_SHARE:
            return Finding("room", Verdict.WEAKER, f"there is little room: {said}", "Free some, or prune backups.")
        return Finding("room", Verdict.SAFE, said)

    def _gone(self, base: str, kept: ObjectLocked | None) -> Finding:
        if not any(self.store.list(f"{base}/")):
            return Finding("delete", Verdict.SAFE, "removed again")
        if kept:
            return Finding(
                "delete",
                Verdict.WEAKER,
                f"the trial's objects stay: {kept.sentence}",
                "The bucket locks every object by itself; see docs/how-to/storage-tiers.md.",
            )
        return Finding("delete", Verdict.FAILED, f"objects below {base} could not be removed", "Remove them by hand.")


def _is_immutable(folder: Path, name: str) -> bool:
    with file(folder, name) as descriptor:
        return is_immutable(descriptor)
