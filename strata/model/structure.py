"""What is taken of the structure that a handed-over document describes."""

from __future__ import annotations

from enum import StrEnum


class Structure(StrEnum):
    """A restore into an empty service creates what the backup describes; a document's description is only claimed."""

    REBUILT = "rebuilt"
    """Tables are rebuilt from checked fields; no statement of the document is ever executed."""
    TRUSTED = "trusted"
    """The document's statements are kept, and a restore executes them: as good as running a program from it."""
