"""Reads an export, or a plain mapping: record by record, and strictly, for what is misread here is backed up so."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from hashlib import blake2b
from typing import Any, Final

import numpy as np

from strata.content.document import MARK, PART_BYTES, VERSION, Row, TierHead, compact, milliseconds
from strata.content.json_stream import AS_TEXT, JsonScanner
from strata.errors import SettingError
from strata.model.record import STATE_MANAGER, Encoding
from strata.model.tier import Tier

_OUTSIDE_STRINGS: Final = re.compile(r'("(?:[^"\\]|\\.)*")|[ \t\n\r]+')

_ENCODINGS: Final = {
    Tier.HOT: {Encoding.REDIS_STRING, Encoding.REDIS_DUMP},
    Tier.WARM: {Encoding.PG_COPY_TEXT},
    Tier.COLD: {Encoding.S3_OBJECT},
}
_KEYS: Final = ("key", "key_base64")
_VALUES: Final = ("value", "value_json", "value_base64", "parts_base64")
_MEMBERS: Final = {
    "tier",
    "namespace",
    *_KEYS,
    *_VALUES,
    "bytes",
    "encoding",
    "expires_at",
    "modified_at",
    "attrs",
    "attrs_text",
}


class DocumentReader:
    """Reads a document of either kind; SettingError says what is wrong in which record, and repeats nothing of it.

    `tiers` is complete, and what only the whole shows is checked, once `records` has ended.
    """

    def __init__(self, parts: Iterable[bytes], name: str) -> None:
        self._json = JsonScanner(parts, name)
        self._heads: dict[Tier, TierHead] = {}
        self._counts = dict.fromkeys(Tier, 0)
        self._databases: set[int] = set()
        self._seen = _Seen()
        self.origin = ""
        """The backup that was exported, where the document says so."""

    @property
    def count(self) -> int:
        """Records read so far."""
        return self._seen.count

    @property
    def tiers(self) -> dict[Tier, TierHead]:
        """The tiers that the document holds, with what describes each."""
        return {tier: self._described(tier, head) for tier, head in self._heads.items()}

    def records(self) -> Iterator[Row | bytes]:
        """Every record; a large one is followed by its parts."""
        self._json.expect("{")
        if self._json.next() == "}":
            raise self._json.error("it holds nothing")
        first = self._member()
        yield from self._exported() if first == MARK else self._plain(first)
        if self._json.next():
            raise self._json.error("it is not JSON: something follows its end")
        if number := self._seen.repeated():
            raise self._wrong("it has the key of an earlier one", number)

    # --- a plain mapping ---

    def _plain(self, name: str) -> Iterator[Row]:
        """Each member becomes a string of Redis, database 0, that holds the JSON text of its value."""
        self._heads[Tier.HOT] = TierHead({})
        while True:
            if name == MARK:
                raise self._json.error(f"{MARK} must be the first member")
            _, text = self._checked(lambda: self._json.element(AS_TEXT))
            value = _OUTSIDE_STRINGS.sub(lambda found: found.group(1) or "", text).encode()
            yield self._taken(Row(Tier.HOT, "0", self._encoded(name), value, Encoding.REDIS_STRING))
            if not self._json.take(","):
                break
            name = self._member()
        self._json.expect("}")

    # --- an export ---

    def _exported(self) -> Iterator[Row | bytes]:
        version, _ = self._json.element()
        if version != VERSION or isinstance(version, bool):
            raise self._json.error(f"version {VERSION} of the format is known, and this is another")
        held = False
        while self._json.take(","):
            name = self._member()
            if name == "records" and not held:
                held = True
                yield from self._listed()
            elif name == "tiers" and not self._heads:
                self._heads = self._read_heads(self._json.element()[0])
            elif name in {"records", "tiers"}:
                raise self._json.error(f"it has {name} twice")
            else:
                found, _ = self._json.element()
                self.origin = found if name == "backup_id" and isinstance(found, str) else self.origin
        self._json.expect("}")
        if not held:
            raise self._json.error("it has no records")
        for tier, head in self._heads.items():
            if head.records not in {None, self._counts[tier]}:
                raise self._json.error(
                    f"it has {self._counts[tier]:,} records of {tier}, and says {head.records:,}: it is not whole"
                )

    def _listed(self) -> Iterator[Row | bytes]:
        if not self._heads:
            raise self._json.error("its tiers must stand before its records")
        self._json.expect("[")
        if self._json.take("]"):
            return
        while True:
            row = self._taken(self._row(self._checked(self._json.element)[0]))
            yield row
            left = row.size
            for _ in range(row.parts):
                self._json.expect(",")
                part = self._base64(self._json.string())
                if len(part) != min(PART_BYTES, left):
                    raise self._wrong("its parts do not add up to its bytes", self.count)
                left -= len(part)
                yield part
            if not self._json.take(","):
                break
        self._json.expect("]")

    def _read_heads(self, found: Any) -> dict[Tier, TierHead]:
        if not isinstance(found, dict) or not found or not all(isinstance(head, dict) for head in found.values()):
            raise self._json.error("its tiers must be an object: a tier's name, and what describes the tier")
        heads = {}
        for name, head in found.items():
            source, cut, records = head.get("source", {}), head.get("cut", {}), head.get("records")
            if not isinstance(source, dict) or not isinstance(cut, dict) or not isinstance(records, int | None):
                raise self._json.error("a tier has a source, a cut or a count that is none")
            heads[self._tier(name, self._json.error)] = TierHead(source, cut, records)
        return heads

    def _row(self, members: Any) -> Row:
        if not isinstance(members, dict):
            raise self._wrong("it is not an object")
        if strange := set(members) - _MEMBERS:
            raise self._wrong(f"{len(strange)} of its members are none that a record has")
        tier = self._tier(members.get("tier"), self._wrong)
        if tier not in self._heads:
            raise self._wrong(f"{tier} is none of the document's tiers")
        parts, size = self._parts(members)
        return Row(
            tier=tier,
            namespace=self._text(members.get("namespace", ""), "namespace"),
            key=self._bytes(members, _KEYS) or b"",
            value=self._bytes(members, _VALUES),
            encoding=self._encoding(tier, members.get("encoding")),
            expires_at=self._moment(members.get("expires_at")),
            modified_at=self._moment(members.get("modified_at")),
            attrs=self._attrs(members),
            parts=parts,
            size=size,
        )

    def _bytes(self, members: dict[str, Any], names: tuple[str, ...]) -> bytes | None:
        """What one of the members says; None for parts that follow."""
        given = [name for name in names if name in members]
        if len(given) != 1:
            raise self._wrong(f"it must have one of {', '.join(names)}")
        (name,), value = given, members[given[0]]
        if name == "parts_base64":
            return None
        if name == "value_json":
            return self._encoded(compact(value))
        if not isinstance(value, str):
            raise self._wrong(f"its {name} is no string")
        return self._base64(value) if name.endswith("_base64") else self._encoded(value)

    def _parts(self, members: dict[str, Any]) -> tuple[int, int]:
        parts, size = members.get("parts_base64", 0), members.get("bytes", 0)
        plain = type(parts) is int and type(size) is int
        if not plain or size < ("parts_base64" in members) or parts != -(-size // PART_BYTES):
            raise self._wrong("its parts_base64 and bytes do not fit together")
        return parts, size

    def _attrs(self, members: dict[str, Any]) -> str | None:
        if "attrs" in members and "attrs_text" in members:
            raise self._wrong("it has both attrs and attrs_text")
        if "attrs" in members:
            return self._text(compact(members["attrs"]), "attrs")
        return self._text(members["attrs_text"], "attrs_text") if "attrs_text" in members else None

    def _moment(self, value: Any) -> int | None:
        if value is None:
            return None
        try:
            moment = datetime.fromisoformat(value)
        except (TypeError, ValueError):
            raise self._wrong("a moment in it is not like 2026-11-23T22:45:01.000Z") from None
        if moment.tzinfo is None:
            raise self._wrong("a moment in it does not say which time zone it is of")
        return milliseconds(moment)

    def _encoding(self, tier: Tier, name: Any) -> Encoding:
        try:
            encoding = Encoding(name)
        except ValueError:
            raise self._wrong(f"its encoding is none of {', '.join(Encoding)}") from None
        through = self._heads[tier].source.get("source") == STATE_MANAGER
        if encoding not in ({Encoding.JSON} if through else _ENCODINGS[tier]):
            raise self._wrong(f"records of {tier} are not of encoding {encoding}")
        return encoding

    def _tier(self, name: Any, error: Callable[[str], SettingError]) -> Tier:
        try:
            return Tier(name)
        except ValueError:
            raise error(f"a tier is one of {', '.join(Tier)}") from None

    def _text(self, value: Any, name: str) -> str:
        if not isinstance(value, str):
            raise self._wrong(f"its {name} is no string")
        self._encoded(value)
        return value

    def _encoded(self, text: str) -> bytes:
        try:
            return text.encode()
        except UnicodeEncodeError:
            raise self._wrong("a string in it is half a surrogate pair") from None

    def _base64(self, text: str) -> bytes:
        try:
            return base64.b64decode(text, validate=True)
        except (binascii.Error, ValueError):
            raise self._wrong("it has base64 that is none") from None

    def _taken(self, row: Row) -> Row:
        if row.tier is Tier.HOT and row.encoding is not Encoding.JSON:
            if not row.namespace.isascii() or not row.namespace.isdecimal():
                raise self._wrong("the namespace of a record of hot is a database's number")
            self._databases.add(int(row.namespace))
        self._counts[row.tier] += 1
        self._seen.add(row)
        return row

    def _member(self) -> str:
        name = self._json.string()
        self._json.expect(":")
        return name

    def _checked(self, read: Callable[[], tuple[Any, str]]) -> tuple[Any, str]:
        """An element; an error in it names the record."""
        try:
            return read()
        except SettingError as error:
            raise type(error)(f"record {self.count + 1}, {error.sentence}", hint=error.hint) from None

    def _wrong(self, what: str, number: int | None = None) -> SettingError:
        return self._json.error(what, f"record {self.count + 1 if number is None else number}")

    def _described(self, tier: Tier, head: TierHead) -> TierHead:
        """Where the document does not say what the source was: what a restore needs to know at least."""
        if head.source:
            return head
        if tier is Tier.WARM:
            raise self._json.error("warm needs its source, which says what tables its rows are of")
        databases = sorted(self._databases) or [0]
        told = {"server": "a document", "version": "", "databases": databases, "dump_version": None}
        return TierHead(told if tier is Tier.HOT else {}, head.cut, head.records)


class _Seen:
    """The keys read so far, as 16-byte hashes: 10 million records take 160 MB."""

    def __init__(self) -> None:
        self._hashes = bytearray()
        self.count = 0

    def add(self, row: Row) -> None:
        place = f"{row.tier}\0{row.namespace}\0".encode("utf-8", "surrogatepass")
        self._hashes += blake2b(place + row.key, digest_size=16).digest()
        self.count += 1

    def repeated(self) -> int:
        """The number of the first record whose key an earlier one has; 0 where there is none."""
        high, low = np.frombuffer(self._hashes, np.uint64).reshape(-1, 2).T
        order = np.lexsort((np.arange(self.count), low, high))
        same = (high[order][1:] == high[order][:-1]) & (low[order][1:] == low[order][:-1])
        return int(order[1:][same].min()) + 1 if same.any() else 0
