"""Trying a restore into WARM: the target does everything but the rows, says what it cannot do, and is as it was."""

from __future__ import annotations

import psycopg
import pytest

from strata.errors import SchemaMismatch, SourceUnavailable
from strata.sources import postgres_rehearse
from tests.sources.postgres_database import SHOP, Database, role

FUNCTION = "CREATE FUNCTION fold(t text) RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT lower(t) $$; "
NEEDY = {
    "default": "CREATE TABLE t (id int PRIMARY KEY, v text DEFAULT fold('A'))",
    "check": "CREATE TABLE t (id int PRIMARY KEY, v text CHECK (fold(v) <> ''))",
    "generated column": "CREATE TABLE t (id int PRIMARY KEY, v text, g text GENERATED ALWAYS AS (fold(v)) STORED)",
    "index": "CREATE TABLE t (id int PRIMARY KEY, v text); CREATE INDEX ON t (fold(v))",
    "domain": "CREATE DOMAIN d AS text CHECK (fold(VALUE) <> ''); CREATE TABLE t (id int PRIMARY KEY, v d)",
    "operator class": "CREATE TABLE t (id int PRIMARY KEY, v text); CREATE INDEX ON t (fold(v) text_pattern_ops)",
}
EVERYTHING_THERE = """
SELECT string_agg(c.oid || c.relname || coalesce(g.tgenabled::text, '') || coalesce(r.ev_enabled::text, ''), ' '
                  ORDER BY c.oid) || (SELECT count(*) FROM pg_type) || (SELECT count(*) FROM pg_namespace)
FROM pg_class c LEFT JOIN pg_trigger g ON g.tgrelid = c.oid LEFT JOIN pg_rewrite r ON r.ev_class = c.oid
WHERE c.relnamespace::regnamespace::text NOT LIKE 'pg%'
"""


@pytest.fixture
def database(warm_url: str) -> Database:
    """A new, empty database."""
    return Database(warm_url)


@pytest.mark.parametrize("needy", NEEDY.values(), ids=NEEDY)
def test_a_function_that_is_not_there_is_said_before_anything_is_written(database: Database, needy: str) -> None:
    """Whatever calls it, the function is named, and the database stays empty."""
    database.run(FUNCTION + needy)
    backup = database.backup("*")
    database.run("DROP TABLE t; DROP DOMAIN IF EXISTS d; DROP FUNCTION fold")
    before = database.one(EVERYTHING_THERE)
    with pytest.raises(SchemaMismatch, match=r"function public\.fold\(text\) does not exist"):
        database.source().check(backup.description)
    assert database.one(EVERYTHING_THERE) == before


def test_everything_that_cannot_be_created_is_said_at_once(database: Database) -> None:
    """Each table's first obstacle is named, and what can be created is not."""
    database.run(
        "CREATE TYPE pair AS (a int, b int); CREATE COLLATION odd (provider = libc, locale = 'C');"
        "CREATE TABLE one (id int PRIMARY KEY, p pair); CREATE TABLE two (id int PRIMARY KEY, c text COLLATE odd);"
        "CREATE TABLE three (id int PRIMARY KEY)"
    )
    backup = database.backup("*")
    database.run("DROP TABLE one, two, three; DROP TYPE pair; DROP COLLATION odd")
    with pytest.raises(SchemaMismatch) as refused:
        database.source().check(backup.description)
    assert 'public.one: type "public.pair" does not exist' in refused.value.sentence
    assert 'public.two: collation "public.odd" for encoding "UTF8" does not exist' in refused.value.sentence
    assert "three" not in refused.value.sentence


def test_a_trial_leaves_nothing_behind(database: Database) -> None:
    """Tables there and missing, triggers, rules, foreign keys and sequences are as they were, to the number."""
    database.run(
        SHOP + "CREATE TABLE heard (id int); CREATE FUNCTION hear() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN INSERT INTO heard VALUES (1); RETURN NEW; END $$;"
        "CREATE TRIGGER hears AFTER INSERT ON customers FOR EACH ROW EXECUTE FUNCTION hear();"
        "CREATE TRIGGER always AFTER UPDATE ON orders FOR EACH ROW EXECUTE FUNCTION hear();"
        "ALTER TABLE orders ENABLE ALWAYS TRIGGER always; CREATE TABLE gone (id serial PRIMARY KEY, c int)"
    )
    backup = database.backup("customers", "orders", "gone")
    database.run("DROP TABLE gone; SELECT nextval('tickets'); SELECT nextval('customers_id_seq')")
    positions = "SELECT string_agg(concat(sequencename, last_value), ' ' ORDER BY 1) FROM pg_sequences"
    before = [database.one(query) for query in (EVERYTHING_THERE, positions, "SELECT count(*) FROM heard")]
    database.source().check(backup.description)
    assert [database.one(query) for query in (EVERYTHING_THERE, positions, "SELECT count(*) FROM heard")] == before
    database.restore(backup)


def test_a_lock_that_is_not_to_be_had_is_told(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another session's lock is waited for in short spells; then the trial says so, and may be run again."""
    monkeypatch.setattr(postgres_rehearse, "LOCK_TRIES", 1)
    database.run("CREATE TABLE t (id int PRIMARY KEY)")
    backup = database.backup("t")
    with psycopg.connect(database.url) as other:
        other.execute("LOCK TABLE t IN ROW EXCLUSIVE MODE")
        with pytest.raises(SourceUnavailable, match="lock timeout") as refused:
            database.source().check(backup.description)
    assert refused.value.retryable
    database.source().check(backup.description)


def test_a_sequence_that_may_not_be_set_is_said(database: Database) -> None:
    """A role that may write the rows and not the sequence is told before the rows are written."""
    database.run("CREATE TABLE t (id serial PRIMARY KEY); INSERT INTO t DEFAULT VALUES")
    backup = database.backup("t")
    rights = "GRANT ALL ON t TO {0}; GRANT SELECT ON t_id_seq TO {0}; GRANT TEMP ON DATABASE {1} TO {0}"
    grants = rights.format("half_armed", database.one("SELECT current_database()"))
    with (
        role(database, "half_armed", grants) as armed,
        pytest.raises(SchemaMismatch, match="lacks UPDATE on sequence"),
    ):
        armed.source().check(backup.description)


def test_a_sequence_that_ends_too_early_is_said(database: Database) -> None:
    """A position outside the target's own sequence is told before the rows are written."""
    database.run("CREATE TABLE t (id serial PRIMARY KEY); SELECT setval('t_id_seq', 500)")
    backup = database.backup("t")
    database.run("SELECT setval('t_id_seq', 1); ALTER SEQUENCE t_id_seq MAXVALUE 100")
    with pytest.raises(SchemaMismatch, match="ends before the position"):
        database.source().check(backup.description)
