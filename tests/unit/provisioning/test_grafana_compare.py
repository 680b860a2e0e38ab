"""Comparison of current and desired Grafana resources."""

from __future__ import annotations

from typing import Any

import pytest

from barograph_server.provisioning.grafana.compare import differences


@pytest.mark.parametrize(
    ("current", "desired", "lines"),
    [
        ({"a": 1, "b": 2}, {"a": 2, "c": 3}, ["~ a: 1 → 2", "+ c", "- b"]),
        ({"a": {"b": "x"}}, {"a": {"b": "y"}}, ['~ a.b: "x" → "y"']),
        ({"a": [1, 2]}, {"a": [1, 3]}, ["~ a[1]: 2 → 3"]),
        (
            {"p": [{"id": 1, "title": "A"}, {"id": 2, "title": "B"}]},
            {"p": [{"id": 2, "title": "B"}, {"id": 3, "title": "C"}]},
            ["+ p[C]", "- p[A]"],
        ),
        ({"p": [{"id": 1}, {"id": 2}]}, {"p": [{"id": 2}, {"id": 1}]}, ["~ p: order changed"]),
        ({"p": [{"uid": "a", "x": 1}]}, {"p": [{"uid": "a", "x": 2}]}, ["~ p[a].x: 1 → 2"]),
    ],
)
def test_differences_lead_from_current_to_desired(current: Any, desired: Any, lines: list[str]) -> None:
    assert list(differences(current, desired)) == lines
