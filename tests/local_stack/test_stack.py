"""The local stack: up, seen, hurt, up again, down."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
import redis

from strata.errors import SettingError
from strata.seal.keyring import FileKeyring
from strata.settings import load_settings
from workers.local_stack.identity import Identity
from workers.local_stack.layout import Phase, Secrets
from workers.local_stack.servers import ServerFailed
from workers.local_stack.stack import LocalStack


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStack]:
    """A stack with one worker group, which is enough to see what becomes of workers."""
    stack = LocalStack(tmp_path_factory.mktemp("stack") / ".strata")
    _up(stack)
    yield stack
    stack.wipe()


def _up(stack: LocalStack) -> bool:
    return stack.up(groups=["control"], beat=False, flower=False)


def _until(true: Callable[[], bool], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_up_returns_when_everything_answers(stack: LocalStack) -> None:
    """All three tiers, the broker and the keyring can be used at once, with the settings it wrote."""
    settings = stack.settings()
    assert settings.hot_url
    assert settings.broker_url
    assert settings.warm_url
    assert redis.Redis.from_url(settings.hot_url.get_secret_value()).ping()
    assert settings.hot_url.get_secret_value().split("/")[2] != settings.broker_url.get_secret_value().split("/")[2]
    with psycopg.connect(settings.warm_url.get_secret_value()) as connection:
        connection.execute("INSERT INTO state_warm (key, data) VALUES ('a', '{}')")
    assert FileKeyring.load(settings.keyring_file).key_ids
    assert all(part.running and part.ready for part in stack.status().parts)


def test_up_again_changes_nothing(stack: LocalStack) -> None:
    """A second `up` says that there was nothing to do."""
    before = stack.status()
    assert _up(stack) is False
    assert stack.status() == before


def test_nothing_in_the_folder_is_open_to_others(stack: LocalStack) -> None:
    """The folder is its owner's alone, and so is every file with a secret in it."""
    assert stack.folder.stat().st_mode & 0o777 == 0o700
    for name in ("strata.toml", "state.json", "status.json", "keyring.json"):
        assert (stack.folder / name).stat().st_mode & 0o777 == 0o600


def test_settings_added_by_hand_survive_up(stack: LocalStack) -> None:
    """`up` writes its own entries anew and leaves others as they are."""
    file = stack.layout.settings_file
    file.write_text(file.read_text() + "zstd_level = 5\n")
    stack.layout.write_settings({"warm_tables": "*"})
    assert stack.settings().zstd_level == 5


def test_killed_worker_is_started_again(stack: LocalStack) -> None:
    """A worker that is killed with -9 is followed by a new one."""
    killed = stack.status().part("worker-control").process
    assert killed is not None
    assert killed.signal(signal.SIGKILL)
    _until(lambda: stack.status().part("worker-control").restarts == 1 and stack.status().part("worker-control").ready)
    assert stack.status().part("worker-control").process != killed


def test_killed_server_stays_down_until_up(stack: LocalStack) -> None:
    """The loss of a tier can be tried out; `up` brings the tier back where it was."""
    killed = stack.status().part("hot").process
    assert killed is not None
    assert killed.signal(signal.SIGKILL)
    _until(lambda: not stack.status().part("hot").running)
    assert _up(stack) is True
    assert stack.status().part("hot").running
    address = stack.settings().hot_url
    assert address
    assert redis.Redis.from_url(address.get_secret_value()).ping()


def test_what_was_written_is_there_after_down_and_up(stack: LocalStack) -> None:
    """Ports, passwords and data outlive `down`; so does the stack outlive its supervisor's death."""
    settings = stack.settings()
    assert stack.down() is True
    assert stack.down() is False
    assert stack.status().phase is Phase.DOWN
    assert _up(stack) is True
    assert stack.settings() == settings
    assert settings.warm_url
    with psycopg.connect(settings.warm_url.get_secret_value()) as connection:
        assert connection.execute("SELECT count(*) FROM state_warm").fetchone() == (1,)


def test_down_ends_what_a_dead_supervisor_left(stack: LocalStack) -> None:
    """A supervisor killed with -9 leaves nothing behind that `down` does not end."""
    status = stack.status()
    assert status.supervisor is not None
    assert status.supervisor.signal(signal.SIGKILL)
    assert status.supervisor.wait(5)
    assert stack.status().phase is Phase.DOWN
    assert stack.down() is True
    assert not any(part.running for part in status.parts)


def test_process_that_took_over_a_pid_is_left_alone() -> None:
    """A pid alone is not enough: the process must have begun when ours did."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        stale = Identity(pid=child.pid, began="another moment")
        assert stale.signal(signal.SIGKILL) is False
        stale.end(signal.SIGKILL, 1)
        assert child.poll() is None
        Identity.of(child.pid).end(signal.SIGTERM, 5)
        assert child.wait(5) == -signal.SIGTERM


def test_taken_port_is_replaced(tmp_path: Path) -> None:
    """A port that somebody else listens on by now is given up; the others stay."""
    import socket

    first = Secrets.fresh().with_free_ports()
    with socket.create_server(("127.0.0.1", first.ports["hot"])):
        second = first.with_free_ports()
    assert second.ports["hot"] != first.ports["hot"]
    assert {**second.ports, "hot": 0} == {**first.ports, "hot": 0}


def test_failed_start_names_the_part_and_its_log(tmp_path: Path) -> None:
    """Half a stack is ended again, and the error says what failed and where to read why."""
    stack = LocalStack(tmp_path / ".strata")
    stack.layout.make()
    (stack.layout.server("hot")).write_text("in the way")
    with pytest.raises(ServerFailed, match="hot did not start") as failed:
        _up(stack)
    assert "server.log" in failed.value.hint
    assert not any(part.running for part in stack.status().parts)


def test_wipe_leaves_a_folder_alone_that_is_no_stack(tmp_path: Path) -> None:
    """`down --wipe` cannot be turned against any folder."""
    (tmp_path / "thesis.txt").touch()
    with pytest.raises(SettingError, match="not made by"):
        LocalStack(tmp_path).wipe()
    assert (tmp_path / "thesis.txt").exists()


def test_settings_of_the_stack_are_found_where_nothing_else_is_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Commands find .strata/strata.toml by themselves, but never beside settings of one's own."""
    for name in [name for name in os.environ if name.startswith("STRATA_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".strata").mkdir()
    (tmp_path / ".strata" / "strata.toml").write_text('cold_url = "s3://stack/"\n')
    assert load_settings().cold_url == "s3://stack/"
    monkeypatch.setenv("STRATA_ZSTD_LEVEL", "3")
    assert load_settings().cold_url is None
    monkeypatch.delenv("STRATA_ZSTD_LEVEL")
    (tmp_path / "strata.toml").write_text('cold_url = "s3://mine/"\n')
    assert load_settings().cold_url == "s3://mine/"
