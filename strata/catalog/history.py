"""Runs that failed, told beside the backups: `history/<run_id>.json`, signed, so that they outlive the ledger.

In the clear stand when, which type and the error's code; the sentence may name tables or hosts and is sealed as the
manifest's details are.
"""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import datetime
from typing import Final

from strata.catalog.documents import document
from strata.catalog.notes import READ_THREADS, NoteStore
from strata.catalog.signed import SignedForm, Signer
from strata.catalog.unreadable import Unreadable, unreadable
from strata.errors import IntegrityError, KeyringError, ObjectExists, ObjectNotFound
from strata.model.backup_type import BackupType
from strata.model.layer import Document
from strata.model.run import RunKind, RunState

HISTORY: Final = "history/"

_FORM: Final = SignedForm("run")
_NAME: Final = re.compile(r"history/[A-Za-z0-9-]{1,48}\.json")


class FailedRun(Document):
    """A run that ended without what it was begun for."""

    format: int
    run_id: str
    kind: RunKind
    state: RunState
    code: str
    """The code of the error behind it; empty where it was not a deliberate one."""
    backup_type: BackupType | None
    created_at: datetime
    ended_at: datetime
    key_id: str
    wrapped_key: str
    details: str
    """Why, sealed."""


class RunBook:
    """Adds and reads the failed runs of one store; `ignored` are those of the last reading that nothing vouches for."""

    def __init__(self, store: NoteStore, signer: Signer) -> None:
        self._store, self._signer = store, signer
        self.ignored: list[Unreadable] = []

    def add(self, run: FailedRun) -> None:
        """Write it down; of several who do, the first counts."""
        with suppress(ObjectExists):
            self._store.put(f"{HISTORY}{run.run_id}.json", [_FORM.write(run, self._signer)])

    def all(self) -> list[FailedRun]:
        """Every failed run, newest first."""
        self.ignored = []
        names = [info.name for info in self._store.list(HISTORY) if info.regular and is_failed_run(info.name)]
        with ThreadPoolExecutor(READ_THREADS, thread_name_prefix="history") as pool:
            runs = [run for run in pool.map(self._one, names) if run]
        return sorted(runs, key=lambda run: run.created_at, reverse=True)

    def _one(self, name: str) -> FailedRun | None:
        try:
            run, _ = _FORM.read(FailedRun, name, document(self._store, name), self._signer)
        except ObjectNotFound:
            return None
        except (IntegrityError, KeyringError) as error:
            self.ignored.append(unreadable(name, error))
            return None
        if f"{HISTORY}{run.run_id}.json" == name:
            return run
        self.ignored.append(Unreadable(name, f"the run {name} is that of {run.run_id}"))
        return None


def is_failed_run(name: str) -> bool:
    """Whether a name is one that a failed run is written down under."""
    return _NAME.fullmatch(name) is not None
