"""A cure for one fault of Celery 5.7.0 with a Redis broker.

When the broker restarts while a worker holds an unacknowledged message, the channel's teardown puts the message back
through a new connection, whose parameters it asks of a client that is gone by then: AttributeError, and the worker
dies. The channel keeps its client here, and answers from it.
"""

from __future__ import annotations

from typing import Any

from kombu.transport.redis import Channel


def keep_client_for_redelivery() -> None:
    """Patch kombu's Redis channel; harmless when done twice."""
    if getattr(Channel, "strata_keeps_client", False):
        return
    original_init, original_parameters = Channel.__init__, Channel._connparams  # noqa: SLF001 - the faulty part

    def __init__(self: Any, connection: Any, *args: Any, **kwargs: Any) -> None:  # noqa: N807
        self.strata_client = connection.client
        original_init(self, connection, *args, **kwargs)

    def _connparams(self: Any, asynchronous: bool = False) -> Any:  # noqa: FBT001, FBT002 - kombu's signature
        transport = self.connection
        if transport.client is not None:
            return original_parameters(self, asynchronous)
        transport.client = self.strata_client
        try:
            return original_parameters(self, asynchronous)
        finally:
            transport.client = None

    Channel.__init__, Channel._connparams = __init__, _connparams  # noqa: SLF001
    Channel.strata_keeps_client = True
