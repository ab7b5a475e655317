"""How Flower shows tasks: by their plain names, with what they are about as arguments and what came of it as result.

A name takes no word of its run: each name is a series of Flower's metrics for ever. Arguments are worded here instead
of shown as they are, so that nothing is seen that was not meant to be.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # commands that only send need nothing of it
    from strata.engine.restorer import Applied
    from strata.model.run import Progress
    from strata.model.ticket import Verified


def about(*ids: str, **facts: str) -> dict[str, str]:
    """Options of a message: `(RUN, hot/segment/2)` as arguments, `{tier: HOT, bytes: 31.4 MB}` as keywords."""
    told = ", ".join(f"{name}: {fact}" for name, fact in facts.items() if fact)
    return {"argsrepr": f"({', '.join(ids)})", "kwargsrepr": f"{{{told}}}"}


def about_start(run_id: str, arguments: Mapping[str, Any]) -> dict[str, str]:
    """The same for a start: what was asked for, without what the sender saw."""
    told = {name: _word(value) for name, value in arguments.items() if name != "confirmed" and value != run_id}
    return about(run_id, **told)


def kept(request: Any) -> dict[str, str]:
    """The words of the message that is being worked on, for the one that takes its place."""
    words = {name: request.get(name) for name in ("argsrepr", "kwargsrepr")}
    return {name: said for name, said in words.items() if said is not None}


def size(count: int) -> str:
    """`31.4 MB`."""
    return f"{count / 1e6:,.1f} MB"


def in_words(progress: Progress) -> str:
    """`120,000 records, 31.4 MB` or `12/30 objects, 31.4 MB`."""
    if progress.objects:
        return f"{progress.objects}/{progress.total} objects, {size(progress.bytes)}"
    return f"{progress.records:,} records, {size(progress.bytes)}"


def proved(verified: Verified) -> str:
    """`30 objects proved, 120,000 records, 31.4 MB`."""
    return f"{verified.objects} objects proved, {verified.records:,} records, {size(verified.bytes)}"


def written(applied: Applied) -> str:
    """`120,000 records written, 31.4 MB, 12 unchanged, 3 removed`."""
    rest = {"unchanged": applied.unchanged, "removed": applied.removed, "expired": applied.expired}
    told = [f"{count:,} {what}" for what, count in rest.items() if count]
    return ", ".join([f"{applied.written:,} records written", size(applied.bytes), *told])


def _word(value: object) -> str:
    if isinstance(value, list):
        return " ".join(map(str, value))
    return str(value) if value else ""
