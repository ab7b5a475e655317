"""Settings that hold a value for each type of backup: `full=90; snapshot=7`, and spans of time: `15m`, `24h`, `7d`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from strata.model.tier import StorageTier
from strata.planning.proving import Budget

KEEP_RULES: Final = ("last", "hourly", "daily", "weekly", "monthly", "yearly")
UNLIMITED: Final = -1
"""As a count of a keep rule: all there are."""

_LONGEST_DAYS: Final = 36_500
_DIGITS: Final = 9
_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400}
_SPAN: Final = re.compile(r"([0-9]{1,9})([smhdw])")
_SHIFTS: Final = {"MiB": 20, "GiB": 30, "TiB": 40}
_SIZE: Final = re.compile(r"([0-9]{1,9})(MiB|GiB|TiB)")
_RULE: Final = re.compile(r"[0-9](-[0-9]){4}")


def by_type(value: Any) -> Any:
    """A value for each name: `full=a; snapshot=b` as a dictionary of strings; anything but text stays as it is."""
    if not isinstance(value, str):
        return value
    found: dict[str, str] = {}
    for entry in filter(str.strip, value.split(";")):
        name, equals, text = (part.strip() for part in entry.partition("="))
        if not equals or not text:
            raise ValueError(f"{entry.strip()!r} is not of the form type=value")
        if name in found:
            raise ValueError(f"it names {name!r} twice")
        found[name] = text
    return found


def span(value: str) -> timedelta:
    """A span of time such as `90s`, `15m`, `24h`, `7d`, `2w`; ValueError for anything else and for none at all."""
    match = _SPAN.fullmatch(value.strip())
    seconds = int(match[1]) * _UNITS[match[2]] if match else 0
    if not 0 < seconds <= _LONGEST_DAYS * 86_400:
        raise ValueError(f"{value!r} is not a span of time such as 15m, 24h or 7d")
    return timedelta(seconds=seconds)


def spoken(length: timedelta) -> str:
    """A span in the largest unit of which it has two, or a whole hour or minute: `15 min`, `24 h`, `12 d`."""
    seconds = max(length.total_seconds(), 0)
    if seconds >= 2 * _UNITS["d"]:
        return f"{seconds // _UNITS['d']:.0f} d"
    for size, unit in ((_UNITS["h"], "h"), (_UNITS["m"], "min")):
        if seconds >= 2 * size or seconds == size:
            return f"{seconds // size:.0f} {unit}"
    return f"{seconds:.0f} s"


def days(value: Any) -> int:
    """A number of days, 0 to 36,500."""
    number = _number(value)
    if number is None or not 0 <= number <= _LONGEST_DAYS:
        raise ValueError(f"{value!r} is not a number of days from 0 to {_LONGEST_DAYS}")
    return number


def stores(value: Any) -> tuple[StorageTier, ...]:
    """Stores by comma, the primary one first: `network,cloud`."""
    names = [name.strip() for name in value.split(",")] if isinstance(value, str) else value
    if not isinstance(names, list | tuple) or not names:
        raise ValueError("it names no store")
    unknown = next((name for name in names if name not in set(StorageTier)), None)
    if unknown is not None:
        raise ValueError(f"there is no store {unknown!r}; there are {', '.join(StorageTier)}")
    if len(set(names)) < len(names):
        raise ValueError("it names a store twice for one type")
    return tuple(StorageTier(name) for name in names)


def keep_rules(value: Any) -> dict[str, int]:
    """Counts by rule: `last:3,daily:7,weekly:4`; `unlimited` keeps all there are of a rule."""
    pairs = value.items() if isinstance(value, Mapping) else _pairs(value)
    found: dict[str, int] = {}
    for rule, text in pairs:
        count = UNLIMITED if text in ("unlimited", UNLIMITED) else _number(text)
        if rule not in KEEP_RULES or count is None or count < UNLIMITED:
            raise ValueError(
                f"'{rule}:{text}' is not one of {', '.join(KEEP_RULES)} with a number, or with `unlimited`"
            )
        if rule in found:
            raise ValueError(f"it names {rule!r} twice for one type")
        found[rule] = count
    if not found:
        raise ValueError("it names no rule for a type")
    return found


def _pairs(value: object) -> list[tuple[str, str]]:
    entries = (entry.partition(":") for entry in str(value).split(",") if entry.strip())
    return [(rule.strip(), text.strip()) for rule, _, text in entries]


def _number(value: Any) -> int | None:
    if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) <= _DIGITS:
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


@dataclass(frozen=True)
class CopyRule:
    """How many copies, kinds of media, copies offsite, immutable ones, and errors: 3-2-1-1-0."""

    copies: int = 3
    media: int = 2
    offsite: int = 1
    immutable: int = 1
    errors: int = 0


def copy_rule(value: str) -> CopyRule:
    """The rule that five numbers by hyphen say; ValueError for anything else."""
    if not _RULE.fullmatch(value.strip()):
        raise ValueError(f"{value!r} is not five numbers such as 3-2-1-1-0")
    return CopyRule(*(int(number) for number in value.split("-")))


def budget(value: str) -> Budget:
    """How much is read at a time: a span of time such as `20m`, a size such as `50GiB`, or `off`."""
    text = value.strip()
    if text == "off":
        return Budget(seconds=0)
    if (match := _SIZE.fullmatch(text)) and int(match[1]):
        return Budget(bytes=int(match[1]) << _SHIFTS[match[2]])
    with suppress(ValueError):
        return Budget(seconds=span(text).total_seconds())
    raise ValueError(f"{value!r} is neither a span of time such as 20m nor a size such as 50GiB, nor off")


def promise(value: Any) -> timedelta | None:
    """A promised interval such as `24h`; `off` promises none."""
    return None if value == "off" else span(str(value))
