"""`strata doctor` where workers run."""

from __future__ import annotations

import json

from tests.pipeline.conftest import Pipeline


def test_the_doctor_asks_every_worker(pipeline: Pipeline) -> None:
    """All queues are read, and all clocks are the ledger's; that beat does not run here fails, and nothing else."""

    def all_answer() -> list[str] | None:
        said = pipeline.strata("doctor", "--json")
        parts = json.loads(said.stdout)["parts"]
        (workers,) = [part for part in parts if part["part"] == "workers"]
        failed = [part["part"] for part in parts if part["verdict"] == "failed"]
        assert said.returncode == (13 if failed else 0)
        return failed if workers["verdict"] == "safe" else None

    assert set(pipeline.until(all_answer, "not every worker answered")) <= {"beat"}
