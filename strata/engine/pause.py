"""Pausing the application around the cuts: by commands, by a key in HOT, or both."""

from __future__ import annotations

import os
import shlex
import subprocess
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

from strata.errors import RunFailed, StrataError


class Flag(Protocol):
    """A key that the application looks at, and stands still while it is there."""

    def set(self, value: str, seconds: float) -> None:
        """Set it; it goes by itself after so many seconds."""
        ...

    def is_set(self) -> bool:
        """Whether it is there, with whatever value."""
        ...

    def clear(self, value: str) -> None:
        """Remove it, if it has that value."""
        ...


@dataclass(frozen=True)
class CutPause:
    """Implements Pause. Commands get the run's id as STRATA_RUN_ID; one that fails or takes too long fails the run."""

    before: str = ""
    after: str = ""
    flag: Flag | None = None
    seconds: float = 10.0

    def begin(self, run_id: str) -> None:
        try:
            if self.flag is not None:
                self.flag.set(run_id, 2 * self.seconds)
            if self.before:
                self._run(self.before, run_id, "before")
        except BaseException:
            with suppress(StrataError):  # the first failure is the one to tell
                self.end(run_id)
            raise

    def holds(self, run_id: str) -> bool:  # noqa: ARG002 - a key that somebody else had set pauses as well
        return self.flag is None or self.flag.is_set()

    def end(self, run_id: str) -> None:
        try:
            if self.after:
                self._run(self.after, run_id, "after")
        finally:
            if self.flag is not None:
                self.flag.clear(run_id)

    def _run(self, command: str, run_id: str, when: str) -> None:
        setting = f"STRATA_{when.upper()}_CUT"
        try:
            done = subprocess.run(
                shlex.split(command),
                env={**os.environ, "STRATA_RUN_ID": run_id},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=self.seconds,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise RunFailed(
                f"the command of {setting} took longer than {self.seconds:g} s",
                hint="Make it quicker, or raise STRATA_PAUSE_SECONDS.",
            ) from None
        except (OSError, ValueError) as error:
            raise RunFailed(f"the command of {setting} cannot be run: {type(error).__name__}") from None
        if done.returncode:
            raise RunFailed(
                f"the command of {setting} ended with {done.returncode}", hint="Run it by hand and see what it says."
            )
