"""The whole choreography.

    start_backup
      chord: baseline, one for each parent and for chunks   lay out what earlier backups hold
        collect_all                                         sends:
      chord: collect_hot | collect_warm | collect_cold      in parallel, one a tier
        merge                                               sends, where a cut was lost, that chord again; else:
          chord, a chain for each unit: compress -> encrypt -> store
            verify
          record
    whatever fails, once: abandon

    start_restore
      thaw                                                  where something is frozen: again and again, then:
      chord: check                                          prove everything, write nothing
        apply_all                                           sends:
          chord: apply_warm                                 one transaction, before anything else is overwritten
            apply_rest                                      sends:
              chord: apply_hot | apply_cold                 in parallel
                finish
    whatever fails, once: abandon

    copy_backup
      chord: copy_part, one for about a gigabyte            bring what the other store lacks, and read it back there
        finish_copy                                         the manifest last
    whatever fails, once: abandon

    prune
      chain: mark -> sweep_store, one for each store -> finish
    whatever fails, once: abandon

Always a flat chord, never one in a header (a member that fails there hangs the outer one for ever), never a bare
group. Signatures are immutable: ids travel, results stay in the ledger. A task that goes on with more sends it and
ends; one that became what it sends (Celery's `replace`) would give it its own id, and so vanish from Flower.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from celery import chain, chord

from strata.model.backup_type import RULES, Manner
from strata.model.plan import BackupPlan, CopyPlan, PruneOrder, RestorePlan
from strata.model.ticket import Merged, Spooled
from strata.planning.restore import rounds
from tasks.abandon import abandon
from tasks.enqueue import EMERGENCY
from tasks.words import about, size


def backup(plan: BackupPlan, baseline_units: Sequence[str]) -> Any:
    """From the baselines, where there are any, to `collecting`."""
    from tasks.baseline import baseline
    from tasks.collect import collect_all

    run_id, lane = plan.backup_id, lane_of(plan)
    if not baseline_units:
        return collecting(plan)
    header = [read_as(baseline, run_id, unit, lane=lane, of=unit.upper()) for unit in baseline_units]
    return chord(header, read_as(collect_all, run_id, lane=lane)).on_error(_abandoning(run_id, lane))


def collecting(plan: BackupPlan) -> Any:
    """From collection to merge, which goes on with `storing`."""
    from tasks.collect import COLLECT
    from tasks.merge import merge

    run_id, lane = plan.backup_id, lane_of(plan)
    header = [read_as(COLLECT[part.tier], run_id, lane=lane, tier=part.tier.upper()) for part in plan.included]
    return chord(header, read_as(merge, run_id, lane=lane)).on_error(_abandoning(run_id, lane))


def storing(plan: BackupPlan, merged: Merged) -> Any:
    """From the merged units to the record."""
    from tasks.compress import compress
    from tasks.encrypt import encrypt
    from tasks.record import record
    from tasks.store import store
    from tasks.verify import verify

    run_id, lane = plan.backup_id, lane_of(plan)
    last = read_as(verify, run_id, lane=lane), read_as(record, run_id, lane=lane)
    if not merged.objects:  # nothing to store, in any tier: an empty header never calls its body
        return chain(*last).on_error(_abandoning(run_id, lane))
    totals = Counter((spooled.unit.tier, spooled.unit.kind) for spooled in merged.objects)

    def chain_of(spooled: Spooled) -> Any:
        unit = spooled.unit
        facts = {
            "tier": unit.tier.upper(),
            "unit": f"{unit.kind} {unit.seq + 1}/{totals[unit.tier, unit.kind]}",
            "bytes": size(spooled.raw_bytes),
        }
        return chain(*(read_as(task, run_id, unit.label, lane=lane, **facts) for task in (compress, encrypt, store)))

    header = [chain_of(spooled) for spooled in merged.objects]
    return (chord(header, last[0]) | last[1]).on_error(_abandoning(run_id, lane))


def restore(plan: RestorePlan) -> Any:
    """The thaw, where something is frozen, which goes on with `restoring`; else that at once."""
    from tasks.thaw import thaw

    if plan.thaw is None:
        return restoring(plan)
    return read_as(thaw, plan.restore_id).on_error(_abandoning(plan.restore_id))


def restoring(plan: RestorePlan) -> Any:
    """Prove everything, then go on with `applying`."""
    from tasks.restore import apply_all, check

    run_id = plan.restore_id
    return chord([read_as(check, run_id)], read_as(apply_all, run_id)).on_error(_abandoning(run_id))


def applying(plan: RestorePlan, done: int = 0) -> Any:
    """Write the tiers back, from the round after the first `done` ones on, and finish after the last."""
    from tasks.restore import APPLY, apply_rest, finish

    order = rounds(plan.tiers)
    run_id = plan.restore_id
    header = [read_as(APPLY[tier], run_id, tier=tier.upper()) for tier in order[done]]
    following = finish if done + 1 == len(order) else apply_rest
    return chord(header, read_as(following, run_id)).on_error(_abandoning(run_id))


def copy(plan: CopyPlan) -> Any:
    """Copy part by part, then write the manifest."""
    from tasks.copy import copy_part, finish_copy

    run_id, parts = plan.copy_id, len(plan.parts)
    finish = read_as(finish_copy, run_id)
    if not parts:
        return finish.on_error(_abandoning(run_id))
    header = [
        read_as(copy_part, run_id, f"{part.number}", to=plan.target.upper(), part=f"{part.number + 1}/{parts}")
        for part in plan.parts
    ]
    return chord(header, finish).on_error(_abandoning(run_id))


def prune(order: PruneOrder) -> Any:
    """Mark, then one store after the other."""
    from tasks.prune import finish, mark, sweep_store

    run_id = order.prune_id
    sweeps = [read_as(sweep_store, run_id, tier.value, store=tier.upper()) for tier in order.stores]
    return chain(read_as(mark, run_id), *sweeps, read_as(finish, run_id)).on_error(_abandoning(run_id))


def lane_of(plan: BackupPlan) -> str:
    """The queue of all of a stubborn backup's stages, so that they wait behind nothing; other stages have their own."""
    return EMERGENCY if RULES[plan.backup_type].manner is Manner.STUBBORN else ""


def read_as(task: Any, *args: str, lane: str = "", **facts: str) -> Any:
    """A signature whose arguments a person can read in Flower; `lane` is a queue in place of the task's own."""
    signature = task.si(*args).set(**about(*args, **facts))
    return signature.set(queue=lane) if lane else signature


def _abandoning(run_id: str, lane: str = "") -> Any:
    errback = abandon.s(run_id=run_id)
    return errback.set(queue=lane) if lane else errback
