"""AES-256-GCM and the derivation of keys."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strata.errors import IntegrityError
from strata.seal.encryption import KEY_BYTES, NONCE_BYTES, TAG_BYTES, EncryptionService, derive

KEY = bytes(range(KEY_BYTES))
NONCE = bytes(NONCE_BYTES)


@given(st.binary(max_size=500), st.binary(max_size=50))
def test_what_was_sealed_opens(plain: bytes, context: bytes) -> None:
    """Any text under any context comes back, and takes 16 bytes more."""
    sealed = EncryptionService(KEY).seal(NONCE, plain, context)
    assert len(sealed) == len(plain) + TAG_BYTES
    assert EncryptionService(KEY).open(NONCE, sealed, context) == plain


@given(st.binary(min_size=1, max_size=100), st.data())
def test_one_flipped_bit_anywhere_is_refused(plain: bytes, data: st.DataObject) -> None:
    """A bit that differs in the text, the tag, the nonce, the context or the key fails the authentication."""
    sealed = EncryptionService(KEY).seal(NONCE, plain, b"context")
    parts = [bytearray(KEY), bytearray(NONCE), bytearray(sealed), bytearray(b"context")]
    part = data.draw(st.sampled_from(parts))
    part[data.draw(st.integers(0, len(part) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    key, nonce, changed, context = map(bytes, parts)
    with pytest.raises(IntegrityError, match="fail their authentication"):
        EncryptionService(key).open(nonce, changed, context)


@pytest.mark.parametrize("sealed", [b"", b"short", bytes(TAG_BYTES)])
def test_bytes_too_short_to_be_sealed_are_refused(sealed: bytes) -> None:
    """Fewer bytes than a tag are an integrity error like any other."""
    with pytest.raises(IntegrityError):
        EncryptionService(KEY).open(NONCE, sealed, b"")


def test_keys_of_two_purposes_differ() -> None:
    """A derived key depends on the secret, the purpose and the salt, and on nothing else."""
    keys = [
        derive(KEY, b"object"),
        derive(KEY, b"spool"),
        derive(KEY, b"object", b"salt"),
        derive(KEY[::-1], b"object"),
    ]
    assert len(set(keys)) == 4
    assert {len(key) for key in keys} == {KEY_BYTES}
    assert derive(KEY, b"object") == keys[0]
