"""Which keys of which tiers a backup covers."""

from __future__ import annotations

from dataclasses import dataclass

EVERYTHING = ("*",)


@dataclass(frozen=True)
class Scope:
    """Glob patterns over keys (`*`, `?`, `[...]`, as Redis matches them); a key is covered when any pattern matches."""

    patterns: tuple[str, ...] = EVERYTHING

    @property
    def is_everything(self) -> bool:
        """Whether every key is covered."""
        return "*" in self.patterns
