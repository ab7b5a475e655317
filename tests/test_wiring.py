"""The wiring: what is used instead of what, and when not."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import SecretStr

from strata.catalog.lease import FileLease, RedisLease
from strata.errors import BrokerUnavailable
from strata.seal.keyring import FileKeyring
from strata.settings import Settings
from strata.testing import SettableClock
from strata.wiring import Wiring
from workers.local_stack.servers import RedisServer, free_port


@pytest.fixture
def settings(folder: Path) -> Settings:
    """A store, a spool and a keyring."""
    FileKeyring.create(folder / "keyring.json", SettableClock().now())
    return Settings(
        local_url=(folder / "store").as_uri(),
        spool_url=(folder / "spool").as_uri(),
        keyring_file=folder / "keyring.json",
    )


def with_result(settings: Settings, url: str | None) -> Wiring:
    """A wiring whose ledger is at that URL."""
    return Wiring(settings.model_copy(update={"result_url": SecretStr(url) if url else None}))


def test_a_run_of_this_process_takes_the_lease_that_workers_take(settings: Settings, hot_url: str) -> None:
    """While the ledger's Redis answers, its lease counts; where there is none or it is silent, this machine's."""
    silent = f"redis://127.0.0.1:{free_port()}/0"
    assert isinstance(with_result(settings, hot_url).local_manager.lease, RedisLease)
    assert isinstance(with_result(settings, None).local_manager.lease, FileLease)
    assert isinstance(with_result(settings, silent).local_manager.lease, FileLease)


def test_a_ledger_with_another_password_does_not_let_two_runs_go_on(
    settings: Settings, redis_server: RedisServer
) -> None:
    """A Redis that refuses is no Redis that is gone: workers may be at work, so their lease is not passed by."""
    wiring = with_result(settings, f"redis://:wrong@127.0.0.1:{redis_server.port}/0")
    with pytest.raises(BrokerUnavailable, match="the ledger \\(Redis\\) refuses: invalid username-password pair"):
        _ = wiring.local_manager
