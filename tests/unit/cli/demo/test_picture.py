"""The demo's picture: well-formed, one mark per verdict, levels by colour and height, lines that do not invent."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any
from xml.etree import ElementTree

import pytest

from cli.demo.picture import LEVELS, PictureData, Point, draw

FIRST = date(2013, 8, 5)
SVG = "{http://www.w3.org/2000/svg}"


def days(n: int, level: str = "stable") -> list[tuple[date, str]]:
    return [(FIRST + timedelta(days=i), level) for i in range(n)]


def drawn(**changes: Any) -> PictureData:
    settings: dict[str, Any] = {
        "volume": [(FIRST + timedelta(days=i), 900 + i) for i in range(40)],
        "weeks": {"calm": days(40)},
        "critical": frozenset(),
        "field": "calm",
        "psi": [Point(FIRST + timedelta(days=i), i / 10, i / 20, i / 5) for i in range(40)],
        "threshold_major": 0.2,
        "scores": [(FIRST + timedelta(days=7 * i), 0.3, 0.2) for i in range(5)],
        "auc": [Point(FIRST + timedelta(days=7 * i), 0.7, 0.6, 0.8) for i in range(5)],
        "reference": 0.68,
    }
    return PictureData(**settings | changes)


def rects(root: ElementTree.Element) -> list[str | None]:
    return [rect.get("fill") for rect in root.iter(f"{SVG}rect") if float(rect.get("width", "0")) < 10]


def test_every_verdict_and_every_day_has_its_mark() -> None:
    weeks = {
        "calm": days(40),
        "wild <&>": [(day, "major" if i > 20 else "insufficient") for i, (day, _) in enumerate(days(40))],
    }
    root = ElementTree.fromstring(draw(drawn(weeks=weeks, critical=frozenset({"calm"}))))
    marks = rects(root)
    assert [marks.count(LEVELS[level][0]) for level in ("stable", "major", "insufficient")] == [40, 19, 21]
    assert len(marks) == 80 + 40
    texts = [text.text for text in root.iter(f"{SVG}text")]
    assert "calm *" in texts
    assert "939" in texts  # the most flights of a day
    # The field that drifted first is on top.
    assert texts.index("wild <&>") < texts.index("calm *")
    assert len({height for _, height in LEVELS.values()}) == len(LEVELS)


def test_without_labels_and_intervals_there_is_a_picture_too() -> None:
    ElementTree.fromstring(draw(drawn(psi=[], scores=[], auc=[], reference=float("nan"), volume=[])))


def test_nothing_to_draw_is_an_error() -> None:
    with pytest.raises(ValueError, match="no verdicts"):
        draw(drawn(weeks={}))
