"""What `strata prune` ends with, by what a prune left."""

from __future__ import annotations

import pytest

from strata.cli.output import Output
from strata.cli.prune import show_done
from strata.engine.pruner import Marked, Pruned
from strata.engine.sweep import Swept
from strata.model.tier import StorageTier

LOCAL = StorageTier.LOCAL

LEFT = {
    "nothing": (Pruned(marks=Marked(), stores=(Swept(storage_tier=LOCAL),)), 0, ""),
    "an object": (Pruned(marks=Marked(), stores=(Swept(storage_tier=LOCAL, failed=("x.seg stays",)),)), 7, "x.seg"),
    "a mark": (Pruned(marks=Marked(missed=("LOCAL is full",)), stores=()), 7, "LOCAL is full"),
    "all of a store": (Pruned(marks=Marked(), stores=(Swept(storage_tier=LOCAL, frozen=("a doubt",)),)), 17, ""),
}


@pytest.mark.parametrize(("pruned", "code", "told"), LEFT.values(), ids=LEFT)
@pytest.mark.parametrize("json", [True, False])
def test_what_a_prune_left_undone_is_told_by_its_exit_code(
    capsys: pytest.CaptureFixture[str], pruned: Pruned, code: int, told: str, *, json: bool
) -> None:
    """Whatever failed is named on stderr, and 0 says that nothing did."""
    output = Output()
    output.json = json
    assert show_done(output, "prune", pruned) == code
    assert told in capsys.readouterr().err
