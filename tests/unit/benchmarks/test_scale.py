"""docs/scale.md is generated from docs/scale.json."""

from __future__ import annotations

import re

import pytest

from benchmarks import scale, soak
from benchmarks.growth_measurement import Curve, Growth
from benchmarks.scale_charts import chart_names
from benchmarks.scale_page import number
from tests.support.growth import made_up

TEXT = scale.PAGE.read_text(encoding="utf-8")
RECORD = scale.read_record()
ABOUT = dict.fromkeys(("measured", "commit", "cpu", "memory", "system", "load before the start"), "known")


def test_the_page_matches_the_record() -> None:
    assert scale.rewrite(TEXT, RECORD) == TEXT


def test_every_chart_of_the_page_is_there() -> None:
    linked = set(re.findall(r"\(charts/([\w-]+\.svg)\)", TEXT))
    assert linked
    assert {name for name in linked if not (scale.CHARTS / name).exists()} == set()
    assert set(chart_names(Growth.from_json(RECORD["growth"]))) <= linked


def test_growth_can_be_restored_from_json() -> None:
    growth = made_up()
    assert Growth.from_json(growth.as_json()) == growth


def test_a_block_without_a_mark_is_an_error() -> None:
    with pytest.raises(ValueError, match="no mark for"):
        scale.rewrite("", {"growth": {"about": ABOUT, **made_up().as_json()}})


def _soaked(memory_per_sample: float = 0.0, late_s: float = 0.5) -> soak.SoakResult:
    n = 360
    return soak.SoakResult(
        panes=[4 * (i + 1) for i in range(n)],
        latency_s=[0.5 if i < n * 2 // 3 else late_s for i in range(n)],
        rss_mib={"monitor": [300 + i % 5 + memory_per_sample * i for i in range(n)]},
        files={"monitor": [30.0 + i % 2 for i in range(n)]},
        cpu_s={name: [0.04 + 0.001 * (i % 3) for i in range(n)] for name in soak.PROCESSORS},
        events=8_000 * n,
        counted=8_000 * n,
        recorded=8_000 * n,
    )


def test_a_steady_run_meets_every_goal() -> None:
    assert all(soak.judge(_soaked()).values())


@pytest.mark.parametrize(
    ("soaked", "missed"),
    [
        (_soaked(memory_per_sample=0.1), "monitor: memory flat"),
        (_soaked(late_s=0.7), "latency steady"),
    ],
)
def test_growth_misses_its_goal(soaked: soak.SoakResult, missed: str) -> None:
    assert [goal for goal, met in soak.judge(soaked).items() if not met] == [missed]


def test_a_trend_is_per_day_of_panes() -> None:
    result = soak.trend(list(range(0, 1_440, 4)), [100 + 0.01 * pane for pane in range(0, 1_440, 4)])
    assert result.per_day == pytest.approx(14.4)
    assert result.low <= 14.4 <= result.high + 1e-9


def test_missing_events_miss_the_goal() -> None:
    soaked = _soaked()
    soaked.counted -= 1
    assert not soak.judge(soaked)["every event counted once"]


@pytest.mark.parametrize(
    ("value", "shown"), [(0.0, "0"), (12345.6, "12,346"), (0.012345, "0.0123"), (99.96, "100"), (3.0, "3")]
)
def test_numbers_are_short(value: float, shown: str) -> None:
    assert number(value) == shown


def test_the_description_of_a_nonlinear_curve_has_its_exponent() -> None:
    curve = Curve("x", "x", "c", "ms", "n", "", (1.0, 2.0, 4.0, 8.0), (1.0, 4.0, 16.0, 64.0))
    description = curve.describe_fit()
    assert "not linear" in description
    assert "power 2.00" in description
