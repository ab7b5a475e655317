"""`strata settle`: a person says that the tiers which an unfinished restore left are as they should be."""

from __future__ import annotations

import click

from strata.cli.output import Output, common_options


@click.command("settle")
@click.argument("restore", metavar="RESTORE")
@common_options
def settle_command(output: Output, restore: str) -> None:
    """Say that what an unfinished restore left is as it should be, so that backups are made of it again.

    RESTORE is the restore's id, which `strata status` names. Where its tiers hold old and new state side by side, run
    the restore again in place of this.
    """
    from strata.settings import load_settings
    from strata.wiring import Wiring

    tiers = Wiring(load_settings(), tell=output.note).local_manager.unfinished.settle(restore)
    output.say(
        f"What {restore} left in {' and '.join(tier.label for tier in tiers)} is settled; backups are made again."
    )
    output.document({"restore_id": restore, "tiers": [tier.value for tier in tiers]})
