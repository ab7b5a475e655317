"""The parts of the configuration that `strata doctor` tries, each with what it finds."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from strata.errors import KeyringError, SettingError

if TYPE_CHECKING:
    from pathlib import Path

    from strata.engine.doctor import Finding, Part
    from strata.model.tier import StorageTier, Tier
    from strata.settings import Settings
    from strata.wiring import Wiring

ANSWER_SECONDS: Final = 2.0
"""How long a Redis is waited for."""
_LOST: Final = {
    "the ledger": "runs, the lease and what stores held are forgotten while they are needed",
    "the broker": "what was sent to workers is lost",
}


def parts_of(wiring: Wiring) -> Iterator[Part]:
    """Every part, in the order in which they are shown."""
    from strata.engine.doctor import Part

    settings = wiring.settings
    yield Part("settings", "STRATA_... and strata.toml", lambda: _missing(settings))
    with suppress(SettingError):  # no store: that is told above
        yield from _stores(wiring)
    if settings.spool_url is not None:
        yield Part("spool", settings.spool_url, lambda: _spool(wiring))
    yield Part("keyring", str(settings.keyring_file), lambda: _keyring(wiring))
    yield from _machinery(wiring)
    yield Part("TLS", "every connection", lambda: _encryption(settings))
    for tier in wiring.sources:
        yield Part(tier.value.upper(), tier.service, partial(_tier, wiring, tier))


def _machinery(wiring: Wiring) -> Iterator[Part]:
    from strata.engine.doctor import Part

    settings = wiring.settings
    if settings.result_url is not None:
        yield Part("ledger", _where(settings.result_url.get_secret_value()), lambda: _ledger(wiring))
    if settings.broker_url is not None:
        yield Part("broker", _where(settings.broker_url.get_secret_value()), lambda: _broker(wiring))
    if settings.broker_url is not None and settings.result_url is not None:
        yield Part("workers", "asked through the broker", lambda: _workers(settings))
        yield Part("beat", "by what it notes in the ledger", lambda: _beat(wiring))


def _where(url: str) -> str:
    """The address in a URL, without user, password and options."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{host}{parts.path}"


def _missing(settings: Settings) -> Iterable[Finding]:
    from strata.engine.doctor_missing import NEEDS, missing

    names = {name for need in NEEDS for name in need.settings}
    return missing({name for name in names if getattr(settings, name) is not None})


def _stores(wiring: Wiring) -> Iterator[Part]:
    from strata.engine.doctor import Part
    from strata.engine.store_trial import StoreTrial
    from strata.storage.port import LockMode

    for tier, store in wiring.bare_stores.items():
        locking = wiring.locking.get(tier)
        trial = StoreTrial(
            store,
            wiring.clock,
            folder=_folder(store.url, tier.value),
            classed=tier in wiring.buckets and wiring.buckets[tier].classed,
            locking=locking.store if locking else None,
            lock_mode=locking.mode if locking else LockMode.GOVERNANCE,
        )
        yield Part(tier.value.upper(), store.url, partial(_store, trial.findings, wiring, tier))


def _folder(url: str, name: str) -> Path | None:
    from strata.storage.filesystem import folder_of

    return folder_of(url, name) if url.startswith("file:") else None


def _store(trial: Callable[[], Iterator[Finding]], wiring: Wiring, tier: StorageTier) -> Iterator[Finding]:
    """What a store does, and what lies in it; without a keyring only what it does."""
    from strata.catalog.owner import Owner
    from strata.engine.store_contents import StoreContents

    yield from trial()
    try:
        keyring = wiring.keyring
    except KeyringError:  # its own part tells
        return
    owner = Owner(wiring.stores, keyring, named=wiring.known_installation())
    yield from StoreContents(tier, wiring.bare_stores[tier], owner, wiring.catalogue).findings()


def _spool(wiring: Wiring) -> Iterable[Finding]:
    from strata.engine.store_trial import StoreTrial

    store = wiring.spool_store
    return StoreTrial(store, wiring.clock, folder=_folder(store.url, "STRATA_SPOOL_URL")).findings()


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
    from strata.engine.doctor_redis import keeps
    from strata.engine.timekeeping import in_words, off_by

    assert wiring.settings.result_url is not None
    client = wiring.brief_redis(wiring.settings.result_url.get_secret_value(), ANSWER_SECONDS)
    yield from keeps(client, "the ledger", _LOST["the ledger"], "STRATA_RESULT_URL")
    if words := in_words(off_by(wiring.clock, wiring.ticks)):
        yield Finding("clock", Verdict.WEAKER, f"this machine's clock is {words}", "Set the one right that is wrong.")
    else:
        yield Finding("clock", Verdict.SAFE, "its clock is ours")


def _broker(wiring: Wiring) -> Iterator[Finding]:
    from strata.engine.doctor import Finding, Verdict
    from strata.engine.doctor_redis import keeps
    from tasks.enqueue import check_broker
    from workers.configuration import make_app

    assert wiring.settings.broker_url is not None
    url = wiring.settings.broker_url.get_secret_value()
    if url.startswith("redis"):
        client = wiring.brief_redis(url, ANSWER_SECONDS)
        yield from keeps(client, "the broker", _LOST["the broker"], "STRATA_BROKER_URL")
        return
    check_broker(make_app(wiring.settings))
    yield Finding("answer", Verdict.SAFE, "answers")


def _workers(settings: Settings) -> Iterable[Finding]:
    from strata.engine.doctor_workers import Answer, unread, workers
    from tasks.enqueue import ask_workers
    from workers.configuration import make_app

    app = make_app(settings)
    queues = [queue.name for queue in app.conf.task_queues]

    def enough(said: dict[str, dict[str, object]]) -> bool:
        return bool(said) and not unread(queues, [Answer.of(*one) for one in said.items()])

    return workers(queues, [Answer.of(*one) for one in sorted(ask_workers(app, enough).items())])


def _beat(wiring: Wiring) -> Iterator[Finding]:
    from strata.engine.doctor_workers import beat

    last = wiring.ticks.last_ms()
    yield beat(last, wiring.ticks.clock_ms())


def _encryption(settings: Settings) -> Iterator[Finding]:
    from strata.engine.doctor import Finding, Verdict
    from strata.tls import weakness

    weak, connections = False, list(_connections(settings))
    for name, url in connections:
        if what := weakness(url, settings.tls):
            weak = True
            yield Finding(name, Verdict.WEAKER, f"{name} {what}", "See docs/how-to/tls.md.")
    if connections and not weak:
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
    from strata.engine.greeting import greet
    from strata.model.tier import Tier
    from strata.sources.port import Examinable

    if tier is Tier.HOT:
        wiring.looks.keep_apart()
    source = wiring.sources[tier]
    greet(source)
    if not isinstance(source, Examinable):
        yield Finding("answer", Verdict.SAFE, "can be read")
        return
    rights = list(source.rights())
    yield Finding("answer", Verdict.SAFE, "can be read")
    for right in rights:
        if right.lacking:
            verdict = Verdict.FAILED if right.needed else Verdict.WEAKER
            yield Finding(right.name, verdict, right.lacking, right.hint)
        else:
            yield Finding(right.name, Verdict.SAFE, right.granted)
