"""A strict S3 service for the tests of stores, where there is one on this machine."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from strata.errors import StorageError, StoreUnavailable
from strata.storage.s3 import S3Store
from workers.local_stack.servers import free_port

_PYTHON = Path(os.environ.get("LOCALSTACK_PYTHON", ".localstack/bin/python")).absolute()
_START_SECONDS = 60


@pytest.fixture(scope="session")
def strict_endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """One localstack for the session: it enforces checksums, conditions, locks and the states of KMS keys."""
    if not _PYTHON.is_file():
        pytest.skip(f"no localstack: `make localstack`, or LOCALSTACK_PYTHON, gives one (looked for {_PYTHON})")
    folder, port = tmp_path_factory.mktemp("localstack"), free_port()
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "SERVICES": "s3,kms",
        "EAGER_SERVICE_LOADING": "1",
        "GATEWAY_LISTEN": f"127.0.0.1:{port}",
        "DISABLE_EVENTS": "1",
        "SKIP_SSL_CERT_DOWNLOAD": "1",
        "DNS_ADDRESS": "0",
        "S3_SKIP_KMS_KEY_VALIDATION": "0",
        "FILESYSTEM_ROOT": str(folder),
    }
    with (folder / "log").open("wb") as log:
        child = subprocess.Popen(
            [_PYTHON, "-m", "localstack.runtime.main"], env=environment, stdout=log, stderr=log, cwd=folder
        )
        try:
            endpoint = f"http://127.0.0.1:{port}"
            _wait(child, endpoint, folder / "log")
            yield endpoint
        finally:
            child.terminate()
            child.wait(30)


def _wait(child: subprocess.Popen[bytes], endpoint: str, log: Path) -> None:
    store = S3Store("s3://none", endpoint=endpoint, access_key_id="x", secret_access_key="x", attempts=1)  # noqa: S106
    end = time.monotonic() + _START_SECONDS
    while time.monotonic() < end and child.poll() is None:
        try:
            list(store.list())
        except StoreUnavailable:
            time.sleep(0.1)
        except StorageError:  # there is no such bucket: it answers
            return
    pytest.skip(f"localstack does not start: {log.read_text(errors='replace')[-500:]}")
