"""The table of components is true."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

_ROWS = re.findall(r"^\| (\w+) \| `([\w.]+)` \|", Path("docs/seed-map.md").read_text(), re.MULTILINE)


def test_every_component_lives_where_the_map_says() -> None:
    """Each name can be imported from the module beside it."""
    assert _ROWS
    for name, module in _ROWS:
        assert hasattr(importlib.import_module(module), name), f"{module} has no {name}"
