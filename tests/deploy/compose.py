"""What docker-compose.yml gives each service, as containers of a machine (machine.py)."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import yaml

from tests.deploy.machine import ROOT, Container, Machine
from tests.deploy.servers import programs

_VARIABLE: Final = re.compile(r"\$(?:\$|\{(\w+)(?:(:[-?])([^}]*))?\})")


class Unset(Exception):
    """A variable has no value; the message is what the file says of that."""


def interpolated(text: str, variables: dict[str, str]) -> str:
    """A text as compose reads it: ${NAME}, ${NAME:-else}, ${NAME:?sentence} and $$."""

    def value(match: re.Match[str]) -> str:
        name, kind, other = match.groups()
        if name is None:
            return "$"
        if kind == ":?" and not variables.get(name):
            raise Unset(other)
        return variables.get(name) or (other if kind == ":-" else "")

    return _VARIABLE.sub(value, text)


def filled_in(read: Any, variables: dict[str, str]) -> Any:
    """A file that was read, each text in it interpolated, as compose does it: an empty one is still a text."""
    match read:
        case dict():
            return {key: filled_in(value, variables) for key, value in read.items()}
        case list():
            return [filled_in(value, variables) for value in read]
        case str():
            return interpolated(read, variables)
    return read


def variables_of(file: Path) -> dict[str, str]:
    """What an .env file sets."""
    lines = [line for line in file.read_text().splitlines() if "=" in line and not line.startswith("#")]
    return {name: value for name, _, value in (line.partition("=") for line in lines)}


class Project:
    """A folder with docker-compose.yml and .env, whose services run on a machine."""

    def __init__(self, folder: Path, machine: Machine) -> None:
        self._folder, self._machine = folder, machine
        read = yaml.safe_load((folder / "docker-compose.yml").read_text())
        self._file: dict[str, Any] = filled_in(read, variables_of(folder / ".env"))
        self.services: dict[str, dict[str, Any]] = self._file["services"]

    @property
    def lasting(self) -> list[str]:
        """The services that `up` starts, the stores first."""
        names = [name for name, service in self.services.items() if "profiles" not in service]
        return sorted(names, key=lambda name: "build" in self.services[name])

    @property
    def beating(self) -> list[str]:
        """The services whose processes touch a heartbeat file."""
        probe = "workers.probe"
        return [name for name in self.lasting if probe in self.services[name].get("healthcheck", {}).get("test", ())]

    def beside(self, name: str, command: list[str]) -> Container:
        """A command in the container of a service, as a health check is run: past the entry point."""
        return replace(self.container(name), command=command)

    def container(self, name: str, command: list[str] | None = None) -> Container:
        """A service, or another command in its place."""
        service = self.services[name]
        ours = "build" in service
        start = [str(ROOT / "docker-entrypoint.sh")] if ours else service.get("entrypoint", [])
        environment = {key: str(value) for key, value in service.get("environment", {}).items()}
        address = self.address(name)
        return Container(
            name=name,
            command=[*start, *(command or service.get("command", ["postgres"]))],
            environment=environment,
            mounts=[*self._volumes(service), *self._secrets(service)],
            hosts=self._reachable(service),
            programs=None if ours else programs(self._machine.folder / "programs" / name, address),
        )

    def address(self, name: str) -> str:
        """Where a service listens."""
        return f"127.0.0.{list(self.services).index(name) + 2}"

    def _reachable(self, service: dict[str, Any]) -> dict[str, str]:
        """The services on one network with this one."""
        own = set(service.get("networks", ()))
        return {
            name: self.address(name)
            for name, other in self.services.items()
            if own.intersection(other.get("networks", ()))
        }

    def _volumes(self, service: dict[str, Any]) -> list[tuple[Path, str]]:
        found = []
        for volume in service.get("volumes", ()):
            source, path, *_ = volume.split(":")
            folder = self._folder / source if source.startswith(".") else self._machine.volume(source)
            folder.mkdir(exist_ok=True)
            found.append((folder, path))
        return found

    def _secrets(self, service: dict[str, Any]) -> list[tuple[Path, str]]:
        found = []
        for secret in service.get("secrets", ()):
            source, target = (secret, secret) if isinstance(secret, str) else (secret["source"], secret["target"])
            file = self._folder / self._file["secrets"][source]["file"]
            if not file.is_file():
                raise Unset(f"the secret {source} is the file {file}, which does not exist")
            found.append((file, f"/run/secrets/{target}"))
        return found
