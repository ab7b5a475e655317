"""Redis commands in wire format, one by one or for thousands of keys in one join."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def packed(words: Iterable[bytes]) -> list[bytes]:
    """Arguments, each in wire format."""
    return [b"$%d\r\n%b\r\n" % (len(word), word) for word in words]


def pack(*arguments: bytes) -> bytes:
    """One command in wire format."""
    return b"*%d\r\n" % len(arguments) + b"".join(packed(arguments))


class KeyCommand:
    """A command whose first argument is a key, ready to be packed for many keys: `command key rest...`."""

    def __init__(self, command: bytes, *rest: bytes, subcommand: bytes | None = None) -> None:
        words = [command] if subcommand is None else [command, subcommand]
        self._head = b"*%d\r\n" % (len(words) + 1 + len(rest)) + b"".join(packed(words))
        self._tail = b"".join(packed(rest))

    def pack(self, packed_keys: Sequence[bytes]) -> bytes:
        """One command per key, given as packed arguments: packing a key once serves several commands."""
        if not packed_keys:
            return b""
        return self._head + (self._tail + self._head).join(packed_keys) + self._tail


class KeysCommand:
    """A command that takes many keys at once, and has one reply: a list with an entry per key."""

    def __init__(self, command: bytes) -> None:
        self._name = packed([command])[0]

    def pack(self, packed_keys: Sequence[bytes]) -> bytes:
        """One command for all keys, given as packed arguments."""
        return b"*%d\r\n%b" % (len(packed_keys) + 1, self._name) + b"".join(packed_keys)
