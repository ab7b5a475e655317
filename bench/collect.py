"""Collects one tier as its worker would, alone, and prints the seconds: `python -m bench.collect hot`."""

from __future__ import annotations

import secrets
import sys
import time

from strata.engine.manager import BackupManager
from strata.model.backup_type import BackupType
from strata.model.tier import Tier
from strata.settings import load_settings
from strata.wiring import Wiring


def main() -> None:
    """Read, fingerprint, seal and spool the tier named on the command line; the first time only warms up."""
    tier = Tier(sys.argv[1])
    manager = Wiring(load_settings()).local_manager
    print(min(collect(manager, tier) for _ in range(3)))


def collect(manager: BackupManager, tier: Tier) -> float:
    """Seconds of one collection, as a worker does it that has done one before."""
    run_id = f"bench-{secrets.token_hex(6)}"
    manager.start(BackupType.FULL, run_id)
    began = time.perf_counter()
    manager.collect(run_id, tier)
    seconds = time.perf_counter() - began
    manager.abandon(run_id, "measured")
    return seconds


if __name__ == "__main__":
    main()
