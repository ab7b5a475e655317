"""Signs of life for workers.probe: importing this module connects Celery's signals to the heartbeat file.

A worker touches it from its main loop with each of its heartbeats, so a file that grows old means a loop that does
not turn, or no broker. Beat has no heartbeat of its own: it touches the file when it sent a task, which the schedule
makes it do every 15 s.
"""

from __future__ import annotations

import contextlib
import os
from typing import Any, Final

from celery.signals import after_task_publish, beat_init, heartbeat_sent, worker_init, worker_ready, worker_shutdown

from workers.probe import heartbeat_file, touch

BEAT: Final = "beat"


def role_of(node: str | None) -> str:
    """`control` of the node name `control@host`."""
    return (node or "worker").partition("@")[0]


@worker_init.connect
def _forget_the_last(sender: Any = None, **_: object) -> None:
    """A container that was restarted keeps its /tmp: an old sign of life must not speak for the new process."""
    _remove(role_of(sender.hostname))


@worker_ready.connect
def _worker_is_ready(sender: Any = None, **_: object) -> None:
    _sign_of_life(role_of(sender.hostname))


@heartbeat_sent.connect
def _worker_beats(sender: Any = None, **_: object) -> None:
    _sign_of_life(role_of(sender.eventer.hostname))


@worker_shutdown.connect
def _worker_ends(sender: Any = None, **_: object) -> None:
    _remove(role_of(sender.hostname))


@beat_init.connect
def _beat_begins(**_: object) -> None:
    _sign_of_life(BEAT)
    after_task_publish.connect(_beat_ticks)  # only here: workers and commands send tasks too


def _beat_ticks(**_: object) -> None:
    _sign_of_life(BEAT)


def _sign_of_life(role: str) -> None:
    """A full or read-only disk must not end a worker; the probe will notice the silence."""
    with contextlib.suppress(OSError):
        touch(heartbeat_file(role))


def _remove(role: str) -> None:
    with contextlib.suppress(OSError):
        os.unlink(heartbeat_file(role))
