"""Step 8 of 9: the projection's tables, in a file (SQLite) or a schema (PostgreSQL) of their own.

Everything here can be dropped: `meta` says for which ledger and up to which position the rest was made, and
by which version of the code; where it does not fit, the projector begins again from the log.
"""

from __future__ import annotations

from traceability.queries.terms import TERMS_VERSION

FORMAT = 3_000 + TERMS_VERSION  # of tables, segments and terms together
POSTGRES_SCHEMA = "projection"
TABLES = ("meta", "segments", "columns", "postings", "seen", "masterdata", "hashes", "findings")

# {p} is the schema's prefix; the types differ by database.
_CREATE = (
    "CREATE TABLE {p}meta (id {int} PRIMARY KEY CHECK (id = 1), format {int} NOT NULL,"
    " generation {bytes} NOT NULL, version {int} NOT NULL, ledger {bytes} NOT NULL,"
    " next_seq {int} NOT NULL, row_count {int} NOT NULL, recorded_to {int} NOT NULL)",
    "CREATE TABLE {p}segments (first_row {int} PRIMARY KEY, row_count {int} NOT NULL, bits {int} NOT NULL,"
    " first_seq {int} NOT NULL, last_seq {int} NOT NULL, time_min {int} NOT NULL, time_max {int} NOT NULL,"
    " recorded_min {int} NOT NULL, recorded_max {int} NOT NULL)",
    "CREATE TABLE {p}columns (first_row {int} NOT NULL, name {text} NOT NULL, body {bytes} NOT NULL,"
    " PRIMARY KEY (first_row, name))",
    "CREATE TABLE {p}postings (first_row {int} NOT NULL, bucket {int} NOT NULL, body {bytes} NOT NULL,"
    " PRIMARY KEY (first_row, bucket))",
    "CREATE TABLE {p}seen (kind {text} NOT NULL, value {text} NOT NULL, PRIMARY KEY (kind, value)){rowless}",
    "CREATE TABLE {p}masterdata (id {text} NOT NULL, type {text} NOT NULL, attributes {text} NOT NULL,"
    " children {text} NOT NULL, seq {int} NOT NULL, PRIMARY KEY (id, type)){rowless}",
    "CREATE TABLE {p}hashes (hash {bytes} PRIMARY KEY, seq {int} NOT NULL, ordinal {int} NOT NULL){rowless}",
    "CREATE TABLE {p}findings (seq {int} NOT NULL, ordinal {int} NOT NULL, code {text} NOT NULL,"
    " detail {text} NOT NULL, PRIMARY KEY (seq, ordinal, code)){rowless}",
)
_SQLITE = {"int": "INTEGER", "bytes": "BLOB", "text": "TEXT", "rowless": " WITHOUT ROWID", "p": ""}
_POSTGRES = {
    "int": "bigint",
    "bytes": "bytea",
    "text": 'text COLLATE "C"',
    "rowless": "",
    "p": f"{POSTGRES_SCHEMA}.",
}


def create_statements(dialect: str) -> list[str]:
    """What makes the tables, in order."""
    words = _POSTGRES if dialect == "postgresql" else _SQLITE
    statements = [statement.format_map(words) for statement in _CREATE]
    if dialect == "postgresql":
        # Bodies are small and packed: compressing them again costs more than it saves.
        statements.insert(0, f"CREATE SCHEMA IF NOT EXISTS {POSTGRES_SCHEMA}")
        statements += [
            f"ALTER TABLE {POSTGRES_SCHEMA}.{table} ALTER COLUMN body SET STORAGE EXTERNAL"
            for table in ("columns", "postings")
        ]
    return statements


def drop_statements(dialect: str) -> list[str]:
    """What removes them, if they are there."""
    prefix = (_POSTGRES if dialect == "postgresql" else _SQLITE)["p"]
    return [f"DROP TABLE IF EXISTS {prefix}{table}" for table in reversed(TABLES)]
