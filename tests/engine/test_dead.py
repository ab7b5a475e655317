"""What a killed process left in the spool goes with the next run on its machine, and nothing else does."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from strata.engine import dead as module
from strata.engine.dead import of_this_process, sign, sweep_dead
from strata.engine.local import backup_here
from strata.model.backup_type import BackupType
from strata.model.tier import Tier
from strata.planning.backup import new_run_id
from tests.engine.workbench import RUN, Workbench, tiers_of


@pytest.fixture
def bench(folder: Path) -> Workbench:
    """A workbench with a tier."""
    return Workbench(folder, tiers_of(3, tiers=[Tier.HOT]))


@pytest.fixture
def other() -> str:
    """The id of a run of another process."""
    return new_run_id("full", datetime.now(UTC))


@pytest.fixture
def process(monkeypatch: pytest.MonkeyPatch) -> Iterator[subprocess.Popen[bytes]]:
    """Another process of this machine, as which runs are signed."""
    code = "from strata.engine.runner import this_process; print(this_process(), flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        name = child.stdout.readline().decode().strip()
        monkeypatch.setattr(module, "this_process", lambda: name)
        yield child
        child.kill()


def staged(bench: Workbench, run_id: str) -> None:
    """Something that a run of this process staged."""
    sign(bench.spool, run_id)
    bench.spool.put_document(run_id, f"{run_id}/collect.hot.1/a", {})


def test_what_a_killed_run_left_goes_with_the_next_backup(
    bench: Workbench, other: str, process: subprocess.Popen[bytes]
) -> None:
    """While its process lives it stays; once that is gone, the next run in one process removes it at its beginning."""
    staged(bench, other)
    assert sweep_dead(bench.spool) == []
    process.kill()
    process.wait()
    backup_here(bench.manager, BackupType.FULL, RUN)
    assert bench.spool.runs() == {}


def test_a_run_that_says_nothing_of_a_process_stays(bench: Workbench) -> None:
    """A run of the workers has the ledger to say whether it lives."""
    by_workers = new_run_id("full", datetime.now(UTC))
    bench.spool.put_document(by_workers, f"{by_workers}/a", {})
    assert sweep_dead(bench.spool) == []


def test_a_run_that_ends_leaves_no_word_of_its_process(bench: Workbench) -> None:
    """Nor does one that fails, or one that was refused."""
    with of_this_process(bench.spool, RUN):
        assert set(bench.spool.runs()) == {RUN}
    assert bench.spool.runs() == {}
