"""Which PostgreSQL a URL leads to, by what any role may ask it."""

from __future__ import annotations

from typing import Final

from strata.model.identity import STARTED, SYSTEM, Identity
from strata.model.tier import Tier
from strata.sources.postgres_connect import Connection, Server

_WHERE: Final = """
SELECT current_database(),
       (SELECT oid::text FROM pg_catalog.pg_database WHERE datname = current_database()),
       to_char(pg_catalog.pg_postmaster_start_time() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US'),
       to_char(pg_catalog.clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US'),
       concat_ws(':', host(pg_catalog.inet_server_addr()), pg_catalog.inet_server_port()),
       current_setting('server_version'),
       has_function_privilege('pg_catalog.pg_control_system()', 'execute')
"""
_SYSTEM: Final = "SELECT system_identifier::text FROM pg_catalog.pg_control_system()"


def identity_of(server: Server) -> Identity:
    """The server by its system identifier and the microsecond at which it started, and the database by name and oid.

    A copy of the data folder has the system identifier of its original (a staging server made from a base backup of
    production), so that alone does not tell them apart. Any role may ask for the system identifier from PostgreSQL 12
    to 18 unless it was revoked; when the server started, nobody is kept from asking. What the time is by the server's
    own clock, and where it listens, tells a restart of it from another server (`planning.identity.same`).
    """
    connection = server.connect()
    try:
        with server.speaking("asking which server it is"):
            return _asked(connection, server.address)
    finally:
        connection.close()


def _asked(connection: Connection, address: str) -> Identity:
    row = connection.execute(_WHERE).fetchone()
    assert row
    database, oid, started, asked, listening, version, tells = row
    told = connection.execute(_SYSTEM).fetchone() if tells else None
    system = {SYSTEM: (str(told[0]),)} if told else {}
    return Identity(
        part=Tier.WARM,
        server={**system, STARTED: (started,), "database oid": (oid,)},
        place=f"database {database}",
        address=address,
        asked=asked,
        listening=listening,
        words=f"PostgreSQL {version.split()[0]}",
    )
