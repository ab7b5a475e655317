"""What all tasks share that people and beat enqueue: their arguments are checked here, before anything is done.

The task's signature is the table: each parameter has a type of this module, which says what it takes. A wrong word, a
missing argument and one that the task does not have are refused by name, in the words of the command line, and the
refusal is entered in the ledger under the run's id, where the person who waits looks.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from enum import StrEnum
from functools import cached_property
from typing import Annotated, Any, ClassVar, Final, NoReturn, TypeVar, get_type_hints

from celery.exceptions import Ignore, Retry
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, create_model

from strata.engine.timekeeping import moment
from strata.errors import SettingError, StrataError
from strata.model.backup_type import BackupType
from strata.model.identity import Identities
from strata.model.run import Run, RunKind, RunState
from strata.model.thaw import ThawSpeed
from strata.model.tier import StorageTier, Tier
from strata.planning.backup import checked_run_id, new_run_id
from strata.planning.ticks import is_timed, stale
from strata.sources.port import RestoreMode
from tasks.stage import LONGEST, StageFailed, TellingTask, logger, unforeseen, wiring

Word = TypeVar("Word", bound=StrEnum)

NAMED: Final[Any] = ...
"""The default of an argument that has none, though it comes after one that has."""

_SHOWN: Final = 80
_LONGEST_PATIENCE: Final = 7 * 86400
_REASONS: Final = {
    "bool_type": "it must be true or false",
    "int_type": "it must be a whole number",
    "string_type": "it must be text",
    "tuple_type": "it must be a list",
}


def _one_of(kind: type[Word]) -> BeforeValidator:
    """A word of a closed list; the sentence is the command line's."""

    def word(value: object) -> Word:
        try:
            return kind(value)  # type: ignore[arg-type] # it says of anything whether it is one
        except ValueError:
            choices = ", ".join(repr(one.value) for one in kind)
            raise ValueError(f"{str(value)[:_SHOWN]!r} is not one of {choices}") from None

    return BeforeValidator(word)


def _listed(value: object) -> object:
    return tuple(value) if isinstance(value, list) else () if value is None else value


def _once(value: tuple[Word, ...]) -> tuple[Word, ...]:
    return tuple(dict.fromkeys(value))


def _identities(value: object) -> Identities:
    try:
        return Identities.model_validate(value)
    except ValidationError:
        raise ValueError("it must be what a sender saw, as tasks.enqueue sends it") from None


def _bounded(value: str) -> str:
    if len(value) > LONGEST:
        raise ValueError(f"it is longer than {LONGEST} characters")
    return value


def _names_a_backup(value: str) -> str:
    if not value.strip():
        raise ValueError("it names no backup")
    return value


RunId = Annotated[str, AfterValidator(checked_run_id)]
Name = Annotated[str, AfterValidator(_bounded)]
Reference = Annotated[Name, AfterValidator(_names_a_backup)]
Type = Annotated[BackupType, _one_of(BackupType)]
Mode = Annotated[RestoreMode, _one_of(RestoreMode)]
Store = Annotated[StorageTier, _one_of(StorageTier)]
Speed = Annotated[ThawSpeed, _one_of(ThawSpeed)]
Tiers = Annotated[tuple[Annotated[Tier, _one_of(Tier)], ...], BeforeValidator(_listed), AfterValidator(_once)]
Confirmed = Annotated[Identities, BeforeValidator(_identities)]
Patience = Annotated[int, Field(ge=0, le=_LONGEST_PATIENCE)]


class StartTask(TellingTask):
    """A task that is not a stage. One that starts runs says of which `kind`, and which argument is their id.

    The body gets its arguments checked, and the id filled in where none was given.
    """

    abstract = True
    max_retries = None
    kind: ClassVar[RunKind | None] = None
    id_argument: ClassVar[str] = ""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Check the arguments and run the body; whatever keeps a run from starting is entered in the ledger."""
        asked = self._named(args, kwargs)
        with self._refusing(asked):
            if why := self._stale():
                return why
            arguments = self._checked(args, kwargs, asked)
        with self._refusing(arguments):
            return self.run(**arguments)

    def _stale(self) -> str:
        """Why this tick of beat is worth nothing any more, or nothing; one that came in time may be tried again."""
        headers = self.request.headers or {}
        if self.request.retries or not is_timed(headers):
            return ""
        if why := stale(headers, wiring().ledger.clock_ms()):
            logger.warning("%s of beat was %s; the next tick does its work", self._short, why)
        return why

    @cached_property
    def parameters(self) -> type[BaseModel]:
        """What the task takes, as its signature says."""
        hints = get_type_hints(self.run, include_extras=True)
        fields: Any = {
            name: (hints[name], NAMED if one.default is inspect.Parameter.empty else one.default)
            for name, one in self._signature.items()
        }
        return create_model(self.name, __config__=ConfigDict(extra="forbid", strict=True), **fields)

    @cached_property
    def _signature(self) -> Mapping[str, inspect.Parameter]:
        return inspect.signature(self.run).parameters

    def _named(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        """The arguments by name, as far as they have one."""
        named = [name for name, one in self._signature.items() if one.kind is one.POSITIONAL_OR_KEYWORD]
        return {**dict(zip(named, args, strict=False)), **kwargs}

    def _checked(self, args: tuple[Any, ...], kwargs: dict[str, Any], asked: dict[str, Any]) -> dict[str, Any]:
        if len(args) + len(kwargs) != len(asked):
            raise SettingError(f"{self._short} got an argument twice, or too many; it takes {self._taken}")
        try:
            checked = self.parameters.model_validate(asked)
        except ValidationError as error:
            raise SettingError(self._sentence(error)) from None
        arguments = {name: getattr(checked, name) for name in self._signature}
        if self.kind is not None and arguments[self.id_argument] is None:
            arguments[self.id_argument] = new_run_id(arguments.get("backup_type", self.kind), datetime.now(UTC))
        if self.kind is not None:
            override = arguments.get("override", "")
            wiring().manager.known(arguments[self.id_argument], self.kind, override)
        return arguments

    def _sentence(self, error: ValidationError) -> str:
        """The first fault, by the name of its argument; never the value of one that is not a word."""
        first = error.errors(include_input=False, include_url=False)[0]
        name, kind = str(first["loc"][0])[:_SHOWN], first["type"]
        if kind == "missing":
            return f"{self._short} needs {name}, which was not given; it takes {self._taken}"
        if kind == "extra_forbidden":
            return f"{self._short} has no argument {name!r}; it takes {self._taken}"
        reason = _REASONS.get(kind, str(first["msg"]).removeprefix("Value error, "))
        return f"{name} of {self._short} is wrong: {reason[0].lower()}{reason[1:]}"

    @property
    def _short(self) -> str:
        return str(self.name).rpartition(".")[2]

    @property
    def _taken(self) -> str:
        return ", ".join(self._signature) or "none"

    @contextmanager
    def _refusing(self, arguments: Mapping[str, Any]) -> Iterator[None]:
        try:
            yield
        except (Ignore, Retry):
            raise
        except StrataError as error:
            self._refuse(arguments, error.sentence, error.code)
        except Exception as error:  # noqa: BLE001 - a task turns every error into retry or failure
            self._refuse(arguments, f"{self._short} {unforeseen(error)}", "")

    def _refuse(self, arguments: Mapping[str, Any], sentence: str, code: str) -> NoReturn:
        if self.kind is not None:
            _enter(_usable(arguments, self.id_argument, self.kind), self.kind, sentence, code)
        raise StageFailed(sentence) from None


def _usable(arguments: Mapping[str, Any], name: str, kind: RunKind) -> str:
    """The id that was asked for, or one of its own for a refusal that cannot be entered under that."""
    asked, handed = str(arguments.get(name) or ""), str(arguments.get("override") or "")
    try:
        manager = wiring().manager
    except StrataError:  # that is why it is refused
        manager = None
    try:
        checked_run_id(asked)
        if manager is not None:
            manager.known(asked, kind, handed)
    except SettingError:
        return new_run_id(kind, datetime.now(UTC))
    return asked


def _enter(run_id: str, kind: RunKind, sentence: str, code: str) -> None:
    """A refusal in the ledger, unless the run is known there: then it says itself how it ended."""
    if wiring().ledger.run(run_id) is not None:
        return
    now = moment(wiring().ledger)
    wiring().ledger.create(
        Run(
            run_id=run_id,
            kind=kind,
            state=RunState.REFUSED,
            reason=sentence,
            code=code,
            created_at=now,
            updated_at=now,
        )
    )
