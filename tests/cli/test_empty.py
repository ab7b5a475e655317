"""A service that holds nothing yet is backed up like any other."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Command


@pytest.fixture
def new_service(configured: Path, warm_url: str, moto_bucket: str, moto_endpoint: str) -> Path:
    """Settings that name three tiers: an empty Redis, a database without tables, a bucket without objects."""
    settings = {
        "warm_url": warm_url,
        "cold_url": f"s3://{moto_bucket}",
        "cold_endpoint": moto_endpoint,
        "cold_region": "us-east-1",
        "cold_access_key_id": "test",
        "cold_secret_access_key": "test",
    }
    with open(configured / "strata.toml", "a") as file:
        file.writelines(f"{name} = {json.dumps(value)}\n" for name, value in settings.items())
    return configured


def test_three_empty_tiers_are_backed_up_and_brought_back(new_service: Path, strata: Command) -> None:
    """The first FULL is made, and says which tiers have no records; accepted once, emptiness is what is expected."""
    first = strata("backup", "full", "--local", "--json")
    assert first.code == 14
    assert [doubt["sentence"] for doubt in first.document["doubts"]] == [
        "HOT (Redis) has no records",
        "WARM (PostgreSQL) has no records",
        "COLD (S3) has no records",
    ]
    assert strata("accept", first.document["backup_id"], "--reason", "a new service").code == 0
    assert strata("backup", "full", "--local").code == 0
    assert strata("restore", "latest", "--local", "--yes").code == 0
