"""What a record of COLD keeps of an S3 object besides its body, and what S3's failures mean to a source."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from email.utils import parsedate_to_datetime
from typing import Any, Final

from strata.errors import SourceError, SourceUnavailable
from strata.model.tier import Tier
from strata.s3client import Fault, FaultKind

_TIER: Final = Tier.COLD.label
_HEADERS: Final = {
    "content_type": "ContentType",
    "content_encoding": "ContentEncoding",
    "content_disposition": "ContentDisposition",
    "content_language": "ContentLanguage",
    "cache_control": "CacheControl",
    "expires": "ExpiresString",
    "storage_class": "StorageClass",
}
_STANDARD: Final = "STANDARD"
_PASSING: Final = {FaultKind.UNAVAILABLE, FaultKind.CHANGED, FaultKind.CONFLICT}


def attrs_of(answer: Mapping[str, Any]) -> str:
    """The attrs of a record, compact JSON with sorted keys, from the answer to a GET or HEAD.

    The ETag is left out: it belongs to the way an object was uploaded (parts, KMS), so it would make a restored
    object look changed. Names of user metadata are lower case, as S3 keeps them.
    """
    attrs: dict[str, Any] = {name: answer[header] for name, header in _HEADERS.items() if answer.get(header)}
    if "expires" in attrs and not _is_date(attrs["expires"]):
        del attrs["expires"]  # S3 gives back any text here, and takes only dates
    attrs.setdefault("storage_class", _STANDARD)  # S3 leaves the header out for this class
    if metadata := answer.get("Metadata"):
        attrs["metadata"] = {name.lower(): value for name, value in metadata.items()}
    return json.dumps(attrs, ensure_ascii=False, separators=(",", ":"), sort_keys=True)


def arguments_of(attrs: str | None) -> dict[str, Any]:
    """The arguments of a PUT that give an object the headers and user metadata of a record."""
    kept: dict[str, Any] = json.loads(attrs) if attrs else {}
    arguments = {header: kept[name] for name, header in _HEADERS.items() if name in kept}
    if arguments.get("StorageClass") == _STANDARD:
        del arguments["StorageClass"]  # the default, and unknown to some services
    if expires := arguments.pop("ExpiresString", None):
        arguments["Expires"] = parsedate_to_datetime(expires)
    if metadata := kept.get("metadata"):
        arguments["Metadata"] = metadata
    return arguments


def _is_date(text: str) -> bool:
    try:
        parsedate_to_datetime(text)
    except ValueError:
        return False
    return True


def cold_failure(verb: str) -> Callable[[Fault], SourceError]:
    """What turns a failed request of COLD into an error; `verb` says what could not be done."""

    def failure(fault: Fault) -> SourceError:
        kind = SourceUnavailable if fault.kind in _PASSING else SourceError
        reason = "the bucket does not exist" if fault.kind is FaultKind.NO_BUCKET else fault.reason
        return kind(f"{_TIER} could not {verb}: {reason}", hint=fault.hint)

    return failure
