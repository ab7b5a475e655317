"""Zstandard, block by block."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strata.errors import IntegrityError, SettingError
from strata.seal.compression import LEVELS, CompressionService


@given(st.binary(max_size=5000), st.sampled_from([LEVELS[0], 3, LEVELS[-1]]))
def test_what_was_compressed_decompresses(block: bytes, level: int) -> None:
    """Any block comes back, whatever the level it was compressed with."""
    assert CompressionService().decompress(CompressionService(level).compress(block), len(block)) == block


def test_one_service_compresses_many_blocks() -> None:
    """A service may be used again and again; each block is a frame of its own."""
    service = CompressionService()
    blocks = [os.urandom(100) * 50, b"", b"x" * 100_000]
    frames = [service.compress(block) for block in blocks]
    assert [service.decompress(frame, len(block)) for frame, block in zip(frames, blocks, strict=True)] == blocks
    assert len(frames[2]) < 100


@pytest.mark.parametrize("length", [0, 999, 1001, 10_000])
def test_another_length_than_promised_is_refused(length: int) -> None:
    """A frame that holds more or less than the block table says is damaged, not read as far as it goes."""
    frame = CompressionService().compress(b"x" * 1000)
    with pytest.raises(IntegrityError):
        CompressionService().decompress(frame, length)


@given(st.binary(max_size=200))
def test_bytes_that_are_no_frame_are_refused(garbage: bytes) -> None:
    """Bytes that are not zstd raise IntegrityError; nothing is guessed."""
    with pytest.raises(IntegrityError):
        CompressionService().decompress(b"not zstd" + garbage, len(garbage) + 8)


def test_a_cut_frame_is_refused() -> None:
    """A frame without its end raises IntegrityError."""
    frame = CompressionService().compress(os.urandom(1000))
    for end in (0, 1, 4, 500, len(frame) - 1):
        with pytest.raises(IntegrityError):
            CompressionService().decompress(frame[:end], 1000)


@pytest.mark.parametrize("level", [-1, 0, 20, 99])
def test_a_level_out_of_range_names_the_setting(level: int) -> None:
    """A level that zstd or this project does not have is refused by the setting's name."""
    with pytest.raises(SettingError, match=f"STRATA_ZSTD_LEVEL must be from 1 to 19, not {level}"):
        CompressionService(level)
