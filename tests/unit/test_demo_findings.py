"""What must hold of the demo's findings, and how they are told."""

from __future__ import annotations

import dataclasses
import io
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from cli.demo.expectations import DRIFTING, STEADY, expectations
from cli.demo.findings import Counts, Findings
from cli.demo.flights import CRITICAL, Calendar
from cli.demo.report import Reporter
from local.stack import StackAddresses
from warehouse.status import DriftRow, RateRow

SHIFT = 600
CALENDAR = Calendar(SHIFT)
COUNTS = Counts(
    published=10,
    labels_published=8,
    counted=10,
    recorded=10,
    labels_recorded=8,
    dead=0,
    lost_offsets=0,
    verdicts=3,
    rate_verdicts=4,
)


def replayed(*when: int) -> datetime:
    return CALENDAR.replayed(datetime(*when, tzinfo=UTC))  # type: ignore[arg-type, misc]  # year, month, day, hour


def drift(field: str, end: datetime) -> DriftRow:
    return DriftRow(
        model="flight-delay",
        version="1",
        baseline_id="b",
        slice="all",
        field=field,
        window="7d",
        window_start=end - timedelta(days=7),
        window_end=end,
        n=6500,
        psi=0.456,
        psi_low=0.31,
        psi_high=0.62,
        p_value=0.001,
        df=9,
        phi=900.0,
        level="major",
        line_minor=0.1,
        line_major=0.2,
        top_bin="[80, 90)",
        top_bin_index=3,
        expected_share=0.1,
        actual_share=0.0,
        visible_shift=0.1,
        completeness=1.0,
        judged_at=end,
        revisions=1,
        pos=1,
    )


def null_rate(field: str, level: str = "major") -> RateRow:
    end = replayed(2014, 1, 1, 5)
    return RateRow(
        model="flight-delay",
        version="1",
        baseline_id="b",
        slice="all",
        field=field,
        kind="null",
        window="1d",
        window_start=end - timedelta(days=1),
        window_end=end,
        n=776,
        k=776,
        rate=1.0,
        baseline_rate=0.001,
        delta=0.999,
        delta_low=0.4,
        delta_high=0.9995,
        p_value=0.0,
        phi=200.0,
        level=level,
        line_minor=0.01,
        line_major=0.05,
        completeness=1.0,
        judged_at=end,
        revisions=1,
        pos=1,
    )


def weeks(first_major: date | None) -> list[tuple[date, str]]:
    days = [date(2013, 8, 1) + timedelta(days=i) for i in range(150)]
    return [(day, "major" if first_major and day >= first_major else "stable") for day in days]


def good(**changes: Any) -> Findings:
    found = Findings(
        COUNTS,
        {
            **{field: weeks(None) for field in STEADY},
            "temp": weeks(date(2013, 9, 20)),
            "dewp": weeks(date(2013, 9, 21)),
        },
        [
            drift("score", replayed(2013, 8, 20)),
            drift("temp", replayed(2013, 9, 20)),
            drift("dewp", replayed(2013, 9, 21)),
        ],
        [null_rate("dewp"), null_rate("precip", "insufficient"), null_rate("temp")],
    )
    return dataclasses.replace(found, **changes)


def failed(findings: Findings) -> list[str]:
    return [each.what for each in expectations(findings) if not each.held]


def test_what_is_known_of_these_flights_holds() -> None:
    assert failed(good()) == []


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"counted": 9}, "every prediction"),
        ({"recorded": 11}, "every prediction"),
        ({"labels_recorded": 7}, "every label"),
        ({"dead": 1}, "nothing was put aside"),
        ({"lost_offsets": 1}, "nothing was put aside"),
        ({"published": 0, "counted": 0, "recorded": 0}, "every prediction"),
    ],
)
def test_a_lost_or_doubled_event_is_seen(change: dict[str, int], what: str) -> None:
    broken = failed(good(counts=dataclasses.replace(COUNTS, **change)))
    assert len(broken) == 1
    assert broken[0].startswith(what)


@pytest.mark.parametrize("first", [None, date(2013, 8, 30), date(2013, 9, 14), date(2013, 9, 26)])
@pytest.mark.parametrize("field", DRIFTING)
def test_drift_at_another_time_is_seen(field: str, first: date | None) -> None:
    findings = good()
    broken = failed(dataclasses.replace(findings, weeks={**findings.weeks, field: weeks(first)}))
    assert len(broken) == 1
    assert broken[0].startswith(f"{field} is major first")


@pytest.mark.parametrize("field", STEADY)
def test_a_false_alarm_or_a_field_that_was_not_judged_is_seen(field: str) -> None:
    findings = good()
    assert len(failed(dataclasses.replace(findings, weeks={**findings.weeks, field: weeks(date(2013, 12, 1))}))) == 1
    without = {name: rows for name, rows in findings.weeks.items() if name != field}
    assert len(failed(dataclasses.replace(findings, weeks=without))) == 1


@pytest.mark.parametrize("outage", [[], [null_rate("temp"), null_rate("dewp", "insufficient")]])
def test_an_outage_that_is_not_found_is_seen(outage: list[RateRow]) -> None:
    assert len(failed(good(outage=outage))) == 1


def test_critical_fields_come_in_the_order_of_their_first_major_week() -> None:
    assert "score" not in CRITICAL
    assert [row.field for row in good().first_critical] == ["temp", "dewp"]


@pytest.fixture
def told() -> tuple[Reporter, io.StringIO]:
    out = io.StringIO()
    return Reporter(Console(file=out, width=100)), out


def test_findings_are_told_in_the_dates_of_2013_with_their_queries(told: tuple[Reporter, io.StringIO]) -> None:
    reporter, out = told
    reporter.findings(good(), CALENDAR)
    text = " ".join(out.getvalue().split())
    assert "10 predictions published, 10 counted in panes, 10 raw rows; 8 labels published, 8 recorded" in text
    assert "First major: temp, the week from 13 September to 20 September 2013" in text
    assert "PSI 0.46, 95 % interval 0.31 to 0.62" in text
    assert "comes from [80, 90): 10.0% in training, 0.0% in this week" in text
    assert "dewp (week to 21 September)" in text
    assert "the day that ends on 1 January 2014 at 05:00 UTC" in text
    assert "dewp, temp: major as null rates" in text
    chart = [line for line in out.getvalue().splitlines() if line.startswith("  temp*")]
    assert chart[0].endswith("ends 20 Sep")
    assert "█" in chart[0]
    queries = [line for line in out.getvalue().splitlines() if "barograph query" in line]
    assert len(queries) == 2
    for line in queries:
        # One word for a shell: nothing in double quotes that it would replace.
        assert line.count('"') == 2
        assert not set("$`\\!") & set(line)


def test_findings_without_any_drift_are_told_too(told: tuple[Reporter, io.StringIO]) -> None:
    reporter, out = told
    reporter.findings(good(first_major=[], outage=[], weeks={}), CALENDAR)
    assert "First major" not in out.getvalue()
    assert "query" not in out.getvalue()


def test_a_failed_expectation_says_so_in_words(told: tuple[Reporter, io.StringIO]) -> None:
    reporter, out = told
    reporter.expectations(expectations(good(counts=dataclasses.replace(COUNTS, counted=9))))
    lines = out.getvalue().splitlines()
    assert (
        "  FAILED  every prediction was counted and recorded once: 10 published, 9 counted in panes, 10 raw rows"
        in lines
    )
    assert sum(line.startswith("  ok") for line in lines) == len(expectations(good())) - 1


def test_next_steps_name_addresses(told: tuple[Reporter, io.StringIO], tmp_path: Path) -> None:
    reporter, out = told
    reporter.next_steps(tmp_path, StackAddresses("127.0.0.1:29092", 28123), tmp_path / "logs")
    assert "Kafka on 127.0.0.1:29092, ClickHouse on http://127.0.0.1:28123" in out.getvalue()
    assert f"{tmp_path}/flight-delay.yaml" in out.getvalue()
