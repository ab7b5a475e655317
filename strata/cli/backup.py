"""`strata backup`: makes a backup through the workers, or in this process."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import click

from strata.cli.output import OneOf, Output, Seconds, common_options, refuse_waiting_options
from strata.errors import BrokerUnavailable, KeyringError, StrataError
from strata.model.backup_type import BackupType
from strata.model.structure import Structure
from strata.model.tier import Tier

if TYPE_CHECKING:
    from strata.engine.manager import BackupManager
    from strata.model.manifest import BackupMetadata
    from strata.settings import Settings
    from strata.wiring import Wiring


COPY_MISSING: Final = 19
"""The exit code where the backup is made, and a copy that its plan names is not."""


@dataclass(frozen=True)
class Handed:
    """A document that is backed up in place of the tiers, and what is taken of the structure that it describes."""

    document: str
    structure: Structure


@click.command("backup")
@click.argument("backup_type", metavar="TYPE", type=OneOf(BackupType))
@click.option("--wait/--no-wait", default=True, help="Wait for its end and show how it goes (the default).")
@click.option("--timeout", type=Seconds(), metavar="SECONDS", help="Wait no longer than this.")
@click.option("--local", is_flag=True, help="Do it in this process, without broker and workers.")
@click.option("--dry-run", is_flag=True, help="Only show what it would do, and why.")
@click.option("--fresh", is_flag=True, help="Build on nothing that is there: write a fresh base.")
@click.option("--from-json", metavar="FILE", help="Back up the state in this document, not the tiers'; - is stdin.")
@click.option("--trust-structure", is_flag=True, help="Let a restore run the statements in the document. See above.")
@common_options
def backup_command(
    output: Output,
    backup_type: str,
    timeout: float | None,
    from_json: str | None,
    *,
    wait: bool,
    local: bool,
    dry_run: bool,
    fresh: bool,
    trust_structure: bool,
) -> int:
    """Back up all configured tiers together. Exit code 14 if the backup is made, but may be incomplete.

    TYPE is `full` (everything is read; only what the store does not hold is written), `incremental` (what changed
    since the last backup), `differential` (since the last full one), `snapshot` or `emergency` (the keys that matter
    most, STRATA_PATTERNS; an emergency takes no lease, and goes on without a tier that does not answer).

    A document is data: of the tables that it describes, columns, types and keys are taken. --trust-structure takes the
    statements that create them too, and a restore into an empty database executes these: only for a document that
    nobody else could have written.
    """
    from strata.planning.backup import new_run_id
    from strata.settings import load_settings

    refuse_waiting_options(local=local, wait=wait, timeout=timeout)
    kind = BackupType(backup_type)
    settings = load_settings()
    run_id = new_run_id(kind, datetime.now(UTC))
    if dry_run and from_json is not None:
        raise click.UsageError("--dry-run does not read documents: leave out --from-json.")
    if trust_structure and from_json is None:
        raise click.UsageError("--trust-structure is for a document: it needs --from-json.")
    handed = (
        None if from_json is None else Handed(from_json, Structure.TRUSTED if trust_structure else Structure.REBUILT)
    )
    if dry_run:
        _plan(output, settings, kind, run_id, fresh=fresh)
        return 0
    if local:
        return _here(output, settings, kind, run_id, handed, fresh=fresh)
    timeout = timeout if wait else None
    return _through_workers(output, settings, kind, run_id, timeout, handed, wait=wait, fresh=fresh)


def _plan(output: Output, settings: Settings, kind: BackupType, run_id: str, *, fresh: bool) -> None:
    from strata.cli.summary import show_plan
    from strata.wiring import Wiring

    wiring = Wiring(settings)
    manager = wiring.local_manager
    show_plan(output, manager.unfinished.judged(manager.planner.decide(kind, run_id, fresh=fresh)))
    refuse_unreadable(output, wiring, kind)


def refuse_unreadable(output: Output, wiring: Wiring, kind: BackupType) -> None:
    """SourceError where a tier cannot be read: it is told before the first is read. A stubborn backup does without."""
    from strata.engine.greeting import unreadable
    from strata.model.backup_type import RULES, Manner

    if RULES[kind].manner is Manner.STUBBORN:
        return
    errors = list(unreadable(wiring.sources, wiring.clock).values())
    for error in errors[1:]:
        output.error(error.sentence, error.hint)
    if errors:
        raise errors[0]


def _here(
    output: Output, settings: Settings, kind: BackupType, run_id: str, handed: Handed | None, *, fresh: bool
) -> int:
    from strata.cli.doubts import doubts_of, tell_doubts, with_names
    from strata.cli.summary import show_made
    from strata.cli.watching import here
    from strata.engine.dead import of_this_process
    from strata.engine.local import backup_here
    from strata.wiring import Wiring

    wiring = Wiring(settings)
    manager, name = wiring.local_manager, ""
    title = f"Backup {run_id} ({kind}, in this process)"
    with of_this_process(wiring.spool, run_id):
        if handed is not None:
            from strata.engine.handed import hand_over

            name = hand_over(wiring.spool, run_id, handed.document, datetime.now(UTC), handed.structure)

        def ready() -> None:
            if handed is None:
                refuse_unreadable(output, wiring, kind)

        def make() -> BackupMetadata:
            return backup_here(manager, kind, run_id, fresh=fresh, override=name, ready=ready)

        try:
            made = here(output, manager, run_id, title, make)
        finally:
            if name:
                wiring.spool.delete([name])  # a run that was refused sweeps nothing
    doubts = with_names(wiring, run_id, doubts_of(wiring, manager.ledger, kind, run_id))
    show_made(output, made, wiring.keyring, doubts)
    missing = _copy_here(output, manager, run_id)
    return tell_doubts(output, run_id, doubts) or missing


def _copy_here(output: Output, manager: BackupManager, run_id: str) -> int:
    """Make the copies that the plan names, and the exit code; one that fails is told, and the backup stands."""
    from strata.cli.watching import here
    from strata.engine.local import copy_here
    from strata.planning.backup import new_run_id

    copies: list[dict[str, Any]] = []
    for target in manager.plan(run_id).copies:
        copy_id = new_run_id("copy", datetime.now(UTC))
        title = f"Copy of {run_id} to {target.upper()}"
        try:
            here(output, manager, copy_id, title, partial(copy_here, manager, run_id, copy_id, target))
            copies.append({"storage_tier": target.value, "made": True, "reason": None})
        except StrataError as error:
            copies.append({"storage_tier": target.value, "made": False, "reason": error.sentence})
            output.error(f"The backup is made, but its copy in {target.upper()} is not: {error.sentence}", error.hint)
            output.note(f"Make it later: strata copy {run_id} --to {target}")
    output.document({"copies": copies})
    return 0 if all(one["made"] for one in copies) else COPY_MISSING


def _through_workers(
    output: Output,
    settings: Settings,
    kind: BackupType,
    run_id: str,
    timeout: float | None,
    handed: Handed | None,
    *,
    wait: bool,
    fresh: bool,
) -> int:
    from strata.cli.doubts import doubt_documents, doubts_of, doubts_recorded, tell_doubts, with_names
    from strata.cli.looking import IN_HASTE, look_around
    from strata.cli.summary import show_made
    from strata.cli.watching import follow, tell_sent
    from strata.model.backup_type import RULES, Manner
    from strata.wiring import Wiring
    from tasks.enqueue import enqueue_backup

    app, wiring = sender(settings), Wiring(settings)
    check_followable(wiring, run_id)
    seconds = IN_HASTE if RULES[kind].manner is Manner.STUBBORN else None
    seen = look_around(output, wiring, tuple(Tier) if handed else (), seconds)
    if handed is None:
        enqueue_backup(app, kind, run_id, fresh=fresh, confirmed=seen)
    else:
        document, structure = handed.document, handed.structure
        seen = seen.model_copy(update={"tiers": ()})  # none of them is read
        enqueue_backup(app, kind, run_id, document, wiring.spool, fresh=fresh, confirmed=seen, structure=structure)
    if not wait:
        tell_sent(output, run_id)
        return 0
    follow(output, wiring.ledger, run_id, f"Backup {run_id} ({kind})", timeout)
    try:
        _, made = wiring.depots.find(run_id)
    except KeyringError as error:  # the workers have the keys; who asks need not
        doubts = doubts_recorded(wiring.ledger, run_id)
        output.say(f"Backup {run_id} is made and verified.")
        output.note(f"What it holds cannot be shown here: {error.sentence}")
        output.document({"backup_id": run_id, "doubts": doubt_documents(doubts)})
    else:
        doubts = with_names(wiring, run_id, doubts_of(wiring, wiring.ledger, kind, run_id))
        show_made(output, made, wiring.keyring, doubts)
    return tell_doubts(output, run_id, doubts)


def check_followable(wiring: Wiring, run_id: str) -> None:
    """Nothing is sent where nobody could follow it, nor any worker enter it."""
    try:
        wiring.ledger.run(run_id)
    except BrokerUnavailable as error:
        hint = f"{error.hint} Or do it without workers: --local."
        raise BrokerUnavailable(error.sentence, hint=hint.strip()) from None


def sender(settings: Settings) -> Any:
    """The app that sends to the workers; SettingError where there is no broker to send to."""
    from strata.settings import required

    required(settings.broker_url, "STRATA_BROKER_URL", "workers get their work through it (--local needs none)")
    required(settings.result_url, "STRATA_RESULT_URL", "the run is followed there (--local needs none)")
    from workers.configuration import make_app

    return make_app(settings)
