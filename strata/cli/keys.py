"""`strata keys`: makes the keyring, and cuts smaller ones out of it."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import click

from strata.cli.output import Output, common_options, facts


@click.group("keys")
def keys_command() -> None:
    """The keys that backups are sealed with."""


@keys_command.command("init")
@common_options
def init(output: Output) -> None:
    """Make a keyring where STRATA_KEYRING_FILE says; one that is there is never touched."""
    from strata.seal.keyring import FileKeyring, Purpose
    from strata.settings import load_settings

    path = load_settings().keyring_file
    keyring = FileKeyring.create(path, datetime.now(UTC))
    output.say(f"A new keyring is at {path}")
    keys = [(purpose.value, key_id) for purpose, key_id in zip(Purpose, keyring.key_ids, strict=True)]
    output.show(facts(list(keys)))
    output.note(
        "Without it no backup can be read, by anybody: keep a copy of the file elsewhere, not beside the backups."
    )
    output.document({"keyring_file": str(path), "keys": [{"purpose": purpose, "id": name} for purpose, name in keys]})


@keys_command.command("cut")
@click.argument("folder", required=False, type=click.Path(path_type=Path))
@click.option("--replace", is_flag=True, help="Write them anew where they are already.")
@common_options
def cut(output: Output, folder: Path | None, *, replace: bool) -> None:
    """Cut a smaller keyring for each worker group out of the whole one, into FOLDER.

    FOLDER is the keyring's own where it is left out. The files are keyring-control.json, keyring-collect.json and so
    on; each holds the keys that its group works with, and can be read by its owner alone.
    """
    from strata.seal.keyring_cuts import plan_cuts, write_anew, write_new
    from strata.settings import load_settings

    keyring = load_settings().keyring_file
    cuts = plan_cuts(keyring, (folder or keyring.parent).absolute())
    (write_anew if replace else write_new)(cuts)
    output.show(facts([(one.group, f"{one.path} ({', '.join(one.purposes)})") for one in cuts]))
    output.note(
        f"Give each worker group its own file. The whole keyring, {keyring}, is for commands and for safe keeping."
    )
    output.document(
        {
            "keyring_file": str(keyring),
            "cuts": [{"group": one.group, "keyring_file": str(one.path), "purposes": one.purposes} for one in cuts],
        }
    )
