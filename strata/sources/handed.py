"""State that was handed over in a document: a source that is only read, in the place of the live tier."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any, NoReturn, Protocol

from strata.errors import SourceError
from strata.model.identity import Identity
from strata.model.record import SourceItem
from strata.model.scope import Scope
from strata.model.tier import Tier
from strata.sources.glob import matcher
from strata.sources.port import ALL_KEYS, AfterCut, Application, Baseline, Permit, RestoreMode


class HandedDocument(Protocol):
    """A document as it lies in the spool."""

    def cut(self, tier: Tier) -> dict[str, Any]:
        """When it was handed over, and what it says of the moment the state is of."""
        ...

    def description(self, tier: Tier) -> dict[str, Any]:
        """What describes the source that the records are of."""
        ...

    def items(self, tier: Tier, covered: Callable[[bytes], bool]) -> Iterator[SourceItem]:
        """The tier's records whose keys are covered."""
        ...


class HandedSource:
    """Implements StateSource for one tier of a document."""

    def __init__(self, tier: Tier, open_document: Callable[[], HandedDocument]) -> None:
        self.tier = tier
        self._open = open_document

    def identity(self) -> Identity:
        """A document, wherever it came from."""
        return Identity(part=self.tier, words="a document that was handed over")

    @contextmanager
    def connect(self) -> Iterator[HandedSession]:
        """Open the document."""
        yield HandedSession(self.tier, self._open())

    def check(self, description: dict[str, Any]) -> None:  # noqa: ARG002
        """Raise: nothing can be written to a document."""
        self._refuse()

    def apply(
        self,
        description: dict[str, Any],  # noqa: ARG002
        mode: RestoreMode,  # noqa: ARG002
        permit: Permit,  # noqa: ARG002
    ) -> AbstractContextManager[Application]:
        """Raise: nothing can be written to a document."""
        self._refuse()

    def _refuse(self) -> NoReturn:
        raise SourceError(f"{self.tier.label}: a document that was handed over is only read")


@dataclass(frozen=True)
class HandedSession:
    """Implements Session; the moment is the document's, whenever it is read."""

    tier: Tier
    document: HandedDocument

    def cut(self, scope: Scope = ALL_KEYS) -> dict[str, Any]:  # noqa: ARG002
        return self.document.cut(self.tier)

    def describe(self) -> dict[str, Any]:
        return self.document.description(self.tier)

    def read(self, scope: Scope, baseline: Baseline | None = None) -> Iterator[SourceItem]:  # noqa: ARG002
        return self.document.items(self.tier, matcher(scope))

    def after_cut(self) -> AfterCut:
        return AfterCut()
