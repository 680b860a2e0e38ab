"""Ground truth: how good answers turned out to be, how many labels came and when, and what is foreseen without."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

import numpy as np

from cli.demo.answer import OF_MODEL, Answer, ask
from cli.demo.expectation import Expectation
from cli.demo.flights import CANDIDATE, CANDIDATE_ARM, CONTROL_ARM, DAY, MODEL, VERSION, WEEK, Calendar
from cli.demo.report import Reporter, day_of, days_of, hours_of, joined, number, percent
from cli.demo.source_data import Source
from cli.demo.timeline import make_timeline
from sketches.performance.cbpe import TOLERANCE, Trust, cbpe_trust, realised_error
from sketches.performance.metric import MetricEstimate
from warehouse.client import Client

METRICS = ("auc", "accuracy", "brier", "calibration_error")
LARGER_IS_BETTER = ("auc", "accuracy")
FORESEEN = "accuracy"
"""The metric whose estimate before labels is told."""
AUC_ERROR = 0.002
"""Scores are counted in bins, which costs a few per cent of AUC's standard error, 0.01 here."""
OF_WEEKS = f"{OF_MODEL} AND slice = 'all' AND window = '{WEEK.name}'"


@dataclass(frozen=True, slots=True)
class WeekFigure:
    """One metric of the control in one week."""

    metric: str
    end: datetime
    """In event time of the replay."""
    value: float
    low: float
    high: float
    n: int
    """Flights with a label."""
    coverage: float
    mature: bool
    level: str
    reference: float
    cbpe: float
    cbpe_low: float
    cbpe_high: float


@dataclass(frozen=True, slots=True)
class Truth:
    """What labels showed."""

    weeks: Sequence[WeekFigure]
    """In order of metric and week."""
    weeks_sql: str
    reference: Answer
    """(first day of 2013, day after the last, age of labels in seconds) that weeks are held against."""
    labels: Answer
    """One row: flights, labelled, age in seconds by which half of the labels came, by which a window is mature."""
    selective: Answer
    """(day of 2013, coverage, p) on which labels depended on the score."""
    arms: Answer
    """(end of 2013, AUC of b, of a, difference, low, high, whether both suffice) of the matured weeks."""

    def of(self, metric: str) -> list[WeekFigure]:
        """The weeks of a metric, ascending."""
        return [week for week in self.weeks if week.metric == metric]

    def matured(self, metric: str) -> list[WeekFigure]:
        """Those whose labels have come."""
        return [week for week in self.of(metric) if week.mature]

    def trust(self) -> Trust:
        """Whether the estimates before labels held what they promised, by the matured weeks."""
        weeks = self.matured(FORESEEN)
        enough = np.array([week.level != "insufficient" for week in weeks], dtype=np.bool_)

        def metric(*names: str) -> MetricEstimate:
            value, low, high = (np.array([getattr(week, name) for week in weeks]) for name in names)
            return MetricEstimate(value, low, high, enough)

        return cbpe_trust(realised_error(metric("cbpe", "cbpe_low", "cbpe_high"), metric("value", "low", "high")))


def read_truth(client: Client, calendar: Calendar) -> Truth:
    """Ask for it; arguments as `read_volume` has them."""
    weeks = client.rows(
        "SELECT metric, window_end, value, low, high, n, coverage, mature, level, reference, cbpe, cbpe_low, cbpe_high "
        "FROM latest_performance WHERE model = {model:String} AND version = {version:String} AND slice = 'all' "
        "AND window = {window:String} AND metric IN {metrics:Array(String)} ORDER BY metric, window_end",
        {"model": MODEL, "version": VERSION, "window": WEEK.name, "metrics": list(METRICS)},
    )
    weeks_sql = "\n".join(
        (
            f"SELECT {calendar.sql('window_end')} AS ends_2013, round(value, 3) AS value, round(low, 3) AS low,",
            "  round(high, 3) AS high, round(reference, 3) AS reference, level, round(coverage, 3) AS coverage,",
            "  round(maturity, 3) AS maturity, round(cbpe, 3) AS estimated, round(cbpe_error, 3) AS error",
            f"FROM latest_performance WHERE {OF_WEEKS}",
            f"  AND version = '{VERSION}' AND metric = '{FORESEEN}' ORDER BY window_end",
        )
    )
    reference = ask(
        client,
        f"SELECT {calendar.sql('from_time')} AS first, {calendar.sql('to_time')} AS last, max(age_s) AS age_s",
        f"FROM performance_reference WHERE {OF_MODEL} AND version = '{VERSION}' AND slice = 'all' GROUP BY first, last",
    )
    labels = ask(
        client,
        "SELECT sumIf(n, kind = 'predictions') AS flights, sumIf(n, kind = 'labelled') AS labelled,",
        f"  (SELECT min(age_s) FROM label_maturity WHERE {OF_MODEL} AND share >= 0.5) AS half_s,",
        f"  (SELECT any(mature_age_s) FROM label_maturity WHERE {OF_MODEL}) AS mature_s",
        f"FROM label_counts WHERE {OF_MODEL}",
    )
    selective = ask(
        client,
        f"SELECT toDate({calendar.sql('window_start')}) AS day_2013, round(coverage, 3) AS labelled, selective_p",
        f"FROM latest_performance WHERE {OF_MODEL} AND version = '{VERSION}' AND slice = 'all'",
        f"  AND window = '{DAY.name}' AND metric = 'auc' AND selective ORDER BY labelled",
    )
    arms = ask(
        client,
        f"SELECT {calendar.sql('window_end')} AS ends_2013, value AS b, other_value AS a, difference,",
        "  difference_low, difference_high, sufficient",
        f"FROM arm_performance WHERE {OF_MODEL} AND window = '{WEEK.name}' AND metric = 'auc'",
        f"  AND arm = '{CANDIDATE_ARM}' AND other_arm = '{CONTROL_ARM}' AND mature ORDER BY window_end",
    )
    return Truth([WeekFigure(*row) for row in weeks], weeks_sql, reference, labels, selective, arms)


def tell_truth(say: Reporter, found: Truth, calendar: Calendar) -> None:
    """Print it."""
    say.signal("Ground truth", "how good the answers turned out to be")
    if found.reference:
        first, last, _ = found.reference.rows[0]
        say.paragraph(
            f"Every week of version 1 against its first matured one, {days_of(first, last)}, at the same age of labels:"
        )
    levels = _levels(found, calendar)
    timeline = make_timeline(levels, max((len(rows) for rows in levels.values()), default=1), sort=False)
    if timeline is not None:
        worst = {name: _worst(found.matured(name), calendar) for name in levels}
        say.chart(timeline, ends=worst, head="worst week (reference)")
    flights, labelled, half_s, mature_s = found.labels.rows[0]
    if labelled:
        say.paragraph(
            f"{labelled:,} of {flights:,} flights have a label ({percent(labelled / flights)}): half of them within "
            f"{hours_of(half_s)}, 95 % within {hours_of(mature_s)}, when a week is mature. The last week is not yet."
        )
    say.query(found.weeks_sql)
    if found.selective:
        _tell_selective(say, found)
    _tell_foreseen(say, found, calendar)
    _tell_arms(say, found)


def _tell_selective(say: Reporter, found: Truth) -> None:
    flights, labelled, *_ = found.labels.rows[0]
    least = [f"{day_of(day)} ({percent(coverage)} labelled)" for day, coverage, _ in found.selective.rows[:3]]
    say.finding(
        f"Selective labels on {len(found.selective)} days",
        f"{flights - labelled:,} flights never get a label, since they were cancelled or diverted. On these days they "
        f"had other scores than those that landed, first of all on {joined(least)}: accuracy and the like are of the "
        "flights that flew.",
    )
    say.query(found.selective.sql)


def _levels(found: Truth, calendar: Calendar) -> Mapping[str, Sequence[tuple[date, str]]]:
    # A week is shown by the day on which it begins, as the others of its chart.
    return {
        metric: [(calendar.end_date(week.end - timedelta(days=7)), week.level) for week in found.of(metric)]
        for metric in METRICS
        if found.of(metric)
    }


def _worst(weeks: Sequence[WeekFigure], calendar: Calendar) -> str:
    if not weeks:
        return ""
    better = 1 if weeks[0].metric in LARGER_IS_BETTER else -1
    worst = min(weeks, key=lambda week: better * week.value)
    return f"{number(worst.value)} to {day_of(calendar.original(worst.end))} ({number(worst.reference)})"


def _tell_foreseen(say: Reporter, found: Truth, calendar: Calendar) -> None:
    weeks = found.matured(FORESEEN)
    if not weeks:
        return
    worst = max(weeks, key=lambda week: abs(week.cbpe - week.value))
    trust = found.trust()
    young = [week for week in found.of(FORESEEN) if not week.mature]
    ahead = "".join(
        f" The week to {day_of(calendar.original(week.end))} has no verdict yet and is foreseen at {number(week.cbpe)} "
        f"({number(week.cbpe_low)} to {number(week.cbpe_high)})."
        for week in young
    )
    say.finding(
        f"Estimated without labels (CBPE): {'trusted' if trust.trusted else 'not trusted here'}",
        f"From scores alone {FORESEEN} was estimated at {number(worst.cbpe)} for the week to "
        f"{day_of(calendar.original(worst.end))}, and {number(worst.value)} came. {percent(float(trust.off))} of "
        f"{trust.windows} matured weeks are off by more than {TOLERANCE:g} and by more than chance: what scores mean "
        f"has changed, to which estimates are blind.{ahead} The columns estimated and error of the query above.",
    )


def _tell_arms(say: Reporter, found: Truth) -> None:
    rows = [row for row in found.arms if row[-1]]
    if not rows:
        return
    worse = sum(difference < 0 for _, _, _, difference, *_ in rows)
    surely = sum(high < 0 for *_, high, _ in rows)
    better = sum(low > 0 for *_, low, _, _ in rows)
    end, b, a, difference, low, high, _ = rows[-1]
    say.finding(
        "The candidate by its labels",
        f"AUC of arm b is below that of arm a in {worse} of {len(rows)} matured weeks, surely so in {surely}, surely "
        f"above in {better}. Week to {day_of(end)}: {number(b)} against {number(a)}, difference {difference:+.3f}, 95 "
        f"% interval {low:+.3f} to {high:+.3f}.",
    )
    say.query(found.arms.sql)


def expect_truth(found: Truth, source: Source) -> Iterator[Expectation]:
    """Hold it to what scikit-learn says of the same flights."""
    known = {week.end: week for week in source.weeks(VERSION)}
    auc = {week.end: week for week in found.of("auc")}
    accuracy = {week.end: week for week in found.of("accuracy")}
    off = [abs(auc[end].value - week.auc) for end, week in known.items() if end in auc]
    exact = sum(
        end in accuracy and accuracy[end].n == week.n and abs(accuracy[end].value - week.accuracy) < 1e-9
        for end, week in known.items()
    )
    yield Expectation(
        f"each week's AUC is scikit-learn's within {AUC_ERROR:g}, its accuracy exactly",
        0 < len(known) == len(off) == exact == len(auc) and max(off) < AUC_ERROR,
        f"{len(off)} weeks, at most {max(off, default=float('nan')):.5f} off; {exact} accuracies equal",
    )
    flights, labelled, half_s, mature_s = found.labels.rows[0]
    yield Expectation(
        "the flights without a label are those that were cancelled or diverted, and the scorer finds them selective",
        0 < flights - labelled == source.unlabelled and len(found.selective) > 0,
        f"{flights - labelled:,} of {source.unlabelled:,}, {len(found.selective)} days",
    )
    half, mature = source.label_age_s(0.5), source.label_age_s(0.95)
    # The curve is kept in bins of which each is 1.25 times as old as the one before.
    yield Expectation(
        "labels mature when the flights have landed",
        half <= half_s <= 1.26 * half and mature <= 1.26 * mature_s and mature_s <= 1.26 * mature,
        f"half by {hours_of(half_s)} (landed: {hours_of(half)}), 95 % by {hours_of(mature_s)} ({hours_of(mature)})",
    )
    arms = {end: (b, a) for end, b, a, *_ in found.arms}
    yield Expectation(
        f"version {CANDIDATE} is worse than version {VERSION} without weather in most weeks",
        sum(b < a for b, a in arms.values()) > len(arms) / 2,
        f"{sum(b < a for b, a in arms.values())} of {len(arms)} weeks",
    )
