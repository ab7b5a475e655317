"""`strata keys`: makes the keyring."""

from __future__ import annotations

from datetime import UTC, datetime

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
