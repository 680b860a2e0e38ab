"""The query "Disagreements of a candidate" of docs/queries.md: a bounded sample of each kind of pair of one hour."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from barograph_server.warehouse.client import Client
from tests.support import scoring
from tests.support.query_page import WRITTEN_MONDAY, questions
from tests.support.scoring import DAY_MS, HOUR_MS, START_MS, label, prediction

pytestmark = pytest.mark.engine
HOUR_START_MS = START_MS + 2 * DAY_MS + 14 * HOUR_MS
"""The query reads the hour from 14:00 of a Wednesday."""
LABELLED, TOTAL = 60, 80


def sample(client: Client) -> list[tuple[Any, ...]]:
    (question,) = (each for each in questions() if each.title == "Disagreements of a candidate")
    assert "'2026-11-11 14:00:00'" in question.sql
    first_day = WRITTEN_MONDAY.fromordinal(719_163 + START_MS // DAY_MS)
    return client.rows(question.in_week(first_day).replace("shop-fraud", "m"))


def test_each_kind_of_pair_has_the_five_that_differ_most(client: Client) -> None:
    rows: dict[str, list[dict[str, Any]]] = {"predictions": [], "shadow_predictions": [], "labels": []}
    expected: dict[str, list[tuple[float, str]]] = {}
    for i in range(TOTAL):
        at_ms = HOUR_START_MS + i * 1000
        ours, theirs, truth = ("a", "b")[i % 2], ("a", "b")[i // 2 % 2], ("a", "b", "c")[i % 3]
        score = (i * 37 % TOTAL) / TOTAL
        shared = {"context": {"country": f"hash-{i}"}, "numbers": {"x": float(i)}}
        rows["predictions"].append(prediction(i, at_ms, i, score=0.0, **{"class": ours}, **shared))
        shadow = {"version": "2", "score": score, "class": theirs}
        rows["shadow_predictions"].append(prediction(i, at_ms + 50, i, **shadow))
        if i < LABELLED:
            rows["labels"].append(label(i, at_ms + HOUR_MS, i, truth, "string"))
        kind = "both are wrong"
        if ours == theirs:
            kind = "same class"
        elif i >= LABELLED:
            kind = "no label yet"
        elif truth in (ours, theirs):
            kind = "only the primary is right" if truth == ours else "only the candidate is right"
        expected.setdefault(kind, []).append((-score, f"e{i}"))
    # Outside the hour, failed, without a pair, or of another version.
    rows["predictions"].append(prediction(200, HOUR_START_MS + HOUR_MS, 200, score=0.0))
    rows["shadow_predictions"].append(prediction(200, HOUR_START_MS + HOUR_MS, 200, version="2", score=1.0))
    rows["predictions"].append(prediction(201, HOUR_START_MS, 201, score=0.0))
    rows["shadow_predictions"].append(prediction(201, HOUR_START_MS, 201, version="2", error="shadow-timeout"))
    rows["predictions"].append(prediction(202, HOUR_START_MS, 202, score=0.0))
    rows["shadow_predictions"].append(prediction(202, HOUR_START_MS, 202, version="3", score=1.0))
    for table, own in rows.items():
        scoring.insert(client, table, own)
    result = sample(client)
    assert len(expected) == 5
    assert Counter(row[0] for row in result) == {kind: min(5, len(own)) for kind, own in expected.items()}
    names = {kind: [row[1] for row in result if row[0] == kind] for kind in expected}
    assert names == {kind: [name for _, name in sorted(own)[:5]] for kind, own in expected.items()}
    number = int(result[0][1].removeprefix("e"))
    assert result[0][7:9] == ({"country": f"hash-{number}"}, {"x": float(number)})
