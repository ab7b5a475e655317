"""docker, kubectl and helm, as far as docs/how-to/deploy.md calls them, over the machine that the test has made.

`python -m tests.deploy.engine docker compose up -d --wait`, in the folder with the file; MACHINE is the machine's
folder. Where a real one would only start a process, this one waits until it is healthy, as its own health check says.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from tests.deploy.cluster import Release, kept_secret
from tests.deploy.compose import Project, Unset
from tests.deploy.machine import Machine

_SECONDS: Final = 180
_READY: Final = (b"eady to accept connections", b"Starting s3 server")
"""What the stores say when they answer."""


def machine() -> Machine:
    """The one that the test has made."""
    folder = Path(os.environ["MACHINE"])
    return Machine(folder, int((folder / "first").read_text()))


def until(true: Callable[[], bool], what: str, log: Path) -> None:
    """Wait for it."""
    end = time.monotonic() + _SECONDS
    while not true():
        if time.monotonic() > end:
            raise SystemExit(f"after {_SECONDS} s {what}:\n{log.read_text()[-2000:]}")
        time.sleep(0.05)


def words(arguments: Sequence[str]) -> list[str]:
    """What is no option."""
    return [one for one in arguments if not one.startswith("-")]


# --- docker compose ---------------------------------------------------------------------------------------------------


def build(_: Project, __: Sequence[str]) -> int:
    """This project stands in the image's place."""
    return 0


def up(project: Project, _: Sequence[str]) -> int:
    """Start everything that does not run, and wait until each health check is content."""
    on = machine()
    for name in project.lasting:
        if not on.runs(name):
            on.start(project.container(name))
    for name in project.lasting:
        wait_for(on, project, name)
    return 0


def wait_for(on: Machine, project: Project, name: str) -> None:
    """Until a service is healthy, as its own health check says; the stores' programs for that are not here."""
    if "build" not in project.services[name]:
        until(
            lambda: any(said in on.log(name).read_bytes() for said in _READY), f"{name} does not answer", on.log(name)
        )
        return
    _, *check = project.services[name]["healthcheck"]["test"]
    if name in project.beating:
        until(lambda: on.beats(name, name), f"{name} gives no sign of life", on.log(name))
    asked = project.beside(name, check)
    until(
        lambda: on.run(asked, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) == 0,
        f"{name} is sick",
        on.log(name),
    )


def run(project: Project, arguments: Sequence[str]) -> int:
    """`run --rm NAME [COMMAND...]`: a container of its own, to its end."""
    while arguments[0].startswith("-"):
        arguments = arguments[1:]
    return machine().run(project.container(arguments[0], list(arguments[1:]) or None))


def restart(project: Project, _: Sequence[str]) -> int:
    """End everything of ours, and start it again."""
    on = machine()
    ours = [name for name in project.lasting if "build" in project.services[name]]
    on.stop(ours)
    for name in ours:
        on.start(project.container(name))
    for name in ours:
        wait_for(on, project, name)
    return 0


_COMPOSE: Final = {"build": build, "up": up, "run": run, "restart": restart}


def docker(arguments: Sequence[str]) -> int:
    """`docker compose VERB ...`."""
    _, verb, *rest = arguments
    if verb == "build":  # before there is an .env
        return 0
    try:
        return _COMPOSE[verb](Project(Path.cwd(), machine()), rest)
    except Unset as error:
        sys.stderr.write(f"{error}\n")
        return 1


# --- kubectl and helm -------------------------------------------------------------------------------------------------


def kubectl(arguments: Sequence[str]) -> int:
    """`create secret generic NAME ...`, `exec -it deploy/NAME -- ...`, `rollout restart deployment ...`."""
    on = machine()
    match words(arguments)[:2]:
        case ["create", "secret"]:
            kept_secret(on, words(arguments)[3], [one for one in arguments if one.startswith("--from-")])
            return 0
        case ["exec", where]:
            command = list(arguments[list(arguments).index("--") + 1 :])
            return on.run(Release.kept(on).container(where.removeprefix("deploy/"), command))
        case ["rollout", "restart"]:
            return replaced(on, Release.kept(on))
    raise SystemExit(f"kubectl does not know {' '.join(arguments)} here")


def helm(arguments: Sequence[str]) -> int:
    """`install NAME CHART -f FILE --wait`, and `upgrade` alike."""
    _, name, chart = words(arguments)[:3]
    values = Path(arguments[list(arguments).index("-f") + 1])
    on = machine()
    return started(on, Release.made(on, name, Path(chart), values))


def started(on: Machine, release: Release) -> int:
    """Start every pod, init containers first, and wait until each is ready by its own probe."""
    for name in (name for name in release.deployments if not on.runs(name)):
        for first in release.first(name):
            if on.run(first):
                raise SystemExit(f"an init container of {name} failed")
        on.start(release.container(name))
    for name in release.deployments:
        role = release.role(name)
        until(lambda name=name, role=role: on.beats(name, role), f"{name} gives no sign of life", on.log(name))  # type: ignore[misc]
        if on.run(release.container(name, release.probe(name)), stdout=subprocess.DEVNULL):
            raise SystemExit(f"{name} is not ready")
    return 0


def replaced(on: Machine, release: Release) -> int:
    """End every pod, and start others."""
    on.stop(release.deployments)
    return started(on, release)


_PROGRAMS: Final = {"docker": docker, "kubectl": kubectl, "helm": helm}

if __name__ == "__main__":
    sys.exit(_PROGRAMS[sys.argv[1]](sys.argv[2:]))
