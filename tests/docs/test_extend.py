"""docs/how-to/extend.md works to the letter: a type and a source are added as it says, and make backups."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import textwrap
import time
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa

import strata
from strata.errors import SourceError
from strata.model.identity import Identity
from strata.model.record import SOURCE_SCHEMA, Encoding, constant_column
from strata.model.tier import Tier
from strata.sources.glob import matcher
from strata.sources.port import AfterCut, ApplyCounts, RestoreMode
from tests.engine.workbench import Workbench

_PAGE = Path("docs/how-to/extend.md").read_text()
_MEMBER, _ROW, _SOURCE = (textwrap.dedent(block) for block in re.findall(r"```python\n(.*?)```", _PAGE, re.DOTALL))

_PROGRAM = """
import sys
from pathlib import Path
from strata.model.backup_type import BackupType
from strata.engine.local import backup_here
from tests.engine.workbench import Workbench
from strata.testing import MemoryRecord, MemorySource
from strata.model.tier import Tier

keys = [b"limit:1", b"order:2", b"position:3"]
source = MemorySource(Tier.HOT, {("0", key): MemoryRecord(b"1") for key in keys})
bench = Workbench(Path(sys.argv[1]), {Tier.HOT: source})
backup_here(bench.manager, BackupType("full"), "run-0")
backup_here(bench.manager, BackupType("audit"), "run-1")
source.records["0", b"limit:1"] = MemoryRecord(b"2")
made = backup_here(bench.manager, BackupType("audit"), "run-2")
print(made.backup_type, made.parent, made.records, made.content(Tier.HOT).changes.changed)
"""


def test_a_type_is_added_in_one_file(folder: Path) -> None:
    """The member and the row of the page, put into backup_type.py, give a type that plans, compares and stores."""
    shutil.copytree(Path(strata.__file__).parent, folder / "strata")
    shutil.copytree("tests/engine", folder / "tests" / "engine")
    (folder / "tests" / "__init__.py").touch()
    path = folder / "strata" / "model" / "backup_type.py"
    text = path.read_text()
    last = 'EMERGENCY = "emergency"\n'
    assert text.count(last) == 1
    text = text.replace(last, last + textwrap.indent(_MEMBER, "    "))
    text = text.replace("RULES: Final = {\n", "RULES: Final = {\n" + textwrap.indent(_ROW, "    "))
    path.write_text(text)
    (folder / "work").mkdir()
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM, str(folder / "work")],
        cwd=folder,
        env={"PYTHONPATH": str(folder), "PATH": "/usr/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "audit run-1 2 1\n", done.stderr


def test_a_source_is_added_by_the_class_on_the_page(folder: Path) -> None:
    """The folder source of the page backs up, and brings back exactly what was there."""
    names: dict[str, Any] = {
        "Tier": Tier,
        "Identity": Identity,
        "AfterCut": AfterCut,
        "time": time,
        "Path": Path,
        "contextmanager": contextmanager,
        "SourceError": SourceError,
        "datetime": datetime,
        "UTC": UTC,
        "matcher": matcher,
        "pa": pa,
        "constant_column": constant_column,
        "Encoding": Encoding,
        "SOURCE_SCHEMA": SOURCE_SCHEMA,
        "ApplyCounts": ApplyCounts,
        "RestoreMode": RestoreMode,
    }
    exec(_SOURCE, names)  # noqa: S102 - the page's own code
    state = folder / "state"
    state.mkdir()
    (state / "small").write_bytes(b"one")
    (state / "large").write_bytes(b"x" * 3_000_000)
    bench = Workbench(folder / "bench", {Tier.COLD: names["FolderSource"](state)})
    bench.backup()
    (state / "small").write_bytes(b"changed")
    (state / "large").unlink()
    (state / "new").write_bytes(b"2")
    bench.restore()
    assert {path.name: len(path.read_bytes()) for path in state.iterdir()} == {"small": 3, "large": 3_000_000}
