"""The image: small rights, pinned contents, and an entry point that takes the roles."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "Dockerfile").read_text()
FINAL = DOCKERFILE[DOCKERFILE.rindex("\nFROM ") :]


def test_image_runs_as_a_numbered_user_that_is_not_root() -> None:
    """Kubernetes' runAsNonRoot needs a number; volumes and secrets name it."""
    users = re.findall(r"^USER (.+)$", FINAL, re.MULTILINE)
    assert users == ["10001:10001"]


def test_final_stage_cannot_install_anything() -> None:
    """Packages are installed in the builder; the final stage removes pip and fetches nothing."""
    assert "pip install" not in FINAL
    assert "apt-get" not in DOCKERFILE
    assert "pip uninstall --yes setuptools wheel pip" in FINAL


def test_every_package_is_checked_by_its_hash() -> None:
    """Dependencies and the build backend come with hashes; the project itself brings no further ones."""
    installs = re.findall(r"pip install (.+)$", DOCKERFILE, re.MULTILINE)
    assert installs == [
        "--only-binary :all: --require-hashes -r requirements.txt -r requirements-build.txt",
        "--no-deps --no-build-isolation . \\",
    ]
    assert set(re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE)) == {"python:3.11-slim-bookworm"}


def test_build_backend_is_the_one_developers_build_with() -> None:
    """requirements-build.txt pins the version and the hashes that requirements-dev.txt pins."""
    pin = re.compile(r"^setuptools==.+(?:\\\n.+)+", re.MULTILINE)
    built, developed = (pin.search((ROOT / f"requirements-{name}.txt").read_text()) for name in ("build", "dev"))
    assert built
    assert developed
    assert built[0].split() == developed[0].split()


def test_build_context_is_named_not_excluded() -> None:
    """Everything is left out first, so that a keyring or an .env never gets into an image."""
    rules = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and line[0] != "#"]
    assert rules[0] == "*"
    copied = re.findall(r"^COPY (?!--from)(?:--\S+ )?(.+) \S+$", DOCKERFILE, re.MULTILINE)
    assert {f"!{name}" for names in copied for name in names.split()} == {rule for rule in rules if rule[0] == "!"}
    assert all((ROOT / rule[1:]).exists() for rule in rules if rule[0] == "!")


@pytest.mark.parametrize(
    ("arguments", "command"),
    [
        (["worker", "-Q", "strata.seal"], "celery -A workers worker -Q strata.seal"),
        (["beat"], "celery -A workers beat"),
        (["flower", "--port=1"], "celery -A workers flower --port=1"),
        (["strata", "keys", "init"], "strata keys init"),
    ],
)
def test_entry_point_takes_a_role_or_a_command(tmp_path: Path, arguments: list[str], command: str) -> None:
    """Roles are Celery's; anything else is run as it stands."""
    for name in ("celery", "strata"):
        stand_in = tmp_path / name
        stand_in.write_text('#!/bin/sh\necho "${0##*/} $*"\n')
        stand_in.chmod(0o755)
    path = f"{tmp_path}:{os.environ['PATH']}"
    said = subprocess.run(
        [ROOT / "docker-entrypoint.sh", *arguments], env={"PATH": path}, capture_output=True, text=True, check=True
    )
    assert said.stdout.strip() == command
