"""The keyring: the secrets everything else is sealed, recognised and signed with.

A keyring holds one key for each purpose (or several, of which the last is used for what is new):

| purpose     | used for                                        | who needs it                            |
|-------------|-------------------------------------------------|-----------------------------------------|
| wrap        | wraps the fresh data key of each backup         | start, encrypt, verify, restore         |
| sign        | signs manifests (Ed25519)                       | start, record; to check them: restore   |
| spool       | seals staging between the stages                | start, collect, merge, compress, encrypt |
| fingerprint | fingerprints, chunk ids and proofs              | start, collect, encrypt, verify, restore |

`strata.seal.keyring_cuts` says which worker group has which. The file is JSON, mode 0600. Losing it loses every backup:
keep a copy where the backups are not.
"""

from __future__ import annotations

import base64
import errno
import json
import os
import secrets
import stat
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, Final, Protocol

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from strata.errors import IntegrityError, KeyringError
from strata.seal.encryption import KEY_BYTES, NONCE_BYTES, EncryptionService, derive

_FILE_VERSION: Final = 0


class Purpose(StrEnum):
    """What a key is for."""

    WRAP = "wrap"
    SIGN = "sign"
    SPOOL = "spool"
    FINGERPRINT = "fingerprint"


@dataclass(frozen=True)
class Key:
    """One secret of the keyring."""

    key_id: str
    purpose: Purpose
    secret: bytes = field(repr=False)


@dataclass(frozen=True)
class DataKey:
    """The key of one backup: in the clear for use, wrapped for keeping."""

    key_id: str
    wrapped: bytes
    secret: bytes = field(repr=False)


class Keyring(Protocol):
    """What the engine asks of a keyring, wherever its secrets are."""

    @property
    def ids_by_purpose(self) -> dict[str, tuple[str, ...]]:
        """The ids of its keys, which are no secret, for each purpose that it has one for."""
        ...

    def new_data_key(self) -> DataKey:
        """A fresh data key, wrapped by the current wrapping key."""
        ...

    def unwrap(self, key_id: str, wrapped: bytes) -> DataKey:
        """The data key that was wrapped by key `key_id`."""
        ...

    def opens(self, key_id: str) -> bool:
        """Whether it holds the wrapping key of that id."""
        ...

    def sign(self, message: bytes) -> tuple[str, bytes]:
        """The signing key's id and its signature of the message."""
        ...

    def check(self, key_id: str, signature: bytes, message: bytes) -> None:
        """IntegrityError unless the signature is that key's, of that message."""
        ...

    def spool_key(self, run_id: str) -> bytes:
        """The key that seals one run's staging."""
        ...

    def fingerprint_key(self, key_id: str | None = None) -> Key:
        """The key that makes fingerprints and chunk ids: the one of that id, or the current one."""
        ...


class FileKeyring:
    """A keyring in a file that only its owner can read."""

    def __init__(self, keys: list[Key]) -> None:
        self._keys = keys

    @classmethod
    def load(cls, path: Path) -> FileKeyring:
        """Read the file; KeyringError where it is missing, open to others or not a keyring."""
        return cls([_parse(entry) for entry in read_entries(path)])

    @classmethod
    def create(cls, path: Path, now: datetime) -> FileKeyring:
        """Make a keyring with one key for each purpose; never touches a file that is there."""
        keys = [
            Key(f"{purpose[0]}-{secrets.token_hex(6)}", purpose, secrets.token_bytes(KEY_BYTES)) for purpose in Purpose
        ]
        make_keyring(path, [_entry(key, now) for key in keys])
        return cls(keys)

    @property
    def key_ids(self) -> list[str]:
        """The ids of its keys, which are no secret."""
        return [key.key_id for key in self._keys]

    @property
    def ids_by_purpose(self) -> dict[str, tuple[str, ...]]:
        """The ids of its keys for each purpose that it has one for."""
        purposes = {key.purpose for key in self._keys}
        return {one.value: tuple(key.key_id for key in self._keys if key.purpose is one) for one in sorted(purposes)}

    def new_data_key(self) -> DataKey:
        wrapping = self._current(Purpose.WRAP)
        secret, nonce = secrets.token_bytes(KEY_BYTES), secrets.token_bytes(NONCE_BYTES)
        sealed = EncryptionService(wrapping.secret).seal(nonce, secret, wrapping.key_id.encode())
        return DataKey(wrapping.key_id, nonce + sealed, secret)

    def unwrap(self, key_id: str, wrapped: bytes) -> DataKey:
        wrapping = self._find(Purpose.WRAP, key_id)
        try:
            secret = EncryptionService(wrapping.secret).open(
                wrapped[:NONCE_BYTES], wrapped[NONCE_BYTES:], key_id.encode()
            )
        except IntegrityError:
            raise IntegrityError(f"the data key wrapped by {key_id} is damaged") from None
        return DataKey(key_id, wrapped, secret)

    def opens(self, key_id: str) -> bool:
        return any(key.key_id == key_id and key.purpose is Purpose.WRAP for key in self._keys)

    def sign(self, message: bytes) -> tuple[str, bytes]:
        key = self._current(Purpose.SIGN)
        return key.key_id, Ed25519PrivateKey.from_private_bytes(key.secret).sign(message)

    def check(self, key_id: str, signature: bytes, message: bytes) -> None:
        key = self._find(Purpose.SIGN, key_id)
        try:
            Ed25519PrivateKey.from_private_bytes(key.secret).public_key().verify(signature, message)
        except InvalidSignature:
            raise IntegrityError("the signature does not match") from None

    def spool_key(self, run_id: str) -> bytes:
        return derive(self._current(Purpose.SPOOL).secret, b"spool", run_id.encode())

    def fingerprint_key(self, key_id: str | None = None) -> Key:
        return self._find(Purpose.FINGERPRINT, key_id) if key_id else self._current(Purpose.FINGERPRINT)

    def _current(self, purpose: Purpose) -> Key:
        keys = [key for key in self._keys if key.purpose is purpose]
        if not keys:
            raise KeyringError(
                f"the keyring holds no key to {purpose} with", hint="Give this worker a keyring with it."
            )
        return keys[-1]

    def _find(self, purpose: Purpose, key_id: str) -> Key:
        for key in self._keys:
            if key.key_id == key_id and key.purpose is purpose:
                return key
        raise KeyringError(
            f"the keyring does not hold key {key_id}", hint="Bring back the keyring the backup was made with."
        )


Entry = dict[str, str]
"""A key as the file has it: id, purpose, created, secret."""


def read_entries(path: Path) -> list[Entry]:
    """The keys of a keyring's file, as they stand there; KeyringError as `FileKeyring.load`."""
    try:
        mode = path.stat().st_mode
        if stat.S_ISREG(mode) and mode & 0o077:  # of anything else, `chmod 600` would be harmful advice
            raise KeyringError(
                f"the keyring {path} is readable by others (mode {mode & 0o777:04o})", hint=f"chmod 600 {path}"
            )
        document = json.loads(path.read_text())
        version = document["strata_keyring"]
        if version != _FILE_VERSION:
            raise KeyringError(f"the keyring {path} has version {version!r}; this Strata reads {_FILE_VERSION}")
        return _checked(path, document)
    except FileNotFoundError:
        raise KeyringError(
            f"there is no keyring at {path}", hint="Make one with `strata keys init`, or bring your copy back."
        ) from None
    except OSError as error:
        raise KeyringError(f"the keyring {path} cannot be read: {os.strerror(error.errno or 0)}") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise KeyringError(f"{path} is not a Strata keyring", hint="Bring your copy of it back.") from None


def make_keyring(path: Path, entries: Sequence[Entry]) -> None:
    """Write a keyring that its owner alone can read; never touches a file that is there."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        if error.errno == errno.EEXIST and path.parent.is_dir():
            raise KeyringError(
                f"there is a keyring at {path} already, and it was left as it is",
                hint="Backups made with it need it. To start anew, move it away first.",
            ) from None
        raise _unwritten(path, error) from None
    _write(path, descriptor, path, entries)


def replace_keyring(path: Path, entries: Sequence[Entry]) -> None:
    """Write a keyring that its owner alone can read in the place of what is there: whole, or not at all."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor, beside = tempfile.mkstemp(prefix=".keyring-", dir=path.parent)
    except OSError as error:
        raise _unwritten(path, error) from None
    _write(path, descriptor, beside, entries)
    try:
        os.replace(beside, path)
    except OSError as error:
        os.unlink(beside)
        raise _unwritten(path, error) from None


def _write(path: Path, descriptor: int, opened: str | Path, entries: Sequence[Entry]) -> None:
    """Fill the file that was opened; it is gone again where that fails."""
    try:
        with os.fdopen(descriptor, "w") as file:
            json.dump({"strata_keyring": _FILE_VERSION, "keys": entries}, file, indent=2)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        os.unlink(opened)
        raise _unwritten(path, error) from None


def _unwritten(path: Path, error: OSError) -> KeyringError:
    return KeyringError(f"the keyring {path} cannot be written: {os.strerror(error.errno or 0)}")


def _checked(path: Path, document: dict[str, Any]) -> list[Entry]:
    """The keys as they stand there; KeyringError for an unknown member and for an id that stands twice."""
    known = {"strata_keyring", "keys"}, {"id", "purpose", "created", "secret"}
    unknown = [*(document.keys() - known[0]), *(name for entry in document["keys"] for name in entry.keys() - known[1])]
    keys = [_parse(entry) for entry in document["keys"]]
    ids = [key.key_id for key in keys]
    wrong = [f"the member {name!r}, which Strata does not know" for name in sorted(unknown)]
    wrong += [f"the key {name!r} twice" for name in sorted({one for one in ids if ids.count(one) > 1})]
    if wrong:
        raise KeyringError(f"the keyring {path} has {wrong[0]}", hint="Bring your copy of it back.")
    return list(document["keys"])


def _parse(entry: dict[str, Any]) -> Key:
    secret = base64.b64decode(entry["secret"], validate=True)
    if len(secret) != KEY_BYTES:
        raise ValueError
    return Key(str(entry["id"]), Purpose(entry["purpose"]), secret)


def _entry(key: Key, now: datetime) -> Entry:
    return {
        "id": key.key_id,
        "purpose": key.purpose.value,
        "created": now.isoformat(timespec="seconds"),
        "secret": base64.b64encode(key.secret).decode(),
    }
