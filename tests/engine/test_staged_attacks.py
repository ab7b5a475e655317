"""Attacks on what is staged: whatever a stage reads is what was staged under that name, or it is refused by name.

The matrix is generated: every object that a stage of an incremental backup reads, under every attack of
tests/engine/attacks.py and with every other object of its kind in its place: of the same run, of another tier, of an
earlier attempt, of another run, of another spool.
"""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

from strata.catalog.ledger import Claim
from strata.clock import Stopwatch
from strata.engine.collector import DataCollector
from strata.engine.handed import SpooledDocument, hand_over
from strata.engine.hold import Hold
from strata.engine.meeting import Meeting
from strata.engine.runner import Attempt
from strata.errors import IntegrityError, ObjectNotFound
from strata.model.backup_type import BackupType
from strata.model.run import Stage
from strata.model.ticket import Baselined, Collected, Compressed, KnownChunks, Merged, Sealed
from strata.model.tier import Tier
from strata.seal.frame import Header
from strata.testing import MemoryRecord, MemorySource
from tests.engine.attacks import ALONE, Attack, Recording, attacked, exchanged
from tests.engine.workbench import Workbench

RUN = "20250102-040405-incremental-601d01"
MIB = 1 << 20


def sources(seed: int = 0) -> dict[Tier, MemorySource]:
    """Two tiers of several segments each, with values in chunks."""
    chance = random.Random(seed)
    return {
        tier: MemorySource(
            tier,
            {("0", b"%s:%d" % (tier.encode(), n)): MemoryRecord(chance.randbytes(700)) for n in range(900)}
            | {("0", b"large"): MemoryRecord(random.Random(f"{seed}{tier}").randbytes(MIB + 1))},
            batch_rows=300,
        )
        for tier in (Tier.HOT, Tier.WARM)
    }


@dataclass
class Staged:
    """A run whose stages are done one by one, each as often as is asked; what they read is recorded."""

    folder: Path
    seed: int = 0
    tokens: Iterator[int] = field(default_factory=count)

    def __post_init__(self) -> None:
        self.recording: list[Recording] = []
        self.bench = Workbench(self.folder, sources(self.seed), wrap_spool=self._wrap, segment_bytes=200_000)
        self.bench.backup("20250102-030405-full-601d00")
        for source in self.bench.sources.values():
            for key in list(source.records)[::2]:
                source.records[key] = MemoryRecord(
                    random.Random(repr(key)).randbytes(MIB + 9 if key[1] == b"large" else 700)
                )
            source.records.pop(list(source.records)[1])
            source.records["0", b"large too"] = MemoryRecord(random.Random(repr(source.tier)).randbytes(MIB + 5))
        self.plan = self.bench.manager.start(BackupType.INCREMENTAL, RUN)
        self.collector = DataCollector(self.bench.sources, self.bench.spool, self.bench.keyring)

    def _wrap(self, store: object) -> Recording:
        self.recording.append(Recording(store))  # type: ignore[arg-type]
        return self.recording[0]

    def attempt(self, stage: Stage, unit: str) -> Attempt:
        """A new attempt at a unit."""
        claim = Claim(RUN, stage, unit, f"{next(self.tokens):012d}", 1)
        assert self.bench.lease
        hold = Hold(claim, None, self.bench.ledger, self.bench.lease, self.bench.clock, Stopwatch(self.bench.clock))
        return Attempt(hold, self.bench.ledger, self.bench.clock, None)

    def stages(self) -> Iterator[Callable[[], object]]:
        """Each unit of each stage that reads from the spool, in order; what comes before is done."""
        manager, creator, plan = self.bench.manager, self.bench.creator, self.plan
        units = manager.baseline_units(plan)
        known: dict[str, Baselined] = {}
        chunks: KnownChunks | None = None
        for unit in units:
            ticket = manager.baseline(RUN, unit)
            if isinstance(ticket, KnownChunks):
                chunks = ticket
            elif isinstance(ticket, Baselined):
                known[unit] = ticket

        def collect(tier: Tier) -> Collected:
            meeting = Meeting(self.bench.ledger, RUN, (tier,), 0)
            return self.collector.collect(plan, tier, known[tier], chunks, meeting, self.attempt(Stage.COLLECT, tier))

        collected: list[Collected] = []
        for tier in self.bench.sources:
            yield lambda tier=tier: collect(tier)  # type: ignore[misc]
            collected.append(collect(tier))
        baselines = {ticket.tier: ticket for ticket in known.values()}

        def merge() -> Merged:
            return creator.merge(plan, collected, baselines, self.attempt(Stage.MERGE, ""))

        yield merge
        merged = merge()
        for spooled in merged.objects:
            label = spooled.unit.label

            def compress() -> Compressed:
                return creator.compress(plan, merged, spooled, self.attempt(Stage.COMPRESS, label))  # noqa: B023

            compressed = compress()
            yield compress

            def encrypt() -> Sealed:
                return creator.encrypt(plan, compressed, self.attempt(Stage.ENCRYPT, label))  # noqa: B023

            yield encrypt
            sealed = encrypt()
            yield lambda sealed=sealed: creator.store(sealed)  # type: ignore[misc]
        yield lambda: creator.manifest(plan, collected, merged, [], [], {})


def described(name: str, data: bytes) -> tuple[str, str]:
    """What an object is: its kind, and the stage that wrote it."""
    return Header.decode(data).kind, name.split("/")[1].partition(".")[0]


def others_of(name: str, *spools: Workbench) -> dict[str, bytes]:
    """Objects that might be taken for the one: of its kind and stage; of each tier and run at most two."""
    held = {info.name: spools[0].spool_files.get(info.name) for info in spools[0].spool_files.list()}
    wanted = described(name, held[name])
    for bench in spools[1:]:
        held |= {f"{bench.folder.name}:{one.name}": bench.spool_files.get(one.name) for one in bench.spool_files.list()}
    found: dict[str, bytes] = {}
    for other, data in held.items():
        _, _, path = other.rpartition(":")
        if other != name and described(path, data) == wanted and len(found) < 12:
            found[other] = data
    return found


def refused(work: Callable[[], object], name: str, attack: str) -> str:
    """Why the attack was not refused by name; nothing where it was."""
    try:
        work()
    except (IntegrityError, ObjectNotFound) as error:
        return "" if name in error.sentence else f"{attack} of {name}: {error.sentence}"
    return f"{attack} of {name}: not refused"


def test_what_a_stage_reads_is_what_was_staged_there_or_is_refused_by_name(folder: Path) -> None:
    """Every object that any stage reads, under every attack: the stage fails and names it, each time."""
    ours = Staged(folder / "ours")
    (folder / "theirs").mkdir()
    shutil.copy(folder / "ours" / "keyring.json", folder / "theirs" / "keyring.json")
    theirs = Staged(folder / "theirs", seed=1)
    for work in theirs.stages():
        work()
    wrong: list[str] = []
    kinds: dict[tuple[str, str], int] = {}
    judged = 0
    for work in ours.stages():
        for name in ours.recording[0].reads_of(work):
            what = described(name, ours.bench.spool_files.get(name))
            kinds[what] = kinds.get(what, 0) + 1
            if kinds[what] > 3:
                continue
            attacks: dict[str, Attack] = {**ALONE, **exchanged(others_of(name, ours.bench, theirs.bench))}
            for kind, attack in attacks.items():
                with attacked(ours.bench.spool_files, name, attack) as changed:
                    if changed:
                        judged += 1
                        wrong += filter(None, [refused(work, name, kind)])
        work()
    assert not wrong, wrong[:10]
    assert judged > 800
    assert {kind for kind, _ in kinds} == {"segment", "index", "pack", "chunk-index", "document"}


def test_a_handed_document_is_the_one_that_was_handed_or_is_refused_by_name(folder: Path) -> None:
    """Every attack on it, another document of the run and one of another run: the start fails and names it."""
    bench = Workbench(folder, {})
    name, other = (hand_over(bench.spool, RUN, {"key": number}, bench.clock.now()) for number in range(2))
    elsewhere = hand_over(bench.spool, "another", {"key": 3}, bench.clock.now())
    others = {one: bench.spool_files.get(one) for one in (other, elsewhere)}
    for kind, attack in {**ALONE, **exchanged(others)}.items():
        with attacked(bench.spool_files, name, attack):
            assert not refused(lambda: read_whole(SpooledDocument(bench.spool, RUN, name)), name, kind)
    assert read_whole(SpooledDocument(bench.spool, RUN, name))


def read_whole(document: SpooledDocument) -> list[object]:
    """Every record of a document that was handed over."""
    return [item for tier in document.tiers for item in document.items(tier, lambda _: True)]
