"""What a person is told of a thaw: what it takes before it is begun, and how long it is still waited for."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from strata.cli.output import Output, facts, local_time, plain_table, size
from strata.model.plan import RestorePlan
from strata.model.run import Run, RunKind, RunState

if TYPE_CHECKING:
    from strata.model.thaw import ThawPlan


def show_thaw(output: Output, thaw: ThawPlan) -> None:
    """The plan of a thaw, on stderr: nothing has been asked for yet."""
    columns = ("class", "objects", "bytes", "speed", "takes", "retrieval", "requests", "copies", "USD")
    table = plain_table(*columns, right=("objects", "bytes", "retrieval", "requests", "copies", "USD"))
    for part in thaw.parts:
        costs = (part.retrieval_cost, part.request_cost, part.copy_cost, part.cost)
        takes = span(part.least_hours, part.most_hours)
        table.add_row(
            part.storage_class,
            f"{part.objects:,}",
            size(part.bytes),
            part.speed.value,
            takes,
            *(f"{cost:,.2f}" for cost in costs),
        )
    batches = f"{thaw.batches} batch{'' if thaw.batches == 1 else 'es'}"
    rows: list[tuple[str, Any]] = [
        ("must be thawed", f"{thaw.objects:,} objects, {size(thaw.bytes)}, in {batches}"),
        ("on their way", f"{thaw.thawing:,} objects, {size(thaw.thawing_bytes)}"),
        ("can be read", f"{thaw.readable:,} objects, {size(thaw.readable_bytes)}"),
        ("copies stay", f"{thaw.days} days"),
        ("cost", f"about {thaw.cost:,.2f} USD, by STRATA_ARCHIVE_PRICES"),
    ]
    output.err.print(facts(rows))
    if thaw.parts:
        output.err.print(table)
    for reason in thaw.reasons:
        output.note(f"{reason}.")


def question(thaw: ThawPlan) -> str:
    """What to ask before a thaw is begun."""
    return f"Thaw it for about {thaw.cost:,.2f} USD, wait up to {hours(thaw.most_hours)}, and restore"


def as_document(thaw: ThawPlan | None) -> dict[str, Any] | None:
    """The plan as JSON, with its sums."""
    if thaw is None:
        return None
    sums = {"objects": thaw.objects, "bytes": thaw.bytes, "least_hours": thaw.least_hours, "cost_usd": thaw.cost}
    return {**thaw.model_dump(mode="json"), **sums}


def waits(run: Run) -> str:
    """What a run waits for and until about when, or nothing."""
    if run.wakes_at is None or run.state.final:
        return ""
    if run.state is RunState.PLANNED:
        return f"waits for {run.waits_for}"
    ready = thaw_ends(run)
    until = f", until about {local_time(ready)}" if ready and ready > datetime.now(UTC) else ""
    return f"waits for {run.waits_for}{until}"


def thaw_ends(run: Run) -> datetime | None:
    """When the thaw of a run should be over; None for a run without one."""
    if run.kind is not RunKind.RESTORE or not run.plan:
        return None
    thaw = RestorePlan.model_validate_json(run.plan).thaw
    return thaw.ready_by(run.created_at) if thaw else None


def span(least: float, most: float) -> str:
    """`5-12 h`, `1-5 min`."""
    if most < 1:
        return f"{least * 60:.0f}-{most * 60:.0f} min"
    return f"{least:g}-{most:g} h" if least < most else f"{most:g} h"


def hours(most: float) -> str:
    """`12 h`, `5 min`."""
    return f"{most:g} h" if most >= 1 else f"{most * 60:.0f} min"
