"""Every error Strata raises on purpose.

StrataError
├── SettingError        a setting is missing or wrong                       exit 2
├── KeyringError        no key, or the wrong one: nothing is written        exit 3
├── LeaseHeld           another backup is running                           exit 4
├── LeaseLost           this run may no longer write                        exit 4
├── BackupNotFound      no backup answers to that id                        exit 5
├── HalfRestored        a restore left tiers half overwritten               exit 15
├── SourceError         a tier could not be read or written                 exit 6
│   ├── SourceUnavailable   it does not answer (a retry may help)
│   └── SchemaMismatch      its tables are not those of the backup
├── StorageError        a store or the spool failed                         exit 7
│   ├── StoreUnavailable    it does not answer (a retry may help)
│   ├── StoreFull           no room left
│   ├── StoreNotMounted     the share of a store is not there
│   ├── StoreForeign        a store belongs to another installation
│   ├── ObjectNotFound      an object that must be there is not
│   ├── ObjectNotAFile      a link, a pipe or a folder lies in its place
│   ├── ObjectDenied        an object may not be read by this user
│   ├── ObjectExists        an object would have been overwritten
│   ├── ObjectLocked        an object may not be removed yet
│   └── ObjectFrozen        an object must be thawed before it can be read
├── IntegrityError      stored bytes are not what was written               exit 8
├── RunFailed           a backup or restore ended as FAILED                 exit 9
├── IdentityMismatch    this worker would work on another server              exit 16
├── StageBusy           another worker holds this stage (ask again)
├── BrokerUnavailable   the broker or the ledger does not answer            exit 10
└── Refused             the person said no, or nobody could be asked        exit 11

A sentence names the thing and what to do. It never holds a record's value, a record's key or a secret:
sentences travel through the broker and are shown in Flower.
"""

from __future__ import annotations

from typing import ClassVar, Final


def printable(sentence: str) -> str:
    """Control characters escaped: a sentence quotes what others stored, and it goes to terminals."""
    if sentence.isprintable():
        return sentence
    return "".join(one if one.isprintable() or one == "\n" else repr(one)[1:-1] for one in sentence)


class StrataError(Exception):
    """Base of every deliberate error: a sentence, an optional hint, a stable code, an exit code."""

    code: ClassVar[str] = "error"
    exit_code: ClassVar[int] = 1
    retryable: ClassVar[bool] = False

    def __init__(self, sentence: str, *, hint: str = "") -> None:
        self.sentence = printable(sentence)
        super().__init__(self.sentence)
        self.hint = hint


class SettingError(StrataError):
    """A setting is missing or has a value that cannot work."""

    code = "setting"
    exit_code = 2


class KeyringError(StrataError):
    """The keyring is missing, unreadable, too open, or lacks the key that is needed."""

    code = "keyring"
    exit_code = 3


class LeaseHeld(StrataError):
    """Another run holds the right to write backups."""

    code = "lease-held"
    exit_code = 4


class LeaseLost(StrataError):
    """This run's lease expired or went to another run: it may not commit."""

    code = "lease-lost"
    exit_code = 4


class BackupNotFound(StrataError):
    """No backup, or more than one, answers to the id given."""

    code = "backup-not-found"
    exit_code = 5


class HalfRestored(StrataError):
    """A restore began to overwrite tiers and was not finished: what they hold is no state to back up."""

    code = "half-restored"
    exit_code = 15


class SourceError(StrataError):
    """A tier could not be read from or written to."""

    code = "source"
    exit_code = 6


class SourceUnavailable(SourceError):
    """A tier does not answer, or stopped answering half way; a retry may help."""

    code = "source-unavailable"
    retryable = True


class SchemaMismatch(SourceError):
    """The tables of the target are not those of the backup, or cannot be created there; nothing was written."""

    code = "schema-mismatch"


class StorageError(StrataError):
    """A store or the spool refused or failed."""

    code = "storage"
    exit_code = 7


class StoreUnavailable(StorageError):
    """A store does not answer; a retry may help."""

    code = "store-unavailable"
    retryable = True


class StoreFull(StorageError):
    """A store or the spool has no room left."""

    code = "store-full"


class StoreNotMounted(StorageError):
    """The folder of a store on a share is there, but not the share; nothing was read or written."""

    code = "store-not-mounted"


class StoreForeign(StorageError):
    """A store belongs to another installation, or nothing says whose it is; nothing was written."""

    code = "store-foreign"


class ObjectNotFound(StorageError):
    """An object that must be there is not."""

    code = "object-not-found"


class ObjectNotAFile(StorageError):
    """In the place of an object lies a link, a pipe, a device or a folder; it was not read."""

    code = "object-not-a-file"


class ObjectDenied(StorageError):
    """The store does not let this user, or these credentials, read an object."""

    code = "object-denied"


class ObjectExists(StorageError):
    """An object of that name is there already; objects are never overwritten."""

    code = "object-exists"


class ObjectLocked(StorageError):
    """The store keeps an object until its lock ends; it was not removed."""

    code = "object-locked"


class ObjectFrozen(StorageError):
    """An object lies in an archive class, and must be thawed before it can be read."""

    code = "object-frozen"


class IntegrityError(StrataError):
    """Stored bytes are not what was written; the sentence names the object."""

    code = "integrity"
    exit_code = 8


LOST: Final = (IntegrityError, ObjectNotFound, ObjectNotAFile)
"""What reading an object raises that is not there as it was written."""


class RunFailed(StrataError):
    """A backup or a restore ended as FAILED; the sentence is its reason."""

    code = "run-failed"
    exit_code = 9


class IdentityMismatch(StrataError):
    """A worker's tier, store, keyring or ledger is another than the one confirmed; nothing was done with it."""

    code = "identity-mismatch"
    exit_code = 16


class StageBusy(StrataError):
    """Another worker is doing this stage of this run; ask again later."""

    code = "stage-busy"
    retryable = True


class BrokerUnavailable(StrataError):
    """The broker, the result backend or the ledger does not answer; a retry may help."""

    code = "broker-unavailable"
    exit_code = 10
    retryable = True


class Refused(StrataError):
    """The person did not agree, or nobody could be asked."""

    code = "refused"
    exit_code = 11
