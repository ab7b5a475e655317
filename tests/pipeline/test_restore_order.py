"""A restore through real workers overwrites no tier for good before all three can take the backup."""

from __future__ import annotations

from strata.model.run import RunState, Stage
from strata.sources.port import RestoreMode
from tests.pipeline.conftest import Pipeline
from tests.pipeline.test_scopes import change, fill


def test_a_warm_that_refuses_its_rows_leaves_hot_and_cold_alone(pipeline: Pipeline) -> None:
    """What only rows can show fails in WARM's transaction, before anything else is written; mended, it is restored."""
    whole = fill(pipeline)
    made = pipeline.backed_up()
    change(pipeline)
    pipeline.tiers.warm.execute("ALTER TABLE state_warm ADD CONSTRAINT nothing CHECK (false) NOT VALID")
    changed = pipeline.tiers.read()
    run = pipeline.wait(pipeline.restore(made.backup_id))
    assert run.state is RunState.FAILED
    assert "constraint nothing" in run.reason
    assert pipeline.wiring.ledger.results(run.run_id, Stage.APPLY) == {}
    pipeline.holds(changed)
    pipeline.tiers.warm.execute("ALTER TABLE state_warm DROP CONSTRAINT nothing")
    pipeline.restored(made.backup_id)
    pipeline.holds(whole)


def test_a_rehearsal_through_the_workers_changes_nothing(pipeline: Pipeline) -> None:
    """The targets are tried by the workers, and hold what they held."""
    fill(pipeline)
    made = pipeline.backed_up()
    change(pipeline)
    changed = pipeline.tiers.read()
    pipeline.restored(made.backup_id, RestoreMode.REHEARSE)
    pipeline.holds(changed)


def test_a_function_that_warm_lacks_is_said_and_no_tier_is_touched(pipeline: Pipeline) -> None:
    """A table that is gone, and whose default calls a function that is gone too: the run fails before it writes."""
    warm = pipeline.tiers.warm
    warm.execute("CREATE FUNCTION code() RETURNS text LANGUAGE sql AS $$ SELECT 'k' $$")
    warm.execute("ALTER TABLE state_warm ADD COLUMN code text DEFAULT code()")
    fill(pipeline)
    made = pipeline.backed_up()
    assert any("could not come back whole into an empty database" in reason for reason in made.reasons)
    pipeline.bot.hot.set("position:1", "newer")
    before = pipeline.bot.hot.dbsize()
    warm.execute("DROP TABLE state_warm")
    warm.execute("DROP FUNCTION code")
    for mode in (RestoreMode.REHEARSE, RestoreMode.EXACT):
        run = pipeline.wait(pipeline.restore(made.backup_id, mode))
        assert run.state is RunState.FAILED
        assert "function public.code() does not exist" in run.reason
    assert pipeline.bot.hot.get("position:1") == b"newer"
    assert pipeline.bot.hot.dbsize() == before
