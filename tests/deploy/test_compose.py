"""docker-compose.yml: valid, complete, and each process given only what it needs."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from strata.seal.keyring_cuts import CUTS
from tests.deploy.names import unknown_settings
from workers.queues import GROUPS, QUEUES

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docker-compose.yml").read_text()
SERVICES: dict[str, dict[str, Any]] = yaml.safe_load(TEXT)["services"]
OURS = [name for name, service in SERVICES.items() if "build" in service]
WORKERS = [name for name in OURS if SERVICES[name]["command"][0] == "worker"]


def option(service: dict[str, Any], flag: str) -> str:
    """What follows a flag on a service's command line."""
    command = service["command"]
    return str(command[command.index(flag) + 1])


def test_file_is_valid_compose() -> None:
    """The file is what the Compose specification allows, names and types included."""
    from compose_spec import PyOptions

    compose = PyOptions(apply_merge=True).from_yaml(TEXT)
    compose.validate()
    assert compose.service_names() == list(SERVICES)


def test_worker_groups_are_those_of_the_queues_module() -> None:
    """Each group serves the queues, with as many processes, as workers.queues says; each queue exactly once."""
    served = {name: tuple(option(SERVICES[name], "-Q").split(",")) for name in WORKERS}
    assert {name: (served[name], int(option(SERVICES[name], "-c"))) for name in WORKERS} == GROUPS
    assert sorted(queue for queues in served.values() for queue in queues) == sorted(queue.name for queue in QUEUES)


def test_beat_is_there_once() -> None:
    """One beat, one container of it: two would send every entry twice."""
    beats = [name for name in OURS if SERVICES[name]["command"][0] == "beat"]
    assert beats == ["beat"]
    assert "deploy" not in SERVICES["beat"]
    assert "scale" not in SERVICES["beat"]


@pytest.mark.parametrize("path", ["docker-compose.yml", "Dockerfile", "docs/how-to/deploy.md"])
def test_every_setting_exists(path: str) -> None:
    """A process refuses to start with a setting it does not know, so none may be misspelt here."""
    assert not unknown_settings((ROOT / path).read_text())


@pytest.mark.parametrize(
    ("name", "secrets"),
    [
        ("control", {"BROKER_PASSWORD"}),
        ("collect", {"BROKER_PASSWORD", "HOT_PASSWORD", "WARM_PASSWORD", "COLD_ACCESS_KEY_ID"}),
        ("seal", {"BROKER_PASSWORD"}),
        ("store", {"BROKER_PASSWORD", "HOT_PASSWORD", "WARM_PASSWORD", "COLD_ACCESS_KEY_ID"}),
        ("emergency", {"BROKER_PASSWORD", "HOT_PASSWORD", "WARM_PASSWORD", "COLD_ACCESS_KEY_ID"}),
        ("beat", {"BROKER_PASSWORD"}),
        ("flower", {"BROKER_PASSWORD", "FLOWER_PASSWORD"}),
    ],
)
def test_process_knows_no_password_it_does_not_need(name: str, secrets: set[str]) -> None:
    """Only collect, store and emergency may enter the tiers; only they reach the tiers' network."""
    used = set(re.findall(r"\$\{(\w+)", str(SERVICES[name]["environment"])))
    certificates = {"TLS_CA", "TLS_CERTIFICATE", "TLS_KEY"}
    assert used - {"COLD_SECRET_ACCESS_KEY"} - certificates == secrets
    assert ("state" in SERVICES[name]["networks"]) == ("HOT_PASSWORD" in secrets)


def test_each_worker_holds_its_own_keyring_and_commands_the_whole_one() -> None:
    """Beat and Flower have nothing to open; `keys` makes the keyring and so cannot wait for it."""
    held = {name: SERVICES[name]["secrets"] for name in OURS if "secrets" in SERVICES[name]}
    cuts = {name: [{"source": f"keyring-{name}", "target": "keyring"}] for name in CUTS}
    assert held == {**cuts, "cli": ["keyring"]}
    files = {name: secret["file"] for name, secret in yaml.safe_load(TEXT)["secrets"].items()}
    assert files == {name: f"./secrets/{name}.json" for name in files}
    assert set(files) == {"keyring", *(f"keyring-{name}" for name in CUTS)}


def test_backups_are_mounted_only_where_they_are_read_or_written() -> None:
    """Collect and seal hand their work on through the spool; neither can touch a backup."""
    mounted = {name for name in OURS if any("/backups" in volume for volume in SERVICES[name].get("volumes", []))}
    assert mounted == {"control", "store", "emergency", "cli"}


def test_workers_may_finish_their_stage_before_they_are_killed() -> None:
    """The grace is the hard limit of a stage and 30 s more."""
    code = "from workers.app import app; print(app.conf.task_time_limit)"  # needs a broker's URL to be imported
    told = {"PATH": "/usr/bin", "STRATA_BROKER_URL": "redis://x", "STRATA_RESULT_URL": "redis://x"}
    said = subprocess.run([sys.executable, "-c", code], env=told, cwd=ROOT, capture_output=True, text=True, check=True)
    hard_limit = int(said.stdout)
    assert {SERVICES[name]["stop_grace_period"] for name in WORKERS} == {f"{hard_limit + 30}s"}


@pytest.mark.parametrize("name", SERVICES)
def test_container_has_few_rights(name: str) -> None:
    """No capability, no new privilege, nothing writable but what is mounted; ours say who they are in the image."""
    service = SERVICES[name]
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["read_only"] is True
    assert "privileged" not in service
    assert service.get("user") != "root"


@pytest.mark.parametrize("name", [name for name in SERVICES if "profiles" not in SERVICES[name]])
def test_service_is_watched(name: str) -> None:
    """Whatever keeps running has a health check; a worker's asks for its own heartbeat file."""
    asked = SERVICES[name]["healthcheck"]["test"]
    if name in {*WORKERS, "beat"}:
        assert asked == ["CMD", "python", "-m", "workers.probe", name]
    assert asked


def test_flower_is_seen_from_this_machine_only() -> None:
    """Every published port is bound to the loopback address, and Flower asks for a password."""
    ports = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert ports == ["127.0.0.1:5555:5555"]
    assert "FLOWER_BASIC_AUTH" in SERVICES["flower"]["environment"]


def test_images_are_pinned_to_a_version() -> None:
    """No image is whatever is newest on the day."""
    for service in SERVICES.values():
        _, _, tag = service["image"].partition(":")
        assert tag
        assert tag != "latest"


def test_env_example_names_every_variable_and_no_secret() -> None:
    """A variable that is missing stops the start with a sentence; those of TLS alone may be empty."""
    lines = [line for line in (ROOT / ".env.example").read_text().splitlines() if line and not line.startswith("#")]
    used = re.findall(r"\$\{(\w+)(:\?Set \1 in \.env|:-)?\}", TEXT)
    assert {name for name, how in used if how == ":-"} == {"TLS_CA", "TLS_CERTIFICATE", "TLS_KEY"}
    assert all(how for _, how in used)
    assert sorted(lines) == sorted({f"{name}=" for name, _ in used})


def test_certificate_files_are_given_to_every_process_that_connects() -> None:
    """The folder `tls` is seen by all but `keys`, which connects to nothing, and can be changed by none."""
    seen = {name for name in OURS if "./tls:/etc/strata/tls:ro" in SERVICES[name].get("volumes", ())}
    assert seen == set(OURS) - {"keys"}
    assert all("STRATA_TLS_CA" in SERVICES[name]["environment"] for name in seen)


def test_the_cache_is_written_where_the_store_is_read() -> None:
    """A container's root is read-only, so what catalogues say is kept in a volume."""
    kept = {name for name in OURS if "cache:/var/lib/strata/cache" in SERVICES[name].get("volumes", ())}
    assert kept == {"control", "store", "emergency", "cli"}
    assert SERVICES["cli"]["environment"]["STRATA_CACHE_FOLDER"] == "/var/lib/strata/cache"
