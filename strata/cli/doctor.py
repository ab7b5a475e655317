"""`strata doctor`: tries every part of the configuration, and says what is safe there."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import click

from strata.cli.output import Output, common_options, plain_table
from strata.errors import KeyringError

if TYPE_CHECKING:
    from strata.engine.doctor import Examined, Finding, Part
    from strata.engine.store_trial import StoreTrial
    from strata.model.tier import StorageTier, Tier
    from strata.settings import Settings
    from strata.wiring import Wiring

UNSOUND: Final = 13
"""The exit code where a part does not work."""
_STYLES: Final = {"safe": "green", "weaker": "yellow", "failed": "bold red"}


@click.command("doctor")
@common_options
def doctor_command(output: Output) -> int:
    """Try every store, the spool, the keyring, the ledger and the tiers, and say what is safe there.

    What it writes lies below doctor/ in each store, and is removed again. Ends with 13 where a part does not work; a
    part that promises less than it might is shown, and is no failure.
    """
    from strata.engine.doctor import Verdict, examine
    from strata.settings import load_settings
    from strata.wiring import Wiring

    wiring = Wiring(load_settings())
    examined = examine(list(_parts(wiring)), wiring.clock)
    unsound = any(one.verdict is Verdict.FAILED for one in examined)
    _show(output, examined)
    output.document({"sound": not unsound, "parts": [_document(one) for one in examined]})
    return UNSOUND if unsound else 0


def _parts(wiring: Wiring) -> Iterator[Part]:
    from strata.engine.doctor import Part

    yield from _stores(wiring)
    settings = wiring.settings
    if settings.spool_url is not None:
        yield Part("spool", settings.spool_url, lambda: _spool(wiring))
    yield Part("keyring", str(settings.keyring_file), lambda: _keyring(wiring))
    if settings.result_url is not None:
        yield Part("ledger", "Redis", lambda: _ledger(wiring))
    yield Part("TLS", "every connection", lambda: _encryption(wiring))
    for tier in wiring.sources:
        yield Part(tier.value.upper(), tier.service, lambda tier=tier: _tier(wiring, tier))  # type: ignore[misc]


def _stores(wiring: Wiring) -> Iterator[Part]:
    from strata.engine.doctor import Part
    from strata.engine.store_trial import StoreTrial
    from strata.storage.filesystem import folder_of
    from strata.storage.port import LockMode

    for tier, store in wiring.bare_stores.items():
        locking = wiring.locking.get(tier)
        trial = StoreTrial(
            store,
            wiring.clock,
            folder=folder_of(store.url, tier.value) if store.url.startswith("file:") else None,
            classed=tier in wiring.buckets and wiring.buckets[tier].classed,
            locking=locking.store if locking else None,
            lock_mode=locking.mode if locking else LockMode.GOVERNANCE,
        )
        findings = partial(_store, trial, wiring, tier)
        yield Part(tier.value.upper(), store.url, findings)


def _store(trial: StoreTrial, wiring: Wiring, tier: StorageTier) -> Iterator[Finding]:
    """What a store does, and what lies in it; without a keyring only what it does."""
    from strata.catalog.owner import Owner
    from strata.engine.store_contents import StoreContents

    yield from trial.findings()
    try:
        keyring = wiring.keyring
    except KeyringError:  # its own part tells
        return
    owner = Owner(wiring.stores, keyring, named=wiring.known_installation())
    yield from StoreContents(tier, wiring.bare_stores[tier], owner, wiring.catalogue).findings()


def _spool(wiring: Wiring) -> Iterable[Finding]:
    from strata.engine.store_trial import StoreTrial

    return StoreTrial(wiring.spool_store, wiring.clock).findings()


def _keyring(wiring: Wiring) -> Iterator[Finding]:
    from strata.engine.doctor import Finding, Verdict

    keyring = wiring.keyring
    key = keyring.new_data_key()
    keyring.unwrap(key.key_id, key.wrapped)
    keyring.fingerprint_key(), keyring.spool_key("doctor")
    signed_by, signature = keyring.sign(b"doctor")
    keyring.check(signed_by, signature, b"doctor")
    yield Finding("keys", Verdict.SAFE, "has every key, and they work")


def _ledger(wiring: Wiring) -> Iterator[Finding]:
    from strata.engine.doctor import Finding, Verdict

    if wiring.ledger_answers:
        yield Finding("answer", Verdict.SAFE, "answers")
    else:
        yield Finding("answer", Verdict.FAILED, "the ledger does not answer", "Check STRATA_RESULT_URL.")


def _encryption(wiring: Wiring) -> Iterator[Finding]:
    from strata.engine.doctor import Finding, Verdict
    from strata.tls import weakness

    weak = False
    for name, url in _connections(wiring.settings):
        if what := weakness(url, wiring.settings.tls):
            weak = True
            yield Finding(name, Verdict.WEAKER, f"{name} {what}", "See docs/how-to/tls.md.")
    if not weak:
        yield Finding("encryption", Verdict.SAFE, "what leaves this machine is encrypted, and the servers are verified")


def _connections(settings: Settings) -> Iterator[tuple[str, str]]:
    """Every connection of the settings, by the name of the setting, and its URL; AWS is always encrypted."""
    named = ("broker_url", "result_url", "hot_url", "warm_url")
    of_s3 = ("cold", "cloud", "archive", "spool")
    for name in (*named, *(f"{one}_endpoint" for one in of_s3)):
        value = getattr(settings, name)
        if value is not None:
            yield f"STRATA_{name.upper()}", value.get_secret_value() if name in named else value


def _tier(wiring: Wiring, tier: Tier) -> Iterator[Finding]:
    from strata.engine.doctor import Finding, Verdict
    from strata.model.tier import Tier

    if tier is Tier.HOT:
        wiring.looks.keep_apart()
    with wiring.sources[tier].connect() as session:
        if tier is not Tier.HOT and tier is not wiring.settings.state_manager_tier:
            session.cut()  # of HOT it may make the server fork, of a state manager take a snapshot
    yield Finding("answer", Verdict.SAFE, "can be read")


def _show(output: Output, examined: list[Examined]) -> None:
    from rich.text import Text

    table = plain_table("part", "", "what was found", wrap=("what was found",))
    for one in examined:
        bad = [found for found in one.findings if found.verdict != "safe"]
        good = ", ".join(found.said for found in one.findings if found.verdict == "safe")
        said = Text()
        said.append(f"{one.place}\n", "dim")
        for found in bad:
            said.append(f"{found.said}. {found.hint}".strip() + "\n", _STYLES[found.verdict])
        said.append(good)
        said.rstrip()
        table.add_row(one.part, Text(one.verdict, _STYLES[one.verdict]), said)
    output.show(table)


def _document(one: Examined) -> dict[str, Any]:
    return {
        "part": one.part,
        "place": one.place,
        "verdict": one.verdict,
        "findings": [
            {"check": found.check, "verdict": found.verdict, "said": found.said, "hint": found.hint}
            for found in one.findings
        ],
    }
