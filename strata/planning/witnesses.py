"""What the newest backups are judged by: removing old backups puts none of them in doubt that was in none.

INCREMENTALs tell how records became fewer, or that a person accepted it, and they are kept for days; FULLs from before
are kept for months. Of those alone the newest backup would have less than half of the usual number all of a sudden.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import takewhile

from strata.model.copies import CatalogueEntry
from strata.model.coverage import Coverage
from strata.planning.completeness import COMPARED
from strata.planning.goodness import Judgement, rank


def witnesses(judgement: Judgement, staying: Iterable[CatalogueEntry]) -> frozenset[str]:
    """Which backups have to stay beside these, so that the newest of each type are thought of as now."""
    kept = {entry.backup_id: entry for entry in staying}
    found: set[str] = set()
    while True:
        more = {one.backup_id: one for one in _called(judgement, Judgement(kept.values())) if one.backup_id not in kept}
        if not more:
            return frozenset(found)
        kept |= more
        found |= set(more)


def _called(now: Judgement, then: Judgement) -> Iterator[CatalogueEntry]:
    """The backups by which those were judged that would be in doubt then, and are in none now."""
    for entry in then.in_doubt:
        doubted = set() if now.doubts(entry) else {doubt.tier for doubt in then.doubts(entry)}
        for covered in entry.covers:
            if covered.tier in doubted:
                yield from _before(now.newest, covered, _first_doubted(now, then, entry, covered))
                yield from _accepted_before(now.newest, covered, entry)
        if doubted - {covered.tier for covered in entry.covers}:  # as the first of its type it would be asked for more
            yield from (one for one in now.newest if rank(one) < rank(entry) and one.backup_type is entry.backup_type)


def _accepted_before(
    newest: Sequence[CatalogueEntry], covered: Coverage, entry: CatalogueEntry
) -> Iterator[CatalogueEntry]:
    """The last accepted one of that tier and source, whatever its scope and type: it says which parts are right."""
    for one in newest:
        if one.accepted and rank(one) < rank(entry) and any(held[:2] == covered[:2] for held in one.covers):
            yield one
            return


def _first_doubted(now: Judgement, then: Judgement, entry: CatalogueEntry, covered: Coverage) -> CatalogueEntry:
    """The first of the unbroken row of backups that would be in doubt as this one would."""

    def doubted(one: CatalogueEntry) -> bool:
        return not now.doubts(one) and any(doubt.tier is covered.tier for doubt in then.doubts(one))

    earlier = (one for one in then.newest if rank(one) < rank(entry) and _compares(one, covered))
    return next(reversed(list(takewhile(doubted, earlier))), entry)


def _before(newest: Sequence[CatalogueEntry], covered: Coverage, first: CatalogueEntry) -> Iterator[CatalogueEntry]:
    """The last backups before this one whose numbers of records may be compared; what is accepted begins anew."""
    earlier = [one for one in newest if rank(one) < rank(first) and _compares(one, covered)]
    for one in earlier[:COMPARED]:
        yield one
        if one.accepted:
            return


def _compares(entry: CatalogueEntry, covered: Coverage) -> bool:
    kind = covered[:3]
    return any(one[:3] == kind and one.held for one in entry.covers)
