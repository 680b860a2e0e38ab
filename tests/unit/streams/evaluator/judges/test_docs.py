"""The section on judges of docs/evaluation.md."""

from __future__ import annotations

import re
from pathlib import Path

from streams.evaluator.judges.errors import JudgeError, JudgeErrorCode
from streams.evaluator.judges.rubric import ScoreRange, parse_rubric

SECTION = (
    (Path(__file__).resolve().parents[5] / "docs/evaluation.md")
    .read_text(encoding="utf-8")
    .partition("\n## Judges\n")[2]
    .partition("\n## ")[0]
)


def test_the_rubric_can_be_read() -> None:
    (text,) = re.findall(r"```yaml\n(.*?)```", SECTION, re.DOTALL)
    rubric = parse_rubric(text, "faithful.yaml")
    assert (rubric.name, rubric.scores, len(rubric.examples)) == ("faithful", ScoreRange(1, 5, 2), 1)


def test_the_table_lists_every_code_and_which_are_retried() -> None:
    rows = dict(re.findall(r"^\| `(judge-[a-z-]+)` \| .+ \| (yes|no) \|$", SECTION, re.MULTILINE))
    assert rows == {code.value: "yes" if JudgeError(code, "").is_transient else "no" for code in JudgeErrorCode}
