"""Is this process alive? `python -m workers.probe control` says so in a sentence and by its exit code, 0 or 1.

A running worker or beat touches its heartbeat file (workers/heartbeat.py); the probe looks at the file's age. It is
asked several times a minute, so it imports next to nothing: `celery inspect ping` costs 1.5 s of CPU each time, this
costs little more than Python's own start (pathlib, argparse and tempfile would double it).
"""

from __future__ import annotations

import os
import sys
import time

READY_SECONDS = 60.0
"""Older, and the process does not take work now: workers beat every 2 s, beat itself every 15 s."""


def heartbeat_file(role: str) -> str:
    """Where the process of this role leaves its sign of life: one process of a role for each container."""
    return os.path.join(os.environ.get("TMPDIR") or "/tmp", f"strata-heartbeat-{role}")  # noqa: S108 - see touch


def touch(path: str) -> None:
    """Set the file's time to now; never follows a link that somebody else put there."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        os.utime(descriptor)
    finally:
        os.close(descriptor)


def judge(role: str, within: float, now: float) -> tuple[bool, str]:
    """Whether the process of this role gave a sign of life in the last `within` seconds, and a sentence saying so."""
    try:
        age = now - os.lstat(heartbeat_file(role)).st_mtime
    except FileNotFoundError:
        return False, f"{role} has not given a sign of life yet"
    if age > within:
        return False, f"{role} gave no sign of life for {age:.0f} s; {within:.0f} s are allowed"
    return True, f"{role} gave a sign of life {max(age, 0):.0f} s ago"


def main(arguments: list[str]) -> int:
    """Answer a supervisor: 0 for alive, 1 for not, 2 for a question that makes no sense."""
    try:
        role, within = arguments[0], float(arguments[1]) if arguments[1:] else READY_SECONDS
    except (IndexError, ValueError):
        sys.stderr.write("usage: python -m workers.probe ROLE [SECONDS OF SILENCE ALLOWED, 60 by default]\n")
        return 2
    alive, sentence = judge(role, within, time.time())
    sys.stdout.write(f"{sentence}\n")
    return 0 if alive else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
