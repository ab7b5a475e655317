"""Every setting of Celery, with its reason."""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import urlsplit

from celery import Celery

from beat_schedule import BEAT_SCHEDULE
from strata.settings import Settings, required
from strata.tls import Tls, read_url, redis_access
from workers.queues import CONTROL, EXCHANGE, QUEUES, ROUTES, lane_of_start

_GRACE: Final = 60


def configuration(settings: Settings) -> dict[str, Any]:
    """Celery's settings, for these of ours."""
    hard_limit = settings.stage_seconds + 30
    broker = required(settings.broker_url, "STRATA_BROKER_URL", "workers get their work through it")
    results = required(settings.result_url, "STRATA_RESULT_URL", "chords are counted there")
    return {
        **_broker(broker, settings.tls),
        **_results(results, settings.tls),
        # A message is done when its work is done: a killed worker's message goes to another.
        "task_acks_late": True,
        "task_reject_on_worker_lost": True,
        # One message a process: work lies in the queue, where an idle worker sees it, not in a busy worker's memory.
        "worker_prefetch_multiplier": 1,
        "worker_disable_prefetch": True,
        # True would drop a redelivered message whose chord was not counted yet, and hang the chord; the ledger
        # answers redeliveries.
        "worker_deduplicate_successful_tasks": False,
        # Otherwise a worker that lost its broker goes on with work that is being redelivered.
        "worker_cancel_long_running_tasks_on_connection_loss": True,
        # Never give up on the broker: a supervisor would only start the worker again.
        "broker_connection_max_retries": None,
        "broker_connection_retry_on_startup": True,
        "broker_channel_error_retry": True,
        "broker_transport_options": {
            # Redelivers what a dead worker held. Longer than any stage may take, or live work would be doubled.
            "visibility_timeout": max(hard_limit + _GRACE, 120),
            # Look for such messages every 5 s instead of about every 100.
            "unacked_restore_interval": 5,
            "unacked_restore_throttle": 1,
        },
        # Without it, eight seconds without Redis leave a chord uncounted for ever.
        "result_backend_always_retry": True,
        "result_backend_transport_options": {"visibility_timeout": max(hard_limit + _GRACE, 120)},
        # A chord may wait long for its last part; results themselves hold nothing that the ledger does not.
        "result_chord_expires": 7 * 86400,
        "result_expires": 86400,
        # A stage that hangs is told to stop, then stopped; the run fails with that reason.
        "task_soft_time_limit": settings.stage_seconds,
        "task_time_limit": hard_limit,
        # Tickets are JSON: nothing that is executed on arrival.
        "task_serializer": "json",
        "result_serializer": "json",
        "accept_content": ["json"],
        # Local zones would run the repeated hour of autumn once.
        "timezone": "UTC",
        "enable_utc": True,
        # A mistyped queue is an error, not a queue that nobody reads.
        "task_create_missing_queues": False,
        "task_queues": QUEUES,
        "task_routes": (lane_of_start, ROUTES),
        # Celery's own is ended by a message that it did not write, and so is each worker after it.
        "worker_consumer": "workers.consumer:TaskConsumer",
        "task_default_queue": CONTROL,
        "task_default_exchange": EXCHANGE.name,
        "task_default_routing_key": CONTROL,
        # One errback for a whole canvas, not one for each member of a header.
        "task_allow_error_cb_on_chord_header": False,
        # Flower shows what is under way.
        "task_track_started": True,
        "worker_send_task_events": True,
        # Who sends is named by its process id there, so each command and each new child would add series to Flower's
        # metrics for ever. What waits in a queue is counted on Flower's page of the broker.
        "task_send_sent_event": False,
        # Messages carry ids only; still, arguments are shown as the tasks word them, never as they are.
        "worker_hijack_root_logger": True,
        "worker_redirect_stdouts": False,
        # The workers' memory is bounded by design; a process that outgrew it is replaced after its task (KiB).
        "worker_max_memory_per_child": 700_000,
        "beat_schedule": BEAT_SCHEDULE,
        "beat_max_loop_interval": 30,
    }


def _broker(url: str, tls: Tls) -> dict[str, Any]:
    """Kombu would take any server for ours: it verifies nothing unless it is told to."""
    scheme = urlsplit(url).scheme
    encrypted = scheme in {"rediss", "amqps"}
    bare, tls = read_url(url, tls, encrypted=encrypted)
    if not encrypted:
        return {"broker_url": bare}
    if scheme == "rediss":
        return {"broker_url": bare, "broker_use_ssl": tls.for_redis()}
    return {"broker_url": bare, "broker_use_ssl": tls.for_amqp(urlsplit(bare).hostname or "localhost")}


def _results(url: str, tls: Tls) -> dict[str, Any]:
    bare, options = redis_access(url, tls)
    return {"result_backend": bare, **({"redis_backend_use_ssl": options} if options else {})}


def make_app(settings: Settings) -> Celery:
    """A Celery app for these settings, with every task known to it."""
    application = Celery("strata", include=TASK_MODULES)
    application.conf.update(configuration(settings))
    return application


TASK_MODULES: Final = [
    f"tasks.{name}"
    for name in (
        "start",
        "baseline",
        "collect",
        "merge",
        "compress",
        "encrypt",
        "store",
        "verify",
        "record",
        "abandon",
        "thaw",
        "restore",
        "copy",
        "prune",
        "upkeep",
    )
]
