"""What a store in a folder promises besides the contract: no trace of writes that failed or were cut off."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from strata.errors import SettingError, StorageError
from strata.storage.filesystem import Durability, FilesystemStore, folder_of

FULL_DISK = """
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from strata.errors import StoreFull
from strata.storage.filesystem import FilesystemStore
store = FilesystemStore(Path(sys.argv[1]))
store.put("fits", [b"x" * 1000])
try:
    store.put("layers/too-large", [b"x" * 600_000] * 4)
except StoreFull as error:
    print(error.code)
print([info.name for info in store.list()], [p.name for p in Path(sys.argv[1]).rglob("*") if p.is_file()])
"""


def test_a_full_disk_leaves_nothing_half_written(tmp_path: Path) -> None:
    """Where the disk is full the error says so, and neither an object nor a temporary file is left."""
    command = f'mount -t tmpfs -o size=1m tmpfs "{tmp_path}" && exec "$@"'
    unshared = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", command, "sh"]
    if subprocess.run([*unshared, "true"], capture_output=True, check=False).returncode:
        pytest.skip("needs user and mount namespaces")
    done = subprocess.run(
        [*unshared, sys.executable, "-c", FULL_DISK, str(tmp_path)],
        capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2],
    )  # fmt: skip
    assert done.stdout.splitlines() == ["store-full", "['fits'] ['fits']"]


def test_a_folder_that_cannot_be_made_leaves_nothing(tmp_path: Path) -> None:
    """A file in the way of a folder is an error with a hint, and no temporary file is left."""
    store = FilesystemStore(tmp_path)
    store.put("layers", [b"a file"])
    with pytest.raises(StorageError) as caught:
        store.put("layers/x/0.seg", [b"data"])
    assert caught.value.hint
    assert [path.name for path in tmp_path.iterdir()] == ["layers"]


def test_what_a_crash_left_is_not_listed(tmp_path: Path) -> None:
    """A temporary file of a writer that died is shown by no listing."""
    store = FilesystemStore(tmp_path)
    store.put("layers/x/0.seg", [b"data"])
    (tmp_path / "layers" / "x" / ".tmp-0123456789abcdef").write_bytes(b"torn")
    assert [info.name for info in store.list()] == ["layers/x/0.seg"]


def test_nobody_else_may_read(tmp_path: Path) -> None:
    """Folders are made with mode 0700 and files with 0600, whatever the umask."""
    before = os.umask(0)
    try:
        FilesystemStore(tmp_path / "store").put("layers/x/0.seg", [b"data"])
    finally:
        os.umask(before)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "store").rglob("*")}
    assert modes == {"layers": 0o700, "x": 0o700, "0.seg": 0o600}


@pytest.mark.parametrize("url", ["s3://bucket", "file://host/path", "/plain/path", "file:relative"])
def test_a_url_that_names_no_folder_is_refused(url: str) -> None:
    """Anything but file:///absolute/path is a SettingError that names the setting."""
    with pytest.raises(SettingError, match="STRATA_LOCAL"):
        folder_of(url, "STRATA_LOCAL")


def test_a_folder_that_others_empty_is_written_to(tmp_path: Path) -> None:
    """Who removes the last file of a folder removes the folder; who writes into it meanwhile is not told of that."""
    store = FilesystemStore(tmp_path, Durability.CACHED)

    def come_and_go(name: str) -> None:
        for _ in range(1000):
            store.put(name, [b"x"])
            store.delete(name)

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(come_and_go, ["layers/one/a", "layers/one/b"]))
    assert list(store.list()) == []
