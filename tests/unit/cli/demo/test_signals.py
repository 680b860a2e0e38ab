"""Expectations of the demo's findings, and their report."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from datetime import UTC, date, datetime
from typing import Any

import pytest

from cli.demo.findings import Findings, expectations
from cli.demo.flights import CRITICAL
from cli.demo.query_result import DemoQuery
from cli.demo.signals.inputs import DRIFTING, STEADY
from cli.demo.signals.pager import NULLS, PSI, FiringPeriod
from cli.demo.signals.season import SeasonFindings
from tests.support.demo import (
    SOURCE,
    SQL,
    good,
    inputs,
    null_rate,
    outputs,
    pager,
    pages_of,
    season,
    truth,
    volume,
    weeks,
)

Change = Callable[[], Findings]


def failed(findings: Findings) -> list[str]:
    return [each.what for each in expectations(findings, SOURCE) if not each.is_met]


def changed(**signals: Any) -> Findings:
    return dataclasses.replace(good(), **signals)


def test_findings_of_these_flights_meet_all_expectations() -> None:
    assert failed(good()) == []


# ---------------------------------------------------------------------------------------------------- volume


def with_month(at: int, value: int) -> Findings:
    result = volume()
    row = list(result.months.rows[0])
    row[at] = value
    return changed(volume=dataclasses.replace(result, months=DemoQuery(SQL, (tuple(row),))))


@pytest.mark.parametrize("at", range(5))
def test_a_late_dead_lettered_duplicate_or_lost_event_is_detected(at: int) -> None:
    row = tuple(int(i == at) for i in range(5))
    assert failed(changed(volume=dataclasses.replace(volume(), whole=DemoQuery(SQL, (row,))))) == [
        "no event is late, dead-lettered, duplicated or lost"
    ]


@pytest.mark.parametrize(
    ("broken", "what"),
    [
        (lambda: with_month(1, 599), "every prediction"),
        (lambda: changed(volume=dataclasses.replace(volume(), recorded=601)), "every prediction"),
        (lambda: changed(volume=dataclasses.replace(volume(), published=599)), "every prediction"),
        (lambda: changed(volume=dataclasses.replace(volume(), labels_recorded=7)), "every label"),
        (lambda: changed(volume=dataclasses.replace(volume(), labels_published=7)), "every label"),
        (lambda: with_month(2, 1), "no prediction failed"),
        (lambda: with_month(4, 599), "no prediction failed"),
        (lambda: changed(volume=dataclasses.replace(volume(), silent=volume().silent[1:])), "silent hours"),
    ],
)
def test_a_count_that_differs_from_the_source_is_detected(broken: Change, what: str) -> None:
    failure = failed(broken())
    assert failure
    assert failure[0].startswith(what)
    assert len(failure) == 1 or failure[1].startswith(
        "no prediction failed"
    )  # a flight less is one that was not timed, too


# ---------------------------------------------------------------------------------------------------- inputs


def with_weeks(field: str, rows: list[tuple[date, str]] | None) -> Findings:
    result = inputs()
    others = {name: each for name, each in result.weeks.items() if name != field}
    return changed(inputs=dataclasses.replace(result, weeks=others if rows is None else {**others, field: rows}))


@pytest.mark.parametrize("first", [None, date(2013, 8, 30), date(2013, 9, 14), date(2013, 9, 26)])
@pytest.mark.parametrize("field", DRIFTING)
def test_drift_at_another_time_is_detected(field: str, first: date | None) -> None:
    [what] = failed(with_weeks(field, weeks(first)))
    assert what.startswith(f"{field} is first major")


@pytest.mark.parametrize("field", STEADY)
def test_a_false_alarm_or_an_unjudged_field_is_detected(field: str) -> None:
    assert len(failed(with_weeks(field, weeks(date(2013, 12, 1))))) == 1
    assert len(failed(with_weeks(field, None))) == 1


@pytest.mark.parametrize("outage", [[], [null_rate("temp"), null_rate("dewp", "insufficient")]])
def test_a_missed_outage_is_detected(outage: list[Any]) -> None:
    assert len(failed(changed(inputs=dataclasses.replace(inputs(), outage=outage)))) == 1


@pytest.mark.parametrize("named", [(), (("ILM", 11, None),), (("ILM", 12, None), ("BOS", 1, None))])
def test_a_missing_or_wrong_destination_is_detected(named: tuple[Any, ...]) -> None:
    assert SOURCE.unseen("dest") == {"ILM": 12}
    [what] = failed(changed(inputs=dataclasses.replace(inputs(), unseen=DemoQuery(SQL, named))))
    assert what.startswith("the unseen destinations")


def test_critical_fields_are_ordered_by_their_first_major_week() -> None:
    assert "score" not in CRITICAL
    assert [row.field for row in inputs().first_critical] == ["temp", "dewp"]


# ---------------------------------------------------------------------------------------------------- outputs


def test_arms_without_their_share_are_detected() -> None:
    a, b = outputs().arms
    for arms in ((a, (*b[:2], b[2] + 1, *b[3:])), ((*a[:-1], "major"), (*b[:-1], "major")), ()):
        [what] = failed(changed(outputs=dataclasses.replace(outputs(), arms=DemoQuery(SQL, arms))))
        assert what.startswith("version 2 serves")


def test_wrong_scores_of_arms_are_detected() -> None:
    class_, mean, psi = outputs().compared
    for rows in ((class_, psi), (class_, (*mean[:5], mean[5] + 1e-6, *mean[6:]), psi)):
        [what] = failed(changed(outputs=dataclasses.replace(outputs(), compared=DemoQuery(SQL, rows))))
        assert what.startswith("the mean scores")


# ---------------------------------------------------------------------------------------------------- ground truth


def with_week(metric: str, **change: Any) -> Findings:
    result = truth()
    at = next(i for i, week in enumerate(result.weeks) if week.metric == metric)
    figures = [dataclasses.replace(week, **change) if i == at else week for i, week in enumerate(result.weeks)]
    return changed(truth=dataclasses.replace(result, weeks=figures))


@pytest.mark.parametrize(
    "broken",
    [
        lambda: with_week("auc", value=truth().of("auc")[0].value + 0.003),
        lambda: with_week("accuracy", value=truth().of("accuracy")[0].value + 1e-6),
        lambda: with_week("accuracy", n=1),
        lambda: changed(truth=dataclasses.replace(truth(), weeks=[])),
    ],
)
def test_performance_that_differs_from_scikit_learn_is_detected(broken: Change) -> None:
    [what] = failed(broken())
    assert what.startswith("each week's AUC equals scikit-learn's")


@pytest.mark.parametrize(("at", "value"), [(1, 0), (2, 60.0), (3, 60.0), (2, 1e6), (3, 1e6)])
def test_labels_with_wrong_delays_are_detected(at: int, value: float) -> None:
    row = list(truth().labels.rows[0])
    row[at] = value
    assert len(failed(changed(truth=dataclasses.replace(truth(), labels=DemoQuery(SQL, (tuple(row),)))))) == 1


def test_undetected_selective_labels_are_detected() -> None:
    [what] = failed(changed(truth=dataclasses.replace(truth(), selective=DemoQuery(SQL, ()))))
    assert what.startswith("flights without a label")


def test_a_candidate_without_weather_that_is_not_worse_is_detected() -> None:
    better = tuple(
        (end, a, b, -difference, -high, -low, known) for end, b, a, difference, low, high, known in truth().arms
    )
    for arms in ((), better):
        [what] = failed(changed(truth=dataclasses.replace(truth(), arms=DemoQuery(SQL, arms))))
        assert what.startswith("version 2 (without weather) is worse")


# ---------------------------------------------------------------------------------------------------- season


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"again": ("stable", 0.4)}, "verdicts recomputed"),
        ({"again": ("insufficient", 0.4 + 1e-12)}, "verdicts recomputed"),
        ({"trained": ("major", 0.3)}, "dewp is closer"),
    ],
)
def test_weeks_whose_level_autumn_does_not_explain_are_detected(change: dict[str, Any], what: str) -> None:
    first, *others = season().weeks
    [failure] = failed(
        changed(season=SeasonFindings([dataclasses.replace(first, **change), *others], DemoQuery(SQL, ())))
    )
    assert failure.startswith(what)


def test_weeks_that_are_all_major_against_autumn_are_detected() -> None:
    major = ("major", 0.4)
    weeks = [dataclasses.replace(week, accepted=major, again=major) for week in season().weeks]
    [failure] = failed(changed(season=SeasonFindings(weeks, DemoQuery(SQL, ()))))
    assert failure == "temp and dewp are less often major against autumn"


def test_a_season_without_weeks_is_detected() -> None:
    assert len(failed(changed(season=SeasonFindings([], DemoQuery(SQL, ()))))) == 4


# ---------------------------------------------------------------------------------------------------- the pager


def with_pages(rule: str, field: str, *days: date) -> Findings:
    begins = [datetime(day.year, day.month, day.day, tzinfo=UTC) for day in days]
    return changed(pager=pages_of(*pager().periods, *(FiringPeriod(rule, field, begin, None) for begin in begins)))


def with_page(rule: str, field: str, day: date) -> Findings:
    begin = datetime(day.year, day.month, day.day, tzinfo=UTC)
    others = [each for each in pager().periods if (each.rule, each.instance) != (rule, field)]
    return changed(pager=pages_of(*others, FiringPeriod(rule, field, begin, None)))


@pytest.mark.parametrize(
    ("broken", "what"),
    [
        (lambda: with_page("silence", "", date(2013, 8, 31)), "no page in August"),
        (lambda: with_page(PSI, "temp", date(2013, 9, 14)), "temp and dewp first page"),
        (lambda: with_page(PSI, "temp", date(2013, 10, 1)), "temp and dewp first page"),
        (lambda: with_page(PSI, "origin", date(2013, 12, 1)), "the 11 fields"),
        (lambda: changed(pager=dataclasses.replace(pager(), watched=pager().watched[:-1])), "the 11 fields"),
        (lambda: with_page(NULLS, "dewp", date(2013, 12, 29)), "the missing weather of 31 December pages"),
        (lambda: with_pages(NULLS, "age", date(2013, 10, 1), date(2013, 12, 1)), "at most 4 incidents page"),
    ],
)
def test_an_unexplained_page_is_detected(broken: Change, what: str) -> None:
    [failure] = failed(broken())
    assert failure.startswith(what)


def test_missing_pages_are_detected() -> None:
    assert [what.split(" page")[0].removesuffix(" first") for what in failed(changed(pager=pages_of()))] == [
        "temp and dewp",
        "the missing weather of 31 December",
    ]
