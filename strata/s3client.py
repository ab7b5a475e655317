"""S3 as both the COLD source and the CLOUD and ARCHIVE stores reach it: one client, one reading of its errors.

boto3 is imported inside functions: it takes 0.34 s, and most commands never speak S3.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from enum import Enum, auto
from functools import cache
from http import HTTPStatus
from io import BytesIO
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from strata.errors import SettingError
from strata.tls import Tls

if TYPE_CHECKING:
    from boto3.session import Session
    from botocore.credentials import Credentials
    from botocore.exceptions import ClientError
    from mypy_boto3_s3.client import S3Client

_BUCKET: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,254}")
CONNECT_SECONDS: Final = 5
READ_SECONDS: Final = 30
_MAKING: Final = threading.Lock()
"""Sessions make one client at a time; clients themselves may be used by many threads."""
ATTEMPTS: Final = 5
"""How often one request is tried; botocore waits up to 1, 2, 4 and 8 s between the tries."""

_PIECE: Final = 1 << 20
"""Bytes of a body that are sent by one permit, and at once: http.client asks for 16 KiB, and each send gives the GIL
up, to be waited for again beside a thread that decrypts; 600 MB are 600 sends in place of 37,000."""

_PERMIT: Final[ContextVar[Callable[[], None] | None]] = ContextVar("permit", default=None)


@dataclass(frozen=True)
class S3Access:
    """Where an S3 service is and who asks; None leaves a value to boto3's default chain."""

    endpoint: str | None = None
    access_key_id: str | None = field(default=None, repr=False)
    secret_access_key: str | None = field(default=None, repr=False)
    region: str | None = None
    attempts: int = ATTEMPTS
    tls: Tls = field(default_factory=Tls)

    @property
    def host(self) -> str:
        """The endpoint's host and port without credentials; `amazonaws.com` where none is set."""
        return urlsplit(self.endpoint).netloc.rpartition("@")[2] if self.endpoint else "amazonaws.com"


class FaultKind(Enum):
    """What an S3 failure means to whoever asked."""

    UNAVAILABLE = auto()
    NO_BUCKET = auto()
    NO_OBJECT = auto()
    CHANGED = auto()
    """A condition on the object did not hold: If-Match, If-None-Match."""
    CONFLICT = auto()
    """Another conditional write of that name was under way."""
    BAD_RANGE = auto()
    DENIED = auto()
    ARCHIVED = auto()
    THAWING = auto()
    """An archived object was asked for before, and is on its way."""
    NO_CAPACITY = auto()
    """Archived objects cannot be had at this speed now."""
    FULL = auto()
    REFUSED = auto()


@dataclass(frozen=True)
class Fault:
    """An S3 failure: its kind, and a reason that holds no object name and no secret."""

    kind: FaultKind
    reason: str
    hint: str
    tries: int = 1
    status: int = 0
    """The HTTP status of the answer; 0 where there was none."""


_BY_CODE: Final = {
    "NoSuchBucket": FaultKind.NO_BUCKET,
    "NoSuchKey": FaultKind.NO_OBJECT,
    "NoSuchVersion": FaultKind.NO_OBJECT,
    "PreconditionFailed": FaultKind.CHANGED,
    "ConditionalRequestConflict": FaultKind.CONFLICT,
    "NoSuchUpload": FaultKind.CHANGED,
    "InvalidRange": FaultKind.BAD_RANGE,
    "InvalidObjectState": FaultKind.ARCHIVED,
    "RestoreAlreadyInProgress": FaultKind.THAWING,
    "ObjectAlreadyInActiveTierError": FaultKind.ARCHIVED,
    "GlacierExpeditedRetrievalNotAvailable": FaultKind.NO_CAPACITY,
    "InsufficientStorage": FaultKind.FULL,
    "QuotaExceeded": FaultKind.FULL,
    "XMinioStorageFull": FaultKind.FULL,
    "SlowDown": FaultKind.UNAVAILABLE,
    "RequestTimeout": FaultKind.UNAVAILABLE,
    "RequestLimitExceeded": FaultKind.UNAVAILABLE,
    "Throttling": FaultKind.UNAVAILABLE,
    "RequestTimeTooSkewed": FaultKind.REFUSED,
    "ExpiredToken": FaultKind.DENIED,
    "InvalidToken": FaultKind.DENIED,
}
_BY_STATUS: Final = {
    401: FaultKind.DENIED,
    403: FaultKind.DENIED,
    404: FaultKind.NO_OBJECT,
    408: FaultKind.UNAVAILABLE,
    409: FaultKind.CONFLICT,
    412: FaultKind.CHANGED,
    416: FaultKind.BAD_RANGE,
    429: FaultKind.UNAVAILABLE,
    501: FaultKind.REFUSED,
    507: FaultKind.FULL,
}
_HINTS: Final = {
    FaultKind.UNAVAILABLE: "Check the endpoint and the network; a retry may help.",
    FaultKind.NO_BUCKET: "Create the bucket, or correct the URL; Strata never creates buckets.",
    FaultKind.NO_OBJECT: "It was deleted, or never written whole.",
    FaultKind.CHANGED: "Something else writes to it; a retry may help.",
    FaultKind.CONFLICT: "Something else writes to it; a retry may help.",
    FaultKind.BAD_RANGE: "The object is shorter than was asked for.",
    FaultKind.DENIED: "Check the credentials, and what they may do with this bucket.",
    FaultKind.ARCHIVED: "Bring archived objects back first (S3 RestoreObject), then start again.",
    FaultKind.THAWING: "Wait until it can be read.",
    FaultKind.NO_CAPACITY: "Ask for standard retrieval, or again later.",
    FaultKind.FULL: "Free room there, then start again.",
    FaultKind.REFUSED: "Check the region, the endpoint and that the service supports the request.",
}
_HINTS_BY_CODE: Final = {
    "InvalidStorageClass": "Choose a storage class that this service has.",
    "RequestTimeTooSkewed": "Set this machine's clock.",
    "KMS.DisabledException": "Enable the KMS key.",
    "KMS.KMSInvalidStateException": "The KMS key is disabled or about to be deleted: enable it.",
    "KMS.NotFoundException": "Check the id of the KMS key, and its region.",
    "PermanentRedirect": "Set the region of the bucket.",
    "AuthorizationHeaderMalformed": "Set the region of the bucket.",
}


def location(url: str, setting: str) -> tuple[str, str]:
    """The bucket and the prefix (empty, or ending in `/`) that an s3:// URL names; SettingError otherwise.

    The prefix stands for itself: nothing in it is percent-decoded.
    """
    scheme, _, rest = url.partition("://")
    bucket, _, prefix = rest.partition("/")
    if scheme != "s3" or not _BUCKET.fullmatch(bucket):
        raise SettingError(
            f"{setting} must be a URL like s3://bucket/prefix",
            hint="Credentials and endpoint have settings of their own.",
        )
    return bucket, f"{prefix}/" if prefix and not prefix.endswith("/") else prefix


def _checked_endpoint(endpoint: str | None) -> str | None:
    try:
        parts = urlsplit(endpoint or "http://unset")
        fits = parts.scheme in {"http", "https"} and bool(parts.hostname) and "@" not in parts.netloc
        _ = parts.port
    except ValueError:
        fits = False
    if not fits:
        raise _wrong_endpoint()
    return endpoint


def _wrong_endpoint() -> SettingError:
    return SettingError(
        "the S3 endpoint must be a URL like https://s3.example.org:9000",
        hint="Credentials have settings of their own.",
    )


@cache
def _session() -> Session:
    """One session for the process: it holds no connection, and parsing S3's service model takes it 0.1 s."""
    from boto3.session import Session

    return Session()


def make_client(access: S3Access, connections: int) -> S3Client:
    """A client of its own for up to `connections` threads; make it after the worker has forked."""
    from botocore.config import Config
    from botocore.exceptions import InvalidRegionError

    endpoint = _checked_endpoint(access.endpoint)
    config = Config(
        signature_version="s3v4",
        s3={"addressing_style": "path" if endpoint else "auto"},
        # the default adds CRC trailers in chunked bodies, which many S3-compatible services refuse
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        retries={"mode": "standard", "total_max_attempts": access.attempts},
        connect_timeout=CONNECT_SECONDS,
        read_timeout=READ_SECONDS,
        max_pool_connections=connections,
        client_cert=_client_certificate(access.tls),
    )
    with _MAKING:
        region = access.region or _session().region_name or ("us-east-1" if endpoint else None)
        try:
            client = _session().client(
                "s3",
                endpoint_url=endpoint,
                aws_access_key_id=access.access_key_id,
                aws_secret_access_key=access.secret_access_key,
                region_name=region,
                config=config,
                verify=access.tls.ca,
            )
        except InvalidRegionError:
            raise SettingError(
                f"{region!r} cannot be a region of S3", hint="Write it like eu-central-1, or leave it out."
            ) from None
        except ValueError:
            raise _wrong_endpoint() from None
    client.meta.events.register("before-send.s3", _ask_permit)
    return client


@contextmanager
def permitted(permit: Callable[[], None]) -> Iterator[None]:
    """Every request within, and every further try at one, asks `permit` before it is sent; what that raises ends it."""
    before = _PERMIT.set(permit)
    try:
        yield
    finally:
        _PERMIT.reset(before)


class PermittedBody(BytesIO):
    """A body that asks `permit` before each piece of it is sent.

    A request with a body is begun, and waits for the service to say that it wants the body: time in which it can stand
    still long after it was permitted.
    """

    def __init__(self, body: bytes, permit: Callable[[], None]) -> None:
        super().__init__(body)
        self._permit = permit

    def read(self, size: int | None = -1) -> bytes:
        self._permit()
        return super().read(size if size is None or size < 0 else max(size, _PIECE))


def _ask_permit(**_: Any) -> None:
    if (permit := _PERMIT.get()) is not None:
        permit()


def _client_certificate(tls: Tls) -> Any:
    if tls.certificate is None or tls.key is None:
        return tls.certificate
    return tls.certificate, tls.key


def credentials_of(access: S3Access) -> Credentials | None:
    """What the client of this access signs with; None where boto3's default chain finds nothing."""
    from botocore.credentials import Credentials

    if access.access_key_id and access.secret_access_key:
        return Credentials(access.access_key_id, access.secret_access_key)
    return _session().get_credentials()


class Translated:
    """A context that raises what `failure` makes of an S3 failure inside, from None."""

    def __init__(self, failure: Callable[[Fault], Exception]) -> None:
        self._failure = failure

    def __enter__(self) -> None:
        return

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if error and (fault := _fault_of(error)):
            raise self._failure(fault) from None


def _fault_of(error: BaseException) -> Fault | None:
    from botocore.exceptions import BotoCoreError, ClientError
    from urllib3.exceptions import HTTPError

    if isinstance(error, ClientError):
        return _answer_fault(error)
    return _local_fault(error) if isinstance(error, BotoCoreError | HTTPError | OSError) else None


def _answer_fault(error: ClientError) -> Fault:
    """What the service answered, by its code alone: messages of services quote object names and policies."""
    code = str(error.response.get("Error", {}).get("Code", ""))
    metadata: Any = error.response.get("ResponseMetadata", {})
    status = int(metadata.get("HTTPStatusCode", 0))
    fallback = FaultKind.UNAVAILABLE if status >= HTTPStatus.INTERNAL_SERVER_ERROR else FaultKind.REFUSED
    kind = _BY_CODE.get(code) or _BY_STATUS.get(status, fallback)
    shown = f"{code} (HTTP {status})" if re.fullmatch(r"[A-Za-z.]{3,60}", code) else f"HTTP {status}"
    return Fault(kind, shown, _HINTS_BY_CODE.get(code, _HINTS[kind]), 1 + int(metadata.get("RetryAttempts", 0)), status)


def _local_fault(error: Exception) -> Fault:
    """What went wrong before or without an answer, by its type alone: messages hold whole URLs."""
    for types, kind, reason, hint in _local_faults():
        if isinstance(error, types):
            return Fault(kind, reason, hint or _HINTS[kind])
    return Fault(FaultKind.REFUSED, type(error).__name__, _HINTS[FaultKind.REFUSED])


def _local_faults() -> Iterator[tuple[tuple[type[Exception], ...], FaultKind, str, str]]:
    """Types of local failures, special ones before general ones: types, kind, reason, hint where it is its own."""
    from botocore import exceptions as boto
    from urllib3.exceptions import HTTPError

    nobody = (boto.NoCredentialsError, boto.PartialCredentialsError, boto.CredentialRetrievalError)
    slow = (boto.ConnectTimeoutError, boto.ReadTimeoutError, TimeoutError)
    broken = (boto.HTTPClientError, boto.ConnectionError, boto.IncompleteReadError, HTTPError, OSError)
    yield nobody, FaultKind.DENIED, "no credentials were found", "Set the access key and the secret key."
    yield (boto.SSLError,), FaultKind.REFUSED, "TLS failed", "Check the endpoint's certificate and who is trusted."
    yield (boto.ParamValidationError,), FaultKind.REFUSED, "S3 cannot express the request", ""
    yield slow, FaultKind.UNAVAILABLE, "it did not answer in time", ""
    yield (boto.EndpointConnectionError,), FaultKind.UNAVAILABLE, "it cannot be reached", ""
    yield broken, FaultKind.UNAVAILABLE, "the connection broke", ""
