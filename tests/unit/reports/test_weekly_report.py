import dataclasses
from datetime import UTC, datetime, timedelta
from typing import Any

from barograph.contract import Slo
from markdown_it import MarkdownIt

from barograph_server.reports.html import render_html
from barograph_server.reports.markdown import render_markdown
from barograph_server.reports.read import assess
from barograph_server.reports.weekly_report import (
    DayVolume,
    FieldWeek,
    Losses,
    MajorSlice,
    MetricWindow,
    WeekFacts,
    WeeklyIncident,
    WeeklyReport,
    parse_week,
)
from barograph_server.warehouse.governance.changes import Change
from tests.support.html import Page

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)
WEEK = parse_week("2026-W47", "America/New_York", NOW)
HOSTILE = "a|b`</td><script>alert(1)</script> [x](javascript:1) ![](http://x.org/p) **_&lt; www.x.org\n# \x1b\\|"
NAN = float("nan")


def days(n: int, hours: float = 24.0) -> tuple[DayVolume, ...]:
    return tuple(DayVolume(f"2026-11-{16 + i}", 100, 0, 100, 0, 0, hours, True) for i in range(n))


def verdict(name: str, level: str = "stable", *, insufficient: int = 0, completeness: float = 1.0) -> FieldWeek:
    numbers = (0.3, 0.2, 0.4, NAN, NAN)
    head = (name, "psi", name, "7d", 7, insufficient, "too few events", completeness, level)
    return FieldWeek(*head, *numbers, WEEK.end, 24.0, WEEK.start)


def metric(level: str = "stable", *, mature: bool = True) -> MetricWindow:
    return MetricWindow("auc", "1", "7d", WEEK.end, 0.8, 0.7, 0.9, level, "", 90, 0.9, 0.99, mature, 0.7, 0.8)


NONE_LOST = Losses(0, 0, 0)
CLEAN = WeekFacts(days(7), (), (1.0, 2.0, 3.0), (verdict("f"),), (), (metric(),), (700, 630), NONE_LOST, (), (), ())


def report(facts: WeekFacts, **values: Any) -> WeeklyReport:
    arguments: dict[str, Any] = {
        "model": "m", "team": "", "owners": (), "contract_id": "c", "window": "7d", "inputs": ("f",), "has_label": True,
        "week": WEEK, "facts": facts, "before": facts, "was_replayed": False, "answer": "uncertain", "sentence": "",
        "limits": (), **values,
    }  # fmt: skip
    result = WeeklyReport(**arguments)
    answer, sentence, limits = assess(result, Slo(error_rate=0.01, latency_ms=9.0, latency_share=0.99))
    return dataclasses.replace(result, answer=answer, sentence=sentence, limits=limits)


def named(name: str) -> WeeklyReport:
    change = Change(WEEK.start, *[name] * 9)
    facts = dataclasses.replace(
        CLEAN,
        verdicts=(verdict(name, "major"),),
        major_slices=(MajorSlice(name, 1, [name]),),
        metrics=(dataclasses.replace(metric("major"), metric=name, version=name),),
        changes=(change,),
        incidents=(WeeklyIncident(name, "page", WEEK.start, False, None, (change,)),),
    )
    return report(facts, model=name, owners=(name,), inputs=(name,), queries={"volume": name}, debts=(name,))


def test_hostile_names_are_text_in_html() -> None:
    hostile, plain = (Page(render_html(named(name))) for name in (HOSTILE, "plain"))
    assert hostile.tags == plain.tags
    assert [name for name, _ in hostile.attributes] == [name for name, _ in plain.attributes]
    assert "</td><script>alert(1)</script>" in hostile.text
    assert "\x1b" not in hostile.text


def test_hostile_names_are_text_in_markdown() -> None:
    parser = MarkdownIt("gfm-like", {"linkify": False}).enable("table")
    hostile, plain = (parser.parse(render_markdown(named(name))) for name in (HOSTILE, "plain"))
    assert [token.type for token in hostile] == [token.type for token in plain]
    inline = [child for token in hostile for child in token.children or ()]
    assert {child.type for child in inline} <= {"text", "text_special", "strong_open", "strong_close", "softbreak"}
    shown = HOSTILE.replace("\n", "␊").replace("\x1b", "␛")
    assert shown in "".join(child.content for child in inline)
    assert "http://" not in render_markdown(named(HOSTILE))


def test_a_week_with_a_limit_is_not_healthy() -> None:
    for change, limit in (
        ({"days": days(6)}, "only 144 of 168 hours"),
        ({"verdicts": (verdict("f", insufficient=1),)}, "insufficient"),
        ({"verdicts": (verdict("f", completeness=0.99),)}, "99.00% of its events"),
        ({"losses": Losses(1, 0, 0)}, "1 offset of all models"),
        ({"losses": Losses(0, 2, 0)}, "2 events were lost before Kafka"),
        ({"labelled": (700, 0)}, "no labels have arrived"),
        ({"metrics": (metric(mature=False),)}, "labels are not mature in 1 window"),
        ({"incidents": None, "incidents_problem": "no route"}, "incidents are unknown: no route"),
    ):
        result = report(dataclasses.replace(CLEAN, **change))
        assert result.answer == "uncertain"
        assert limit in result.sentence
        assert len(result.limits) == 1


def test_a_problem_is_in_the_sentence() -> None:
    assert report(CLEAN).answer == "healthy"
    changes: list[tuple[dict[str, Any], str]] = [
        ({"days": (DayVolume("2026-11-16", 100, 2, 100, 0, 0, 168.0, True),)}, "2.00% of the predictions failed"),
        ({"days": (DayVolume("2026-11-16", 100, 0, 100, 2, 0, 168.0, True),)}, "took longer than 9 ms"),
        ({"verdicts": (verdict("f", "major"),)}, "major change of f"),
        ({"major_slices": (MajorSlice("country=FR", 3, ["amount"]),)}, "in the slices country=FR"),
        ({"metrics": (metric("major"),)}, "worse than its objective or reference in auc"),
        ({"incidents": (WeeklyIncident("drift of f", "ticket", WEEK.start, False, None, ()),)}, "1 incident opened a"),
    ]
    together = changes[2][0] | changes[4][0] | changes[5][0]
    text = report(dataclasses.replace(CLEAN, **together)).sentence
    assert text.startswith("This week was not healthy: performance is worse")
    assert text.endswith("major change of f.")
    for change, problem in changes:
        result = report(dataclasses.replace(CLEAN, **change))
        assert (result.answer, problem in result.sentence) == ("unhealthy", True), problem


def test_weeks_begin_on_monday_in_the_zone_of_the_model() -> None:
    assert (WEEK.start, WEEK.end - WEEK.start) == (datetime(2026, 11, 16, 5, tzinfo=UTC), timedelta(days=7))
    autumn = parse_week("2026-W44", "America/New_York", NOW)
    assert autumn.end - autumn.start == timedelta(days=7, hours=1)
    assert parse_week(None, "America/New_York", NOW) == WEEK
    # Sunday evening in New York is Monday in UTC.
    assert parse_week(None, "America/New_York", WEEK.end - timedelta(hours=1)).name == "2026-W46"
