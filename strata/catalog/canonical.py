"""Canonical JSON: one document has one spelling, so that its bytes can be signed and compared."""

from __future__ import annotations

import json


def canonical(document: object) -> bytes:
    """Members sorted by name, no white space, ASCII only; ValueError for a number JSON does not have."""
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False).encode()
