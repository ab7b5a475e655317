"""XXH3 of many inputs at once: to the bit what xxhash computes of each."""

from __future__ import annotations

import random

import numpy as np
import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st

from strata.content import xxh3

_SEEDS = st.integers(0, (1 << 64) - 1)


def _ends(inputs: list[bytes], before: int = 0) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    return np.cumsum([before, *map(len, inputs)])


def _expected(inputs: list[bytes], seeds: list[int]) -> list[bytes]:
    return [xxhash.xxh3_128_digest(one, seed) for one, seed in zip(inputs, seeds, strict=True)]


@given(st.lists(st.tuples(st.binary(max_size=80), _SEEDS), max_size=30), st.binary(max_size=9))
def test_128_bits_are_those_of_xxhash(rows: list[tuple[bytes, int]], before: bytes) -> None:
    """Inputs of any length, each under a seed of its own, wherever they lie."""
    inputs, seeds = [one for one, _ in rows], [seed for _, seed in rows]
    data = memoryview(before + b"".join(inputs))
    found = xxh3.hashes_128(data, _ends(inputs, len(before)), np.array(seeds, np.uint64))
    assert [bytes(one) for one in found] == _expected(inputs, seeds)


@given(st.lists(st.binary(max_size=20), max_size=30), _SEEDS)
def test_64_bits_are_those_of_xxhash(inputs: list[bytes], seed: int) -> None:
    """Inputs of 4 to 16 bytes; others are left to xxhash."""
    found = xxh3.hashes_64(memoryview(b"".join(inputs)), _ends(inputs), seed)
    if not inputs or not all(4 <= len(one) <= 16 for one in inputs):
        assert found is None
    else:
        assert found is not None
        assert found.tolist() == [xxhash.xxh3_64_intdigest(one, seed) for one in inputs]


@pytest.mark.parametrize("length", range(4, 70))
def test_every_length_is_hashed_as_xxhash_does(length: int) -> None:
    """A thousand inputs of each length, under seeds of every size: no carry is lost."""
    source = random.Random(length)
    inputs = [source.randbytes(length) for _ in range(1000)]
    inputs += [bytes(length), b"\xff" * length]
    seeds = [source.getrandbits(source.choice([1, 32, 63, 64])) for _ in inputs]
    data, ends = memoryview(b"".join(inputs)), _ends(inputs)
    assert [bytes(one) for one in xxh3.hashes_128(data, ends, np.array(seeds, np.uint64))] == _expected(inputs, seeds)
    if length <= 16:
        for seed in (0, 1, (1 << 64) - 1, seeds[0]):
            found = xxh3.hashes_64(data, ends, seed)
            assert found is not None
            assert found.tolist() == [xxhash.xxh3_64_intdigest(one, seed) for one in inputs]
