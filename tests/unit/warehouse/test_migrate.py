"""Migrations: naming, order, and splitting into statements."""

from __future__ import annotations

import pytest

from barograph_server.warehouse import migrate


def test_statements_end_with_a_semicolon_at_the_end_of_a_line() -> None:
    text = "-- What it does; and why.\n\nSELECT 1\n  , ';'\n;\n-- more\nSELECT 2;  \n"
    migration = migrate.parse("0007_two_things.sql", text)
    assert (migration.number, migration.name, str(migration)) == (7, "two_things", "0007_two_things")
    assert migration.statements == ("SELECT 1\n  , ';'", "SELECT 2")


def test_invalid_names_statements_and_numbers_are_rejected() -> None:
    for name in ("1_x.sql", "0001_X.sql", "0001.sql", "0001_x.sql.bak"):
        with pytest.raises(ValueError, match="NNNN_words"):
            migrate.parse(name, "SELECT 1;")
    for text in ("", "-- only a comment\n", "SELECT 1", "SELECT 1;\nSELECT 2\n"):
        with pytest.raises(ValueError, match="end each statement"):
            migrate.parse("0001_x.sql", text)
    for numbers in ((1, 3), (1, 1, 2), (2,)):
        with pytest.raises(ValueError, match="without gap or repeat"):
            migrate.in_order(migrate.parse(f"{number:04d}_x.sql", "SELECT 1;") for number in numbers)
    one, other = (migrate.parse("0001_x.sql", text) for text in ("SELECT 1;", "SELECT 1 ;"))
    assert one.checksum != other.checksum, "any change of the text"


def test_every_statement_of_the_schema_is_repeatable() -> None:
    repeatable = (
        "CREATE TABLE IF NOT EXISTS ",
        "CREATE VIEW IF NOT EXISTS ",
        "CREATE OR REPLACE VIEW ",
        "ALTER TABLE ",
    )
    statements = [statement for migration in migrate.load() for statement in migration.statements]
    assert [s for s in statements if not s.startswith(repeatable)] == []
    # Projections and settings may be set again.
    statements = [s for s in statements if " MATERIALIZE PROJECTION " not in s and " MODIFY SETTING " not in s]
    alters = [s for s in statements if s.startswith("ALTER TABLE ")]
    # Comments and indexes may be set again.
    harmless = ("IF NOT EXISTS", "IF EXISTS", " COMMENT COLUMN ", " MODIFY COMMENT ", " MATERIALIZE INDEX ")
    assert [s for s in alters if not any(words in s for words in harmless)] == []
