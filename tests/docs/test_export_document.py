"""The page about exports names the members that a record may have, and its plain mapping is one."""

from __future__ import annotations

import re
from pathlib import Path

from strata.content.document import PART_BYTES, Row
from strata.content.document_reader import _MEMBERS, DocumentReader

_PAGE = Path("docs/how-to/export-and-hand-over.md").read_text()


def test_every_member_of_a_record_is_documented() -> None:
    """None is missing, and none is invented."""
    table = _PAGE.partition("| member of a record | means |")[2]
    names = re.findall(r"^\| ([^|]+) \|", table, re.MULTILINE)
    assert {name for cell in names for name in re.findall(r"`(\w+)`", cell)} == _MEMBERS
    assert f"{PART_BYTES:,} bytes" in _PAGE


def test_the_plain_mapping_of_the_page_is_read_as_the_page_says() -> None:
    """Its values become the texts that are shown."""
    (example,) = re.findall(r"```json\n(.*?)```", _PAGE, re.DOTALL)
    rows = DocumentReader([example.encode()], "the page").records()
    texts = {row.key.decode(): (row.value or b"").decode() for row in rows if isinstance(row, Row)}
    assert set(texts) == {"position:1", "mode"}
    for key, text in texts.items():
        assert f"`{key}` holds `{text}`" in _PAGE
