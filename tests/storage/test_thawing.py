"""Thawing in S3: every state is told as it is, and asking for an object is harmless however often it is done."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

import pytest

from strata.errors import ObjectFrozen, ObjectNotFound, StoreUnavailable
from strata.model.thaw import Heat, ThawSpeed
from strata.storage.s3 import S3Store
from strata.storage.thawing import Asked, S3Thaw
from tests.glacier import ACCESS, Glacier
from workers.local_stack.servers import S3Server


@pytest.fixture
def glacier(moto_endpoint: str, moto_bucket: str) -> Glacier:
    """An empty archive."""
    return Glacier(moto_endpoint, moto_bucket)


@pytest.fixture
def store(glacier: Glacier) -> S3Store:
    """A store in it."""
    return S3Store(f"s3://{glacier.bucket}/a", endpoint=glacier.endpoint, **ACCESS)


@pytest.fixture
def thaw(store: S3Store) -> S3Thaw:
    """What thaws its objects."""
    return store.thaw()


def test_a_frozen_object_is_refused_by_name_with_the_way_out(glacier: Glacier, store: S3Store) -> None:
    """A GET says that the object must be thawed, and by which command; its size can be asked for."""
    glacier.put("a/layers/one/000000.seg", b"12345")
    with pytest.raises(ObjectFrozen, match=r"layers/one/000000.seg in an archive class") as caught:
        store.get("layers/one/000000.seg")
    assert "strata restore ID --store archive" in caught.value.hint
    assert store.size("layers/one/000000.seg") == 5


def test_a_thawed_object_is_read(glacier: Glacier, store: S3Store, thaw: S3Thaw) -> None:
    """Frozen, on its way, thawed until a moment: one after the other, told alike by head and by listing."""
    name = "layers/one/000000.seg"
    glacier.put(f"a/{name}", b"12345")
    assert thaw.state_of(name).heat is Heat.FROZEN
    assert thaw.states([name])[0].heat is Heat.FROZEN
    with glacier.holding():
        assert thaw.request(name, 3, ThawSpeed.BULK) is Asked.DONE
        assert thaw.state_of(name).heat is Heat.THAWING
        assert [state.heat for state in thaw.states([name])] == [Heat.THAWING]
        with pytest.raises(ObjectFrozen):
            store.get(name)
    state = thaw.state_of(name)
    assert state.heat is Heat.THAWED
    assert state.until
    assert thaw.states([name]) == [state]
    assert store.get(name) == b"12345"


@pytest.mark.parametrize(
    ("storage_class", "heat"),
    [
        ("STANDARD", Heat.WARM),
        ("STANDARD_IA", Heat.WARM),
        ("GLACIER_IR", Heat.WARM),
        ("GLACIER", Heat.FROZEN),
        ("DEEP_ARCHIVE", Heat.FROZEN),
    ],
)
def test_only_two_classes_have_to_be_thawed(
    glacier: Glacier, store: S3Store, thaw: S3Thaw, storage_class: str, heat: Heat
) -> None:
    """What is called warm can be read, and what is called frozen cannot."""
    glacier.put("a/chunks/one-000000.pack", b"x", storage_class)
    for state in (thaw.state_of("chunks/one-000000.pack"), *thaw.states(["chunks/one-000000.pack"])):
        assert (state.heat, state.storage_class, state.size) == (heat, storage_class, 1)
    if heat is Heat.WARM:
        assert store.get("chunks/one-000000.pack") == b"x"
    else:
        with pytest.raises(ObjectFrozen):
            store.get("chunks/one-000000.pack")


def test_a_service_without_archive_classes_has_nothing_frozen(s3_server: S3Server) -> None:
    """Nothing is known of classes there: everything is warm, whatever a listing is asked for besides."""
    s3_server.make_bucket("thawing")
    access: Any = {"access_key_id": s3_server.access_key, "secret_access_key": s3_server.secret_key}
    store = S3Store("s3://thawing/a", endpoint=s3_server.endpoint, **access)
    store.put("layers/one/000000.seg", [b"123"])
    states = store.thaw().states(["layers/one/000000.seg"])
    assert [(state.heat, state.size) for state in states] == [(Heat.WARM, 3)]


def test_asking_again_and_asking_for_a_warm_object_is_harmless(glacier: Glacier, thaw: S3Thaw) -> None:
    """On its way already, thawed already, never frozen: none is a failure."""
    glacier.put("a/layers/one/000000.seg")
    glacier.put("a/layers/one/index", storage_class="STANDARD")
    with glacier.holding():
        for _ in range(2):
            assert thaw.request("layers/one/000000.seg", 1, ThawSpeed.STANDARD) is Asked.DONE
    assert thaw.request("layers/one/000000.seg", 9, ThawSpeed.STANDARD) is Asked.DONE
    assert thaw.request("layers/one/index", 1, ThawSpeed.STANDARD) is Asked.WARM


def test_some_thawed_and_some_not_are_told_apart(glacier: Glacier, thaw: S3Thaw) -> None:
    """Where the listing does not say what is thawed, the heads do, for every object."""
    names = [f"layers/one/{number:06d}.seg" for number in range(40)]
    for name in names:
        glacier.put(f"a/{name}")
    with glacier.holding():
        thaw.request_all(thaw.states(names)[:39], 1, ThawSpeed.BULK)
        glacier.finish(f"a/{names[5]}")
        heats = [state.heat for state in thaw.states(names)]
    assert heats == [*[Heat.THAWING] * 5, Heat.THAWED, *[Heat.THAWING] * 33, Heat.FROZEN]


def test_an_object_that_is_not_there_has_no_state(glacier: Glacier, thaw: S3Thaw) -> None:
    """A listing leaves it out, so that others can be thawed; its head names it."""
    glacier.put("a/layers/one/000000.seg")
    states = thaw.states(["layers/one/000000.seg", "layers/one/000001.seg"])
    assert [state.name for state in states] == ["layers/one/000000.seg"]
    with pytest.raises(ObjectNotFound, match=r"layers/one/000001\.seg"):
        thaw.state_of("layers/one/000001.seg")


class _Aws(BaseHTTPRequestHandler):
    """Answers as AWS does where moto does not: states in listings, and no room for expedited retrieval."""

    heads: ClassVar[list[str]] = []
    answers: ClassVar[dict[str, tuple[int, str]]] = {}
    objects: ClassVar[list[str]] = []

    def log_message(self, *_: Any) -> None:
        """Say nothing."""

    def do_HEAD(self) -> None:
        """Note that somebody asks about one object."""
        self.heads.append(self.path)
        self.send_response(200)
        self.send_header("Content-Length", "7")
        self.send_header("x-amz-storage-class", "GLACIER")
        self.end_headers()

    def do_GET(self) -> None:
        """A listing of 1,000 objects a page at most."""
        body = f"<ListBucketResult>{''.join(self.objects)}</ListBucketResult>".encode()
        self._answer(200, body)

    def do_POST(self) -> None:
        """A request to thaw: what the test says for its speed."""
        asked = self.rfile.read(int(self.headers["Content-Length"])).decode()
        status, code = next(answer for speed, answer in self.answers.items() if f"<Tier>{speed}</Tier>" in asked)
        self._answer(status, f"<Error><Code>{code}</Code></Error>".encode() if code else b"")

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/xml")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def aws() -> Iterator[S3Thaw]:
    """A store on a service that answers like AWS."""
    _Aws.heads.clear()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Aws)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    store = S3Store("s3://bucket", endpoint=f"http://127.0.0.1:{server.server_address[1]}", attempts=1, **ACCESS)
    yield store.thaw()
    server.shutdown()
    server.server_close()
    thread.join()


def _listed(name: str, status: str = "") -> str:
    return (
        f"<Contents><Key>{name}</Key><Size>7</Size><LastModified>2026-01-01T00:00:00Z</LastModified>"
        f"<StorageClass>GLACIER</StorageClass>{status}</Contents>"
    )


def test_a_listing_that_tells_the_state_saves_the_heads(aws: S3Thaw) -> None:
    """AWS says in the listing what is on its way and what is thawed: no object is asked about by itself."""
    on_its_way = "<RestoreStatus><IsRestoreInProgress>true</IsRestoreInProgress></RestoreStatus>"
    thawed = (
        "<RestoreStatus><IsRestoreInProgress>false</IsRestoreInProgress>"
        "<RestoreExpiryDate>2026-12-01T00:00:00Z</RestoreExpiryDate></RestoreStatus>"
    )
    _Aws.objects[:] = [_listed("layers/a/1"), _listed("layers/a/2", on_its_way), _listed("layers/a/3", thawed)]
    states = aws.states([f"layers/a/{number}" for number in (1, 2, 3)])
    assert [state.heat for state in states] == [Heat.FROZEN, Heat.THAWING, Heat.THAWED]
    assert states[2].until
    assert _Aws.heads == []


def test_objects_that_nobody_asked_for_are_not_asked_about_one_by_one(aws: S3Thaw) -> None:
    """Where no listing tells a state, a few heads decide that there is none to tell."""
    names = [f"layers/a/{number:04d}" for number in range(900)]
    _Aws.objects[:] = [_listed(name) for name in names]
    assert {state.heat for state in aws.states(names)} == {Heat.FROZEN}
    assert 0 < len(_Aws.heads) < 20


@pytest.mark.parametrize(
    ("answer", "asked"),
    [
        ((202, ""), Asked.DONE),
        ((200, ""), Asked.DONE),
        ((409, "RestoreAlreadyInProgress"), Asked.DONE),
        ((403, "InvalidObjectState"), Asked.WARM),
        ((403, "ObjectAlreadyInActiveTierError"), Asked.WARM),
        ((503, "GlacierExpeditedRetrievalNotAvailable"), Asked.NOT_AT_THIS_SPEED),
    ],
)
def test_what_the_service_answers_to_a_request(aws: S3Thaw, answer: tuple[int, str], asked: Asked) -> None:
    """Each answer of AWS that is no failure has its meaning."""
    _Aws.answers = {"Expedited": answer}
    assert aws.request("layers/a/1", 1, ThawSpeed.EXPEDITED) is asked


def test_a_service_that_wants_fewer_requests_is_asked_again_later(aws: S3Thaw) -> None:
    """SlowDown is a failure that may pass, and names the object."""
    _Aws.answers = {"Bulk": (503, "SlowDown")}
    with pytest.raises(StoreUnavailable, match=r"layers/a/1: SlowDown"):
        aws.request("layers/a/1", 1, ThawSpeed.BULK)
