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

    def covers(self, other: Scope) -> bool:
        """Whether every key of the other scope is surely covered: it has all its patterns, or covers everything."""
        return self.is_everything or set(other.patterns) <= set(self.patterns)
