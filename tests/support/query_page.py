"""The worked questions of docs/queries.md, moved to another week."""

import re
from datetime import date
from pathlib import Path
from typing import NamedTuple

PAGE = Path(__file__).parents[2] / "docs" / "queries.md"
WRITTEN_MONDAY = date(2026, 11, 9)
"""The Monday of the week in the page."""
_QUESTION = re.compile(r"^### (\d+)\. (.+?)\n(.*?)^```sql\n(.*?)^```", re.MULTILINE | re.DOTALL)


class Question(NamedTuple):
    number: int
    title: str
    sql: str

    def in_week(self, monday: date) -> str:
        shift = monday - WRITTEN_MONDAY
        return re.sub(r"\d{4}-\d\d-\d\d", lambda match: (date.fromisoformat(match[0]) + shift).isoformat(), self.sql)


def questions() -> list[Question]:
    return [Question(int(n), title, sql) for n, title, _, sql in _QUESTION.findall(PAGE.read_text("utf-8"))]
