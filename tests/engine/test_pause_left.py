"""A pause that a dead collector left is ended by workers that may; the run's end waits for nobody."""

from __future__ import annotations

from pathlib import Path

import pytest

from strata.catalog.history import RunBook
from strata.errors import SourceUnavailable
from strata.model.backup_type import BackupType
from strata.model.tier import Tier
from strata.testing import MemorySource
from tests.engine.workbench import RUN, Workbench


class OutOfReach:
    """The pause of a worker that may not enter HOT. Implements Pause."""

    seconds = 1.0

    def begin(self, run_id: str) -> None:  # noqa: ARG002
        """Not here."""
        raise SourceUnavailable("HOT (Redis) refuses: NOAUTH")

    def holds(self, run_id: str) -> bool:  # noqa: ARG002 - as the protocol has it
        """Not known."""
        return False

    def end(self, run_id: str) -> None:  # noqa: ARG002
        """Not here."""
        raise SourceUnavailable("HOT (Redis) refuses: NOAUTH")


def test_a_failure_is_kept_whatever_becomes_of_the_pause(tmp_path: Path) -> None:
    """Control has no password of HOT: the run is written down and the lease given back before the pause is ended."""
    bench = Workbench(tmp_path, {Tier.HOT: MemorySource(Tier.HOT)}, pause=OutOfReach())
    bench.manager.start(BackupType.FULL, RUN)
    bench.ledger.mark(RUN, "paused 1")
    with pytest.raises(SourceUnavailable):
        bench.manager.abandon(RUN, "a collector died")
    assert [run.run_id for run in RunBook(bench.store, bench.keyring).all()] == [RUN]
    assert bench.lease is not None
    assert bench.lease.holder() is None
    assert RUN not in bench.spool.runs()


def test_a_pause_that_is_left_is_ended_by_who_may(tmp_path: Path) -> None:
    """The run's end sends for it once, where a pause was left, and fails of nothing."""
    bench, sent = Workbench(tmp_path, {Tier.HOT: MemorySource(Tier.HOT)}, pause=OutOfReach()), list[str]()
    bench.manager._pause_is_left = sent.append
    bench.manager.start(BackupType.FULL, RUN)
    bench.manager.abandon(RUN)
    assert sent == []
    bench.ledger.mark(RUN, "paused 1")
    bench.manager.abandon(RUN)
    assert sent == [RUN]
