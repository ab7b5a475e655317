"""Calls an application's own object, whose methods may be sync or async: from one thread, with one event loop in it.

The thread is never inside a running loop when it calls a sync method, so an object that runs a loop of its own in
there works; and whoever reads may be inside one, for the loop here is another thread's. What a method raises may hold
keys and values in its message, so only its type is told.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib import import_module
from types import TracebackType
from typing import Any, Final, Self

from strata.errors import SettingError, SourceError, SourceUnavailable, StrataError

SETTING: Final = "STRATA_STATE_MANAGER"
AT_A_TIME: Final = 32
"""Calls of an async object that are under way together."""

_PASSING: Final = {"ConnectionError", "TimeoutError", "OSError"}
"""Names of errors after which a retry may help: the built-in ones, and those that clients name after them."""

_HINT: Final = "See docs/how-to/state-manager.md."

Method = Callable[..., Any]


@dataclass(frozen=True)
class Methods:
    """What the object can do; None for what it need not, and cannot."""

    get_keys_by_pattern: Method
    get_state: Method
    batch_set_state: Method | None
    set_state: Method | None
    create_snapshot: Method | None
    delete: Method | None
    category_of: Method | None
    categories: Any
    """The Enum called StateCategory that stands beside the object's class, if one does."""
    close: Method | None


class Calls:
    """One thread and its event loop, from the first call to the end of the context."""

    def __init__(self, label: str) -> None:
        self._label = label
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="state manager")
        self._runner = asyncio.Runner()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.submit(self._runner.close).result()
        self._pool.shutdown()

    def one(self, method: Method, *arguments: Any) -> Any:
        """What the method answers, awaited if need be."""
        return self.each(method, [arguments])[0]

    def each(
        self, method: Method, arguments: Sequence[tuple[Any, ...]], permit: Callable[[], None] = lambda: None
    ) -> list[Any]:
        """What the method answers to each, in order: sync one after the other, async `AT_A_TIME` together.

        `permit` is asked before each call.
        """
        return self._pool.submit(self._each, method, arguments, permit).result()

    def _each(self, method: Method, arguments: Sequence[tuple[Any, ...]], permit: Callable[[], None]) -> list[Any]:
        def call(each: tuple[Any, ...]) -> Any:
            permit()
            return method(*each)

        answers: list[Any] = []
        try:
            for start in range(0, len(arguments), AT_A_TIME):
                some = [call(each) for each in arguments[start : start + AT_A_TIME]]
                answers += self._runner.run(_settled(some)) if any(map(inspect.isawaitable, some)) else some
        except StrataError:
            raise
        except Exception as error:  # noqa: BLE001 - it is not our code: whatever it raises is a failure of the tier
            name = getattr(method, "__name__", "a method")
            passing = any(kind.__name__ in _PASSING for kind in type(error).__mro__)
            kind = SourceUnavailable if passing else SourceError
            raise kind(f"{self._label}: {name} of the state manager ended with {type(error).__name__}") from None
        return answers


async def _settled(answers: list[Any]) -> list[Any]:
    waited = iter(await asyncio.gather(*(one for one in answers if inspect.isawaitable(one))))
    return [next(waited) if isinstance(one, Awaitable) else one for one in answers]


def open_object(name: str, calls: Calls) -> Methods:
    """The methods of the object that `package.module:object` names; SettingError says what is missing, in a sentence.

    A class, and anything else that is called to give the object, is called anew each time.
    """
    found = calls.one(_find, name)
    made = inspect.isclass(found) or (callable(found) and not hasattr(found, "get_keys_by_pattern"))
    if made:
        found = calls.one(found)
    methods = _methods(found, made=made)
    for needed in ("get_keys_by_pattern", "get_state"):
        if getattr(methods, needed) is None:
            raise _missing(name, found, needed)
    if methods.batch_set_state is None and methods.set_state is None:
        raise _missing(name, found, "batch_set_state and no set_state")
    return methods


def _find(name: str) -> Any:
    module, _, path = name.partition(":")
    try:
        found: Any = import_module(module)
    except ModuleNotFoundError as error:
        what = "there is no module" if error.name and f"{module}.".startswith(f"{error.name}.") else "it needs a module"
        raise SettingError(
            f"{SETTING} names {name}, but {what} {error.name} here",
            hint="Install it in Strata's environment, or put its folder into PYTHONPATH.",
        ) from None
    except Exception as error:  # noqa: BLE001 - it is not our code
        raise SettingError(
            f"{SETTING} names {name}, but importing {module} ends with {type(error).__name__}", hint=_HINT
        ) from None
    for part in path.split("."):
        if not hasattr(found, part):
            raise SettingError(f"{SETTING} names {name}, but {module} has no {path}", hint=_HINT)
        found = getattr(found, part)
    return found


def _methods(found: Any, *, made: bool) -> Methods:
    def method(*names: str) -> Any:
        return next((one for name in names if callable(one := getattr(found, name, None))), None)

    return Methods(
        get_keys_by_pattern=method("get_keys_by_pattern"),
        get_state=method("get_state"),
        batch_set_state=method("batch_set_state"),
        set_state=method("set_state"),
        create_snapshot=method("create_snapshot"),
        delete=method("delete_state", "delete"),
        category_of=method("category_of"),
        categories=getattr(inspect.getmodule(type(found)), "StateCategory", None),
        close=method("aclose", "close") if made else None,
    )


def _missing(name: str, found: Any, method: str) -> SettingError:
    return SettingError(f"{SETTING} names {name}, but a {type(found).__name__} has no {method}", hint=_HINT)
