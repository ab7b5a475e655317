"""Finds every damaged object of a backup, where a restore would stop at the first."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

from strata.engine.verifier import Listings, Verifier
from strata.errors import LOST, StrataError
from strata.model.layer import StoredObject
from strata.model.run import Progress
from strata.storage.port import ObjectStore

VERIFY_THREADS: Final = 2
_LOOKING_THREADS: Final = 8


@dataclass(frozen=True)
class Damage:
    """An object that is not what was written, or is not there."""

    name: str
    reason: str


def survey(
    verifier: Verifier, work: Sequence[tuple[str, StoredObject]], report: Callable[[Progress], None]
) -> list[Damage]:
    """Prove every (layer id, object) pair, a few at a time, and list those that fail.

    Only damage is listed: a store that does not answer, or a key that is not there, says nothing of the objects and
    is raised.
    """
    lock, done, listings = threading.Lock(), Progress(total=len(work)), Listings()

    def prove(pair: tuple[str, StoredObject]) -> Damage | None:
        nonlocal done
        damage = _prove(verifier, listings, *pair)
        with lock:
            done = Progress(objects=done.objects + 1, total=done.total, bytes=done.bytes + pair[1].size)
            report(done)
        return damage

    with ThreadPoolExecutor(VERIFY_THREADS, thread_name_prefix="verify") as pool:
        try:
            found = list(pool.map(prove, work))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    hurt = {layer_id for (layer_id, _), damage in zip(work, found, strict=True) if damage is not None}
    whole = dict.fromkeys(layer_id for layer_id, _ in work if layer_id not in hurt)
    unlisted = [Damage(listings.index_of(one), wrong) for one in whole if (wrong := listings.wrong(one))]
    return [*(damage for damage in found if damage is not None), *unlisted]


def survey_presence(store: ObjectStore, objects: Sequence[StoredObject]) -> list[Damage]:
    """Objects that are not in the store, or do not have their size there; nothing is read."""

    def look(stored: StoredObject) -> Damage | None:
        try:
            size = store.size(stored.name)
        except LOST as error:
            return Damage(stored.name, error.sentence)
        return None if size == stored.size else Damage(stored.name, f"its {size} bytes are not {stored.size}")

    with ThreadPoolExecutor(_LOOKING_THREADS, thread_name_prefix="look") as pool:
        return [damage for damage in pool.map(look, objects) if damage is not None]


def _prove(verifier: Verifier, listings: Listings, layer_id: str, stored: StoredObject) -> Damage | None:
    try:
        listings.add(layer_id, stored, verifier.prove(layer_id, stored))
    except LOST as error:
        return Damage(stored.name, _without_name(error, stored.name))
    return None


def _without_name(error: StrataError, name: str) -> str:
    """What is wrong, without the object's name before it."""
    before, found, reason = error.sentence.partition("is damaged: ")
    return reason if found and name in before else error.sentence
