"""A small record of flights and matching findings, for tests of the demo's expectations and output."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import numpy as np
import pyarrow as pa

from cli.demo.findings import Findings
from cli.demo.flights import ACCEPTED_AT, CANDIDATE, HOUR_S, PLANE, ROUTE, SCHEDULE, VERSION, WEEK, Calendar
from cli.demo.query_result import DemoQuery
from cli.demo.signals.inputs import STEADY, Inputs
from cli.demo.signals.outputs import Outputs
from cli.demo.signals.pager import NULLS, PSI, FiringPeriod, PagedIncident, Pages
from cli.demo.signals.season import SeasonFindings, Week
from cli.demo.signals.truth import METRICS, Truth, WeekMetric
from cli.demo.signals.volume import Volume
from cli.demo.source_data import SourceData
from warehouse.status import DriftRow, RateRow

SHIFT = 600
CALENDAR = Calendar(SHIFT)
SEED = 2013
N = 600
SQL = "SELECT 1"


def replayed(*when: int) -> datetime:
    """Convert a time of 2013 (year, month, day, hour) to event time of the replay."""
    return CALENDAR.replayed(datetime(*when, tzinfo=UTC))  # type: ignore[arg-type, misc]


def source() -> SourceData:
    """Two weeks of daytime flights. The candidate scores a tenth of the second week; a twentieth has no label."""
    rng = np.random.default_rng(SEED)
    first_s = int(replayed(2013, 12, 5).timestamp())
    assert first_s % WEEK.length_s == 0, "weeks begin on Thursdays"
    hours = np.sort(rng.choice([hour for hour in range(14 * 24) if hour % 24 >= 9], N))
    at_ms = (first_s + hours * HOUR_S) * 1000
    late = rng.random(N) < 0.4
    scores = np.clip(0.35 + 0.2 * late + rng.normal(0, 0.2, N), 0.01, 0.99)
    on_b = (hours >= 7 * 24) & (np.arange(N) % 10 == 0)
    landed = np.arange(N) % 20 != 7
    ids = [f"F-{i}" for i in range(N)]
    dest = np.where(np.arange(N) % 50 == 3, "ILM", "BOS")
    times = pa.timestamp("ms", "UTC")
    return SourceData(
        train=pa.table({"dest": ["BOS", "LAX"]}),
        predictions=pa.table(
            {
                "id": ids,
                "at": pa.array(at_ms).cast(times),
                "version": np.where(on_b, CANDIDATE, VERSION).tolist(),
                "arm": np.where(on_b, "b", "a").tolist(),
                "features.dest": dest.tolist(),
                "score": scores,
                "class": np.where(scores >= 0.5, "late", "on time").tolist(),
            }
        ),
        labels=pa.table(
            {
                "id": [id_ for id_, is_landed in zip(ids, landed, strict=True) if is_landed],
                "label": np.where(late, "late", "on time")[landed].tolist(),
                "at": pa.array(at_ms[landed] + rng.integers(7_200_000, 14_400_000, int(landed.sum()))).cast(times),
            }
        ),
    )


SOURCE = source()


def drift(field: str, end: datetime) -> DriftRow:
    """A verdict of a week with level major."""
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
        reason="",
        threshold_minor=0.1,
        threshold_major=0.2,
        top_bin="[80, 90)",
        top_bin_index=3,
        expected_share=0.1,
        actual_share=0.0,
        visible_shift=0.1,
        completeness=1.0,
        judged_at=end,
        revisions=1,
        record_seq=1,
    )


def null_rate(field: str, level: str = "major") -> RateRow:
    """The null rate of a field on the last day."""
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
        reason="",
        threshold_minor=0.01,
        threshold_major=0.05,
        completeness=1.0,
        judged_at=end,
        revisions=1,
        record_seq=1,
    )


def weeks(first_major: date | None) -> list[tuple[date, str]]:
    """All weeks of a field that is major from a day on."""
    days = [date(2013, 8, 1) + timedelta(days=i) for i in range(150)]
    return [(day, "major" if first_major and day >= first_major else "stable") for day in days]


def volume() -> Volume:
    """Findings that match the record."""
    labels = SOURCE.labels.num_rows
    silent = tuple(sorted(SOURCE.silent_hours()))
    months = DemoQuery(SQL, ((date(2013, 12, 1), N, 0, 3, N, len(silent)),))
    return Volume(months, DemoQuery(SQL, ((0, None, 0, 0, 0),)), N, labels, N, labels, silent)


def inputs() -> Inputs:
    """Findings of the flights of 2013, and the destination that is unseen here."""
    return Inputs(
        weeks={
            **{field: weeks(None) for field in STEADY},
            "temp": weeks(date(2013, 9, 20)),
            "dewp": weeks(date(2013, 9, 21)),
            "score": weeks(date(2013, 8, 20)),
        },
        first_major=[
            drift("score", replayed(2013, 8, 20)),
            drift("temp", replayed(2013, 9, 20)),
            drift("dewp", replayed(2013, 9, 21)),
        ],
        first_weeks=DemoQuery(SQL, ()),
        unseen=DemoQuery(SQL, tuple((name, n, replayed(2013, 12, 5)) for name, n in SOURCE.unseen("dest").items())),
        outage=[null_rate("dewp"), null_rate("precip", "insufficient"), null_rate("temp")],
        nulls=DemoQuery(SQL, ()),
    )


def outputs() -> Outputs:
    """Findings that match the record."""
    end = replayed(2013, 12, 19)
    a, b = SOURCE.mean_scores(end)
    on_b = SOURCE.answered(CANDIDATE)
    return Outputs(
        trained=(0.3, 0.2),
        months=DemoQuery(SQL, ((date(2013, 12, 1), 0.25, 0.1),)),
        shifts=DemoQuery(SQL, ((datetime(2013, 12, 19), -0.5, -0.6, -0.4),)),  # noqa: DTZ001 (as ClickHouse answers)
        compared=DemoQuery(
            SQL,
            (
                ("class", "share", "late", 270, 30, 0.1, 0.2, 0.1, -0.1, 0.3, "insufficient"),
                ("score", "mean", "", 270, 30, a, b, b - a, 0.0, 0.1, ""),
                ("score", "psi", "", 270, 30, float("nan"), float("nan"), 0.5, 0.2, 0.8, "major"),
            ),
        ),
        compared_end=end,
        levels=DemoQuery(SQL, (("insufficient", 3), ("major", 1))),
        arms=DemoQuery(SQL, (("a", 0.9, 9 * on_b, 0.9, 1.0, "stable"), ("b", 0.1, on_b, 0.1, 1.0, "stable"))),
    )


def truth() -> Truth:
    """Findings that match the record."""
    figures = [
        WeekMetric(
            metric=metric,
            end=week.end,
            value=week.accuracy if metric == "accuracy" else week.auc,
            low=week.auc - 0.05,
            high=week.auc + 0.05,
            n=week.n,
            coverage=0.95,
            mature=i == 0,
            level="stable" if i == 0 else "insufficient",
            reference=0.75,
            cbpe=0.7,
            cbpe_low=0.65,
            cbpe_high=0.75,
        )
        for metric in sorted(METRICS)
        for i, week in enumerate(SOURCE.weeks(VERSION))
    ]
    labels = (N, SOURCE.labels.num_rows, SOURCE.label_age_s(0.5), SOURCE.label_age_s(0.95))
    day = datetime(2013, 12, 12)  # noqa: DTZ001 (as ClickHouse answers)
    return Truth(
        weeks=figures,
        weeks_sql=SQL,
        reference=DemoQuery(SQL, ((datetime(2013, 8, 1), datetime(2013, 8, 8), 2_592_000),)),  # noqa: DTZ001
        labels=DemoQuery(SQL, (labels,)),
        selective=DemoQuery(SQL, ((day.date(), 0.8, 0.0),)),
        arms=DemoQuery(SQL, ((day, 0.6, 0.7, -0.1, -0.2, -0.01, True), (day, 0.6, 0.65, -0.05, -0.2, 0.1, True))),
    )


def season() -> SeasonFindings:
    """Two weeks of each charted field after the autumn baseline; one is no longer major compared with it."""
    day = ACCEPTED_AT.date() + timedelta(days=7)
    return SeasonFindings(
        [
            Week(field, day + timedelta(days=i), (level, 0.4), (level, 0.4), ("major", 4.0))
            for field in ("dewp", "temp")
            for i, level in enumerate(("insufficient", "major"))
        ],
        DemoQuery(SQL, ()),
    )


def pager() -> Pages:
    """Drift in September, and missing weather at the end of the year."""
    autumn, new_year = datetime(2013, 9, 20, 5, tzinfo=UTC), datetime(2013, 12, 31, 10, tzinfo=UTC)
    return pages_of(
        FiringPeriod(PSI, "temp", autumn, None),
        FiringPeriod("silence", "", datetime(2013, 11, 1, tzinfo=UTC), datetime(2013, 11, 2, tzinfo=UTC)),
        FiringPeriod(NULLS, "temp", new_year, None),
        FiringPeriod(NULLS, "dewp", new_year, None),
    )


def pages_of(*periods: FiringPeriod) -> Pages:
    """Findings about pages in which the instances of one rule that start together are an incident."""
    instances: dict[tuple[str, datetime], list[tuple[str, str]]] = {}
    for each in periods:
        instances.setdefault((each.rule, each.begin), []).append((each.rule, each.instance))
    incidents = [PagedIncident(rule, begin, None, members) for (rule, begin), members in instances.items()]
    return Pages(rules=19, watched=("temp", "dewp", *SCHEDULE, *PLANE, *ROUTE), periods=periods, incidents=incidents)


def good() -> Findings:
    """Findings that meet all expectations."""
    return Findings(volume(), inputs(), outputs(), truth(), season(), pager())
