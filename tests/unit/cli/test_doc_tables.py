"""The generated tables of docs/."""

import pytest

from cli.doc_tables import TABLES, MarkerError, with_tables
from warehouse.generated_files import DOCS


@pytest.mark.parametrize("name", TABLES)
def test_the_page_has_the_tables_of_the_code(name: str) -> None:
    page = (DOCS / name).read_text("utf-8")
    assert with_tables(page, TABLES[name]) == page
    table = next(iter(TABLES[name]))
    with pytest.raises(MarkerError, match="lacks the line"):
        with_tables(page.replace(f"<!-- end of {table} -->", ""), TABLES[name])


def test_a_stale_table_is_replaced() -> None:
    page = (DOCS / "security.md").read_text("utf-8")
    assert with_tables(page.replace("`partials`", "`other`", 1), TABLES["security.md"]) == page
