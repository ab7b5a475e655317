"""What of the configuration works, and what is safe there: every part examined, side by side and within a time."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from strata.clock import Clock
from strata.errors import StrataError

SECONDS: Final = 60.0
"""How long a part may take: a share that hangs holds whoever touches it, for as long as it hangs."""


class Verdict(StrEnum):
    """What a finding comes to; the later, the worse."""

    SAFE = "safe"
    WEAKER = "weaker"
    """It works, and promises less than Strata asks for."""
    FAILED = "failed"


@dataclass(frozen=True)
class Finding:
    """One thing that was tried; `said` is a phrase where it went well, else a sentence."""

    check: str
    verdict: Verdict
    said: str
    hint: str = ""


@dataclass(frozen=True)
class Part:
    """A part of the configuration, where it is, and how it is tried."""

    name: str
    place: str
    findings: Callable[[], Iterable[Finding]]


@dataclass(frozen=True)
class Examined:
    """What was found of a part."""

    part: str
    place: str
    findings: tuple[Finding, ...]

    @property
    def verdict(self) -> Verdict:
        """The worst of the findings."""
        order = list(Verdict)
        return max((one.verdict for one in self.findings), key=order.index, default=Verdict.SAFE)


def examine(parts: Sequence[Part], clock: Clock, seconds: float = SECONDS) -> list[Examined]:
    """Try every part; one that does not come to an end within `seconds` has failed, and holds up nobody."""
    work = [_Work(part) for part in parts]
    end = clock.monotonic() + seconds
    for one in work:
        one.start()
    return [one.result(max(0.0, end - clock.monotonic()), seconds) for one in work]


class _Work:
    """A part on its way; its thread ends with the process where it does not end before."""

    def __init__(self, part: Part) -> None:
        self._part = part
        self._found: list[Finding] = []
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.start = self._thread.start

    def result(self, wait: float, limit: float) -> Examined:
        self._thread.join(wait)
        found = tuple(self._found)
        if self._thread.is_alive():
            late = Finding(
                "answer", Verdict.FAILED, f"it did not come to an end within {limit:.0f} s", "Is it hanging?"
            )
            found = (*found, late)
        return Examined(self._part.name, self._part.place, found)

    def _run(self) -> None:
        try:
            for finding in self._part.findings():
                self._found.append(finding)
        except StrataError as error:
            self._found.append(Finding("answer", Verdict.FAILED, error.sentence, error.hint))
        except Exception as error:  # noqa: BLE001 - a part that breaks must not hide what the others say
            self._found.append(Finding("answer", Verdict.FAILED, f"it stopped at an unforeseen {type(error).__name__}"))
