"""Marks of a tier's parts: they tell which parts two backups have in common, and nothing of what these are called."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import accumulate

from blake3 import blake3

_BYTES = 8


class PartMarker:
    """Turns the paths of a tier's parts into marks under a 32-byte secret."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def marks(self, tier: str, paths: Iterable[Sequence[str]]) -> tuple[str, ...]:
        """The marks of these parts, sorted, each once; that of a part below another begins with the other's."""
        return tuple(sorted({"/".join(self._steps(tier, path)) for path in paths}))

    def _steps(self, tier: str, path: Sequence[str]) -> Iterable[str]:
        ways = list(accumulate([tier, *path], lambda way, step: f"{way}\0{step}"))
        return (blake3(way.encode(), key=self._secret).digest(_BYTES).hex() for way in ways[1:])
