"""Whether the promises about backups hold: how old they are, how many copies, where, and how sound."""

from __future__ import annotations

from strata.model.layer import Document


class PolicyLine(Document):
    """One rule: whether it holds, what is, and what to do if it does not."""

    rule: str
    holds: bool
    finding: str
    advice: str = ""
    possible: bool = True
    """Whether it can hold with what is configured; the advice then names the setting that would make it hold."""


class PolicyReport(Document):
    """All rules."""

    lines: tuple[PolicyLine, ...]

    @property
    def holds(self) -> bool:
        """Whether every rule holds, those too that cannot with what is configured."""
        return all(line.holds for line in self.lines)
