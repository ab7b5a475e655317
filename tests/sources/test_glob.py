"""Globs over keys, with Redis itself as the judge."""

from __future__ import annotations

import time

import redis
from hypothesis import given, settings
from hypothesis import strategies as st

from strata.model.scope import Scope
from strata.sources.glob import matcher
from workers.local_stack.servers import RedisServer

KEYS = [b"a", b"b", b"ab", b"a-b", b"a/b", b"a\nb", b"]", b"[", b"^", b"\\", b"*", b"-", b"A", b"aab", b"\xff"]
PATTERNS = st.text(alphabet="ab*?[]^-\\/]", max_size=6)


def test_a_key_is_matched_as_redis_matches_it(redis_server: RedisServer) -> None:
    """For any pattern the keys covered are those that Redis gives; no object of S3 has an empty key."""
    with redis.Redis.from_url(redis_server.url) as client:
        client.mset(dict.fromkeys(KEYS, b""))

        @settings(max_examples=400, deadline=None)
        @given(PATTERNS)
        def check(pattern: str) -> None:
            covers = matcher(Scope((pattern,)))
            assert {key for key in KEYS if covers(key)} == set(client.keys(pattern))

        check()
        client.flushall()


def test_a_key_is_covered_when_any_pattern_matches() -> None:
    """Several patterns cover what each of them covers; no pattern covers nothing."""
    covers = matcher(Scope(("order:*", "position:?")))
    assert [covers(key) for key in (b"order:1", b"position:1", b"position:12", b"x")] == [True, True, False, False]
    assert not matcher(Scope(()))(b"x")


def test_a_match_takes_no_longer_than_key_and_pattern_are_long() -> None:
    """A key that nearly matches a pattern of several stars is told apart at once: each star is tried in one place."""
    covers = matcher(Scope(("*a*a*a*b",)))
    began = time.process_time()
    assert not covers(b"a" * 5000)
    assert covers(b"a" * 5000 + b"b")
    assert time.process_time() - began < 1
