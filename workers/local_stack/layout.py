"""The folder of a local stack: what lies where, what it remembers over down and up, and what its supervisor reports.

| name          | what it is                                                                            |
|---------------|---------------------------------------------------------------------------------------|
| strata.toml   | the settings of everything that uses the stack; entries you add to it are kept         |
| state.json    | ports and passwords: the same after `down` and `up`, so what was written stays reachable |
| status.json   | the supervisor's report: each process, its pid, address, log, ready or not              |
| keyring.json  | the keys; removing the folder removes them, and the backups with them                  |
| servers/ logs/ backups/ spool/ beat/ | data and logs                                                  |
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import socket
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Final, TypeVar

from pydantic import ValidationError

from strata.errors import SettingError
from strata.model.layer import Document
from workers.local_stack.identity import Identity
from workers.local_stack.servers import free_port

BUCKET: Final = "state"
DATABASE: Final = "bot"
SERVERS: Final = ("broker", "hot", "postgres", "s3")
FLOWER: Final = "flower"
BEAT: Final = "beat"

Kept = TypeVar("Kept", bound=Document)


class Phase(StrEnum):
    """Where the stack as a whole stands."""

    STARTING = "starting"
    UP = "up"
    STOPPING = "stopping"
    FAILED = "failed"
    DOWN = "down"


class Secrets(Document):
    """What the stack keeps: the port of each server, and its passwords."""

    ports: dict[str, int]
    broker_password: str
    hot_password: str
    postgres_password: str
    flower_password: str
    s3_access_key: str
    s3_secret_key: str

    def __repr__(self) -> str:
        return f"Secrets(ports={self.ports})"

    @classmethod
    def fresh(cls) -> Secrets:
        """New passwords, and no ports yet."""
        return cls(
            ports={},
            broker_password=secrets.token_hex(16),
            hot_password=secrets.token_hex(16),
            postgres_password=secrets.token_hex(16),
            flower_password=secrets.token_hex(16),
            s3_access_key=secrets.token_hex(10),
            s3_secret_key=secrets.token_hex(20),
        )

    def with_free_ports(self) -> Secrets:
        """The same, with a new port for whatever has none or one that somebody else listens on by now."""
        ports: dict[str, int] = {}
        for name in (*SERVERS, FLOWER):
            port = self.ports.get(name)
            while port is None or port in ports.values() or listens(port):
                port = free_port()
            ports[name] = port
        return self.model_copy(update={"ports": ports})


class PartStatus(Document):
    """One process of the stack, as the supervisor last saw it."""

    name: str
    process: Identity | None
    address: str
    log: str
    ready: bool
    restarts: int = 0

    @property
    def running(self) -> bool:
        """Whether its process is there at this moment."""
        return self.process is not None and self.process.alive


class Status(Document):
    """The whole stack, as its supervisor last saw it."""

    phase: Phase
    supervisor: Identity | None = None
    parts: tuple[PartStatus, ...] = ()
    failure: str = ""
    failed_log: str = ""

    @property
    def up(self) -> bool:
        """Whether its supervisor lives and has said that everything is ready."""
        return self.phase is Phase.UP and self.supervised

    @property
    def supervised(self) -> bool:
        """Whether its supervisor lives."""
        return self.supervisor is not None and self.supervisor.alive

    def part(self, name: str) -> PartStatus:
        """One process, by its name."""
        return next(part for part in self.parts if part.name == name)


@dataclass(frozen=True)
class Layout:
    """Paths below a stack's folder, and its files."""

    folder: Path

    @property
    def settings_file(self) -> Path:
        """What STRATA_CONFIG is for everything that uses this stack."""
        return self.folder / "strata.toml"

    @property
    def keyring_file(self) -> Path:
        """The keyring."""
        return self.folder / "keyring.json"

    @property
    def exists(self) -> bool:
        """Whether a stack was ever made here."""
        return self._state.is_file()

    def server(self, name: str) -> Path:
        """The data of a server."""
        return self.folder / "servers" / name

    def log(self, name: str) -> Path:
        """The log of a worker, beat, Flower or the supervisor."""
        return self.folder / "logs" / f"{name}.log"

    def make(self) -> None:
        """Make the folder, for its owner alone."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self.folder.chmod(0o700)
            for name in ("servers", "logs", "backups", "spool", "beat"):
                (self.folder / name).mkdir(exist_ok=True, mode=0o700)
        except OSError as error:
            raise SettingError(f"the folder {self.folder} cannot be used: {os.strerror(error.errno or 0)}") from None

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Only one `up` or `down` at a time; the next waits for it."""
        descriptor = os.open(self.folder / ".lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def read_secrets(self) -> Secrets | None:
        """Ports and passwords of an earlier `up`, or None."""
        return _read(self._state, Secrets)

    def write_secrets(self, kept: Secrets) -> None:
        """Keep ports and passwords."""
        write_private(self._state, kept.model_dump_json(indent=2))

    def read_status(self) -> Status:
        """The supervisor's last report; DOWN where it left none, or died."""
        status = _read(self._status, Status) or Status(phase=Phase.DOWN)
        ended = status.phase in {Phase.DOWN, Phase.FAILED}
        return status if ended or status.supervised else status.model_copy(update={"phase": Phase.DOWN})

    def write_status(self, status: Status) -> None:
        """Report."""
        write_private(self._status, status.model_dump_json(indent=2))

    def write_settings(self, ours: dict[str, Any]) -> None:
        """Write strata.toml: our entries, and those that were added to it by hand."""
        try:
            added = tomllib.loads(self.settings_file.read_text())
        except (FileNotFoundError, tomllib.TOMLDecodeError):
            added = {}
        # A TOML string, number, boolean or list of them is written as in JSON.
        lines = [f"{name} = {json.dumps(value, ensure_ascii=False)}" for name, value in {**added, **ours}.items()]
        head = "# The settings of this local stack. `strata stack up` writes its addresses and passwords anew.\n"
        write_private(self.settings_file, head + "\n".join(lines) + "\n")

    @property
    def _state(self) -> Path:
        return self.folder / "state.json"

    @property
    def _status(self) -> Path:
        return self.folder / "status.json"


def write_private(path: Path, text: str) -> None:
    """Replace a file, whole or not at all, readable by its owner alone."""
    temporary = path.with_name(f".{path.name}-{os.getpid()}")
    temporary.unlink(missing_ok=True)
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    temporary.replace(path)


def listens(port: int) -> bool:
    """Whether anybody takes connections at a port of 127.0.0.1."""
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


def _read(path: Path, kind: type[Kept]) -> Kept | None:
    try:
        return kind.model_validate_json(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return None
    except ValidationError:
        raise SettingError(
            f"{path} is not what a local stack wrote", hint="Remove it, or the whole folder, and start anew."
        ) from None
