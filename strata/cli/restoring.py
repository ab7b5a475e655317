"""How `strata restore` plans and does it: in this process, or through the workers, who plan it as they see it."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from strata.cli.backup import check_followable, sender
from strata.cli.looking import look_around
from strata.cli.output import Output
from strata.errors import BrokerUnavailable, Refused, RunFailed
from strata.model.plan import RestorePlan
from strata.model.run import RunState, Stage

if TYPE_CHECKING:
    from strata.engine.restore_store import RestoreWish
    from strata.engine.restorer import Restored
    from strata.model.run import Run
    from strata.wiring import Wiring


class Here:
    """Plans and restores in this process: what is shown is what is done."""

    def __init__(self, output: Output, wiring: Wiring) -> None:
        self._output, self._wiring = output, wiring

    def plan(self, wish: RestoreWish) -> RestorePlan:
        """The plan, with the targets that answer as their servers say they are."""
        plan, manifest = self._wiring.restore_stores.planned(wish, self._wiring.clock.now())
        looks = self._wiring.looks
        seen = looks.reachable(self._wiring.clock, without=[part for part in looks.parts if part not in plan.tiers])
        return plan.model_copy(update={"manifest": manifest, "confirmed": seen})

    def withdraw(self, run_id: str) -> None:
        """Nothing has been entered anywhere."""

    def restore(self, wish: RestoreWish) -> Restored | None:
        """Do it, and show how it goes."""
        from strata.cli.watching import here
        from strata.engine.local import restore_here

        manager = self._wiring.restoring().local_manager

        def work() -> Restored:
            return restore_here(
                manager,
                wish.reference,
                wish.run_id,
                wish.mode,
                wish.tiers,
                storage_tier=wish.storage_tier,
                speed=wish.speed,
            )

        return here(self._output, manager, wish.run_id, f"Restore {wish.run_id} (in this process)", work)


class ThroughWorkers:
    """Has the workers enter the plan as they see it, and confirms that plan by its id."""

    def __init__(self, output: Output, wiring: Wiring, timeout: float | None, *, wait: bool) -> None:
        self._output, self._wiring, self._wait, self._timeout = output, wiring, wait, timeout
        self._app = sender(wiring.settings)
        self._planned: Run | None = None

    def plan(self, wish: RestoreWish) -> RestorePlan:
        """The workers' plan: its targets are those that they will write to, and none other than this process sees."""
        from strata.cli.watching import planned
        from tasks.enqueue import PLAN_RESTORE, enqueue_restore

        enqueue_restore(**self._request(wish), task=PLAN_RESTORE)
        run = self._planned = planned(self._output, self._wiring.ledger, wish.run_id, self._timeout)
        return RestorePlan.model_validate_json(run.plan)

    def send(self, wish: RestoreWish) -> None:
        """Have it done as the workers see it, unless that is another target than this process sees."""
        from strata.cli.watching import tell_sent
        from tasks.enqueue import enqueue_restore

        enqueue_restore(**self._request(wish))
        tell_sent(self._output, wish.run_id)

    def withdraw(self, run_id: str) -> None:
        """End the plan; where the ledger does not answer, it lapses by itself, and one that it lost is ended."""
        try:
            with suppress(RunFailed):
                self._wiring.ledger.end(run_id, RunState.REFUSED, "its plan was not confirmed", Refused.code)
        except BrokerUnavailable:
            self._output.note("The plan could not be withdrawn; nothing is done without its confirmation.")

    def restore(self, wish: RestoreWish) -> Restored | None:
        """Confirm the plan, and follow the run to its end; None where nobody waits for it."""
        from strata.cli.watching import outcome, tell_sent
        from strata.engine.restorer import Restored
        from tasks.enqueue import enqueue_confirmation

        enqueue_confirmation(self._app, wish.run_id)
        if not self._wait:
            tell_sent(self._output, wish.run_id)
            return None
        title, ledger = f"Restore {wish.run_id}", self._wiring.ledger
        result = outcome(self._output, ledger, wish.run_id, title, self._timeout, Stage.FINISH, self._planned)
        return Restored.model_validate_json(result)

    def _request(self, wish: RestoreWish) -> dict[str, Any]:
        check_followable(self._wiring, wish.run_id)
        return {
            "app": self._app,
            "backup": wish.reference,
            "run_id": wish.run_id,
            "mode": wish.mode.value,
            "tiers": wish.tiers,
            "store": wish.storage_tier,
            "speed": wish.speed,
            "confirmed": look_around(self._output, self._wiring),
        }


def plan_dry(
    output: Output, wiring: Wiring, wish: RestoreWish, timeout: float | None
) -> tuple[Here | ThroughWorkers, RestorePlan]:
    """The plan that the workers would go by; that of this process where none of them can be asked."""
    from strata.cli.watching import UNTAKEN_SECONDS

    try:
        workers = ThroughWorkers(output, wiring, timeout or UNTAKEN_SECONDS, wait=True)
        return workers, workers.plan(wish)
    except BrokerUnavailable as error:
        output.note(f"The workers could not be asked, so the targets are those of this process: {error.sentence}")
        here = Here(output, wiring)
        return here, here.plan(wish)
