"""The table of docs/llm.md has the facts and the kinds of servers of the table of names."""

from __future__ import annotations

from pathlib import Path

from streams.scrape.server_table import load_server_table

PAGE = Path(__file__).resolve().parents[4] / "docs" / "llm.md"


def test_the_page_lists_the_facts_of_each_server() -> None:
    table = load_server_table()
    rows = [f"| fact | unit | {' | '.join(table.servers)} |", "|---|---|" + "---|" * len(table.servers)]
    for fact, definition in table.facts.items():
        kinds = [
            next((metric.kind for metric in server.metrics if metric.fact == fact), "–")
            for server in table.servers.values()
        ]
        rows.append(f"| `{fact}` | {definition.unit} | {' | '.join(kinds)} |")
    section = PAGE.read_text(encoding="utf-8").partition("<!-- servers: begin -->\n")[2]
    assert section.partition("<!-- servers: end -->")[0] == "\n".join(rows) + "\n"
