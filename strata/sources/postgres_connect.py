"""Connections to PostgreSQL, the settings every transaction runs under, and what its errors become.

Settings are made with SET LOCAL, so they hold behind a pooler that gives each transaction another server connection.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import psycopg
from psycopg.conninfo import conninfo_to_dict

from strata.errors import SettingError, SourceError, SourceUnavailable
from strata.model.tier import Tier
from strata.sources.postgres_answer import ANSWER_SECONDS, Unanswered, answering
from strata.tls import Tls, read_libpq, read_url

Connection = psycopg.Connection[tuple[Any, ...]]

OLDEST_SERVER: Final = 120000
_TRANSACTION_TIMEOUTS: Final = 170000
LOCK_SECONDS: Final = 30
RESTORES: Final = "strata restore"
"""The application name of transactions that restore, or try to."""

_DEFAULTS: Final = {
    "application_name": "strata",
    "client_encoding": "UTF8",  # until a transaction sets its own
    "connect_timeout": 10,
    # A peer that vanished is noticed within a minute; the kernel's own default is more than two hours.
    "keepalives": 1,
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
}

# pg_dump's settings, and three more that a value's text depends on: TimeZone (timestamptz), lc_monetary (money) and
# xmloption. Without them an unchanged row could look changed, or a restored one be another.
_SETTINGS: Final = {
    "search_path": "''",
    "row_security": "off",
    "extra_float_digits": "3",
    "DateStyle": "ISO",
    "IntervalStyle": "postgres",
    "bytea_output": "hex",
    "TimeZone": "UTC",
    "lc_monetary": "'C'",
    "xmloption": "content",
    "standard_conforming_strings": "on",
    "quote_all_identifiers": "off",
    "synchronize_seqscans": "off",
    "enable_tidscan": "on",
    "statement_timeout": "0",
    "lock_timeout": f"'{LOCK_SECONDS}s'",
    "client_min_messages": "error",
    "tcp_keepalives_idle": "30",  # as in _DEFAULTS, for the server: whoever vanished keeps no locks
    "tcp_keepalives_interval": "10",
    "tcp_keepalives_count": "3",
}

# Connection loss, shutdown, too many clients, lock timeout, deadlock, and a standby's cancel for recovery.
_RETRYABLE: Final = ("08", "57P", "53300", "55P03", "40")
# Classes whose messages name objects, never values: syntax and access, features, schema, state, resources, system.
_NAMING_CLASSES: Final = ("42", "0A", "3F", "3D", "55", "53", "54", "57", "58", "25", "28")
# libpq gives no code for a refused connection, only the server's words.
_REFUSED: Final = re.compile(
    r"authentication failed|no password supplied|no pg_hba\.conf entry|does not exist|permission denied|not permitted"
)

_UNTRUSTED: Final = re.compile(r"certificate|SSL error|server does not support SSL")


class Server:
    """One PostgreSQL database: where it is, without its password, and how to reach it."""

    def __init__(self, url: str, tls: Tls | None = None) -> None:
        try:
            bare, options = read_url(url, tls or Tls(), encrypted=True)
            given = read_libpq(conninfo_to_dict(bare), options)
        except psycopg.Error:
            raise SettingError(
                f"the address of {Tier.WARM.label} cannot be understood",
                hint="Write it as postgresql://user:password@host:port/database.",
            ) from None
        self._parameters: dict[str, Any] = {**_DEFAULTS, **given}
        host, port = given.get("host") or "localhost", given.get("port") or 5432
        database = given.get("dbname") or given.get("user") or ""
        self.address = f"{host}:{port}"
        self.label = f"{Tier.WARM.label} at {host}:{port}/{database}"

    def connect(self) -> Connection:
        """Open a connection in autocommit mode that answers; transactions are begun by `begin`."""
        connection = self.open()
        try:
            with self.speaking("answering its first statement"), answering(connection, ANSWER_SECONDS):
                connection.execute("SELECT 1")
        except BaseException:
            connection.close()
            raise
        return connection

    def open(self) -> Connection:
        """Open a connection, of which nobody knows yet whether a server or only a pooler took it."""
        try:
            connection = psycopg.connect(**self._parameters, autocommit=True, prepare_threshold=None)
        except psycopg.Error as error:
            raise self._connection_failure(error) from None
        if connection.info.server_version < OLDEST_SERVER:
            connection.close()
            raise SourceError(f"{self.label} is older than PostgreSQL 12, which is the oldest that can be backed up")
        return connection

    @contextmanager
    def speaking(self, doing: str) -> Iterator[None]:
        """Turn psycopg's errors within into Strata's; `doing` completes "failed while ..."."""
        try:
            yield
        except psycopg.Error as error:
            raise self.failure(error, doing) from None

    def failure(self, error: psycopg.Error, doing: str) -> SourceError:
        """The error that says what happened, without any row's values."""
        state = error.sqlstate
        if isinstance(error, Unanswered):
            return SourceUnavailable(
                f"{self.label} took a connection and did not answer within {ANSWER_SECONDS:g} s while {doing}: "
                "a pooler in front of it has no connection of its pool free, or it hangs",
                hint="Give the pool more connections (PgBouncer: default_pool_size), or name the server itself in "
                "STRATA_WARM_URL.",
            )
        if state is None and isinstance(error, psycopg.OperationalError):
            hint = "See that PostgreSQL runs, and why it ended the connection; a retry may help."
            return SourceUnavailable(f"{self.label} stopped answering while {doing}", hint=hint)
        kind = SourceUnavailable if state is not None and state.startswith(_RETRYABLE) else SourceError
        return kind(f"{self.label} failed while {doing}: {said(error)}", hint=_hint(error))

    def _connection_failure(self, error: psycopg.Error) -> SourceError:
        said = " ".join(str(error).split())
        if _UNTRUSTED.search(said):
            hint = "Name its authority (STRATA_TLS_CA, or tls_ca in the URL), and the host that its certificate is of."
            return SourceError(f"{self.label} cannot be trusted: {said}", hint=hint)
        if _REFUSED.search(said):
            hint = "Check user, password and database in STRATA_WARM_URL."
            return SourceError(f"{self.label} refused the connection: {said}", hint=hint)
        hint = "See that PostgreSQL runs, and that host and port in STRATA_WARM_URL are right."
        return SourceUnavailable(f"{self.label} does not answer: {said}", hint=hint)


def begin(
    connection: Connection, mode: str, *, snapshot: str | None = None, idle_seconds: int = 0, name: str = ""
) -> None:
    """Begin a transaction of `mode` under Strata's settings; none of it fixes the transaction's snapshot.

    Text is exchanged in the server's own encoding, so that values travel byte for byte. An SQL_ASCII server converts
    nothing whatever the client says; UTF8 then lets names that are not ASCII through. `idle_seconds` of silence between
    statements end it; 0 never do. `name` is its application name, where it is not to be the connection's.
    """
    server = connection.info.parameter_status("server_encoding") or "UTF8"
    settings = dict(_SETTINGS, client_encoding="UTF8" if server == "SQL_ASCII" else f"'{server}'")
    settings["idle_in_transaction_session_timeout"] = f"'{idle_seconds}s'"
    if connection.info.server_version >= _TRANSACTION_TIMEOUTS:
        settings["transaction_timeout"] = "0"
    settings |= {"application_name": f"'{name}'"} if name else {}
    statements = [f"BEGIN ISOLATION LEVEL {mode}"]
    statements += [f"SET TRANSACTION SNAPSHOT '{snapshot}'"] if snapshot else []
    statements += [f"SET LOCAL {name} = {value}" for name, value in settings.items()]
    with answering(connection, ANSWER_SECONDS):
        connection.execute("; ".join(statements).encode())


def end_other_restores(connection: Connection) -> None:
    """Close what other restores into this database have open, which takes their transactions back.

    One restore at a time may write, and it is this one. The server ends one that is silent between statements, but not
    one that stopped in the middle of a COPY: its locks would keep this restore and the application out for as long as
    its worker stands still. Another role's connections are not ours to close.
    """
    connection.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()"
        " AND application_name = %s AND pid <> pg_backend_pid() AND usename = session_user",
        [RESTORES],
    )


def execute_text(connection: Connection, statement: str) -> None:
    """Execute a statement that is already complete SQL, such as DDL kept in a backup."""
    connection.execute(statement.encode(connection.info.encoding))


def _hint(error: psycopg.Error) -> str:
    """What to do: the server's own advice, where it cannot hold a value."""
    state = error.sqlstate or ""
    if state == "55P03":
        return "Another session holds a lock; try again later."
    return error.diag.message_hint or "" if state.startswith(_NAMING_CLASSES) else ""


def said(error: psycopg.Error) -> str:
    """The server's condition and the objects it names; its words only where they cannot hold a value."""
    state, diagnostic = error.sqlstate or "", error.diag
    condition = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", type(error).__name__).lower()
    if state.startswith(_NAMING_CLASSES) and diagnostic.message_primary:
        return f"{diagnostic.message_primary} (SQLSTATE {state})"
    where = {
        "table": ".".join(filter(None, (diagnostic.schema_name, diagnostic.table_name))),
        "column": diagnostic.column_name,
        "constraint": diagnostic.constraint_name,
    }
    named = "".join(f", {what} {name}" for what, name in where.items() if name)
    return f"{condition} (SQLSTATE {state or 'none'}){named}"
