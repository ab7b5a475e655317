"""`celery -A workers flower` as the README writes it: for this machine alone, with a password, to look only."""

from __future__ import annotations

import base64
import os
import re
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from workers.flower_defaults import protect
from workers.local_stack.layout import listens
from workers.local_stack.servers import RedisServer, free_port


class Flower:
    """A real one; `said` is what it wrote to the terminal."""

    def __init__(self, port: int, said: str) -> None:
        self.port, self.said = port, said

    def ask(self, path: str, password: str = "", data: bytes | None = None) -> int:
        """The status of an answer."""
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", data=data)
        if password:
            request.add_header("Authorization", "Basic " + base64.b64encode(f"strata:{password}".encode()).decode())
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
                return int(answer.status)
        except urllib.error.HTTPError as error:
            return error.code


@pytest.fixture(scope="module")
def flower(redis_server: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Flower]:
    """Flower with nothing but a port said, in a folder without a configuration."""
    folder, port = tmp_path_factory.mktemp("flower"), free_port()
    log = folder / "log"
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("FLOWER_", "STRATA_"))}
    queue = redis_server.url.removesuffix("/0")
    with log.open("wb") as output:
        child = subprocess.Popen(
            [sys.executable, "-m", "celery", "-A", "workers", "flower", f"--port={port}"],
            env={**inherited, "STRATA_BROKER_URL": f"{queue}/2", "STRATA_RESULT_URL": f"{queue}/3"},
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=folder,
        )
    try:
        deadline = time.monotonic() + 60
        while not listens(port):
            assert child.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
        yield Flower(port, log.read_text())
    finally:
        child.terminate()
        child.wait(30)


def addresses(port: int) -> set[str]:
    """Where something listens on a port, as the kernel writes the address."""
    rows = [row.split() for table in ("tcp", "tcp6") for row in Path("/proc/net", table).read_text().splitlines()[1:]]
    return {row[1].rpartition(":")[0] for row in rows if row[1].endswith(f":{port:04X}") and row[3] == "0A"}


def test_flower_listens_on_this_machine_only(flower: Flower) -> None:
    """On 127.0.0.1, and on no address that another machine could reach."""
    assert addresses(flower.port) == {"0100007F"}


def test_flower_asks_for_the_password_that_it_told(flower: Flower) -> None:
    """Pages and API answer 401 without it; whoever started Flower reads it there."""
    told = re.search(r"the user strata and the password (\S+);", flower.said)
    assert told, flower.said
    for path in ("/workers", "/api/workers"):
        assert flower.ask(path) == 401
        assert flower.ask(path, "wrong") == 401
    assert flower.ask("/workers", told[1]) == 200


def test_flower_ends_nothing(flower: Flower) -> None:
    """What would change a task or a worker is refused, with the password too."""
    told = re.search(r"password (\S+);", flower.said)
    assert told
    for path in ("/api/task/revoke/x?terminate=true", "/api/worker/shutdown/x", "/api/task/send-task/x"):
        assert flower.ask(path, told[1], b"{}") in {401, 403, 405}


@pytest.mark.parametrize(
    ("arguments", "environment", "made"),
    [
        (["flower"], {}, True),
        (["flower", "--basic-auth=a:b"], {}, False),
        (["flower", "--basic_auth=a:b"], {}, False),
        (["flower", "--auth=.*@example[.]com"], {}, False),
        (["flower"], {"FLOWER_BASIC_AUTH": "a:b"}, False),
        (["worker", "-n", "flowers"], {}, False),
    ],
)
def test_what_is_said_otherwise_counts(arguments: list[str], environment: dict[str, Any], made: bool) -> None:  # noqa: FBT001
    """A password of one's own replaces ours; another command of Celery's is left alone."""
    given = dict(environment)
    assert bool(protect(["celery", "-A", "workers", *arguments], given)) is made
    assert ("FLOWER_ADDRESS" in given) is ("flower" in arguments)
    assert protect(["flower"], {"FLOWER_ADDRESS": "0.0.0.0", "FLOWER_AUTH": "x"}) == ""  # noqa: S104 - said by the user
