"""Zstandard, one block at a time."""

from __future__ import annotations

from typing import Final

import zstandard

from strata.errors import IntegrityError, SettingError

LEVELS: Final = range(1, 20)


class CompressionService:
    """Compresses and decompresses blocks of a few MiB; not to be shared between threads."""

    def __init__(self, level: int = 1) -> None:
        if level not in LEVELS:
            raise SettingError(f"STRATA_ZSTD_LEVEL must be from {LEVELS[0]} to {LEVELS[-1]}, not {level}")
        self._compressor = zstandard.ZstdCompressor(level=level)
        self._decompressor = zstandard.ZstdDecompressor()

    def compress(self, block: bytes | memoryview) -> bytes:
        """One zstd frame that holds the block and its length."""
        return self._compressor.compress(block)

    def decompress(self, frame: bytes | memoryview, length: int) -> bytes:
        """The block of `length` bytes; IntegrityError where the frame holds anything else."""
        try:
            stated = zstandard.frame_content_size(frame)
            if stated != length:  # before anything of that size is allocated
                raise IntegrityError(f"a block says it holds {stated} bytes instead of {length}")
            return self._decompressor.decompress(frame, max_output_size=length, allow_extra_data=False)
        except zstandard.ZstdError:
            raise IntegrityError("a block does not decompress") from None
