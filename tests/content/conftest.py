"""Ranges of key hashes so short that a few rows span several."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from strata.content import index


@pytest.fixture(params=[1, 3, 500_000], ids="ranges-of-{}".format)
def _range_rows(request: pytest.FixtureRequest) -> Iterator[None]:
    """Ranges of few rows and of many."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(index, "RANGE_ROWS", request.param)
        yield
