"""docs/scale.md is generated from docs/scale.json."""

from __future__ import annotations

import re

from benchmarks import page, scale

TEXT = scale.PAGE.read_text(encoding="utf-8")
RECORD = scale.read_record()


def test_the_page_matches_the_record() -> None:
    assert scale.rewrite(TEXT, RECORD) == TEXT


def test_every_chart_of_the_page_is_there() -> None:
    linked = set(re.findall(r"\(charts/([\w-]+\.svg)\)", TEXT))
    assert linked
    assert {name for name in linked if not (page.CHARTS / name).exists()} == set()
