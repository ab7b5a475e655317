"""The comparison by which a script fails when a behaviour has changed, and what its servers need."""

from __future__ import annotations

import os
import socket
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any


def same(what: str, seen: Any, expected: Any) -> None:
    """Print what was seen, and end with exit code 1 if it is not what was seen when the script was written."""
    print(f"  {what}: {seen!r}")
    if seen != expected:
        sys.exit(f"CHANGED: {what}: was {expected!r}")


def until(condition: Callable[[], Any], seconds: float = 10) -> Any:
    """Ask again until the answer is true; end with exit code 1 if it never is."""
    end = time.monotonic() + seconds
    while not (answer := condition()):
        if time.monotonic() > end:
            sys.exit("CHANGED: what was awaited did not come")
        time.sleep(0.01)
    return answer


def program(package: str, *parts: str) -> str:
    """The path of a program that a package brings."""
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        sys.exit(f"{package} is not installed")
    return str(Path(spec.origin).parent.joinpath(*parts))


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def folder() -> Path:
    """A new folder that goes with the script."""
    return Path(tempfile.mkdtemp(dir=os.environ["LAB"]))
