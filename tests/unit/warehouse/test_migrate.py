"""Migrations: naming, order, splitting into statements, and the columns that these declare."""

from __future__ import annotations

import pytest

from barograph_server.warehouse import migrate
from barograph_server.warehouse.schema import Relations, declare


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


TABLE = """CREATE TABLE IF NOT EXISTS readings
(
    model LowCardinality(String) COMMENT 'The model''s name',
    n UInt64 COMMENT 'Values, in all' CODEC(T64, ZSTD(1)),
    extra Map(String, UInt64) DEFAULT map() COMMENT 'More',
    INDEX by_model model TYPE bloom_filter(0.01) GRANULARITY 1
)
ENGINE = Memory"""


def declared(*statements: str) -> Relations:
    relations: Relations = {}
    for statement in (TABLE, *statements):
        declare(statement, relations)
    return relations


def test_a_view_takes_types_comments_and_expressions_from_what_it_reads() -> None:
    relations = declared()
    first = declare(
        "CREATE OR REPLACE VIEW first\n(\n    model, n ALIAS sum(r.n),\n    share Float64 ALIAS n / (1, 2).1 COMMENT "
        "'n, halved'\n)\nFROM readings AS r\nGROUP BY model\nCOMMENT 'One row each.'",
        relations,
    )
    columns = "    model LowCardinality(String) COMMENT 'The model''s name',\n    n UInt64 COMMENT 'Values, in all',\n"
    assert first == (
        f"CREATE OR REPLACE VIEW first\n(\n{columns}    share Float64 COMMENT 'n, halved'\n)\nAS\nSELECT\n    model,\n"
        "    sum(r.n) AS n,\n    n / (1, 2).1 AS share\nFROM readings AS r\nGROUP BY model\nCOMMENT 'One row each.'"
    )
    other = "CREATE OR REPLACE VIEW other\n(\n    LIKE first\n)\nFROM readings AS r\nLIMIT 1\nCOMMENT ''"
    assert "sum(r.n) AS n,\n    n / (1, 2).1 AS share\nFROM readings" in declare(other, relations)
    own = "CREATE OR REPLACE VIEW own\n(\n    n, model COMMENT 'Whose'\n)\nAS\nSELECT 1, 'm' FROM readings\nCOMMENT ''"
    assert (
        "n UInt64 COMMENT 'Values, in all',\n    model LowCardinality(String) COMMENT 'Whose'\n)\nAS\nSELECT 1"
        in declare(own, relations)
    )
    with pytest.raises(ValueError, match="view v: no table that it reads has a column gone"):
        declare("CREATE OR REPLACE VIEW v\n(\n    gone\n)\nFROM readings\nCOMMENT ''", relations)


def test_columns_that_later_migrations_add_have_their_place() -> None:
    add = "ALTER TABLE readings ADD COLUMN IF NOT EXISTS"
    relations = declared(
        f"{add} late UInt8 DEFAULT 0 COMMENT 'Last'",
        f"{add} middle Nullable(UInt64) COMMENT 'Second' AFTER model",
        f"{add} zero Float64 FIRST",
        f"{add} late UInt8 DEFAULT 0 COMMENT 'Again'",
        "ALTER TABLE readings COMMENT COLUMN n 'Others'",
        "ALTER TABLE readings MODIFY SETTING x = 1",
    )
    columns = relations["readings"]
    assert [column.name for column in columns] == ["zero", "model", "middle", "n", "extra", "late"]
    assert [column.comment for column in columns] == ["", "The model''s name", "Second", "Others", "More", "Last"]
    for change in ("DROP COLUMN n", "MODIFY COLUMN n UInt8", "RENAME COLUMN n TO m"):
        with pytest.raises(ValueError, match="migrations only add columns"):
            declared(f"ALTER TABLE readings {change}")
