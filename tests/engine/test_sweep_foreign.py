"""What a prune must leave alone: what lies behind links, and files that are not ours."""

from __future__ import annotations

import shutil
from datetime import timedelta
from pathlib import Path

import pytest

from tests.engine.test_pruner import Pruning

FOREIGN = [
    "layers/photos/2024.jpg",
    "layers/photos/000001.seg",
    "layers/full001-hot/notes.txt",
    "layers/full001-hot/000001.seg~",
    "chunks/archive.pack",
    "notes/full001/read me.txt",
    "notes/shopping/milk.json",
    "history/2024.csv",
    "history/old/20240101-000000-full-aaaaaa.json",
    "manifests/full001.json.bak",
]
"""Names that a person, an editor or a sync tool may leave in a store's folder."""


@pytest.fixture
def pruning(folder: Path) -> Pruning:
    """A store with an old backup that is to go, and a new one."""
    pruning = Pruning(folder)
    pruning.backup()
    pruning.clock.advance(timedelta(days=91))
    pruning.bench.backup("fresh", fresh=True)
    return pruning


@pytest.mark.parametrize("part", ["history", "notes", "manifests", "layers", "chunks"])
def test_a_prune_removes_nothing_behind_a_link(pruning: Pruning, folder: Path, part: str) -> None:
    """With a part of the store a link to another store, that one keeps every file."""
    other = Pruning(folder / "another")
    other.backup()
    behind = folder / "another" / "store"
    (behind / "history").mkdir(exist_ok=True)
    for name in ("20200101-000000-full-aaaaaa.json", "x.json"):
        (behind / "history" / name).write_text("{}")
    before = sorted(path for path in behind.rglob("*") if path.is_file())
    place = folder / "store" / part
    shutil.rmtree(place, ignore_errors=True)
    place.symlink_to(behind if part == "history" else behind / part)
    pruning.clock.advance(timedelta(days=400))
    pruning.twice()
    assert sorted(path for path in behind.rglob("*") if path.is_file()) == before


def test_a_prune_removes_only_names_of_ours(pruning: Pruning, folder: Path) -> None:
    """Whatever else lies among the objects stays, beside layers that go and in folders that look like old ones."""
    store = folder / "store"
    for name in FOREIGN:
        (store / name).parent.mkdir(parents=True, exist_ok=True)
        (store / name).write_text("not ours")
    pruning.clock.advance(timedelta(days=400))
    pruning.twice()
    assert [name for name in FOREIGN if not (store / name).exists()] == []
    assert pruning.held() == {"fresh"}


def test_a_link_among_the_notes_freezes_the_prune(pruning: Pruning, folder: Path) -> None:
    """A pin may lie behind it, so nothing is removed until somebody looks."""
    (folder / "elsewhere").mkdir()
    (folder / "store" / "notes" / "full001").parent.mkdir(exist_ok=True)
    (folder / "store" / "notes" / "full001").symlink_to(folder / "elsewhere")
    local = pruning.prune().stores[0]
    pruning.clock.advance(timedelta(days=2))
    local = pruning.prune().stores[0]
    assert local.frozen
    assert len(pruning.held()) == 2
