"""`store.json` at a store's root: whose the store is, signed."""

from __future__ import annotations

from contextlib import suppress
from typing import Final, Protocol

from strata.catalog.documents import document
from strata.catalog.signed import SignedForm, Signer
from strata.errors import IntegrityError, KeyringError, ObjectExists, ObjectNotFound
from strata.model.store import STORE_DOCUMENT, StoreIdentity

_FORM: Final = SignedForm("identity")


class IdentityStore(Protocol):
    """The verbs of a store that its identity needs."""

    @property
    def url(self) -> str: ...

    def put(self, name: str, parts: list[bytes]) -> None: ...

    def get(self, name: str, offset: int = 0, length: int | None = None) -> bytes: ...


class IdentityBook:
    """Reads and writes the identity of one store."""

    def __init__(self, store: IdentityStore, signer: Signer) -> None:
        self._store, self._signer = store, signer

    def read(self) -> StoreIdentity | None:
        """What the store says of itself; None where it says nothing.

        KeyringError where another keyring signed it, IntegrityError where it is damaged.
        """
        try:
            data = document(self._store, STORE_DOCUMENT)
            return _FORM.read(StoreIdentity, STORE_DOCUMENT, data, self._signer)[0]
        except ObjectNotFound:
            return None
        except KeyringError as error:
            raise KeyringError(
                f"{self._store.url} belongs to another keyring: {error.sentence}",
                hint="Nothing was written there. Use the keyring that its backups were made with, or another store.",
            ) from None
        except IntegrityError as error:
            raise IntegrityError(
                f"whose {self._store.url} is cannot be told: {error.sentence}",
                hint="Nothing was written there. `strata stores adopt` with its tier, such as local, writes that file "
                "anew and changes nothing else.",
            ) from None

    def write(self, identity: StoreIdentity) -> StoreIdentity:
        """Put the identity where there is none yet; the one that the store has then, which may be another writer's."""
        with suppress(ObjectExists):
            self._store.put(STORE_DOCUMENT, [_FORM.write(identity, self._signer)])
        found = self.read()
        if found is None:
            raise ObjectNotFound(f"{STORE_DOCUMENT} is not in {self._store.url}, though it was just written")
        return found
