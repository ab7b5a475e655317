"""The frame: what is sealed comes back whole, or not at all."""

from __future__ import annotations

import os
import struct
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strata.errors import IntegrityError
from strata.model.layer import ObjectKind
from strata.model.manifest import FORMAT_VERSION
from strata.seal.compression import CompressionService
from strata.seal.encryption import KEY_BYTES, TAG_BYTES
from strata.seal.frame import (
    FOOTER,
    HEADER,
    Compression,
    FrameKey,
    FrameReader,
    FrameWriter,
    Header,
    open_whole,
)

KEY = FrameKey(bytes(range(KEY_BYTES)), "w-0123456789ab", b"w" * 60)
OWNER = "20250102-030405-full-601d00-hot"
BLOCKS = [b"the first block", b"", b"the third block, which is longer than the others"]


def sealed(
    blocks: Sequence[bytes] = BLOCKS,
    *,
    key: FrameKey = KEY,
    kind: ObjectKind = ObjectKind.SEGMENT,
    owner: str = OWNER,
    seq: int = 7,
    compression: Compression = Compression.NONE,
) -> bytes:
    """A whole object; rows and first keys are made from the blocks."""
    sealed = bytearray()
    writer = FrameWriter(key, kind, owner, seq, compression, sealed.extend)
    for number, block in enumerate(blocks):
        payload = CompressionService().compress(block) if compression is Compression.ZSTD else block
        writer.add(payload, len(block), number, block[:8])
    writer.finish()
    return bytes(sealed)


def opened(data: bytes, key: FrameKey = KEY) -> FrameReader:
    """A reader that answers one key for every header."""
    return open_whole(data, lambda _: key)


def read_all(data: bytes, key: FrameKey = KEY) -> list[bytes]:
    """Every block of an object."""
    return list(opened(data, key))


@given(st.lists(st.binary(max_size=300), max_size=8), st.sampled_from(Compression), st.sampled_from(ObjectKind))
def test_blocks_come_back_as_they_were_added(blocks: list[bytes], compression: Compression, kind: ObjectKind) -> None:
    """Any number of blocks of any length comes back in order, with what the table says of each."""
    frame = opened(sealed(blocks, compression=compression, kind=kind))
    assert list(frame) == blocks
    assert (frame.header.kind, frame.header.owner, frame.header.seq) == (kind, OWNER, 7)
    assert (frame.header.key_id, frame.header.wrapped) == (KEY.key_id, KEY.wrapped)
    table = [(block.raw_length, block.rows, block.first) for block in frame.blocks]
    assert table == [(len(block), number, block[:8]) for number, block in enumerate(blocks)]


def test_an_empty_frame_is_an_object() -> None:
    """An object of no blocks has a header, a sealed table and a footer, and reads as empty."""
    data = sealed([])
    assert len(data) == HEADER.size + TAG_BYTES + FOOTER.size
    assert read_all(data) == []


def test_blocks_are_read_by_one_ranged_fetch_each() -> None:
    """Opening costs three fetches (header, footer, table), and each block one, of its own bytes only."""
    data = sealed()
    fetched: list[tuple[int, int]] = []

    def fetch(offset: int, length: int) -> bytes:
        fetched.append((offset, length))
        return data[offset : offset + length]

    frame = FrameReader(fetch, len(data), lambda _: KEY)
    assert len(fetched) == 3
    assert frame.read(2) == BLOCKS[2]
    assert fetched[3:] == [(frame.blocks[2].offset, len(BLOCKS[2]) + TAG_BYTES)]


def test_the_writer_numbers_the_blocks_to_come() -> None:
    """`block_count` is the number that the next block will have."""
    sealed = bytearray()
    writer = FrameWriter(KEY, ObjectKind.PACK, OWNER, 0, Compression.NONE, sealed.extend)
    counts = [writer.block_count]
    for block in BLOCKS:
        writer.add(block, len(block), 1)
        counts.append(writer.block_count)
    assert counts == [0, 1, 2, 3]


def test_a_payload_may_change_once_another_block_is_announced() -> None:
    """After `go_on` the block is sealed: the memory it came in may be used for the next one."""
    sealed, room = bytearray(), bytearray(100)
    writer = FrameWriter(KEY, ObjectKind.SEGMENT, OWNER, 0, Compression.NONE, sealed.extend)
    for number in range(3):
        writer.go_on()
        room[:] = bytes([number]) * 100
        writer.add(memoryview(room), 100, 1)
    writer.finish()
    assert read_all(bytes(sealed)) == [bytes([number]) * 100 for number in range(3)]


def test_writers_that_take_turns_do_not_mix_their_blocks() -> None:
    """Objects written side by side in one thread, which seals into one piece of memory, hold what each was given."""
    sealed = [bytearray(), bytearray()]
    writers = [FrameWriter(KEY, ObjectKind.SEGMENT, OWNER, 0, Compression.NONE, one.extend) for one in sealed]
    blocks = [[bytes([turn, side]) * (50 + turn) for turn in range(3)] for side in range(2)]
    for turn in range(3):
        for side in range(2):
            writers[side].add(blocks[side][turn], 100 + 2 * turn, 1)
    for writer in writers:
        writer.finish()
    assert [read_all(bytes(one)) for one in sealed] == blocks


@settings(max_examples=300)
@given(st.data())
def test_one_flipped_bit_anywhere_is_refused(data: st.DataObject) -> None:
    """Whichever bit of the object differs (padding of the header included), it does not read."""
    whole = bytearray(sealed())
    whole[data.draw(st.integers(0, len(whole) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(IntegrityError):
        read_all(bytes(whole))


def test_every_byte_of_an_object_is_under_protection() -> None:
    """No byte of an object can be changed unseen, tried one after the other."""
    whole = sealed()
    for position in range(len(whole)):
        changed = bytearray(whole)
        changed[position] ^= 0x80
        with pytest.raises(IntegrityError):
            read_all(bytes(changed))


@given(st.data())
def test_a_truncated_object_is_refused(data: st.DataObject) -> None:
    """An object cut short anywhere, from either end, does not read."""
    whole = sealed()
    length = data.draw(st.integers(0, len(whole) - 1))
    for cut in (whole[:length], whole[len(whole) - length :]):
        with pytest.raises(IntegrityError):
            read_all(cut)


@given(st.binary(min_size=1, max_size=300), st.integers(0, 400))
def test_bytes_that_were_put_in_are_refused(extra: bytes, position: int) -> None:
    """An object with bytes appended or put in anywhere does not read."""
    whole = sealed()
    at = min(position, len(whole))
    with pytest.raises(IntegrityError):
        read_all(whole[:at] + extra + whole[at:])
    with pytest.raises(IntegrityError):
        read_all(whole + extra)


def test_swapped_blocks_are_refused() -> None:
    """Two sealed blocks of equal length that changed places are not taken for each other."""
    whole = sealed([b"a" * 20, b"b" * 20, b"c"])
    start, length = HEADER.size, 20 + TAG_BYTES
    one, other = whole[start : start + length], whole[start + length : start + 2 * length]
    with pytest.raises(IntegrityError):
        read_all(whole[:start] + other + one + whole[start + 2 * length :])


def test_a_block_of_another_object_is_refused() -> None:
    """A block at the same place of an object of the same owner and key does not fit into this one."""
    one, other = sealed([b"a" * 20, b"b" * 20]), sealed([b"a" * 20, b"b" * 20])
    start, end = HEADER.size, HEADER.size + 20 + TAG_BYTES
    with pytest.raises(IntegrityError):
        read_all(one[:start] + other[start:end] + one[end:])


def test_an_end_of_another_object_is_refused() -> None:
    """The table and footer of an object with fewer blocks cannot hide the others."""
    long, short = sealed([b"a" * 20, b"b" * 20]), sealed([b"a" * 20])
    end = HEADER.size + 20 + TAG_BYTES
    with pytest.raises(IntegrityError):
        read_all(long[:end] + short[end:])


def test_the_wrong_key_opens_nothing() -> None:
    """Under another key not even the table is read."""
    with pytest.raises(IntegrityError):
        opened(sealed(), FrameKey(bytes(KEY_BYTES)))


@pytest.mark.parametrize(
    "changed",
    [{"owner": OWNER.replace("hot", "war")}, {"seq": 8}, {"kind": ObjectKind.INDEX}, {"key": FrameKey(KEY.secret)}],
    ids=lambda changed: next(iter(changed)),
)  # fmt: skip
def test_an_object_cannot_be_passed_off_as_another(changed: dict[str, object]) -> None:
    """A header that names another owner, place, kind or key does not fit the blocks below it."""
    whole, other = sealed(), sealed(**changed)  # type: ignore[arg-type]
    salt = slice(24, 56)
    header = bytearray(other[: HEADER.size])
    header[salt] = whole[salt]
    with pytest.raises(IntegrityError):
        read_all(bytes(header) + whole[HEADER.size :])


def test_a_header_sends_nothing_to_a_terminal() -> None:
    """What it names is shown where it is refused, so a name with control characters is damage."""
    whole = bytearray(sealed())
    whole[132:136] = b"\x1b[2J"
    with pytest.raises(IntegrityError, match="the header is damaged"):
        Header.decode(bytes(whole))


def test_the_reader_is_told_whose_object_it_is_before_it_opens_it() -> None:
    """`key_for` sees the header and may refuse; what it raises comes through."""
    seen: list[Header] = []

    def refuse(header: Header) -> FrameKey:
        seen.append(header)
        raise IntegrityError(f"it belongs to {header.owner}")

    with pytest.raises(IntegrityError, match=f"it belongs to {OWNER}"):
        open_whole(sealed(), refuse)
    assert (seen[0].owner, seen[0].seq) == (OWNER, 7)


def test_two_writes_of_one_object_share_no_key_and_no_bytes() -> None:
    """The same blocks sealed twice have salts, and so keys, of their own: no nonce is used twice under one key."""
    objects = [sealed([b"same"]) for _ in range(50)]
    assert len({data[24:56] for data in objects}) == 50
    assert len({data[HEADER.size :] for data in objects}) == 50


def test_equal_blocks_of_one_object_look_different() -> None:
    """Block numbers serve as nonces: equal blocks are sealed to different bytes."""
    data = sealed([b"same" * 10] * 3)
    length = 40 + TAG_BYTES
    found = {data[HEADER.size + number * length : HEADER.size + (number + 1) * length] for number in range(3)}
    assert len(found) == 3


def test_a_version_of_the_future_is_refused_by_its_number() -> None:
    """An object of a later format says so, and is not taken for a damaged one."""
    data = bytearray(sealed())
    struct.pack_into("<H", data, 8, FORMAT_VERSION + 1)
    with pytest.raises(IntegrityError, match=f"format version {FORMAT_VERSION + 1} is not known"):
        opened(bytes(data))


@pytest.mark.parametrize("position", [10, 11, 12], ids=["kind", "cipher", "compression"])
def test_an_unknown_algorithm_is_refused(position: int) -> None:
    """A kind, cipher or compression this Strata does not know is named as the reason."""
    data = bytearray(sealed())
    data[position] = 200
    with pytest.raises(IntegrityError, match="unknown kind, cipher or compression"):
        opened(bytes(data))


@pytest.mark.parametrize(
    "data", [b"", b"STRATA", b"{}" * 500, os.urandom(1000)], ids=["empty", "word", "json", "noise"]
)
def test_bytes_that_are_no_object_are_refused(data: bytes) -> None:
    """Whatever is not an object is an integrity error: nothing is guessed from it."""
    with pytest.raises(IntegrityError, match=r"cut short|not a Strata object"):
        opened(data)


@pytest.mark.parametrize("answered", [0, 10, 100])
def test_a_store_that_answers_with_fewer_bytes_is_an_integrity_error(answered: int) -> None:
    """A fetch that comes back short (the object shrank since its size was asked) is damage, not a crash."""
    data = sealed()
    for shortened in (0, len(data) - FOOTER.size, None):

        def fetch(offset: int, length: int, shortened: int | None = shortened) -> bytes:
            whole = data[offset : offset + length]
            return whole[:answered] if shortened is None or offset == shortened else whole

        if shortened is not None and answered >= (HEADER.size if shortened == 0 else FOOTER.size):
            continue
        with pytest.raises(IntegrityError):
            list(FrameReader(fetch, len(data), lambda _: KEY))


def test_a_block_of_another_length_than_its_table_says_is_refused() -> None:
    """An uncompressed block whose length is not the one in the table is damaged."""
    sealed = bytearray()
    writer = FrameWriter(KEY, ObjectKind.SEGMENT, OWNER, 0, Compression.NONE, sealed.extend)
    writer.add(b"four", 5, 1)
    writer.finish()
    with pytest.raises(IntegrityError, match="does not have the length"):
        read_all(bytes(sealed))


@pytest.mark.parametrize(
    ("owner", "key"),
    [
        ("x" * 65, KEY),
        (OWNER, FrameKey(KEY.secret, "k" * 17)),
        (OWNER, FrameKey(KEY.secret, "k", b"w" * 61)),
    ],
    ids=["owner", "key id", "wrapped key"],
)
def test_a_name_too_long_for_the_header_is_refused_when_it_is_written(owner: str, key: FrameKey) -> None:
    """A name that the header would cut short is refused before anything is sealed under it."""
    with pytest.raises(ValueError, match="too long"):
        sealed(owner=owner, key=key)


def test_no_repr_shows_a_secret() -> None:
    """The key of a frame is not in its repr."""
    assert repr(KEY.secret)[2:-1] not in repr(KEY)
    assert "secret" not in repr(KEY)
