"""Strings that a server compressed come out as they were, whole or in parts."""

from __future__ import annotations

import random
from collections.abc import Iterator

import lzf
import pytest
from hypothesis import given
from hypothesis import strategies as st

from strata.errors import SourceUnavailable
from strata.sources.redis_lzf import decompress, decompress_parts


def text(seed: int, size: int) -> bytes:
    """Bytes with repetitions near and far, as LZF likes them, and some that it cannot compress."""
    rnd = random.Random(seed)
    words = [rnd.randbytes(rnd.randrange(1, 60)) for _ in range(40)]
    made = bytearray()
    while len(made) < size:
        made += rnd.choice(words) * rnd.choice((1, 1, 1, 30)) if rnd.random() < 0.9 else rnd.randbytes(200)
    return bytes(made[:size])


def pieces(data: bytes, size: int) -> Iterator[bytes]:
    """The bytes in pieces of a size."""
    return (data[start : start + size] for start in range(0, len(data), size))


@given(seed=st.integers(0, 1 << 32), size=st.integers(100, 60_000), piece=st.integers(1, 5000))
def test_a_string_in_parts_is_the_string(seed: int, size: int, piece: int) -> None:
    """However the compressed form is cut, the parts joined are the plain bytes."""
    plain = text(seed, size)
    packed = lzf.compress(plain, len(plain) + 1000)
    assert decompress(packed, size) == plain
    assert b"".join(decompress_parts(pieces(packed, piece), size)) == plain


def test_parts_stay_small_where_little_stands_for_much() -> None:
    """100 MB of zeros, 1.2 MB compressed, come in parts of a few MiB."""
    size = 100_000_000
    packed = lzf.compress(bytes(size))
    sizes = [len(part) for part in decompress_parts(iter([packed]), size)]
    assert sum(sizes) == size
    assert max(sizes) < 5 << 20


@pytest.mark.parametrize("size", [-1, 1])
def test_a_wrong_size_is_an_error(size: int) -> None:
    """A string of another size than was told is never given."""
    plain = text(1, 20_000)
    packed = lzf.compress(plain)
    with pytest.raises(SourceUnavailable, match="damaged"):
        decompress(packed, len(plain) + size)
    with pytest.raises(SourceUnavailable, match="damaged"):
        list(decompress_parts(iter([packed]), len(plain) + size))


def test_a_broken_string_is_an_error() -> None:
    """A form that ends early, or looks back before its beginning, is refused."""
    packed = lzf.compress(text(2, 20_000))
    for broken in (packed[:-1], b"\xff" + packed):
        with pytest.raises(SourceUnavailable, match="damaged"):
            decompress(broken, 20_000)
        with pytest.raises(SourceUnavailable, match="damaged"):
            list(decompress_parts(iter([broken]), 20_000))
