"""Storing segments in a bucket beside boto3's own parallel put of the same bytes."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

from bench.limits import Section
from bench.peers import timed
from strata.clock import SystemClock
from strata.model.tier import StorageTier
from strata.settings import Settings
from strata.transport import TransportService

SEGMENTS: Final = 32
SEGMENT_BYTES: Final = 32 << 20
THREADS: Final = 4
_TURNS: Final = 3


def upload(settings: Settings, s3: Any, bucket: str) -> Section:
    """1 GB in segments put both ways by four threads, by turns, best of three; CLOUD is made as the wiring makes it."""
    body = secrets.token_bytes(SEGMENT_BYTES)
    cloud = {f"cloud_{name}": getattr(settings, f"cold_{name}") for name in _ACCESS}
    configured = TransportService(
        settings.model_copy(update={**cloud, "cloud_url": f"s3://{bucket}/upload", "store_threads": THREADS}),
        SystemClock(),
    )
    store = configured.stores()[StorageTier.CLOUD]
    seconds: dict[str, list[float]] = {"boto3": [], "Strata": []}
    for turn in range(_TURNS):
        seconds["boto3"].append(
            _in_parallel(lambda number: s3.put_object(Bucket=bucket, Key=f"upload/boto3/{number:06d}.seg", Body=body))
        )
        _empty(s3, bucket)
        seconds["Strata"].append(
            _in_parallel(lambda number, turn=turn: store.put(f"layers/{turn}/{number:06d}.seg", [body]))  # type: ignore[misc]
        )
        _empty(s3, bucket)
    best = {name: min(found) for name, found in seconds.items()}
    rates = ", ".join(f"{name} {SEGMENTS * SEGMENT_BYTES / found / 1e6:,.0f} MB/s" for name, found in best.items())
    return Section(
        {"CLOUD store of 1 GB / boto3 put_object, time": best["Strata"] / best["boto3"]}, {"seconds": seconds}, [rates]
    )


_ACCESS: Final = ("endpoint", "region", "access_key_id", "secret_access_key")


def _in_parallel(put: Callable[[int], object]) -> float:
    def work() -> None:
        with ThreadPoolExecutor(THREADS) as pool:
            list(pool.map(put, range(SEGMENTS)))

    return timed(work)


def _empty(s3: Any, bucket: str) -> None:
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix="upload/"):
        for found in page.get("Contents", []):
            s3.delete_object(Bucket=bucket, Key=found["Key"])
