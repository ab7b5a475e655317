"""The hold of a worker on its unit: the claim and the lease, renewed together and trusted for a while only.

A process that stood still (stopped, or its machine suspended) does not notice: when it goes on, another may have done
its work, and the state may have changed since. So every writer asks `check` immediately before each lasting effect. It
compares the time since the last renewal with SILENT_SECONDS, and where more has passed renews first, which proves by
token and fence that claim and lease are still this worker's.
"""

from __future__ import annotations

import threading
from typing import Final

from strata.catalog.lease import Lease
from strata.catalog.ledger import CLAIM_SECONDS, SILENT_SECONDS, Claim, Ledger
from strata.clock import Clock, Stopwatch
from strata.errors import BrokerUnavailable, LeaseLost, StrataError

_ASK_AGAIN_SECONDS: Final = 1.0


class Hold:
    """One worker's claim on a unit and, where its run has one, the lease; safe to ask from several threads.

    `since` was set before the claim was asked for.
    """

    def __init__(
        self, claim: Claim, fence: int | None, ledger: Ledger, lease: Lease, clock: Clock, since: Stopwatch
    ) -> None:
        self.claim = claim
        self.lost = threading.Event()
        """Set once claim or lease went to somebody else, or may have."""
        self._fence, self._ledger, self._lease, self._clock = fence, ledger, lease, clock
        self._since = since
        self._asking = threading.Lock()

    def check(self) -> None:
        """Return where a lasting effect may begin now; LeaseLost where it may not.

        While the ledger does not answer it waits, until the claim has run out.
        """
        self._refuse_if_lost()
        if self._since.seconds > SILENT_SECONDS:
            with self._asking:  # one asks, and the others wait for its answer
                while self._since.seconds > SILENT_SECONDS:
                    self._refuse_if_lost()
                    if not self.renew():
                        self.lost.wait(_ASK_AGAIN_SECONDS)
        self._refuse_if_lost()

    def renew(self) -> bool:
        """Keep claim and lease alive; False where nobody answered, or they are lost.

        Silence is no loss before the claim has run out: until then nobody else can have taken it.
        """
        asked = Stopwatch(self._clock)
        try:
            kept = self._ledger.renew(self.claim) and (self._fence is None or self._lease.renew(self._fence))
        except BrokerUnavailable:
            if self._since.seconds > CLAIM_SECONDS:
                self.lost.set()
            return False
        except StrataError:  # the ledger has lost the run
            kept = False
        if kept:
            self._since = asked
        else:
            self.lost.set()
        return kept

    def _refuse_if_lost(self) -> None:
        if self.lost.is_set():
            raise LeaseLost(
                f"{self.claim.stage} of {self.claim.run_id} was taken over by another worker, or its run has ended: "
                "this worker was silent for too long and writes nothing more"
            )
