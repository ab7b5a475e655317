"""Signs of life, from the signals that Celery sends."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
from celery.signals import after_task_publish, beat_init, heartbeat_sent, worker_init, worker_ready, worker_shutdown

from workers import heartbeat
from workers.probe import heartbeat_file, main, touch


class Sender:
    """What a worker's signals are sent by, as far as it matters here: a consumer, or a heart with its eventer."""

    hostname = "seal@host"
    eventer = SimpleNamespace(hostname="seal@host")


WORKER = Sender()


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))


def test_worker_is_alive_from_ready_to_shutdown() -> None:
    """Ready and every heartbeat touch the file; the end removes it."""
    assert main(["seal"]) == 1
    worker_ready.send(sender=WORKER)
    assert main(["seal"]) == 0
    Path(heartbeat_file("seal")).unlink()
    heartbeat_sent.send(sender=WORKER)
    assert main(["seal"]) == 0
    worker_shutdown.send(sender=WORKER)
    assert main(["seal"]) == 1


def test_sign_of_the_last_process_does_not_speak_for_the_new_one() -> None:
    """A container that was restarted keeps its /tmp, and its worker is not ready before it says so."""
    touch(heartbeat_file("seal"))
    worker_init.send(sender=WORKER)
    assert main(["seal"]) == 1


def test_beat_is_alive_as_long_as_it_sends() -> None:
    """Beat has no heartbeat: each task it sent is one; before it began, what others send is none of its business."""
    after_task_publish.send(sender="tasks.upkeep.resend_stalled")
    assert main(["beat"]) == 1
    try:
        beat_init.send(sender=None)
        Path(heartbeat_file("beat")).unlink()
        after_task_publish.send(sender="tasks.upkeep.resend_stalled")
        assert main(["beat"]) == 0
    finally:
        after_task_publish.disconnect(heartbeat._beat_ticks)


def test_disk_that_takes_nothing_does_not_end_the_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    """The probe notices the silence; the work goes on."""
    monkeypatch.setenv("TMPDIR", "/nowhere")
    worker_ready.send(sender=WORKER)
    worker_shutdown.send(sender=WORKER)
