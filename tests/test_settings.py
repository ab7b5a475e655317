"""Settings: read once, checked whole, and wrong ones named in one sentence."""

from __future__ import annotations

import os
import re
import tomllib
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from strata.errors import SettingError
from strata.model.backup_type import BackupType
from strata.model.tier import StorageTier
from strata.settings import PREFIX, Settings, load_settings, read_settings, required

DOCUMENT = Path(__file__).parent.parent / "docs" / "settings.md"
SECRETS = [name for name, field in Settings.model_fields.items() if "SecretStr" in str(field.annotation)]


@pytest.fixture(autouse=True)
def _bare(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """An empty working folder, and no STRATA_ variable."""
    for name in list(os.environ):
        if name.upper().startswith(PREFIX):
            monkeypatch.delenv(name)
    monkeypatch.chdir(folder)


def refused() -> SettingError:
    """The error that loading raises."""
    with pytest.raises(SettingError) as caught:
        load_settings()
    assert caught.value.__suppress_context__ or caught.value.__context__ is None
    assert "\n" not in caught.value.sentence
    return caught.value


def test_nothing_set_gives_the_defaults() -> None:
    """Without any setting Strata starts: what is missing is named when it is needed."""
    settings = load_settings()
    assert settings.hot_url is None
    assert settings.warm_tables == ("*",)
    assert settings.keyring_file == Path.home() / ".config/strata/keyring.json"
    assert (settings.zstd_level, settings.segment_bytes) == (1, 16 << 20)


def test_the_environment_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Values of the environment arrive as what they are."""
    monkeypatch.setenv("STRATA_HOT_URL", "redis://:secret@host:6379/0,3")
    monkeypatch.setenv("STRATA_WARM_TABLES", "orders, public.positions ,log_*")
    monkeypatch.setenv("STRATA_ZSTD_LEVEL", "3")
    monkeypatch.setenv("STRATA_KEYRING_FILE", "~/keys.json")
    settings = load_settings()
    assert settings.hot_url
    assert settings.hot_url.get_secret_value() == "redis://:secret@host:6379/0,3"
    assert settings.warm_tables == ("orders", "public.positions", "log_*")
    assert settings.zstd_level == 3
    assert settings.keyring_file == Path.home() / "keys.json"


def test_tables_by_type_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """What goes where, and how long it stays, is read for each type."""
    monkeypatch.setenv("STRATA_PLACEMENT", "full = cloud , archive; snapshot=local")
    monkeypatch.setenv("STRATA_RETENTION_DAYS", "full=400; emergency=0")
    monkeypatch.setenv("STRATA_KEEP", "full=last:3, yearly:unlimited")
    monkeypatch.setenv("STRATA_PROMISED", "incremental=5m; differential=off")
    settings = load_settings()
    assert settings.placement == {
        BackupType.FULL: (StorageTier.CLOUD, StorageTier.ARCHIVE),
        BackupType.SNAPSHOT: (StorageTier.LOCAL,),
    }
    assert settings.retention_days == {BackupType.FULL: 400, BackupType.EMERGENCY: 0}
    assert settings.keep == {BackupType.FULL: {"last": 3, "yearly": -1}}
    assert settings.promised == {BackupType.INCREMENTAL: timedelta(minutes=5), BackupType.DIFFERENTIAL: None}


def test_tables_by_type_are_read_from_the_file() -> None:
    """In TOML they may be written as tables too."""
    Path("strata.toml").write_text(
        '[placement]\nfull = ["cloud"]\n[retention_days]\nfull = 5\n[keep.full]\ndaily = 7\n[promised]\nfull = "1h"\n'
    )
    settings = load_settings()
    assert settings.placement == {BackupType.FULL: (StorageTier.CLOUD,)}
    assert settings.retention_days == {BackupType.FULL: 5}
    assert settings.keep == {BackupType.FULL: {"daily": 7}}
    assert settings.promised == {BackupType.FULL: timedelta(hours=1)}


def test_an_empty_variable_is_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty value, as compose files leave behind, is the default."""
    monkeypatch.setenv("STRATA_HOT_URL", "")
    monkeypatch.setenv("STRATA_ZSTD_LEVEL", "")
    assert (load_settings().hot_url, load_settings().zstd_level) == (None, 1)


def test_settings_are_frozen() -> None:
    """What was read once does not change."""
    with pytest.raises(ValueError, match="frozen"):
        load_settings().zstd_level = 5  # type: ignore[misc]


WRONG = {
    "BROKER_URL": ["http://host", "host:6379", "sqla+sqlite:///x"],
    "RESULT_URL": ["amqp://host", "db+sqlite:///x"],
    "HOT_URL": ["postgresql://host/db", "localhost:6379"],
    "HOT_METHOD": ["psync", "SYNC", "1"],
    "WARM_URL": ["redis://host", "mysql://host/db", "host=/tmp dbname=x"],
    "WARM_TABLES": [",", " , ,"],
    "WARM_PARALLEL": ["0", "17", "many", "1.5"],
    "COLD_URL": ["http://bucket", "bucket/prefix"],
    "COLD_THREADS": ["0", "65"],
    "STATE_MANAGER": ["package.module", "package/module:object", "package.module:", ":object", "a:b:c", "a.b:c()"],
    "STATE_MANAGER_KEYS": [",", " , "],
    "LOCAL_URL": ["/var/lib/strata", "s3://bucket", "file:///"],
    "NETWORK_URL": ["/mnt/backups", "s3://bucket", "smb://host/share"],
    "CLOUD_URL": ["file:///x", "gs://bucket"],
    "ARCHIVE_URL": ["file:///x", "glacier://vault"],
    "CLOUD_LOCK": ["yes", "GOVERNANCE"],
    "ARCHIVE_LOCK": ["legal"],
    "LOCAL_APPEND_ONLY": ["maybe"],
    "STORES_READ_ONLY": ["maybe"],
    "NETWORK_BANDWIDTH": ["0", "10MB"],
    "STORE_THREADS": ["0", "65"],
    "SPOOL_URL": ["/tmp/spool", "redis://host"],
    "PLACEMENT": ["full", "full=", "full=tape", "full=local,local", "weekly=local", "full=local; full=cloud"],
    "RETENTION_DAYS": ["full=x", "full=-1", "full=1.5", "90", "full=99999"],
    "KEEP": ["full=3", "full=daily:x", "full=minutely:3", "full=daily:3,daily:4", "full=,"],
    "ARCHIVE_AFTER_DAYS": ["full=soon", "30"],
    "PROMISED": ["full=24", "full=0h", "full=1 fortnight", "24h"],
    "VERIFY_DAYS": ["0", "3651", "a month"],
    "VERIFY_BUDGET": ["20", "0m", "50GB"],
    "COPY_RULE": ["3-2-1", "3-2-1-1-x", "three"],
    "PRUNE_GRACE_HOURS": ["-1", "a day", "9000"],
    "KEYRING_FILE": ["~nobody-of-that-name/keyring.json"],
    "ZSTD_LEVEL": ["0", "20", "best"],
    "SEGMENT_BYTES": ["1000", "1000000000", "32MiB"],
    "STAGE_SECONDS": ["59", "-1", "soon"],
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in WRONG.items() for value in values])
def test_a_wrong_value_gives_one_sentence_that_names_the_setting(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    """Whatever is wrong with a value, the error begins with the setting's name and points to the page."""
    monkeypatch.setenv(PREFIX + name, value)
    error = refused()
    assert error.sentence.startswith(f"{PREFIX}{name} is wrong: ")
    assert error.hint == "See docs/settings.md."


@pytest.mark.parametrize("name", [name for name in SECRETS if name.endswith("_url")])
def test_the_sentence_about_a_wrong_url_does_not_show_it(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """A URL that may hold a password is not repeated in the error about it."""
    monkeypatch.setenv(PREFIX + name.upper(), "wrong://user:hunter2@host")
    error = refused()
    assert "hunter2" not in error.sentence + error.hint


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("STRATA_HOT_URI", "STRATA_HOT_URL"),
        ("STRATA_WARM_TABLE", "STRATA_WARM_TABLES"),
        ("STRATA_KEYRING", "STRATA_KEYRING_FILE"),
        ("STRATA_CONFIGS", "STRATA_CONFIG"),
    ],
)
def test_an_unknown_variable_is_refused_with_the_nearest(monkeypatch: pytest.MonkeyPatch, name: str, near: str) -> None:
    """A name that is spelt wrong is an error, never a setting that silently does nothing."""
    monkeypatch.setenv(name, "x")
    error = refused()
    assert error.sentence == f"there is no setting {name}"
    assert error.hint == f"Did you mean {near}?"


def test_an_unknown_variable_like_no_other_points_to_the_page(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nothing is near, the hint names the page that lists them all."""
    monkeypatch.setenv("STRATA_QQQ", "x")
    assert refused().hint == "See docs/settings.md."


def test_the_file_in_the_folder_is_read() -> None:
    """`strata.toml` in the working folder gives settings by their small names."""
    Path("strata.toml").write_text('hot_url = "redis://host/0"\nwarm_tables = ["a", "b"]\nzstd_level = 5\n')
    settings = load_settings()
    assert settings.hot_url == SecretStr("redis://host/0")
    assert (settings.warm_tables, settings.zstd_level) == (("a", "b"), 5)


def test_the_environment_wins_over_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable overrides the file, setting by setting."""
    Path("strata.toml").write_text("zstd_level = 5\nwarm_parallel = 3\n")
    monkeypatch.setenv("STRATA_ZSTD_LEVEL", "7")
    settings = load_settings()
    assert (settings.zstd_level, settings.warm_parallel) == (7, 3)


def test_the_file_that_is_named_is_read(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """STRATA_CONFIG names another file, which then is the only one."""
    Path("strata.toml").write_text("zstd_level = 5\n")
    (folder / "other.toml").write_text("warm_parallel = 3\n")
    monkeypatch.setenv("STRATA_CONFIG", str(folder / "other.toml"))
    settings = load_settings()
    assert (settings.zstd_level, settings.warm_parallel) == (1, 3)


def test_a_file_that_others_may_change_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its settings run programs, so whoever may write it would run them as this user; a named file is no other."""
    Path("strata.toml").write_text("zstd_level = 5\n")
    Path("strata.toml").chmod(0o664)
    assert refused().sentence == "strata.toml can be changed by others (mode 0664)"
    monkeypatch.setenv("STRATA_CONFIG", "strata.toml")
    assert refused().hint == "chmod 600 strata.toml"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to another user")
def test_a_file_of_another_user_is_used_only_where_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody's settings are met by accident in a folder that is theirs."""
    Path("strata.toml").write_text("zstd_level = 5\n")
    os.chown("strata.toml", 65534, 65534)
    assert refused().sentence == "strata.toml belongs to another user, so its settings are not used"
    monkeypatch.setenv("STRATA_CONFIG", "strata.toml")
    assert load_settings().zstd_level == 5


@pytest.mark.parametrize(
    ("line", "holds"),
    [
        ('hot_url = "redis://host/0"', False),
        ('hot_url = "redis://:word@host/0"', True),
        ('cold_secret_access_key = "word"', True),
        ("zstd_level = 5", False),
    ],
)
def test_a_file_that_holds_a_secret_is_its_owners_alone(line: str, holds: bool) -> None:  # noqa: FBT001
    """As the keyring is; what holds none may be read by all."""
    Path("strata.toml").write_text(line + "\n")
    Path("strata.toml").chmod(0o644)
    if holds:
        name = line.partition(" ")[0]
        assert refused().sentence == f"strata.toml holds {name} and can be read by others (mode 0644)"
    Path("strata.toml").chmod(0o600 if holds else 0o644)
    load_settings()


def test_a_file_that_is_named_must_be_there(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """A wrong STRATA_CONFIG is an error, not an empty configuration."""
    monkeypatch.setenv("STRATA_CONFIG", "/nowhere/strata.toml")
    assert refused().sentence == "STRATA_CONFIG names /nowhere/strata.toml, which is not a file"
    monkeypatch.setenv("STRATA_CONFIG", str(folder))
    assert "is not a file" in refused().sentence


def test_the_local_stack_is_found_only_where_nothing_is_configured(monkeypatch: pytest.MonkeyPatch) -> None:
    """`.strata/strata.toml` counts while there is neither a file nor a variable; either makes it not count."""
    Path(".strata").mkdir()
    Path(".strata/strata.toml").write_text("zstd_level = 9\n")
    assert load_settings().zstd_level == 9
    with monkeypatch.context() as patch:
        patch.setenv("STRATA_WARM_PARALLEL", "3")
        assert load_settings().zstd_level == 1
    Path("strata.toml").write_text("")
    assert load_settings().zstd_level == 1


def test_one_file_is_read_whatever_the_environment_says(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """`read_settings` reads the file it is given and nothing else."""
    (folder / "one.toml").write_text("zstd_level = 4\n")
    monkeypatch.setenv("STRATA_ZSTD_LEVEL", "7")
    assert read_settings(folder / "one.toml").zstd_level == 4
    with pytest.raises(SettingError, match=r"there is no .*two\.toml"):
        read_settings(folder / "two.toml")


WRONG_FILES: dict[str, tuple[str | bytes, str]] = {
    "no toml": ("zstd_level = = 5", r"strata\.toml is not valid TOML: .*line 1"),
    "no text": (b"\xff\xfe = 1", r"strata\.toml is not valid TOML"),
    "unknown name": ("zstd_levels = 5", r"there is no setting 'zstd_levels' \(in strata\.toml\)"),
    "with the prefix": ('STRATA_HOT_URL = "redis://h"', "there is no setting 'STRATA_HOT_URL'"),
    "in a table": ('[hot]\nurl = "redis://h"', "there is no setting 'hot'"),
    "a number out of range": ("zstd_level = 50", "STRATA_ZSTD_LEVEL is wrong: "),
    "a word for a number": ('zstd_level = "best"', "STRATA_ZSTD_LEVEL is wrong: "),
    "a number for a URL": ("hot_url = 5", "STRATA_HOT_URL is wrong: "),
    "a number for tables": ("warm_tables = 5", "STRATA_WARM_TABLES is wrong: "),
    "numbers for tables": ("warm_tables = [1, 2]", "STRATA_WARM_TABLES is wrong: "),
    "no tables": ("warm_tables = []", "STRATA_WARM_TABLES is wrong: "),
    "true for tables": ("warm_tables = true", "STRATA_WARM_TABLES is wrong: "),
}


@pytest.mark.parametrize(("content", "sentence"), WRONG_FILES.values(), ids=WRONG_FILES.keys())
def test_a_wrong_file_gives_one_sentence(content: str | bytes, sentence: str) -> None:
    """Whatever is wrong in the file, the error names the file or the setting."""
    Path("strata.toml").write_bytes(content if isinstance(content, bytes) else content.encode())
    assert re.match(sentence, refused().sentence)


def test_no_repr_shows_a_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    """Passwords and secret keys are in no repr, str or dump of the settings."""
    schemes = {"broker_url": "redis", "result_url": "redis", "hot_url": "redis", "warm_url": "postgresql"}
    for name in SECRETS:
        monkeypatch.setenv(PREFIX + name.upper(), f"{schemes.get(name, 'x')}://user:hunter2@host/0")
    settings = load_settings()
    assert len(SECRETS) == 8
    for shown in (repr(settings), str(settings), str(settings.model_dump()), settings.model_dump_json()):
        assert "hunter2" not in shown


def test_everything_that_may_hold_a_secret_is_a_secret() -> None:
    """Settings named for secrets, and URLs with users in them, are SecretStr."""
    named = {name for name in Settings.model_fields if "secret" in name or "password" in name}
    assert named | {"broker_url", "result_url", "hot_url", "warm_url"} == set(SECRETS)


def test_a_setting_that_is_needed_and_missing_is_named() -> None:
    """`required` gives the value, secrets opened, or a sentence with the setting and why it is needed."""
    assert required(SecretStr("redis://x"), "STRATA_HOT_URL", "why") == "redis://x"
    assert required("file:///x", "STRATA_SPOOL_URL", "why") == "file:///x"
    with pytest.raises(SettingError, match="STRATA_SPOOL_URL is not set, and the stages need it") as caught:
        required(None, "STRATA_SPOOL_URL", "the stages need it")
    assert "docs/settings.md" in caught.value.hint


def test_every_setting_has_a_description() -> None:
    """Each is explained by a sentence."""
    for name, field in Settings.model_fields.items():
        assert field.description, name
        assert field.description.endswith("."), name


def _shown(value: Any) -> str:
    if value in (None, (), {}):
        return "not set"
    return f"`{', '.join(value) if isinstance(value, tuple) else value}`"


def test_the_page_lists_every_setting_with_its_default_and_meaning() -> None:
    """docs/settings.md has a row for each setting, as the code has it, and none for what is not one."""
    rows = re.findall(r"^\| `(STRATA_\w+)` \| (.+?) \| (.+) \|$", DOCUMENT.read_text(), re.MULTILINE)
    expected = [
        (PREFIX + name.upper(), _shown(field.default), field.description)
        for name, field in Settings.model_fields.items()
    ]
    assert sorted(rows) == sorted(expected)


def test_the_page_speaks_of_no_setting_that_is_not_there() -> None:
    """Every STRATA_ name on the page is a setting, or STRATA_CONFIG."""
    known = {PREFIX + name.upper() for name in Settings.model_fields} | {"STRATA_CONFIG"}
    assert set(re.findall(r"STRATA_\w+", DOCUMENT.read_text())) - {PREFIX} == known


def test_the_example_on_the_page_loads(folder: Path) -> None:
    """The strata.toml shown is one: it loads, and names settings that exist."""
    (example,) = re.findall(r"```toml\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)
    (folder / "strata.toml").touch(mode=0o600)
    (folder / "strata.toml").write_text(example)
    settings = load_settings()
    assert set(tomllib.loads(example)) <= set(Settings.model_fields)
    assert settings.local_url
    assert settings.hot_url


UNQUOTED = ["hunter2/x", "hunter2#x", "hunter2?x", "hunter2[x"]


@pytest.mark.parametrize("name", ["BROKER_URL", "RESULT_URL"])
@pytest.mark.parametrize("password", UNQUOTED)
def test_a_piece_of_an_unquoted_password_is_not_shown_as_a_port(
    monkeypatch: pytest.MonkeyPatch, name: str, password: str
) -> None:
    """`redis://:p/w@host` is refused in a sentence; the client's own error would print `p` as the port it is not."""
    monkeypatch.setenv(PREFIX + name, f"redis://:{password}@host:6379/0")
    error = refused()
    assert error.sentence.startswith(f"{PREFIX}{name} is wrong: it cannot be read as a URL; in a password write / as")
    assert "hunter2" not in error.sentence


@pytest.mark.parametrize(
    "address", ["u:hunter2/x@host/db", "u:x@hunter2@host/db", "u:1/hunter2@host/db", "u:p@host:hunter2/db", "h:99999/d"]
)
def test_a_piece_of_an_unquoted_password_is_not_shown_as_a_host_of_warm(
    monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    """PostgreSQL would take a piece of such a password for the host or port, and every error would name it."""
    monkeypatch.setenv("STRATA_WARM_URL", f"postgresql://{address}")
    assert "hunter2" not in refused().sentence


@pytest.mark.parametrize(
    "address",
    [
        "u:p%40w%2F@host:5432/db",
        "u:p#w?@host/db",
        "host1:5432,host2:5433/db?target_session_attrs=primary",
        "u@[::1]:5432/db",
        "/db?host=/var/run/postgresql&user=u@x",
        "u:p@%2Ftmp%2Fsocket/db",
        "",
    ],
)
def test_every_address_that_postgresql_understands_is_taken(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    """Several hosts, IPv6, sockets and quoted passwords are fine."""
    monkeypatch.setenv("STRATA_WARM_URL", f"postgresql://{address}")
    assert load_settings().warm_url == SecretStr(f"postgresql://{address}")


IN_EACH_OTHER = [
    {"LOCAL_URL": "file:///srv/strata", "SPOOL_URL": "file:///srv/strata"},
    {"LOCAL_URL": "file:///srv/strata/backups", "SPOOL_URL": "file:///srv/strata/"},
    {"LOCAL_URL": "file:///srv/strata", "SPOOL_URL": "file:///srv/x/../strata/sp%6Fol"},
    {"CLOUD_URL": "s3://bucket/strata", "SPOOL_URL": "s3://bucket"},
    {"COLD_URL": "s3://bucket", "CLOUD_URL": "s3://bucket/backups"},
    {"NETWORK_URL": "file:///mnt/share", "LOCAL_URL": "file:///mnt/share/local"},
    {"NETWORK_URL": "file:///mnt/share/x", "SPOOL_URL": "file:///mnt/share"},
    {"CLOUD_URL": "s3://bucket/backups", "ARCHIVE_URL": "s3://bucket/backups/archive"},
    {"COLD_URL": "s3://bucket/cold/", "SPOOL_URL": "s3://bucket/cold/spool"},
]


@pytest.mark.parametrize("places", IN_EACH_OTHER)
def test_a_spool_is_no_place_for_backups_nor_cold_for_a_store(
    monkeypatch: pytest.MonkeyPatch, places: dict[str, str]
) -> None:
    """One inside the other is refused: the spool's sweep, or an exact restore of COLD, would remove the backups."""
    for name, url in places.items():
        monkeypatch.setenv(PREFIX + name, url)
    error = refused()
    assert all(PREFIX + name in error.sentence for name in places)
    assert "lies in each other" in error.sentence


def test_places_beside_each_other_are_fine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a common beginning of names nor another server makes one place lie in another."""
    monkeypatch.setenv("STRATA_LOCAL_URL", "file:///srv/strata")
    monkeypatch.setenv("STRATA_SPOOL_URL", "file:///srv/strata-spool")
    monkeypatch.setenv("STRATA_COLD_URL", "s3://bucket/")
    monkeypatch.setenv("STRATA_CLOUD_URL", "s3://bucket/backups")
    monkeypatch.setenv("STRATA_CLOUD_ENDPOINT", "https://elsewhere:9000")
    assert load_settings().cold_url == "s3://bucket/"


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        (
            "ARCHIVE_PRICES",
            "GLACIER:bulk=free",
            "STRATA_ARCHIVE_PRICES is wrong: 'GLACIER:bulk=free' is not of the form",
        ),
        ("THAW_SPEED", "fast", "STRATA_THAW_SPEED is wrong: "),
        ("THAW_LOOK_SECONDS", "3600", "STRATA_THAW_LOOK_SECONDS is wrong: "),
    ],
)
def test_a_thaw_that_cannot_be_reckoned_is_refused(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, sentence: str
) -> None:
    """Prices, a speed and a pause that cannot be are named when the process starts, not when the restore is due."""
    monkeypatch.setenv(PREFIX + name, value)
    assert sentence in refused().sentence
