"""Every setting: read once from the environment (STRATA_...) and an optional strata.toml, checked, then frozen.

The environment wins over the file. The file is the one STRATA_CONFIG names, or `strata.toml` in the working folder;
its keys are the names below, in small letters and without the prefix. Where there is neither, and no other STRATA_
variable is set, it is `.strata/strata.toml`, which `strata stack up` writes: so the commands find the local stack of
the folder they are called in, and nobody who configured anything meets it by accident.
"""

from __future__ import annotations

import os
import re
import stat
import tomllib
from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Final, Self
from urllib.parse import unquote, urlsplit

from pydantic import Field, SecretStr, ValidationError, ValidationInfo, field_validator, model_validator
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from strata.errors import SettingError
from strata.model.backup_type import BackupType
from strata.model.tier import StorageTier, Tier
from strata.planning import tables
from strata.planning.rounds import Torn
from strata.sources.hot_method import HotMethod
from strata.store_settings import StoreSettings, plain_scheme
from strata.thaw_settings import ThawSettings
from strata.tls_settings import TlsSettings

PREFIX: Final = "STRATA_"
_CONFIG: Final = "STRATA_CONFIG"
_FILE: Final = Path("strata.toml")
_STACK_FILE: Final = Path(".strata", "strata.toml")
_OBJECT: Final = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.[^\W\d]\w*)*")

_UNREADABLE: Final = "it cannot be read as a URL; in a password write / as %2F, @ as %40, # as %23, ? as %3F, % as %25"
_LARGEST_PORT: Final = 65535


_TABLES: Final[Mapping[str, Callable[[Any], Any]]] = {
    "placement": tables.stores,
    "retention_days": tables.days,
    "keep": tables.keep_rules,
    "archive_after_days": tables.days,
    "promised": tables.promise,
}
"""How the value of one type is read."""


class Settings(StoreSettings, ThawSettings, TlsSettings):
    """The configuration of a worker or a command. URLs that may hold a password are secrets: they are never shown."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="forbid", env_ignore_empty=True)

    broker_url: SecretStr | None = Field(None, description="Celery's broker: redis://, rediss:// or amqp://.")
    result_url: SecretStr | None = Field(
        None, description="The Redis that holds task results, the run ledger and the lease. Never the HOT one."
    )
    hot_url: SecretStr | None = Field(
        None, description="HOT: redis:// or rediss://, one or more databases: redis://:password@host:6379/0,3."
    )
    hot_method: HotMethod = Field(
        HotMethod.AUTO, description="How HOT is read: `auto`, `sync` (its replication stream) or `scan` (key by key)."
    )
    warm_url: SecretStr | None = Field(None, description="WARM: postgresql://user:password@host:5432/database.")
    warm_tables: Annotated[tuple[str, ...], NoDecode] = Field(
        ("*",), description="Tables of WARM, by comma: `table`, `schema.table`, globs; `*` is every table."
    )
    warm_parallel: int = Field(3, ge=1, le=16, description="Connections that read WARM at the same time.")
    cold_url: str | None = Field(None, description="COLD: s3://bucket/prefix.")
    cold_endpoint: str | None = Field(None, description="URL of COLD's S3 server; AWS where it is not set.")
    cold_region: str | None = Field(None, description="Region of COLD's bucket.")
    cold_access_key_id: str | None = Field(
        None, description="COLD's own access key; the usual AWS_ variables otherwise."
    )
    cold_secret_access_key: SecretStr | None = Field(None, description="COLD's own secret key.")
    cold_threads: int = Field(4, ge=1, le=64, description="Objects of COLD read or written at the same time.")
    state_manager: str | None = Field(
        None,
        description="package.module:object, the application's own state manager: it stands for the first tier of "
        "HOT, WARM, COLD that has no URL.",
    )
    state_manager_keys: Annotated[tuple[str, ...], NoDecode] = Field(
        ("*",), description="Keys the state manager answers for, by comma, as globs."
    )
    spool_url: str | None = Field(
        None, description="Sealed staging that all workers share: file:///folder or s3://bucket/prefix."
    )
    spool_endpoint: str | None = Field(None, description="URL of the spool's S3 server; AWS where it is not set.")
    spool_region: str | None = Field(None, description="Region of the spool's bucket.")
    spool_access_key_id: str | None = Field(None, description="The spool's own access key.")
    spool_secret_access_key: SecretStr | None = Field(None, description="The spool's own secret key.")
    keyring_file: Path = Field(
        Path("~/.config/strata/keyring.json"), description="The keyring (mode 0600), made by `strata keys init`."
    )
    cache_folder: Path = Field(
        Path("~/.cache/strata"),
        description="Where what catalogues say is kept (mode 0700), so that a listing reads only what is new; it may "
        "be lost at any time.",
    )
    patterns: Annotated[dict[BackupType, tuple[str, ...]], NoDecode] = Field(
        {},
        description="Keys that a type of backup covers, as globs: `snapshot=position:*,order:*; emergency=config:*`. "
        "Types not named keep their own.",
    )
    stack_depth: int = Field(
        128, ge=2, le=1000, description="A stack of so many layers takes no more: the next backup lies on its base."
    )
    rebase_dead_share: float = Field(
        0.5, gt=0, le=1, description="A FULL writes a fresh base where more than this share of the stack is dead."
    )
    rebase_days: int = Field(30, ge=1, description="A FULL writes a fresh base where the old one is older.")
    timestamp_fields: Annotated[tuple[str, ...], NoDecode] = Field(
        (),
        description="Members of JSON values, or columns, by comma, that say when a record last changed, such as "
        "`timestamp,last_updated`: one that says it is older than the parent counts as unchanged. Not set: nobody's "
        "clock is trusted.",
    )
    placement: Annotated[dict[BackupType, tuple[StorageTier, ...]], NoDecode] = Field(
        {},
        description="Stores of a type of backup, the one it is made in first, then those that get a copy: "
        "`full=network,cloud; incremental=local`. Types not named keep their own.",
    )
    retention_days: Annotated[dict[BackupType, int], NoDecode] = Field(
        {}, description="For how many days a type is kept: `full=90; snapshot=7`. Types not named keep their own."
    )
    keep: Annotated[dict[BackupType, dict[str, int]], NoDecode] = Field(
        {}, description="What is kept besides: `full=last:3,daily:7,weekly:4,monthly:12; incremental=hourly:24`."
    )
    archive_after_days: Annotated[dict[BackupType, int], NoDecode] = Field(
        {},
        description="After how many days a type moves to ARCHIVE: `full=30; differential=14`. Not set: nothing moves.",
    )
    promised: Annotated[dict[BackupType, timedelta | None], NoDecode] = Field(
        {},
        description="The interval in which a good backup of a type is promised: `full=24h; incremental=15m`, or `off`. "
        "Types not named keep their own.",
    )
    copy_rule: str | None = Field(
        None,
        description="Copies (the live state is one), kinds of media, offsite, immutable, errors: `3-2-1-1-0`. Not set: "
        "that, as far as the configured stores can keep it.",
    )
    verify_days: int = Field(
        30,
        ge=1,
        le=3650,
        description="Within how many days everything is read back from the stores and proved; beat sees to it, and "
        "`strata status` demands it of the last good backup of each type.",
    )
    verify_budget: str = Field(
        "20m",
        description="For how long (`20m`), or how much (`50GiB`), is read each time that beat lets the stores be "
        "proved, every six hours; `off` reads nothing.",
    )
    prune_grace_hours: int = Field(
        24,
        ge=0,
        le=8760,
        description="Hours from the mark of a backup to its removal; layers that nothing names stay as long.",
    )
    before_cut: str | None = Field(None, description="A command that makes the application stand still for the cuts.")
    after_cut: str | None = Field(None, description="A command that lets it go on; run in any case.")
    pause_key: str | None = Field(
        None, description="A key that is set in HOT for the cuts, such as `system:trading_paused`; removed in any case."
    )
    pause_seconds: float = Field(
        10, gt=0, le=600, description="How long pausing may take, and how long it may last after that."
    )
    meeting_seconds: float = Field(
        30, ge=0, le=600, description="How long the collectors wait for each other, to take their cuts together."
    )
    cut_rounds: int = Field(
        5,
        ge=1,
        le=20,
        description="How often all tiers are cut, the first time included, where one of the cuts was lost.",
    )
    torn: Torn = Field(
        Torn.FAIL, description="What becomes of a backup whose tiers were never cut together: `fail` or `tell`."
    )
    emergency_seconds: float = Field(
        10, gt=0, le=3600, description="How long an EMERGENCY backup waits for a tier before it goes on without."
    )
    zstd_level: int = Field(
        1, ge=1, le=19, description="Level of compression; 1 is both faster and smaller than 3 on state like this."
    )
    segment_bytes: int = Field(
        16 << 20, ge=1 << 20, le=256 << 20, description="Raw bytes of a segment, which a worker holds in memory."
    )
    stage_seconds: int = Field(3600, ge=60, description="A stage that works longer is stopped and its run fails.")
    stack_folder: Path = Field(Path(".strata"), description="Where `strata stack` keeps its servers' data.")

    @field_validator("warm_tables", "timestamp_fields", "state_manager_keys", mode="before")
    @classmethod
    def _by_comma(cls, value: Any) -> Any:
        names = value.split(",") if isinstance(value, str) else value
        if not isinstance(names, list | tuple) or not all(isinstance(name, str) for name in names):
            raise ValueError("it must be names, by comma or in a list")
        return tuple(name.strip() for name in names if name.strip())

    @field_validator("warm_tables", "state_manager_keys")
    @classmethod
    def _not_empty(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not value:
            raise ValueError("names none")
        return value

    @field_validator("state_manager")
    @classmethod
    def _object(cls, value: str | None) -> str | None:
        if value is not None and not _OBJECT.fullmatch(value):
            raise ValueError("it must be package.module:object")
        return value

    @property
    def state_manager_tier(self) -> Tier | None:
        """The tier that the state manager stands for; None without one."""
        if self.state_manager is None:
            return None
        urls = {Tier.HOT: self.hot_url, Tier.WARM: self.warm_url, Tier.COLD: self.cold_url}
        without = next((tier for tier, url in urls.items() if url is None), None)
        if without is None:
            raise SettingError(
                f"{PREFIX}STATE_MANAGER stands for the first tier without a URL, and all three have one",
                hint="Remove it, or the URL of the tier that is to be read through it.",
            )
        return without

    @field_validator("patterns", mode="before")
    @classmethod
    def _by_type(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        found: dict[str, list[str]] = {}
        for entry in filter(str.strip, value.split(";")):
            name, _, globs = entry.partition("=")
            patterns = [glob.strip() for glob in globs.split(",") if glob.strip()]
            if not patterns:
                raise ValueError(f"{entry.strip()!r} is not of the form type=glob,glob")
            found[name.strip()] = patterns
        return found

    @field_validator("placement", "retention_days", "keep", "archive_after_days", "promised", mode="before")
    @classmethod
    def _table(cls, value: Any, info: ValidationInfo) -> Any:
        found = tables.by_type(value)
        if not isinstance(found, dict):
            raise ValueError("it must be a value for each type, such as full=...")  # noqa: TRY004 - pydantic's way
        parse = _TABLES[str(info.field_name)]
        return {name: parse(text) for name, text in found.items()}

    @field_validator("copy_rule")
    @classmethod
    def _rule(cls, value: str | None) -> str | None:
        if value is not None:
            tables.copy_rule(value)
        return value

    @field_validator("verify_budget")
    @classmethod
    def _budget(cls, value: str) -> str:
        tables.budget(value)
        return value

    @field_validator("keyring_file", "stack_folder", "cache_folder")
    @classmethod
    def _absolute(cls, value: Path) -> Path:
        try:
            return value.expanduser().absolute()
        except RuntimeError:
            raise ValueError(f"the home folder in {value} cannot be found") from None

    @field_validator("broker_url")
    @classmethod
    def _broker(cls, value: SecretStr | None) -> SecretStr | None:
        return _with_port(_scheme(value, "redis", "rediss", "amqp", "amqps"))

    @field_validator("result_url")
    @classmethod
    def _result(cls, value: SecretStr | None) -> SecretStr | None:
        return _with_port(_scheme(value, "redis", "rediss"))

    @field_validator("hot_url")
    @classmethod
    def _hot(cls, value: SecretStr | None) -> SecretStr | None:
        return _scheme(value, "redis", "rediss", "unix")

    @field_validator("warm_url")
    @classmethod
    def _warm(cls, value: SecretStr | None) -> SecretStr | None:
        return _with_hosts(_scheme(value, "postgresql", "postgres"))

    @field_validator("cold_url")
    @classmethod
    def _cold(cls, value: str | None) -> str | None:
        return plain_scheme(value, "s3")

    @field_validator("spool_url")
    @classmethod
    def _spool(cls, value: str | None) -> str | None:
        return plain_scheme(value, "file", "s3")

    @model_validator(mode="after")
    def _apart(self) -> Self:
        """Refuse places that lie in each other: each has its own idea of what may be removed from it.

        The sweep of the spool would take old backups for what dead runs left, and an exact restore of COLD would
        remove a store within it, as its objects are in no backup of COLD.
        """
        places = [(name, place) for name in _PLACES if (place := _place(self, name))]
        for number, (name, place) in enumerate(places):
            for other, another in places[number + 1 :]:
                if place == another or place in another.parents or another in place.parents:
                    raise ValueError(
                        f"what {_variable(name)} and {_variable(other)} name lies in each other: give each its place"
                    )
        return self

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - a hidden .env file would surprise
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The environment, then the file; nothing else."""
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls, settings_file())


def settings_file() -> Path:
    """The file that settings are read from; it need not exist."""
    if configured := os.environ.get(_CONFIG):
        return Path(configured)
    anything_set = any(name.startswith(PREFIX) and value for name, value in os.environ.items())
    return _STACK_FILE if not _FILE.exists() and not anything_set and _STACK_FILE.is_file() else _FILE


def load_settings() -> Settings:
    """The settings, or a SettingError with one sentence that names the wrong one."""
    known = {PREFIX + name.upper() for name in Settings.model_fields} | {_CONFIG}
    for name in os.environ:
        if name.startswith(PREFIX) and name not in known:
            raise SettingError(f"there is no setting {name}", hint=_nearest(name, known))
    configured = os.environ.get(_CONFIG)
    if configured and not Path(configured).is_file():
        raise SettingError(f"{_CONFIG} names {configured}, which is not a file", hint="Correct it, or unset it.")
    file = settings_file()
    _trusted(file, named=bool(configured))
    settings = _checked(Settings, file)
    _sealed(file)
    return settings


def read_settings(file: Path) -> Settings:
    """The settings of one file, whatever the environment says."""

    class FileSettings(Settings):
        @classmethod
        def settings_customise_sources(
            cls, settings_cls: type[BaseSettings], *_: PydanticBaseSettingsSource, **__: PydanticBaseSettingsSource
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            return (TomlConfigSettingsSource(settings_cls, file),)

    if not file.is_file():
        raise SettingError(f"there is no {file}")
    return Settings.model_construct(**dict(_checked(FileSettings, file)))


def _trusted(file: Path, *, named: bool) -> None:
    """SettingError where others may write the file, or put it here: its settings run programs as this user.

    A file that STRATA_CONFIG names may belong to anybody; one that is only met must be this user's, or root's.
    """
    try:
        found = os.stat(file)
    except OSError:
        return  # none, or none that can be read: reading it says so
    if not named and found.st_uid not in {os.geteuid(), 0}:
        raise SettingError(
            f"{file} belongs to another user, so its settings are not used",
            hint=f"If you trust it, name it: {_CONFIG}={file}",
        )
    if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        mode = found.st_mode & 0o777
        raise SettingError(f"{file} can be changed by others (mode {mode:04o})", hint=f"chmod 600 {file}")


def _sealed(file: Path) -> None:
    """SettingError where others may read a file that holds a secret."""
    try:
        mode = os.stat(file).st_mode & 0o777
        values = tomllib.loads(file.read_text()) if mode & 0o077 else {}
    except OSError:
        return
    told = [
        name
        for name, field in Settings.model_fields.items()
        if "SecretStr" in str(field.annotation) and _holds_secret(str(values.get(name, "")))
    ]
    if told:
        raise SettingError(
            f"{file} holds {told[0]} and can be read by others (mode {mode:04o})", hint=f"chmod 600 {file}"
        )


def _holds_secret(value: str) -> bool:
    """Whether a secret setting's value is one: a URL is only where it names a user or a password."""
    return bool(value) and ("://" not in value or "@" in value)


def _checked(kind: type[Settings], file: Path) -> Settings:
    try:
        return kind()
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingError(f"{file} is not valid TOML: {error}") from None
    except ValidationError as error:
        raise _in_one_sentence(error, file) from None


def required(value: Any, setting: str, why: str) -> Any:
    """The value of a setting that is needed now."""
    if value is None:
        raise SettingError(
            f"{setting} is not set, and {why}", hint="See docs/settings.md, or run `make demo` to try Strata out."
        )
    return value.get_secret_value() if isinstance(value, SecretStr) else value


def _in_one_sentence(error: ValidationError, file: Path) -> SettingError:
    first: Mapping[str, Any] = error.errors(include_input=False, include_url=False)[0]
    name = _variable(str(first["loc"][0])) if first["loc"] else "the configuration"
    if first["type"] == "extra_forbidden":
        return SettingError(f"there is no setting {first['loc'][0]!r} (in {file})", hint="See docs/settings.md.")
    reason = str(first["msg"]).removeprefix("Value error, ")
    return SettingError(f"{name} is wrong: {reason[0].lower()}{reason[1:]}", hint="See docs/settings.md.")


def _scheme(value: SecretStr | None, *schemes: str) -> SecretStr | None:
    plain_scheme(value.get_secret_value() if value else None, *schemes)
    return value


def _with_port(value: SecretStr | None) -> SecretStr | None:
    """A URL whose port is a number: where a password is not quoted, a piece of it is taken for the port."""
    try:
        if value is not None:
            _ = urlsplit(value.get_secret_value()).port
    except ValueError:
        raise ValueError(_UNREADABLE) from None
    return value


def _with_hosts(value: SecretStr | None) -> SecretStr | None:
    """A URL of PostgreSQL, which may name several hosts, in which no piece of a password passes for a host or a port.

    libpq ends user and password at the first `@` or `/`, and its messages repeat what it takes for the host.
    """
    authority, _, path = (value.get_secret_value() if value else "").partition("://")[2].partition("/")
    hosts = authority.rpartition("@")[2].partition("?")[0].split(",")
    ports = [host.rpartition("]")[2].partition(":")[2] for host in hosts]
    if (
        authority.count("@") > 1
        or "@" in path.partition("?")[0]
        or any(port and not (port.isdecimal() and int(port) <= _LARGEST_PORT) for port in ports)
    ):
        raise ValueError(_UNREADABLE)
    return value


_PLACES: Final = ("local_url", "network_url", "cloud_url", "archive_url", "spool_url", "cold_url")


def _place(settings: Settings, name: str) -> PurePosixPath | None:
    """A folder, or an endpoint with bucket and prefix, as a path that can be compared with others; None if not set."""
    url: str | None = getattr(settings, name)
    if url is None:
        return None
    scheme, _, rest = url.partition("://")
    if scheme == "file":
        return PurePosixPath("file", os.path.normpath(unquote(urlsplit(url).path)).lstrip("/"))
    endpoint = getattr(settings, name.replace("_url", "_endpoint")) or ""
    return PurePosixPath("s3", endpoint.partition("://")[2].rstrip("/") or "aws", rest.strip("/"))


def _variable(name: str) -> str:
    return PREFIX + name.upper()


def _nearest(name: str, known: set[str]) -> str:
    from difflib import get_close_matches

    near = get_close_matches(name.removeprefix(PREFIX), [one.removeprefix(PREFIX) for one in known], 1)
    return f"Did you mean {PREFIX}{near[0]}?" if near else "See docs/settings.md."
