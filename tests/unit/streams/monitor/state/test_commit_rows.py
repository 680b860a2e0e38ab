"""Rows of a commit: tables in order, and columns that are made when they are read."""

from __future__ import annotations

from barograph_server.streams.monitor.state.commit_rows import COLUMN_TABLES, Columns, CommitRows


def rows(*record_seq: int) -> Columns:
    return {"record_seq": list(record_seq)}


def test_lazy_columns_are_made_when_they_are_read_and_tables_have_their_order() -> None:
    commit = CommitRows()
    calls: list[int] = []

    def make() -> Columns:
        calls.append(1)
        return rows(1)

    assert not commit.has_panes
    commit.add_columns([("panes", make), ("volume", rows(2))])
    assert commit.has_panes
    assert not calls
    assert list(commit.columns("panes")) == [rows(1)]
    assert calls == [1]
    assert COLUMN_TABLES[:4] == ("drift", "rates", "distances", "comparisons")
    assert COLUMN_TABLES.index("volume") < COLUMN_TABLES.index("violations") < COLUMN_TABLES.index("panes")
    commit.add_rows("progress", [{"record_seq": 1}])
    assert commit.rows("progress") == [{"record_seq": 1}]
    assert commit.rows("losses") == []
