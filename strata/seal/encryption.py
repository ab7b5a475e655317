"""AES-256-GCM, and the derivation of one key for each object."""

from __future__ import annotations

from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from strata.errors import IntegrityError

KEY_BYTES: Final = 32
TAG_BYTES: Final = 16
NONCE_BYTES: Final = 12


def derive(secret: bytes, purpose: bytes, salt: bytes = b"") -> bytes:
    """A 32-byte key for one purpose (HKDF-SHA256, RFC 5869)."""
    return HKDF(SHA256(), KEY_BYTES, salt or None, b"strata/0/" + purpose).derive(secret)


class EncryptionService:
    """Seals and opens byte strings under one key; the caller never uses a nonce twice."""

    def __init__(self, key: bytes) -> None:
        self._cipher = AESGCM(key)

    def seal(self, nonce: bytes, plain: bytes | memoryview, context: bytes) -> bytes:
        """The ciphertext and its 16-byte tag; `context` is authenticated, not stored."""
        return self._cipher.encrypt(nonce, plain, context)

    def seal_into(self, nonce: bytes, plain: bytes | memoryview, context: bytes, room: bytearray) -> memoryview:
        """As `seal`, into the beginning of `room`: fresh pages for each block would cost more than the cipher."""
        length = len(plain) + TAG_BYTES
        if len(room) < length:
            room.extend(bytes(length - len(room)))
        target = memoryview(room)[:length]
        self._cipher.encrypt_into(nonce, plain, context, target)
        return target

    def open(self, nonce: bytes, sealed: bytes | memoryview, context: bytes) -> bytes:
        """The plain bytes; IntegrityError where one bit of anything differs."""
        try:
            return self._cipher.decrypt(nonce, sealed, context)
        except (InvalidTag, ValueError):
            raise IntegrityError("the bytes fail their authentication") from None
