"""The demo's picture: well-formed, one mark per verdict, levels by colour and height."""

from __future__ import annotations

from datetime import date, timedelta
from xml.etree import ElementTree

import pytest

from cli.demo.picture import CELL, LEFT, LEVELS, PsiPoint, draw

FIRST = date(2013, 8, 5)
SVG = "{http://www.w3.org/2000/svg}"


def test_every_verdict_has_its_mark() -> None:
    weeks = {
        "calm": [(FIRST + timedelta(days=i), "stable") for i in range(40)],
        "wild <&>": [(FIRST + timedelta(days=i), "major" if i > 20 else "insufficient") for i in range(40)],
    }
    curve = [PsiPoint(FIRST + timedelta(days=i), i / 10, i / 20, i / 5) for i in range(40)]
    root = ElementTree.fromstring(draw(weeks, frozenset({"calm"}), "calm", curve, 0.2))
    marks = [rect.get("fill") for rect in root.iter(f"{SVG}rect") if float(rect.get("width", "0")) < 10]
    assert [marks.count(LEVELS[level][0]) for level in ("stable", "major", "insufficient")] == [40, 19, 21]
    texts = [text.text for text in root.iter(f"{SVG}text")]
    assert "calm *" in texts
    # What drifted first stands on top.
    assert texts.index("wild <&>") < texts.index("calm *")
    assert len({height for _, height in LEVELS.values()}) == len(LEVELS)


def test_an_accepted_baseline_is_marked_where_it_begins() -> None:
    weeks = {"calm": [(FIRST + timedelta(days=i), "stable") for i in range(40)]}
    curve = [PsiPoint(FIRST, 0.1, 0.0, 0.2)]

    def lines(accepted: date | None) -> set[str | None]:
        root = ElementTree.fromstring(draw(weeks, frozenset(), "calm", curve, 0.2, accepted))
        return {line.get("x1") for line in root.iter(f"{SVG}line") if line.get("x1") == line.get("x2")}

    assert lines(None) == set()
    assert lines(FIRST + timedelta(days=10)) == {str(LEFT + 10 * CELL)}


def test_nothing_to_draw_is_an_error() -> None:
    with pytest.raises(ValueError, match="no verdicts"):
        draw({}, frozenset(), "calm", [], 0.2)
