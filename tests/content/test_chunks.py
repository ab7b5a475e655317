"""Chunks of large values: the value again, cut by its content alone."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from typing import Final

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strata.content.chunks import (
    CHUNK_INDEX_SCHEMA,
    MAX_CHUNK,
    MIN_CHUNK,
    Chunker,
    decode_refs,
    encode_refs,
    index_places,
    places_checksum,
)
from strata.content.fingerprint import EMPTY_CHECKSUM, add_checksums
from strata.model.record import CHUNK_REF_BYTES

Place = tuple[bytes, str, int]
"""Id, pack, block."""

CHUNKER: Final = Chunker(bytes(range(32)))
DATA: Final = random.Random(1).randbytes(24 << 20)


def chunks(parts: Iterable[bytes]) -> list[bytes]:
    """The chunks of a stream, copied."""
    return [bytes(chunk) for chunk in CHUNKER.cut(parts)]


def split(data: bytes, size: int) -> Iterator[bytes]:
    """The data in parts of one size."""
    return (data[start : start + size] for start in range(0, len(data), size))


WHOLE: Final = chunks([DATA])


def test_the_chunks_are_the_value() -> None:
    """Joined, the chunks of a value are the value."""
    assert b"".join(WHOLE) == DATA
    assert len(WHOLE) > 10


@pytest.mark.parametrize("size", [64 << 10, (1 << 20) + 1, 5 << 20, 24 << 20])
def test_cuts_do_not_depend_on_how_the_value_comes(size: int) -> None:
    """However a source splits its stream, the chunks are the same."""
    assert chunks(split(DATA, size)) == WHOLE


@settings(max_examples=10)
@given(st.integers(0, len(DATA)), st.lists(st.integers(1, 9 << 20), min_size=1, max_size=6))
def test_cuts_do_not_depend_on_uneven_parts(length: int, sizes: list[int]) -> None:
    """Parts of any lengths, empty ones among them, give the chunks of the whole."""
    value, parts, at = DATA[:length], [b""], 0
    for size in sizes:
        parts += [value[at : at + size], b""]
        at += size
    parts.append(value[at:])
    assert chunks(parts) == chunks([value])


def test_a_value_may_come_in_any_kind_of_buffer() -> None:
    """Arrow's buffers and bytearrays are cut like bytes, alone and behind one another."""
    assert [bytes(chunk) for chunk in CHUNKER.cut([pa.py_buffer(DATA)])] == WHOLE
    half = len(DATA) // 2
    parts = [pa.py_buffer(b""), pa.py_buffer(DATA[:half]), bytearray(DATA[half:-1]), memoryview(DATA[-1:])]
    assert [bytes(chunk) for chunk in CHUNKER.cut(parts)] == WHOLE


def test_chunks_are_bounded() -> None:
    """Every chunk but the last is from 640 KiB to 4 MiB, in noise and in zeros alike."""
    for data in (DATA, bytes(20 << 20)):
        sizes = [len(chunk) for chunk in chunks(split(data, 1 << 20))]
        assert max(sizes) <= MAX_CHUNK
        assert min(sizes[:-1]) >= MIN_CHUNK


@pytest.mark.parametrize("position", [0, 5 << 20, 12_345_678, len(DATA)])
def test_an_insertion_changes_few_chunks(position: int) -> None:
    """A few bytes put in anywhere leave all chunks but one or two as they were."""
    changed = chunks([DATA[:position] + b"a few bytes" + DATA[position:]])
    assert len(set(changed) - set(WHOLE)) <= 2


def test_a_value_of_no_bytes_has_no_chunks() -> None:
    """Nothing gives nothing, and so do empty parts."""
    assert chunks([]) == chunks([b"", b""]) == []


def test_equal_chunks_have_one_name_under_one_secret() -> None:
    """A chunk's name depends on its bytes and the secret, and on nothing else."""
    one, other = memoryview(b"some bytes"), memoryview(b"Some bytes")
    assert CHUNKER.name(one) == Chunker(bytes(range(32))).name(memoryview(bytearray(b"some bytes")))
    assert len({CHUNKER.name(one), CHUNKER.name(other), Chunker(bytes(32)).name(one)}) == 3
    assert len(CHUNKER.name(one)) == 32


refs = st.lists(st.tuples(st.binary(min_size=32, max_size=32), st.integers(0, 2**64 - 1)), max_size=10)


@given(refs)
def test_references_come_back(listed: list[tuple[bytes, int]]) -> None:
    """Chunk references decode as they were encoded, 40 bytes each."""
    column = encode_refs(listed)
    assert len(column) == CHUNK_REF_BYTES * len(listed)
    assert decode_refs(column) == listed


places = st.lists(
    st.tuples(
        st.binary(min_size=32, max_size=32),
        st.sampled_from(["chunks/a-000000.pack", "chunks/a-000001.pack"]),
        st.integers(0, 2**32 - 1),
    ),
    max_size=10,
)


@given(places, st.integers(0, 10))
def test_the_checksum_of_places_knows_no_order(listed: list[Place], cut: int) -> None:
    """Chunks at their places, in any order and any split, have one sum."""
    assert places_checksum(reversed(listed)) == places_checksum(listed)
    assert add_checksums(places_checksum(listed[:cut]), places_checksum(listed[cut:])) == places_checksum(listed)
    assert places_checksum([]) == EMPTY_CHECKSUM


def test_the_checksum_of_places_knows_every_place() -> None:
    """Another id, pack or block is another sum."""
    listed = [
        (bytes(32), "chunks/a-000000.pack", 1),
        (bytes(31) + b"x", "chunks/a-000000.pack", 1),
        (bytes(32), "chunks/a-000001.pack", 1),
        (bytes(32), "chunks/a-000000.pack", 2),
        (bytes(32), "chunks/a-000000.pack", 1 << 24),
    ]
    assert len({places_checksum([place]) for place in listed}) == len(listed)


@given(places)
def test_the_rows_of_a_chunk_index_name_places(listed: list[Place]) -> None:
    """What was written into a chunk index is what is read from it."""
    names, packs, blocks = zip(*listed, strict=True) if listed else ([],) * 3
    table = pa.table(
        [
            pa.array(names, pa.binary(32)),
            pa.array(packs, pa.string()).dictionary_encode(),
            pa.array(blocks, pa.uint32()),
        ],
        CHUNK_INDEX_SCHEMA,
    )
    assert list(index_places(table)) == listed
