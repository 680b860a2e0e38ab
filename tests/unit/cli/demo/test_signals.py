"""Expectations of the demo's findings, and their report."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from cli.demo.findings import Findings, expectations, report_findings
from cli.demo.flights import CRITICAL
from cli.demo.query_result import DemoQuery
from cli.demo.report import DemoReport
from cli.demo.signals.inputs import DRIFTING, STEADY
from cli.demo.signals.pager import NULLS, PSI, SentPage
from cli.demo.signals.season import SeasonFindings
from cli.terminal import Terminal
from local.stack import StackAddresses
from tests.support.demo import (
    CALENDAR,
    SOURCE,
    SQL,
    good,
    inputs,
    null_rate,
    outputs,
    pager,
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
        ({"accepted": ("major", 0.4), "again": ("major", 0.4)}, "dewp is closer"),
    ],
)
def test_weeks_whose_level_autumn_does_not_explain_are_detected(change: dict[str, Any], what: str) -> None:
    first, *others = season().weeks
    [failure] = failed(
        changed(season=SeasonFindings([dataclasses.replace(first, **change), *others], DemoQuery(SQL, ())))
    )
    assert failure.startswith(what)


def test_a_season_without_weeks_is_detected() -> None:
    assert len(failed(changed(season=SeasonFindings([], DemoQuery(SQL, ()))))) == 3


# ---------------------------------------------------------------------------------------------------- the pager


def with_page(rule: str, field: str, day: date) -> Findings:
    begin = datetime(day.year, day.month, day.day, tzinfo=UTC)
    others = [page for page in pager().pages if (page.rule, page.instance) != (rule, field)]
    return changed(pager=dataclasses.replace(pager(), pages=[*others, SentPage(rule, field, begin, None)]))


@pytest.mark.parametrize(
    ("broken", "what"),
    [
        (lambda: with_page("silence", "", date(2013, 8, 31)), "no page in August"),
        (lambda: with_page(PSI, "temp", date(2013, 9, 14)), "temp and dewp first page"),
        (lambda: with_page(PSI, "temp", date(2013, 10, 1)), "temp and dewp first page"),
        (lambda: with_page(PSI, "origin", date(2013, 12, 1)), "the 11 fields"),
        (lambda: changed(pager=dataclasses.replace(pager(), watched=pager().watched[:-1])), "the 11 fields"),
        (lambda: with_page(NULLS, "dewp", date(2013, 12, 29)), "the missing weather of 31 December pages"),
    ],
)
def test_an_unexplained_page_is_detected(broken: Change, what: str) -> None:
    [failure] = failed(broken())
    assert failure.startswith(what)


def test_missing_pages_are_detected() -> None:
    assert [
        what.split(" page")[0].removesuffix(" first")
        for what in failed(changed(pager=dataclasses.replace(pager(), pages=())))
    ] == [
        "temp and dewp",
        "the missing weather of 31 December",
    ]


# ---------------------------------------------------------------------------------------------------- telling


def printed_report(findings: Findings, width: int = 100) -> str:
    out = io.StringIO()
    report_findings(DemoReport(Terminal(Console(file=out, width=width), is_wide=False)), findings, CALENDAR)
    return out.getvalue()


def test_the_report_starts_with_a_summary_of_the_four_signals() -> None:
    _, heading, *lines = printed_report(good()).splitlines()
    assert heading == "Summary: August to December"
    glance = lines[: lines.index("")]
    assert [line[:24].split() for line in glance if line[2] != " "] == [
        ["Volume", "stable"],
        ["Inputs", "major"],
        ["Outputs", "major"],
        ["Ground", "truth", "stable"],
    ]
    assert all(len(line) <= 100 for line in glance)


@pytest.mark.parametrize("width", [80, 120])
def test_findings_are_reported_with_dates_of_2013(width: int) -> None:
    text = " ".join(printed_report(good(), width).split())
    for part in (
        "600 published, 600 counted, 600 recorded. 0 late, 0 dead letters, 0 duplicates, 0 lost before Kafka",
        "December 600 0 99.5 %",
        "hours without a flight, all of them from",
        "First major: temp, the week from 13 September to 20 September",
        "PSI 0.46, 95 % interval 0.31 to 0.62",
        "comes from bin [80, 90): 10.0 % in training, 0.0 % in this week",
        "dewp (week to 21 September)",
        "Flights: ILM 12.",
        "the day that ends on 1 January 2014 at 05:00 UTC",
        "Null rate major: dewp and temp.",
        "version 1 June, July December mean score 0.300 0.250 called late 20.0 % 10.0 %",
        "moved most in the week to 19 December: -0.50 standard deviations",
        "PSI of scores – – 0.500 0.200 to 0.800 major",
        "called late 10.0 % 20.0 % 10.0 % -10.0 % to 30.0 % insufficient",
        "the PSI of the scores is insufficient in 3 and major in 1",
        "Sample ratio of the arms: stable",
        "its first mature week, 1 August to 7 August, at equal age of labels",
        "570 of 600 flights have a label (95.0 %)",
        "30 flights never get a label",
        "12 December (80.0 % labelled)",
        "AUC of arm b is below that of arm a in 2 of 2 mature weeks, significantly below in 1",
        "is compared with 22 September to 2 November",
        "temp, summer",
        "19 rules would have paged 4 times in five months",
        "psi-major temp 20 September still firing 1",
        "silence flight-delay 1 November 2 November 1",
    ):
        assert part in text, part


def test_charts_end_with_dates_and_counts() -> None:
    lines = printed_report(good()).splitlines()
    [temp] = [line for line in lines if line.startswith("  temp*")]
    assert temp.endswith("ends 20 Sep")
    assert "█" in temp
    [summer, autumn] = [line for line in lines if line.startswith("  dewp, ")]
    assert summer.endswith("2 of 2, PSI 4.00")
    assert autumn.endswith("1 of 2, PSI 0.40")


def test_each_query_is_one_word_for_a_shell() -> None:
    text = printed_report(good())
    blocks = text.split("barograph query ")[1:]
    assert len(blocks) == 13
    for block in blocks:
        sql = block.split('"')[1]
        assert sql.strip() == SQL
        assert not set("$`\\!") & set(sql)


def test_empty_findings_are_reported() -> None:
    empty = DemoQuery(SQL, ())
    text = printed_report(
        Findings(
            dataclasses.replace(volume(), months=empty, silent=()),
            dataclasses.replace(inputs(), weeks={}, first_major=[], outage=[], unseen=empty),
            dataclasses.replace(outputs(), months=empty, shifts=empty, compared=empty, levels=empty, arms=empty),
            dataclasses.replace(
                truth(),
                weeks=[],
                reference=empty,
                labels=DemoQuery(SQL, ((0, 0, 0.0, 0.0),)),
                selective=empty,
                arms=empty,
            ),
            SeasonFindings([], empty),
            dataclasses.replace(pager(), pages=()),
        )
    )
    assert "First major" not in text
    assert "candidate:" not in text
    assert "nan" not in text.lower()


def test_a_failed_expectation_is_explained() -> None:
    out = io.StringIO()
    broken = with_month(1, 599)
    DemoReport(Terminal(Console(file=out, width=100), is_wide=False)).expectations(expectations(broken, SOURCE))
    lines = out.getvalue().splitlines()
    assert (
        "  FAILED  every prediction is counted and recorded once: 600 published, 599 counted in panes, 600 raw rows"
        in lines
    )
    assert sum(line.startswith("  ok") for line in lines) == len(expectations(good(), SOURCE)) - 2


def test_next_steps_name_addresses(tmp_path: Path) -> None:
    out = io.StringIO()
    say = DemoReport(Terminal(Console(file=out, width=100), is_wide=False))
    say.next_steps(tmp_path, StackAddresses("127.0.0.1:29092", 28123), tmp_path / "logs", "http://127.0.0.1:3111/")
    assert "Kafka on 127.0.0.1:29092, ClickHouse on http://127.0.0.1:28123" in out.getvalue()
    assert f"{tmp_path}/flight-delay.yaml" in out.getvalue()
