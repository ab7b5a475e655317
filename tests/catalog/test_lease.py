"""One contract for every lease, and what is peculiar to each."""

from __future__ import annotations

import errno
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from strata.catalog import lease as module
from strata.catalog.lease import FileLease, Lease, RedisLease
from strata.errors import BrokerUnavailable, LeaseHeld, StorageError, StoreFull

MakeLease = Callable[[], Lease]


@pytest.fixture
def client(hot_url: str) -> Iterator[redis.Redis]:
    """A client of an empty Redis."""
    with redis.Redis.from_url(hot_url) as made:
        yield made


@pytest.fixture(params=["redis", "file"])
def make(request: pytest.FixtureRequest, folder: Path) -> MakeLease:
    """Makes leases over one and the same right, as two processes would."""
    if request.param == "file":
        return lambda: FileLease(folder / "spool" / ".lease")
    shared: redis.Redis = request.getfixturevalue("client")
    return lambda: RedisLease(shared)


def test_a_free_lease_is_nobodys(make: MakeLease) -> None:
    """Before the first run, nobody holds the lease."""
    assert make().holder() is None


def test_the_second_is_told_who_holds_it(make: MakeLease) -> None:
    """While one run holds the lease another is refused, with the first one's id, who started it and when."""
    first, second = make(), make()
    first.acquire("run-one", "ann@desk")
    with pytest.raises(LeaseHeld, match=r"run-one, started by ann@desk at 20\d\d-\d\d-\d\dT") as caught:
        second.acquire("run-two", "bob@lab")
    assert "Wait for it to end" in caught.value.hint
    assert re.match(r"run-one, started by ann@desk at 20", second.holder() or "")


def test_a_lease_that_was_given_back_is_free(make: MakeLease) -> None:
    """After a release the next run is granted the lease, and the first cannot renew it."""
    first, second = make(), make()
    fence = first.acquire("run-one", "ann")
    first.release(fence)
    assert second.holder() is None
    second.acquire("run-two", "bob")
    assert not first.renew(fence)


def test_every_grant_has_a_greater_number(make: MakeLease) -> None:
    """Fence numbers only ever grow, whoever is granted the lease."""
    fences = []
    for number in range(5):
        lease = make()
        fences.append(lease.acquire(f"run-{number}", "ann"))
        lease.release(fences[-1])
    assert fences == sorted(set(fences))
    assert fences[0] >= 1


def test_the_holder_keeps_it_by_renewing(make: MakeLease) -> None:
    """Renewing says True for the number that stands, as often as it is asked."""
    lease = make()
    fence = lease.acquire("run", "ann")
    assert [lease.renew(fence) for _ in range(3)] == [True] * 3


def test_a_run_that_asks_again_is_granted_what_it_has(make: MakeLease) -> None:
    """A start delivered twice is not refused by its own lease: it gets the number it has."""
    lease = make()
    fence = lease.acquire("run", "ann")
    assert lease.acquire("run", "bob") == fence
    assert lease.renew(fence)
    with pytest.raises(LeaseHeld, match="started by ann"):
        make().acquire("other", "carl")


def test_a_number_that_does_not_stand_cannot_renew(make: MakeLease) -> None:
    """Neither an older nor a made-up number keeps a lease."""
    lease = make()
    assert not lease.renew(1)
    fence = lease.acquire("run", "ann")
    assert not lease.renew(fence - 1)
    assert not lease.renew(fence + 1)
    assert lease.renew(fence)


def test_a_release_by_a_stranger_does_nothing(make: MakeLease) -> None:
    """Giving back with a number that does not stand leaves the lease with its holder."""
    lease, stranger = make(), make()
    fence = lease.acquire("run", "ann")
    stranger.release(fence - 1)
    stranger.release(fence + 1)
    lease.release(fence + 1)
    assert lease.renew(fence)
    with pytest.raises(LeaseHeld):
        stranger.acquire("other", "bob")


def test_giving_back_twice_is_giving_back_once(make: MakeLease) -> None:
    """A second release of one number does not take the lease from the next holder."""
    first, second = make(), make()
    fence = first.acquire("run-one", "ann")
    first.release(fence)
    following = second.acquire("run-two", "bob")
    first.release(fence)
    assert second.renew(following)


def test_of_racing_runs_one_is_granted(make: MakeLease) -> None:
    """Of eight runs that ask at the same time exactly one is granted the lease."""
    leases = [make() for _ in range(8)]

    def granted(number: int) -> bool:
        try:
            leases[number].acquire(f"run-{number}", "ann")
        except LeaseHeld:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(granted, range(8))) == 1


def test_a_lease_in_redis_ends_by_itself(client: redis.Redis) -> None:
    """A lease that is not renewed has a time to live of LEASE_SECONDS, which every renewal sets anew."""
    lease = RedisLease(client)
    fence = lease.acquire("run", "ann")
    assert 0 < int(client.ttl("strata:lease")) <= module.LEASE_SECONDS
    client.expire("strata:lease", 5)
    assert lease.renew(fence)
    assert int(client.ttl("strata:lease")) > 5


def test_after_it_ran_out_the_first_may_not_go_on(client: redis.Redis) -> None:
    """A run whose lease ran out and went to another can neither renew it nor give it back."""
    first, second = RedisLease(client), RedisLease(client)
    fence = first.acquire("run-one", "ann")
    client.delete("strata:lease")  # what Redis does when its time has come
    assert not first.renew(fence)
    following = second.acquire("run-two", "bob")
    assert following > fence
    assert not first.renew(fence)
    first.release(fence)
    assert second.renew(following)


def test_a_redis_that_does_not_answer_is_said_so() -> None:
    """Every verb names the setting when the lease's Redis is away; nobody takes silence for a grant."""
    lease = RedisLease(redis.Redis(port=1, retry=Retry(NoBackoff(), 0)))
    for verb in (lambda: lease.acquire("run", "ann"), lambda: lease.renew(1), lambda: lease.release(1), lease.holder):
        with pytest.raises(BrokerUnavailable, match="the lease") as caught:
            verb()
        assert "STRATA_RESULT_URL" in caught.value.hint


_HOLD = """
import sys
from pathlib import Path
from strata.catalog.lease import FileLease
print(FileLease(Path(sys.argv[1])).acquire("the-child", "child"), flush=True)
sys.stdin.read()
"""


def test_a_lease_of_this_machine_ends_with_its_process(folder: Path) -> None:
    """While another process holds the lease it is refused; the moment that process is killed it is free."""
    path = folder / ".lease"
    child = subprocess.Popen(
        [sys.executable, "-c", _HOLD, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with child:
        assert child.stdout is not None
        fence = int(child.stdout.readline())
        with pytest.raises(LeaseHeld, match="the-child, started by child"):
            FileLease(path).acquire("run", "ann")
        assert (FileLease(path).holder() or "").startswith("the-child")
        child.kill()
    assert FileLease(path).holder() is None
    assert FileLease(path).acquire("run", "ann") == fence + 1


def test_a_lease_file_with_garbage_in_it_is_a_free_lease(folder: Path) -> None:
    """What a power cut left in the file does not stand in the way of the next run."""
    path = folder / ".lease"
    path.write_bytes(b'{"run": "ha')
    lease = FileLease(path)
    assert lease.renew(lease.acquire("run", "ann"))


def test_a_spool_that_takes_no_lease_is_said_so(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder that cannot be made, or a full disk, is an error of the store in a sentence, not an unforeseen one."""
    (folder / "file").write_text("")
    with pytest.raises(StorageError, match=r"\.lease, cannot be written: Not a directory") as caught:
        FileLease(folder / "file" / "spool" / ".lease").acquire("run", "ann")
    assert "STRATA_SPOOL_URL" in caught.value.hint

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "full")

    lease = FileLease(folder / ".lease")
    with monkeypatch.context() as patch:
        patch.setattr("os.pwrite", full)
        with pytest.raises(StoreFull, match="No space left"):
            lease.acquire("run", "ann")
    assert FileLease(folder / ".lease").acquire("other", "bob")
