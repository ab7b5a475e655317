"""The setting names a deployment file may use."""

from __future__ import annotations

import re

from strata.settings import PREFIX, Settings

SETTINGS = {PREFIX + name.upper() for name in Settings.model_fields} | {f"{PREFIX}CONFIG"}


def unknown_settings(text: str) -> set[str]:
    """Names that look like a setting of ours, and are none."""
    return set(re.findall(rf"\b{PREFIX}[A-Z][A-Z_]*[A-Z]\b", text)) - SETTINGS
