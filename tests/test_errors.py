"""Errors: one tree, drawn whole, documented whole, with codes that tell them apart."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import strata
from strata import errors
from strata.errors import StrataError

DOCUMENT = Path(__file__).parent.parent / "docs" / "errors.md"
ROW = re.compile(r"^\| (\w+) \| `([\w-]+)` \| (\d+) \| (yes|no) \| (.+?) \| (.*?) ?\|$", re.MULTILINE)


def every_error() -> list[type[StrataError]]:
    """The base and all that descend from it, in every module of the package."""
    for module in pkgutil.walk_packages(strata.__path__, "strata."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    return [StrataError, *descendants(StrataError)]


def descendants(base: type[StrataError]) -> Iterator[type[StrataError]]:
    """Every subclass that the package itself defines, depth first."""
    for kind in base.__subclasses__():
        if kind.__module__.startswith("strata."):
            yield kind
            yield from descendants(kind)


def coded() -> list[type[StrataError]]:
    """The errors that have a code of their own; the others go by their parent's."""
    return [kind for kind in every_error() if "code" in vars(kind)]


def of_the_tree() -> list[type[StrataError]]:
    """The errors of the one module that draws them."""
    return [kind for kind in every_error() if kind.__module__ == errors.__name__]


def test_errors_are_defined_in_the_one_module() -> None:
    """Only the command line has errors besides: what it alone can meet."""
    assert {kind.__module__.partition(".cli")[0] for kind in every_error()} == {errors.__name__, "strata"}
    assert set(of_the_tree()) <= set(coded())


def test_codes_tell_errors_apart() -> None:
    """No two errors share a code, and a code is short and plain."""
    codes = [kind.code for kind in coded()]
    assert len(set(codes)) == len(codes)
    assert all(re.fullmatch(r"[a-z]+(-[a-z]+)*", code) for code in codes)


def test_every_error_is_documented_as_it_is() -> None:
    """docs/errors.md has each error once, with its code, exit code and whether a retry may help."""
    documented = [
        (name, code, int(code_), again == "yes") for name, code, code_, again, *_ in ROW.findall(DOCUMENT.read_text())
    ]
    expected = [(kind.__name__, kind.code, kind.exit_code, kind.retryable) for kind in coded()]
    assert sorted(documented) == sorted(expected)


def test_every_error_says_what_to_do() -> None:
    """Each row has a meaning and a remedy; the base, which is never raised, needs none."""
    for name, *_, meaning, remedy in ROW.findall(DOCUMENT.read_text()):
        assert meaning.strip(), name
        assert remedy.strip() or name == "StrataError", name


def drawn() -> dict[str, tuple[str, int | None]]:
    """The tree in the module's docstring: each name with its parent and the exit code written beside it."""
    tree: dict[str, tuple[str, int | None]] = {}
    parent = "StrataError"
    for line in (errors.__doc__ or "").splitlines():
        found = re.match(r"^(│   )?[├└]── (\w+)\s+(.+?)(?:\s+exit (\d+))?$", line)
        if found:
            nested, name, _, code = found.groups()
            tree[name] = (parent if nested else "StrataError", int(code) if code else None)
            parent = parent if nested else name
    return tree


def test_the_tree_that_is_drawn_is_the_tree_there_is() -> None:
    """The docstring's tree has every error under its parent, and the exit code of each family."""
    tree = drawn()
    kinds = {kind.__name__: kind for kind in of_the_tree() if kind is not StrataError}
    assert set(tree) == set(kinds)
    for name, (parent, code) in tree.items():
        assert kinds[name].__bases__[0].__name__ == parent
        assert kinds[name].exit_code == (code or kinds[name].__bases__[0].exit_code)  # type: ignore[attr-defined]


@pytest.mark.parametrize("kind", coded(), ids=lambda kind: kind.__name__)
def test_an_error_is_its_sentence_and_its_hint(kind: type[StrataError]) -> None:
    """Printed, an error is its sentence; the hint stands beside it, empty where there is none."""
    error = kind("the sentence", hint="the hint")
    assert (str(error), error.sentence, error.hint) == ("the sentence", "the sentence", "the hint")
    assert kind("the sentence").hint == ""
    assert inspect.getdoc(kind)


def test_a_sentence_sends_nothing_to_a_terminal() -> None:
    """Control characters of what it quotes are escaped, in the sentence and in the exception's own text."""
    error = StrataError("it names \x1b[2J\x07 and \udc80 é\nhere")
    assert error.sentence == str(error) == r"it names \x1b[2J\x07 and \udc80 é" + "\nhere"
