"""Collects one tier as its worker would, alone, once for every line it is sent: `python -m bench.collect hot`.

Prints the seconds of each collection.
"""

from __future__ import annotations

import secrets
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from strata.engine.manager import BackupManager
from strata.model.backup_type import BackupType
from strata.model.tier import Tier
from strata.planning.rounds import Torn
from strata.settings import load_settings
from strata.wiring import Wiring


class Collector:
    """A process that collects one tier each time it is asked."""

    def __init__(self, child: subprocess.Popen[str]) -> None:
        self._child = child

    def seconds(self) -> float:
        """Seconds of one collection."""
        assert self._child.stdin
        assert self._child.stdout
        print(file=self._child.stdin, flush=True)
        answer = self._child.stdout.readline()
        if not answer:
            raise SystemExit("a collection failed")
        return float(answer)


@contextmanager
def collector(tier: Tier, environment: Mapping[str, str]) -> Iterator[Collector]:
    """A process of its own for one tier, warm; ends with the block."""
    command = [sys.executable, "-m", "bench.collect", tier.value]
    with subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        one = Collector(child)
        one.seconds()
        yield one
        assert child.stdin
        child.stdin.close()


def main() -> None:
    """Read, fingerprint, seal and spool the tier named on the command line, until there are no more lines."""
    tier = Tier(sys.argv[1])
    # The other tiers' collectors, whom it would wait for, are not there.
    settings = load_settings().model_copy(update={"meeting_seconds": 0.0, "cut_rounds": 1, "torn": Torn.TELL})
    manager = Wiring(settings).local_manager
    for _ in sys.stdin:
        print(collect(manager, tier), flush=True)


def collect(manager: BackupManager, tier: Tier) -> float:
    """Seconds of one collection, as a worker does it; of everything, whatever earlier backups hold."""
    run_id = f"bench-{secrets.token_hex(6)}"
    manager.start(BackupType.FULL, run_id, fresh=True)
    began = time.perf_counter()
    manager.collect(run_id, tier)
    seconds = time.perf_counter() - began
    manager.abandon(run_id, "measured")
    return seconds


if __name__ == "__main__":
    main()
