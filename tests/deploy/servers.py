"""The programs that the images of the stores have: this project's own test servers under the names they go by there."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

from workers.local_stack.servers import postgres_binary, redis_binary

_REDIS: Final = '#!/bin/sh\nexec {server} "$@" --bind {address}\n'
_POSTGRES: Final = """#!/bin/sh
# As the image's entry point: makes a cluster, with the user, the password and the database that are named.
set -e
data=/var/lib/postgresql/data
run() {{ unshare --user --map-user=65534 --map-group=65534 "$@"; }}
if [ ! -e "$data/PG_VERSION" ]; then
    printf %s "$POSTGRES_PASSWORD" > /tmp/password
    run {initdb} -D "$data" -U "$POSTGRES_USER" --auth=scram-sha-256 --pwfile=/tmp/password \\
        -E UTF8 --locale=C.UTF-8 --no-sync --no-instructions
    echo "CREATE DATABASE $POSTGRES_DB" | run {postgres} --single -D "$data" template1
fi
exec unshare --user --map-user=65534 --map-group=65534 \\
    {postgres} -D "$data" -c listen_addresses={address} -c unix_socket_directories= -c fsync=off
"""


def programs(folder: Path, address: str) -> Path:
    """A folder with redis-server, rclone and postgres as their images have them, listening at one address."""
    texts = {
        "redis-server": _REDIS.format(server=redis_binary(), address=address),
        "postgres": _POSTGRES.format(
            initdb=postgres_binary("initdb"), postgres=postgres_binary("postgres"), address=address
        ),
        "rclone": f'#!/bin/sh\nexec {sys.prefix}/bin/rclone "$@"\n',
    }
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        program = folder / name
        program.write_text(text)
        program.chmod(0o755)
    return folder
