"""Suites are read with line numbers, and bad ones are rejected."""

from __future__ import annotations

from pathlib import Path

from barograph_server.drills.run.suite import read_suite

ROOT = Path(__file__).resolve().parents[4]


def test_a_suite_is_read(tmp_path: Path) -> None:
    path = tmp_path / "drills.yaml"
    path.write_text(
        "suite: 1\nmodel: shop\nhistory: 8d\ndrills:\n"
        "  - {fault: mean-shift, field: x, magnitude: -2, duration: 1d, route: ops}\n  - {fault: silence}\n"
    )
    suite = read_suite(path)
    assert (suite.model, suite.version, suite.history_s) == ("shop", None, 8 * 86_400)
    first, second = suite.requests
    assert (first.injection.fault.name, first.injection.field, first.injection.magnitude) == ("mean-shift", "x", -2.0)
    assert (first.duration_s, first.route) == (86_400, "ops")
    assert second.injection.fault.name == "silence"


def test_the_suite_of_the_flights_is_valid() -> None:
    assert len(read_suite(ROOT / "examples" / "flights" / "drills.yaml").requests) >= 8
