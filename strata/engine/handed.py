"""State that is handed over: from a document into the spool, and from there to the collectors.

The sender reads the document through, so that what is wrong with it is told before anything is sent, and leaves its
records in the spool: one sealed object under the run's key, whose name travels instead of the state. Its blocks are
marked by their `first`: `rows/<tier>` holds records as Arrow, `large/<tier>` one record without its value, which
follows in `part` blocks, and `head`, the last one, says which tiers there are.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

from strata.content.blocks import BLOCK_BYTES, decode_block, encode_block
from strata.content.document import EPOCH, Row, TierHead
from strata.content.document_reader import DocumentReader
from strata.engine.spool import Held, Spool, SpoolWriter
from strata.errors import IntegrityError, SettingError, StorageError
from strata.model.coverage import SourceKind
from strata.model.layer import ObjectKind
from strata.model.plan import BackupPlan
from strata.model.record import MOMENT, SOURCE_SCHEMA, Encoding, LargeValue, SourceItem
from strata.model.structure import Structure
from strata.model.tier import Tier
from strata.seal.frame import Compression
from strata.sources.handed import HandedSource
from strata.sources.postgres_handed import rebuilt, trusted

State = str | Path | Mapping[str, Any]
"""What can be handed over: the path of a document (`-` is standard input), or a mapping that would be one as JSON."""

_HELD: Final = Held(ObjectKind.DOCUMENT, 0)
_HEAD: Final = b"head"
_PART: Final = b"part"
_READ_BYTES: Final = 1 << 20
_ROW_COST: Final = 64


def hand_over(spool: Spool, run_id: str, state: State, now: datetime, structure: Structure = Structure.REBUILT) -> str:
    """Leave the state in the spool for a run; the name that the run is started with.

    SettingError where the document is none; nothing is left then. Handed over twice, it is there twice. What describes
    tables is rebuilt from checked fields, or taken with its statements where the structure is trusted.
    """
    name = f"{run_id}/handed-{secrets.token_hex(4)}"
    reader = DocumentReader(_parts(state), "the state" if isinstance(state, Mapping) else _shown(state))
    try:
        with spool.begin(run_id, name, _HELD, Compression.NONE) as writer:
            blocks = _Blocks(writer)
            for found in reader.records():
                blocks.add(found)
            heads = {
                tier.value: {"source": _source(tier, head, structure), "cut": head.cut}
                for tier, head in reader.tiers.items()
            }
            blocks.finish(
                {"handed_at": now.isoformat(timespec="milliseconds"), "origin": reader.origin, "tiers": heads}
            )
            writer.commit()
    except BaseException:
        with suppress(StorageError):  # the failure that brought us here is the one to report
            spool.delete([name])  # with the folder that was made for it
        raise
    return name


def tiers_handed(spool: Spool, run_id: str, name: str) -> dict[Tier, SourceKind]:
    """Which tiers a run's document holds."""
    held = SpooledDocument(spool, run_id, name).tiers
    return {tier: SourceKind.HANDED for tier in Tier if tier in held}


def reading_document(plan: BackupPlan, name: str) -> BackupPlan:
    """The plan of a run that reads a document; of tiers that this does not hold the reason says so."""
    reason = {"reason": "the document that was handed over does not hold it"}
    tiers = tuple(part if part.layer_id else part.model_copy(update=reason) for part in plan.tiers)
    return plan.model_copy(update={"tiers": tiers, "override": name})


def handed_source(spool: Spool, run_id: str, name: str, tier: Tier) -> HandedSource:
    """What a tier is read from, where the run was handed a document."""
    return HandedSource(tier, lambda: SpooledDocument(spool, run_id, name))


def _source(tier: Tier, head: TierHead, structure: Structure) -> dict[str, Any]:
    """What describes a tier's source, with nothing in it that a restore would execute unasked."""
    if tier is not Tier.WARM:
        return head.source
    match structure:
        case Structure.REBUILT:
            return rebuilt(head.source)
        case Structure.TRUSTED:
            return trusted(head.source)


class SpooledDocument:
    """Implements HandedDocument: the object in the spool, of which a block is fetched when it is needed."""

    def __init__(self, spool: Spool, run_id: str, name: str) -> None:
        self._frame = spool.open_ranged(run_id, name, _HELD)
        if self._frame.blocks[-1].first != _HEAD:
            raise IntegrityError(f"{name} in the spool is not a document that was handed over")
        self._head = json.loads(self._frame.read(len(self._frame.blocks) - 1))

    @property
    def tiers(self) -> set[Tier]:
        """The tiers it holds."""
        return {Tier(name) for name in self._head["tiers"]}

    def cut(self, tier: Tier) -> dict[str, Any]:
        origin = {"exported_from": self._head["origin"]} if self._head["origin"] else {}
        then = self._head["tiers"][tier]["cut"]
        cut = {"time": self._head["handed_at"], "method": "handed over", **origin}
        return {**cut, "then": then} if then else cut

    def description(self, tier: Tier) -> dict[str, Any]:
        description: dict[str, Any] = self._head["tiers"][tier]["source"]
        return description

    def items(self, tier: Tier, covered: Callable[[bytes], bool]) -> Iterator[SourceItem]:
        for number, block in enumerate(self._frame.blocks):
            if block.first == _mark("rows", tier):
                for batch in decode_block(self._frame.read(number), SOURCE_SCHEMA).to_batches():
                    kept = [covered(key) for key in batch["key"].to_pylist()]
                    yield batch if all(kept) else batch.filter(pa.array(kept, pa.bool_()))
            elif block.first == _mark("large", tier):
                (row,) = decode_block(self._frame.read(number), SOURCE_SCHEMA).to_pylist()
                if covered(row["key"]):
                    yield self._large(row, number + 1)

    def _large(self, row: dict[str, Any], first: int) -> LargeValue:
        numbers = [first]
        while self._frame.blocks[numbers[-1] + 1].first == _PART:
            numbers.append(numbers[-1] + 1)
        return LargeValue(
            namespace=row["namespace"],
            key=row["key"],
            encoding=Encoding(row["encoding"]),
            size=sum(self._frame.blocks[number].raw_length for number in numbers),
            parts=map(self._frame.read, numbers),
            expires_at=row["expires_at"],
            modified_at=row["modified_at"],
            attrs=row["attrs"],
        )


class _Blocks:
    """Gathers records into blocks of a few MiB, tier by tier."""

    def __init__(self, writer: SpoolWriter) -> None:
        self._writer = writer
        self._waiting: dict[Tier, list[Row]] = {tier: [] for tier in Tier}
        self._sizes = dict.fromkeys(Tier, 0)

    def add(self, found: Row | bytes) -> None:
        """Take a record, or a part of the large one before."""
        if isinstance(found, bytes):
            self._writer.add(found, len(found), 0, _PART)
        elif found.value is None:
            self._write("large", found.tier, [found])
        else:
            self._waiting[found.tier].append(found)
            self._sizes[found.tier] += len(found.key) + len(found.value) + _ROW_COST
            if self._sizes[found.tier] >= BLOCK_BYTES:
                self._flush(found.tier)

    def finish(self, head: dict[str, Any]) -> None:
        """Write what waits, and the head."""
        for tier in Tier:
            self._flush(tier)
        data = json.dumps(head).encode()
        self._writer.add(data, len(data), 1, _HEAD)

    def _flush(self, tier: Tier) -> None:
        rows, self._waiting[tier], self._sizes[tier] = self._waiting[tier], [], 0
        if rows:
            self._write("rows", tier, rows)

    def _write(self, what: str, tier: Tier, rows: list[Row]) -> None:
        block = encode_block(_table(rows))
        self._writer.add(block, len(block), len(rows), _mark(what, tier))


def _table(rows: list[Row]) -> pa.Table:
    columns: list[pa.Array] = [
        pa.array([row.namespace for row in rows], pa.string()).dictionary_encode(),
        pa.array([row.key for row in rows], pa.large_binary()),
        pa.array([row.value for row in rows], pa.large_binary()),
        pa.array([row.encoding.value for row in rows], pa.string()).dictionary_encode(),
        pa.array([_moment(row.expires_at) for row in rows], MOMENT),
        pa.array([_moment(row.modified_at) for row in rows], MOMENT),
        pa.array([row.attrs for row in rows], pa.string()),
    ]
    return pa.table(columns, SOURCE_SCHEMA)


def _moment(milliseconds: int | None) -> datetime | None:
    return None if milliseconds is None else EPOCH + timedelta(milliseconds=milliseconds)


def _mark(what: str, tier: Tier) -> bytes:
    return f"{what}/{tier}".encode()


def _shown(path: str | Path) -> str:
    return "standard input" if str(path) == "-" else str(path)


def _parts(state: State) -> Iterable[bytes]:
    """The document's bytes, some at a time."""
    if isinstance(state, Mapping):
        return [_as_json(dict(state))]
    return _file_parts(state)


def _as_json(state: dict[str, Any]) -> bytes:
    try:
        text = json.dumps(state, ensure_ascii=False, allow_nan=False)
        if json.loads(text) == state:
            return text.encode()
    except (TypeError, ValueError, RecursionError):
        pass
    raise SettingError(
        "the state that is to be handed over has something in it which JSON cannot express",
        hint="Keys must be str; values None, bool, int, float, str, list or dict.",
    )


def _file_parts(path: str | Path) -> Iterator[bytes]:
    try:
        with open(0 if str(path) == "-" else path, "rb", closefd=str(path) != "-") as file:
            while part := file.read(_READ_BYTES):
                yield part
    except OSError as error:
        raise SettingError(f"{_shown(path)} cannot be read: {error.strerror}") from None
