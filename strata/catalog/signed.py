"""Signed documents of a store: canonical JSON, and beside it the signature of what it is and says.

The bytes are `{"<member>":BODY,"signature":{"ed25519":"...","key_id":"..."}}` and a newline. What is signed is the
form's domain and BODY, so a signature of anything else never makes a document of this form.
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from typing import Protocol, TypeVar

from blake3 import blake3
from pydantic import ValidationError

from strata.catalog.canonical import canonical
from strata.errors import IntegrityError, KeyringError
from strata.model.layer import Document
from strata.model.manifest import FORMAT_VERSION

Signed = TypeVar("Signed", bound=Document)


class Signer(Protocol):
    """Signs and checks; a keyring does."""

    def sign(self, message: bytes) -> tuple[str, bytes]: ...

    def check(self, key_id: str, signature: bytes, message: bytes) -> None: ...


@dataclass(frozen=True)
class SignedForm:
    """One form of signed document: the member that holds it, which is also what messages call it."""

    member: str

    @property
    def domain(self) -> bytes:
        """What is signed before the body."""
        return f"strata {self.member} v{FORMAT_VERSION}\n".encode()

    def write(self, document: Document, signer: Signer) -> bytes:
        """The document, signed."""
        body = canonical(document.model_dump(mode="json"))
        key_id, signature = signer.sign(self.domain + body)
        return self._whole(body, key_id, signature)

    def read(self, kind: type[Signed], name: str, data: bytes, signer: Signer) -> tuple[Signed, str]:
        """The document and the id of the key that signed it, if every byte is as it was written.

        IntegrityError or KeyringError name it.
        """
        body, key_id, signature = self._open(name, data)
        if self._whole(body, key_id, signature) != data:
            raise IntegrityError(f"the {self.member} {name} is damaged: its bytes are not those that were written")
        try:
            signer.check(key_id, signature, self.domain + body)
            document = kind.model_validate_json(body)
        except IntegrityError as error:
            self._refuse_version(name, body)
            raise IntegrityError(f"the {self.member} {name} is damaged or forged: {error.sentence}") from None
        except KeyringError as error:
            raise KeyringError(
                f"the {self.member} {name} cannot be checked: {error.sentence}", hint=error.hint
            ) from None
        except ValidationError as error:
            self._refuse_version(name, body)
            raise IntegrityError(f"the {self.member} {name} lacks or misstates {error.error_count()} fields") from None
        if getattr(document, "format", None) != FORMAT_VERSION:
            self._refuse_version(name, body)
        return document, key_id

    def digest(self, name: str, data: bytes) -> str:
        """BLAKE3 of the body in hex: names what it says, whoever signed it; IntegrityError where there is none."""
        return blake3(self._open(name, data)[0]).hexdigest()

    def _open(self, name: str, data: bytes) -> tuple[bytes, str, bytes]:
        """The body as it lies there, the signing key's id and the signature."""
        start, _, seal = data.rpartition(b',"signature":')
        body = start.removeprefix(b'{"%s":' % self.member.encode())
        try:
            signature = json.loads(seal[:-2])
            key_id, signed = str(signature["key_id"]), base64.b64decode(signature["ed25519"], validate=True)
        except (ValueError, KeyError, TypeError, RecursionError):
            body = b""
        if not body.startswith(b"{"):
            raise IntegrityError(f"the {self.member} {name} is damaged: it is not the document that was written")
        return body, key_id, signed

    def _refuse_version(self, name: str, body: bytes) -> None:
        """IntegrityError where the document says that it is of another version: then it may be whole."""
        try:
            version = json.loads(body)["format"]
        except (ValueError, KeyError, TypeError, RecursionError):
            return
        if version != FORMAT_VERSION:
            raise IntegrityError(
                f"the {self.member} {name} has format version {version}; this Strata reads {FORMAT_VERSION}"
            )

    def _whole(self, body: bytes, key_id: str, signature: bytes) -> bytes:
        seal = canonical({"ed25519": base64.b64encode(signature).decode(), "key_id": key_id})
        return b'{"%s":' % self.member.encode() + body + b',"signature":' + seal + b"}\n"
