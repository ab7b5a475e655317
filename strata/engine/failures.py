"""Writes down runs that fail where the ledger's end does not reach them: beside the backups."""

from __future__ import annotations

import base64
from collections.abc import Callable
from contextlib import suppress

from strata.catalog.history import FailedRun, RunBook
from strata.clock import Clock
from strata.engine.details import open_sealed, seal_details
from strata.errors import IntegrityError, KeyringError, StorageError
from strata.model.manifest import FORMAT_VERSION
from strata.model.plan import BackupPlan
from strata.model.run import Run, RunKind
from strata.seal.frame import FrameKey
from strata.seal.keyring import Keyring
from strata.storage.port import ObjectStore


class FailureLog:
    """The failed runs, kept in the nearest store: the one that answers most surely."""

    def __init__(
        self, store: ObjectStore, keyring: Keyring, clock: Clock, owned: Callable[[], bool] = lambda: True
    ) -> None:
        self._book, self._keyring, self._clock, self._owned = RunBook(store, keyring), keyring, clock, owned

    def keep(self, run: Run) -> None:
        """Write a run down. Where the store or the keyring is what failed, the ledger alone knows of it.

        Nothing is written into a store that belongs to another keyring or installation.
        """
        if not self._owned():
            return
        with suppress(StorageError, KeyringError, ValueError):  # an id that cannot name anything was refused for that
            key = self._keyring.new_data_key()
            plan = BackupPlan.model_validate_json(run.plan) if run.plan and run.kind is RunKind.BACKUP else None
            self._book.add(
                FailedRun(
                    format=FORMAT_VERSION,
                    run_id=run.run_id,
                    kind=run.kind,
                    state=run.state,
                    code=run.code,
                    backup_type=plan.backup_type if plan else None,
                    created_at=run.created_at,
                    ended_at=self._clock.now(),
                    key_id=key.key_id,
                    wrapped_key=base64.b64encode(key.wrapped).decode(),
                    details=seal_details(
                        FrameKey(key.secret, key.key_id, key.wrapped), run.run_id, {"reason": run.reason}
                    ),
                )
            )


def reason_of(keyring: Keyring, run: FailedRun) -> str:
    """Why it failed, or that this keyring cannot tell."""
    try:
        details = open_sealed(keyring, run.run_id, run.key_id, run.wrapped_key, run.details)
    except (IntegrityError, KeyringError) as error:
        return f"{run.code or 'unforeseen'}; {error.sentence}"
    return str(details.get("reason", ""))
