"""The keyring: never open to others, never overwritten, and clear about what it lacks."""

from __future__ import annotations

import base64
import json
import os
import secrets
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from strata.errors import IntegrityError, KeyringError
from strata.seal.encryption import KEY_BYTES
from strata.seal.keyring import FileKeyring, Key, Keyring, Purpose

NOW = datetime(2025, 1, 2, 3, 4, 5, tzinfo=UTC)


@pytest.fixture
def path(folder: Path) -> Path:
    """Where the keyring of the test is."""
    return folder / "keys" / "keyring.json"


@pytest.fixture
def keyring(path: Path) -> FileKeyring:
    """A new keyring with a key for each purpose."""
    return FileKeyring.create(path, NOW)


def with_only(*purposes: Purpose) -> FileKeyring:
    """A worker group's keyring: keys for some purposes."""
    return FileKeyring([Key(f"{purpose[0]}-test", purpose, secrets.token_bytes(KEY_BYTES)) for purpose in purposes])


def write(path: Path, content: str) -> None:
    """A file as only its owner may read it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    path.chmod(0o600)


USES: dict[Purpose, Callable[[Keyring], object]] = {
    Purpose.WRAP: lambda keyring: keyring.new_data_key(),
    Purpose.SIGN: lambda keyring: keyring.sign(b"message"),
    Purpose.SPOOL: lambda keyring: keyring.spool_key("run"),
    Purpose.FINGERPRINT: lambda keyring: keyring.fingerprint_key(),
}


def test_a_new_keyring_is_readable_by_its_owner_alone(path: Path, keyring: FileKeyring) -> None:
    """The file has mode 0600 from the first moment, whatever the umask, and its new folder 0700."""
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700


def test_a_keyring_has_a_key_for_each_purpose(keyring: FileKeyring) -> None:
    """Each purpose has its own secret under an id of its own."""
    assert {key_id[0] for key_id in keyring.key_ids} == {"w", "s", "f"}
    assert len(set(keyring.key_ids)) == len(Purpose)
    for use in USES.values():
        use(keyring)


def test_a_loaded_keyring_is_the_one_that_was_made(path: Path, keyring: FileKeyring) -> None:
    """What one process sealed, signed and fingerprinted, another opens, checks and recognises."""
    loaded = FileKeyring.load(path)
    data_key = keyring.new_data_key()
    assert loaded.unwrap(data_key.key_id, data_key.wrapped).secret == data_key.secret
    loaded.check(*keyring.sign(b"message"), b"message")
    assert loaded.spool_key("run") == keyring.spool_key("run")
    assert loaded.fingerprint_key() == keyring.fingerprint_key()


def test_create_never_touches_a_file_that_is_there(path: Path) -> None:
    """A keyring, or whatever else is at that path, is left byte for byte as it was."""
    write(path, "whatever this is")
    with pytest.raises(KeyringError, match="already, and it was left as it is"):
        FileKeyring.create(path, NOW)
    assert path.read_text() == "whatever this is"


def test_create_follows_no_dangling_link(path: Path, folder: Path) -> None:
    """A link to nowhere counts as taken: no secret is written to a place somebody else chose."""
    path.parent.mkdir()
    path.symlink_to(folder / "elsewhere")
    with pytest.raises(KeyringError, match="left as it is"):
        FileKeyring.create(path, NOW)
    assert not (folder / "elsewhere").exists()


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o601, 0o620, 0o644, 0o777])
def test_a_keyring_open_to_others_is_refused(path: Path, keyring: FileKeyring, mode: int) -> None:
    """Any bit for group or others refuses the file; the sentence has the mode, the hint the remedy."""
    path.chmod(mode)
    with pytest.raises(KeyringError, match=f"mode {mode:04o}") as caught:
        FileKeyring.load(path)
    assert caught.value.hint == f"chmod 600 {path}"


@pytest.mark.parametrize("mode", [0o600, 0o400])
def test_a_keyring_of_the_owner_alone_is_read(path: Path, keyring: FileKeyring, mode: int) -> None:
    """Modes 0600 and 0400 are closed enough."""
    path.chmod(mode)
    assert FileKeyring.load(path).key_ids == keyring.key_ids


def test_a_missing_keyring_is_named_with_what_to_do(path: Path) -> None:
    """No file: the sentence has the path, the hint the command that makes one."""
    with pytest.raises(KeyringError, match=f"there is no keyring at {path}") as caught:
        FileKeyring.load(path)
    assert "strata keys init" in caught.value.hint


def test_a_folder_in_place_of_a_keyring_is_said_to_be_one(path: Path) -> None:
    """A folder at the path cannot be read, and the sentence says why; nobody is told to change a folder's mode."""
    path.mkdir(parents=True, mode=0o755)
    with pytest.raises(KeyringError, match="cannot be read: Is a directory") as caught:
        FileKeyring.load(path)
    assert "chmod" not in caught.value.hint


def entry(**changed: Any) -> dict[str, Any]:
    """One key as the file holds it."""
    secret = base64.b64encode(bytes(KEY_BYTES)).decode()
    return {"id": "w-0", "purpose": "wrap", "created": "2025", "secret": secret, **changed}


GARBAGE = {
    "nothing": "",
    "not json": "hello",
    "another document": "{}",
    "a list": "[]",
    "a number": "7",
    "keys that are no list": '{"strata_keyring": 0, "keys": 7}',
    "keys that are words": '{"strata_keyring": 0, "keys": ["a"]}',
    "no secret": json.dumps({"strata_keyring": 0, "keys": [{"id": "w-0", "purpose": "wrap"}]}),
    "secret too short": json.dumps({"strata_keyring": 0, "keys": [entry(secret="AAAA")]}),  # noqa: S106 - none
    "secret not base64": json.dumps({"strata_keyring": 0, "keys": [entry(secret="?" * 44)]}),
    "secret a number": json.dumps({"strata_keyring": 0, "keys": [entry(secret=5)]}),
    "unknown purpose": json.dumps({"strata_keyring": 0, "keys": [entry(purpose="fun")]}),
    "no version": json.dumps({"keys": [entry()]}),
}


@pytest.mark.parametrize("content", GARBAGE.values(), ids=GARBAGE.keys())
def test_a_file_that_is_no_keyring_is_refused_in_a_sentence(path: Path, content: str) -> None:
    """Whatever else the file holds, the error says that it is no keyring and shows nothing of it."""
    write(path, content)
    with pytest.raises(KeyringError) as caught:
        FileKeyring.load(path)
    assert caught.value.sentence == f"{path} is not a Strata keyring"
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


def test_bytes_that_are_no_text_are_no_keyring(path: Path) -> None:
    """A binary file is refused by the same sentence."""
    write(path, "")
    path.write_bytes(b"\xff\xfe\x00\x80" * 20)
    with pytest.raises(KeyringError, match="is not a Strata keyring"):
        FileKeyring.load(path)


def test_a_keyring_of_a_later_version_is_refused_by_its_number(path: Path) -> None:
    """A keyring whose layout this Strata does not know is not read by guessing."""
    write(path, json.dumps({"strata_keyring": 1, "keys": [entry()]}))
    with pytest.raises(KeyringError, match="version 1"):
        FileKeyring.load(path)


def test_data_keys_are_fresh_and_come_back_by_their_wrapping(keyring: FileKeyring) -> None:
    """Each data key is a new secret, wrapped in 60 bytes that show nothing of it."""
    keys = [keyring.new_data_key() for _ in range(20)]
    assert len({key.secret for key in keys}) == len({key.wrapped for key in keys}) == 20
    for key in keys:
        assert len(key.wrapped) == 60
        assert key.secret not in key.wrapped
        assert keyring.unwrap(key.key_id, key.wrapped) == key


@pytest.mark.parametrize("position", [0, 11, 12, 30, 59])
def test_a_damaged_wrapping_is_refused(keyring: FileKeyring, position: int) -> None:
    """One changed byte of a wrapped key, in nonce, text or tag, is an integrity error that names the wrapping key."""
    key = keyring.new_data_key()
    wrapped = bytearray(key.wrapped)
    wrapped[position] ^= 1
    with pytest.raises(IntegrityError, match=f"wrapped by {key.key_id} is damaged"):
        keyring.unwrap(key.key_id, bytes(wrapped))


@pytest.mark.parametrize("wrapped", [b"", b"short", bytes(12), bytes(60)])
def test_bytes_that_are_no_wrapped_key_are_refused(keyring: FileKeyring, wrapped: bytes) -> None:
    """A wrapping too short or made up is an integrity error, not a crash."""
    with pytest.raises(IntegrityError):
        keyring.unwrap(keyring.new_data_key().key_id, wrapped)


def test_a_key_that_is_not_in_the_keyring_is_named(keyring: FileKeyring, folder: Path) -> None:
    """A backup of another keyring: the error names the key and says what to bring."""
    other = FileKeyring.create(folder / "other.json", NOW)
    key = other.new_data_key()
    with pytest.raises(KeyringError, match=f"does not hold key {key.key_id}") as caught:
        keyring.unwrap(key.key_id, key.wrapped)
    assert "the keyring the backup was made with" in caught.value.hint
    with pytest.raises(KeyringError, match="does not hold key s-"):
        keyring.check(*other.sign(b"message"), b"message")
    with pytest.raises(KeyringError, match="does not hold key f-"):
        keyring.fingerprint_key(other.fingerprint_key().key_id)


def test_a_key_is_used_for_its_purpose_alone(keyring: FileKeyring) -> None:
    """A signing key's id does not unwrap, and a wrapping key's id does not check."""
    data_key, (signer, signature) = keyring.new_data_key(), keyring.sign(b"message")
    with pytest.raises(KeyringError):
        keyring.unwrap(signer, data_key.wrapped)
    with pytest.raises(KeyringError):
        keyring.check(data_key.key_id, signature, b"message")


def test_a_signature_holds_for_its_message_alone(keyring: FileKeyring) -> None:
    """A signature checks for the bytes that were signed, and for no others; nor does a changed signature."""
    key_id, signature = keyring.sign(b"message")
    keyring.check(key_id, signature, b"message")
    for changed, message in [(signature, b"Message"), (signature[::-1], b"message"), (b"", b"message"), (b"x", b"")]:
        with pytest.raises(IntegrityError, match="signature does not match"):
            keyring.check(key_id, changed, message)


def test_the_last_key_of_a_purpose_is_used_and_the_others_still_open() -> None:
    """After a new key was added, what is new uses it, and what is old still opens and checks."""
    one, two = with_only(*Purpose), with_only(*Purpose)
    both = FileKeyring([*renamed(one, "old"), *renamed(two, "new")])
    old = FileKeyring(renamed(one, "old"))
    data_key, signed = old.new_data_key(), old.sign(b"message")
    assert both.unwrap(data_key.key_id, data_key.wrapped) == data_key
    both.check(*signed, b"message")
    assert both.new_data_key().key_id == "new-wrap"
    assert both.sign(b"")[0] == "new-sign"
    assert both.spool_key("run") == two.spool_key("run")
    assert both.fingerprint_key().key_id == "new-fingerprint"
    assert both.fingerprint_key("old-fingerprint") == old.fingerprint_key()


def renamed(keyring: FileKeyring, prefix: str) -> list[Key]:
    """The keys of a keyring under ids that tell them apart."""
    return [Key(f"{prefix}-{key.purpose}", key.purpose, key.secret) for key in keyring._keys]


@pytest.mark.parametrize("held", Purpose)
def test_a_worker_group_uses_what_it_has_and_is_told_what_it_lacks(held: Purpose) -> None:
    """A keyring with one purpose works for it; every other use raises KeyringError that names the purpose."""
    keyring = with_only(held)
    for purpose, use in USES.items():
        if purpose is held:
            use(keyring)
            continue
        with pytest.raises(KeyringError, match=f"holds no key to {purpose} with") as caught:
            use(keyring)
        assert "keyring" in caught.value.hint


def test_spool_keys_differ_from_run_to_run(keyring: FileKeyring) -> None:
    """Each run's staging has a key of its own, and the same one for each of its stages."""
    assert keyring.spool_key("one") == keyring.spool_key("one")
    assert keyring.spool_key("one") != keyring.spool_key("two")


def test_no_repr_shows_a_secret(path: Path, keyring: FileKeyring) -> None:
    """Neither a keyring nor a key nor a data key shows its secret when it is printed."""
    key = keyring.new_data_key()
    shown = repr([keyring, str(keyring), keyring._keys, key, vars(keyring)])
    stored = [entry["secret"] for entry in json.loads(path.read_text())["keys"]]
    for secret in [key.secret, *(base64.b64decode(text) for text in stored)]:
        assert repr(secret)[2:-1] not in shown
        assert secret.hex() not in shown
    assert not any(text in shown for text in stored)


def test_a_keyring_that_cannot_be_written_is_said_so(folder: Path) -> None:
    """Where the folder of the keyring is a file, the error names the keyring and the reason."""
    (folder / "file").write_text("")
    with pytest.raises(KeyringError, match=r"cannot be written: (Not a directory|File exists)"):
        FileKeyring.create(folder / "file" / "keyring.json", NOW)


def test_create_ignores_a_generous_umask(folder: Path) -> None:
    """With umask 0 the file is still for its owner alone."""
    before = os.umask(0)
    try:
        FileKeyring.create(folder / "keyring.json", NOW)
    finally:
        os.umask(before)
    assert (folder / "keyring.json").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (
            lambda document: document | {"strata_keyring ": 0},
            "the member 'strata_keyring ', which Strata does not know",
        ),
        (
            lambda document: document["keys"][0].update(expires="never"),
            "the member 'expires', which Strata does not know",
        ),
        (lambda document: document["keys"].append(document["keys"][1]), "the key {id!r} twice"),
    ],
)
def test_a_keyring_that_was_not_written_by_strata_is_refused(
    path: Path, keyring: FileKeyring, change: Callable[[dict[str, Any]], Any], told: str
) -> None:
    """An unknown member may be a misspelt one, and of two keys with one id only one could ever be used."""
    document = json.loads(path.read_text())
    changed = change(document) or document
    path.write_text(json.dumps(changed))
    with pytest.raises(KeyringError) as caught:
        FileKeyring.load(path)
    assert caught.value.sentence == f"the keyring {path} has {told.format(id=keyring.key_ids[1])}"
