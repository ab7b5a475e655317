"""State handed over to real workers: an export comes back as it was, and nothing travels in the clear."""

from __future__ import annotations

import secrets
from pathlib import Path

import pytest

from strata.engine.export import Export, new_file, write_json
from strata.errors import SettingError
from strata.model.backup_type import BackupType
from strata.model.run import RunState
from strata.model.tier import Tier
from strata.planning.backup import new_run_id
from tasks.enqueue import enqueue_backup
from tests.pipeline.conftest import Pipeline
from tests.pipeline.test_full import _files, _Listener
from workers.local_stack.bot import differences


def test_an_export_of_three_real_tiers_is_backed_up_in_their_place(pipeline: Pipeline, folder: Path) -> None:
    """Redis, PostgreSQL and S3 exported, wiped, and backed up from the document: the restore brings every record."""
    pipeline.bot.write()
    pipeline.bot.hot.set("model:large", secrets.token_bytes(3 << 20))
    before = pipeline.bot.read()
    made = pipeline.wait(pipeline.backup())
    assert made.state is RunState.DONE, made.reason
    wiring = pipeline.wiring
    manifest = wiring.depots.nearest.metadata.load(made.run_id)
    export = Export(manifest, tuple(Tier), wiring.depots.nearest.restorer.details(manifest))
    with new_file(folder / "export.json") as file:
        write_json(export, lambda tier: wiring.depots.nearest.restorer.items(manifest, tier), file)

    pipeline.bot.wipe()
    run_id = new_run_id("full", wiring.clock.now())
    enqueue_backup(pipeline.app, BackupType.FULL, run_id, folder / "export.json", wiring.spool)
    handed = pipeline.wait(run_id)
    assert handed.state is RunState.DONE, handed.reason
    restored = pipeline.wait(pipeline.restore(run_id))
    assert restored.state is RunState.DONE, restored.reason
    assert not any(differences(before, pipeline.bot.read()).values())
    assert wiring.depots.nearest.metadata.load(run_id).records == manifest.records
    assert run_id not in wiring.spool.runs()


def test_state_that_is_handed_over_never_reaches_the_broker(pipeline: Pipeline) -> None:
    """A planted key and value are looked for in all that the broker was told, in every file, and not found."""
    key, value = f"position:{secrets.token_hex(12)}", secrets.token_hex(24)
    heard = _Listener(pipeline)
    run_id = new_run_id("full", pipeline.wiring.clock.now())
    enqueue_backup(pipeline.app, BackupType.FULL, run_id, {key: value}, pipeline.wiring.spool)
    run = pipeline.wait(run_id)
    said = heard.stop()
    assert run.state is RunState.DONE, run.reason
    assert run_id.encode() in said
    for planted in (key, value):
        assert planted.encode() not in said
        for path in _files(pipeline.stack.folder, "backups", "spool", "logs"):
            assert planted.encode() not in path.read_bytes(), path
    assert pipeline.wait(pipeline.restore(run_id)).state is RunState.DONE
    assert pipeline.bot.hot.get(key) == f'"{value}"'.encode()


def test_a_bad_document_is_told_to_the_sender_and_nothing_is_sent(pipeline: Pipeline, folder: Path) -> None:
    """Nothing is enqueued, and nothing is left in the spool."""
    (folder / "bad.json").write_text('{"a": 1, "a": 2}')
    heard = _Listener(pipeline)
    with pytest.raises(SettingError, match="record 2"):
        enqueue_backup(pipeline.app, BackupType.FULL, "never-sent", folder / "bad.json", pipeline.wiring.spool)
    assert b"never-sent" not in heard.stop()
    assert "never-sent" not in pipeline.wiring.spool.runs()
