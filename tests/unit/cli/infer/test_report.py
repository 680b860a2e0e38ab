"""The report on a wide table is a page, not a line per column."""

import pytest

from cli.infer.infer import Decision
from cli.infer.report import MAX_COLUMNS, summarize_columns


def decision(i: int, kind: str = "float", reason: str = "") -> Decision:
    return Decision(f"f{i}", f"f{i}" if kind != "-" else "", kind, 10, 0.0, reason or f"{i:,} distinct values")


@pytest.mark.parametrize("reason", ["", "like column f{}"])
def test_a_wide_table_is_summarized(reason: str) -> None:
    decisions = [decision(i, reason=reason.format(f"name{i}") if reason else "") for i in range(2000)]
    decisions += [decision(2000 + i, "-", "ignored: constant") for i in range(15)]
    decisions += [decision(3000, "time", "event time"), decision(3001, "label", "0 or 1")]
    listed, summaries = summarize_columns(decisions)
    assert len(listed) + len(summaries) <= MAX_COLUMNS + 5
    assert {each.type for each in listed} >= {"time", "label"}
    assert sum(int(text.split()[0].replace(",", "")) for text, _ in summaries) + len(listed) == len(decisions)
    assert ("15 columns left out: f2000, f2001, f2002, …", "-") in summaries
    if not reason:
        assert summaries[0] == ("2,000 columns: f0, f1, f2, …", "float")
