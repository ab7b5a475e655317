"""Attacks on the objects of a store or a spool: each gives what lies under a name other bytes, or none."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Final

from strata.storage.filesystem import FilesystemStore
from strata.storage.wrapped import WrappedStore

POSITIONS: Final = (0.0, 0.03, 0.2, 0.5, 0.9, 1.0)
"""Where a byte is flipped, as a share of the object: the header's magic, its salt, blocks, table and footer."""

Attack = Callable[[bytes], bytes | None]
"""What lies there afterwards; None for nothing."""


def flipped(share: float) -> Attack:
    """One bit differs at that share of the object."""

    def flip(data: bytes) -> bytes:
        at = round(share * (len(data) - 1))
        return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]

    return flip


ALONE: Final[Mapping[str, Attack]] = {
    **{f"flipped at {share:.0%}": flipped(share) for share in POSITIONS},
    "cut by a byte": lambda data: data[:-1],
    "cut in half": lambda data: data[: len(data) // 2],
    "emptied": lambda _: b"",
    "extended by a byte": lambda data: data + b"\0",
    "doubled": lambda data: data * 2,
    "removed": lambda _: None,
}
"""What needs no other object."""


def exchanged(others: Mapping[str, bytes]) -> dict[str, Attack]:
    """Each of these objects in the place of the one."""
    return {f"in its place {name}": (lambda _, data=data: data) for name, data in others.items()}  # type: ignore[misc]


@contextmanager
def attacked(files: FilesystemStore, name: str, attack: Attack) -> Iterator[bool]:
    """The object is attacked meanwhile; whether that changes its bytes."""
    before = files.get(name)
    after = attack(before)
    files.delete(name)
    if after is not None:
        files.put(name, [after])
    try:
        yield after != before
    finally:
        files.delete(name)
        files.put(name, [before])


class Recording(WrappedStore):
    """Notes the names of the objects that are read."""

    def __init__(self, inner: FilesystemStore) -> None:
        super().__init__(inner)
        self.read: list[str] = []

    def get(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
        self.read.append(name)
        return super().get(name, offset, length)

    def reads_of(self, work: Callable[[], object]) -> list[str]:
        """What some work reads, each name once."""
        self.read.clear()
        work()
        return list(dict.fromkeys(self.read))
