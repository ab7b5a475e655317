"""LocalStack: Strata with everything around it on this machine, for trying it out. No root, no docker.

    stack = LocalStack(Path(".strata"))
    stack.up()
    ... Wiring(stack.settings()) ...
    stack.down()

Two Redis servers (broker and results; HOT), PostgreSQL, an S3 server, the worker groups, beat and Flower, all on free
ports of 127.0.0.1, with all their data in one folder. They go on when the caller ends. Linux only.
"""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from strata.errors import SettingError
from strata.seal.keyring import FileKeyring
from strata.settings import Settings, read_settings
from workers.local_stack.layout import Layout, Phase, Secrets, Status
from workers.local_stack.parts import environment, part_names, settings_entries
from workers.local_stack.servers import ServerFailed
from workers.local_stack.supervisor import GRACE_SECONDS
from workers.queues import GROUPS

UP_SECONDS: Final = 60.0
_LOOK_SECONDS: Final = 0.05
_SERVER_SECONDS: Final = 20.0


class LocalStack:
    """The stack whose data is in `folder`; any number of these objects, in any process, may speak of one stack."""

    def __init__(self, folder: Path) -> None:
        self.layout = Layout(folder.absolute())

    @property
    def folder(self) -> Path:
        """Where everything of the stack is."""
        return self.layout.folder

    def up(
        self,
        groups: Iterable[str] = tuple(GROUPS),
        *,
        beat: bool = True,
        flower: bool = True,
        seconds: float = UP_SECONDS,
    ) -> bool:
        """Start what is not running, and return when all of it is ready; False where it was so already.

        ServerFailed names what did not become ready; then everything is ended again.
        """
        layout = self.layout
        layout.make()
        with layout.locked():
            status = layout.read_status()
            if status.up and all(part.running for part in status.parts):
                return False
            if status.supervised and status.phase in {Phase.STARTING, Phase.UP}:
                self._revive(status)
            else:
                self._end(status)
                self._begin(part_names(list(groups), beat=beat, flower=flower))
            self._wait_until_ready(time.monotonic() + seconds)
        return True

    def down(self) -> bool:
        """End every process, servers last; False where none was running. The data stays."""
        if not self.layout.folder.is_dir():
            return False
        with self.layout.locked():
            return self._end(self.layout.read_status())

    def wipe(self) -> None:
        """End everything and remove the folder: data, backups and keyring."""
        if not self.layout.folder.exists():
            return
        if not self.layout.exists:
            raise SettingError(f"{self.folder} was not made by `strata stack up`, and was left as it is")
        self.down()
        shutil.rmtree(self.folder)

    def status(self) -> Status:
        """Every process, and whether it is running at this moment."""
        return self.layout.read_status()

    def settings(self) -> Settings:
        """The settings under which everything uses the stack; SettingError before the first `up`."""
        return read_settings(self.layout.settings_file)

    def flower_password(self) -> str:
        """What Flower asks the user `strata` for; nothing where the stack was never up."""
        kept = self.layout.read_secrets()
        return kept.flower_password if kept else ""

    def environment(self) -> dict[str, str]:
        """The variables under which a child process uses the stack."""
        return environment(self.layout)

    def _begin(self, names: list[str]) -> None:
        layout = self.layout
        if layout.exists and not layout.keyring_file.exists() and any((self.folder / "backups").iterdir()):
            raise SettingError(
                f"the keyring of {self.folder} is gone, and the backups in it cannot be read without it",
                hint="Bring your copy back, or start anew with `strata stack down --wipe`.",
            )
        kept = (layout.read_secrets() or Secrets.fresh()).with_free_ports()
        layout.write_secrets(kept)
        layout.write_settings(settings_entries(layout, kept))
        if not layout.keyring_file.exists():
            FileKeyring.create(layout.keyring_file, datetime.now(UTC))
        begun = subprocess.run(
            [sys.executable, "-m", "workers.local_stack.supervisor", str(self.folder), *names],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            env=environment(layout),
            cwd=self.folder,
            check=False,
        )
        if begun.returncode:
            raise ServerFailed(f"the supervisor did not start: {begun.stderr.strip()[-400:]}")

    @staticmethod
    def _revive(status: Status) -> None:
        """Ask a supervisor that lives to start its ended servers again."""
        if status.supervisor is not None:
            status.supervisor.signal(signal.SIGHUP)

    def _wait_until_ready(self, deadline: float) -> None:
        while not ((status := self.status()).up and all(part.running and part.ready for part in status.parts)):
            if status.failure:
                self._end(status)
                raise ServerFailed(status.failure, hint=f"See {status.failed_log}.")
            if status.phase is Phase.DOWN:
                raise ServerFailed("the supervisor ended", hint=f"See {self.layout.log('supervisor')}.")
            if time.monotonic() > deadline:
                self._give_up(status)
            time.sleep(_LOOK_SECONDS)

    def _give_up(self, status: Status) -> None:
        late = [part for part in status.parts if not (part.running and part.ready)]
        self._end(status)
        logs = ", ".join(part.log for part in late) or str(self.layout.log("supervisor"))
        names = ", ".join(part.name for part in late) or "the supervisor"
        raise ServerFailed(f"{names} did not become ready in time", hint=f"See {logs}.")

    def _end(self, status: Status) -> bool:
        was_running = status.supervised or any(part.running for part in status.parts)
        if status.supervisor is not None and status.supervisor.signal(signal.SIGTERM):
            # Two rounds, workers and then servers, each of which is bounded.
            if not status.supervisor.wait(GRACE_SECONDS + _SERVER_SECONDS + 10):
                status.supervisor.signal(signal.SIGKILL)
            status = self.layout.read_status()
        self._end_leftovers(status)
        return was_running

    def _end_leftovers(self, status: Status) -> None:
        """End what a supervisor left that was killed: workers first, then the servers they talk to."""
        left = [part for part in status.parts if part.running]
        for part in sorted(left, key=lambda part: not part.name.startswith(("worker-", "beat", "flower"))):
            how = signal.SIGINT if part.name == "postgres" else signal.SIGTERM
            if part.process is not None:
                part.process.end(how, GRACE_SECONDS)
        if left or status.phase is not Phase.DOWN:
            self.layout.write_status(Status(phase=Phase.DOWN))


def default_folder() -> Path:
    """Where the stack is when nobody says otherwise: `.strata` in the working folder."""
    return Path(".strata").absolute()
