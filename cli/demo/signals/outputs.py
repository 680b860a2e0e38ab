"""Outputs: scores and classes month by month, and the candidate's beside the control's."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from cli.demo.answer import OF_MODEL, Answer, ask, moment
from cli.demo.expectation import Expectation
from cli.demo.flights import CANDIDATE, CANDIDATE_ARM, CANDIDATE_AT, CONTROL_ARM, DAY_S, LATE, VERSION, WEEK, Calendar
from cli.demo.report import Reporter, day_of, joined, number, percent
from cli.demo.source_data import Source
from sketches.baseline.baseline import ALL, load_baseline
from warehouse.client import Client
from warehouse.queries import baselines

MEASURES = {
    ("score", "mean", ""): "mean score",
    ("score", "p50", ""): "median score",
    ("score", "psi", ""): "PSI of scores",
    ("class", "share", LATE): "called late",
}
"""What of a comparison is told, by field, measure and category."""


@dataclass(frozen=True, slots=True)
class Outputs:
    """What the model answered."""

    trained: tuple[float, float]
    """Mean score and share of `late` in training."""
    months: Answer
    """(first day of the month of 2013, mean score, share of `late`) of the control."""
    shifts: Answer
    """(end of 2013, mean shift in standard deviations, low, high) of its scores' weeks, the largest first."""
    compared: Answer
    """(field, measure, category, flights of a and of b, value of a and of b, difference, low, high, level)."""
    compared_end: datetime | None
    """The end of the week that is compared; None where there is none."""
    levels: Answer
    """(level, weeks) of the PSI between the scores of a and b."""
    arms: Answer
    """(arm, promised share, units, share, p, level)."""


def read_outputs(client: Client, calendar: Calendar, record_end: datetime) -> Outputs:
    """Ask for it; arguments as `read_volume` has them."""
    months = ask(
        client,
        f"SELECT {calendar.month_sql('at')} AS month,",
        f"  avg(score) AS mean_score, avg(class = '{LATE}') AS called_late",
        f"FROM all_predictions WHERE {OF_MODEL} AND version = '{VERSION}' GROUP BY month ORDER BY month",
    )
    shifts = ask(
        client,
        f"SELECT {calendar.sql('window_end')} AS ends_2013, mean_shift, mean_shift_low, mean_shift_high",
        f"FROM latest_distances WHERE {OF_MODEL} AND version = '{VERSION}' AND slice = 'all' AND field = 'score'",
        f"  AND window = '{WEEK.name}' AND n > 1000 ORDER BY abs(mean_shift) DESC LIMIT 5",
    )
    of_arms = f"FROM arm_comparison WHERE {OF_MODEL} AND arm = '{CANDIDATE_ARM}' AND window = '{WEEK.name}'"
    # The last whole week before the weather went: a day of traffic without it says nothing of the arms.
    [(end,)] = client.rows(
        f"SELECT max(window_end) {of_arms} AND window_end <= toDateTime({moment(record_end)}) - INTERVAL 1 DAY"
    )
    compared_end = None if end.timestamp() < DAY_S else end
    compared = ask(
        client,
        "SELECT field, measure, category, control_n, arm_n, control_value, arm_value, difference,",
        "  difference_low, difference_high, level",
        f"{of_arms} AND window_end = {moment(end)}",
        "ORDER BY field, measure, category",
    )
    levels = ask(
        client,
        f"SELECT level, count() AS weeks {of_arms}",
        "  AND field = 'score' AND measure = 'psi' GROUP BY level ORDER BY weeks DESC",
    )
    arms = ask(
        client,
        "SELECT arm, expected_share, units, round(share, 4) AS share, round(p_value, 3) AS p, level",
        f"FROM latest_arm_ratios WHERE {OF_MODEL} ORDER BY arm",
    )
    return Outputs(_trained(client), months, shifts, compared, compared_end, levels, arms)


def _trained(client: Client) -> tuple[float, float]:
    """What the first baseline of the control holds of its outputs."""
    body = next(row.body for row in baselines(client) if row.version == VERSION)
    fields = {field.name: field for field in load_baseline(body.encode(), "the baseline of training").fields}
    called = fields["class"]
    cells = called.slices[ALL].cells
    return fields["score"].mean, cells[called.categories.index(LATE)] / sum(cells)


def tell_outputs(say: Reporter, found: Outputs, calendar: Calendar) -> None:
    """Print it."""
    say.signal("Outputs", "whether answers are as they were, and how a candidate's differ")
    say.table(
        ("version 1", "June, July", *(f"{month:%B}" for month, _, _ in found.months)),
        [
            ("mean score", number(found.trained[0]), *(number(mean) for _, mean, _ in found.months)),
            ("called late", percent(found.trained[1]), *(percent(late) for _, _, late in found.months)),
        ],
    )
    say.query(found.months.sql)
    if found.shifts:
        end, shift, low, high = found.shifts.rows[0]
        say.paragraph(
            f"The scores' verdicts are in the chart above. Their mean was furthest off in the week to {day_of(end)}: "
            f"{shift:+.2f} standard deviations of training, 95 % interval {low:+.2f} to {high:+.2f}."
        )
        say.query(found.shifts.sql)
    if found.compared_end is not None and found.compared:
        _tell_candidate(say, found, calendar.original(found.compared_end))


def _tell_candidate(say: Reporter, found: Outputs, end: datetime) -> None:
    say.finding(
        f"The candidate: version 2, which knows no weather, as arm b since {day_of(CANDIDATE_AT)}",
        f"Against version 1 as arm a in the week to {day_of(end)}, its answers differ by:",
    )
    rows = {(field, measure, category): rest for field, measure, category, *rest in found.compared}
    shown = []
    for key, name in MEASURES.items():
        if key in rows:
            _, _, a, b, difference, low, high, level = rows[key]
            form = percent if key[1] == "share" else number
            shown.append((name, form(a), form(b), form(difference), f"{form(low)} to {form(high)}", level or "–"))
    say.table(("", "a", "b", "b - a", "95 % interval", "level"), shown)
    n_a, n_b = next(iter(rows.values()))[:2]
    weeks = joined(f"{level} in {n}" for level, n in found.levels)
    say.paragraph(
        f"{n_a:,} and {n_b:,} flights. A tenth of the traffic seldom suffices for a verdict: in windows of a week the "
        f"PSI of the scores is {weeks}. The view version_comparison holds the same of the versions."
    )
    say.query(found.compared.sql)
    if found.arms:
        told = "; ".join(
            f"{arm} {units:,} flights, {percent(share)} where {percent(promised)} is promised"
            for arm, promised, units, share, _, _ in found.arms
        )
        *_, p, level = found.arms.rows[0]
        say.finding(
            f"The arms' sample ratio: {level}",
            f"{told}; p = {p:g}, however often it is looked at.",
        )
        say.query(found.arms.sql)


def expect_outputs(found: Outputs, source: Source) -> Iterator[Expectation]:
    """Hold it to the source."""
    on_b = source.answered(CANDIDATE)
    units = {arm: n for arm, _, n, *_ in found.arms}
    levels = {row[-1] for row in found.arms}
    yield Expectation(
        f"version 2 answers {on_b:,} flights as arm b, a tenth of those since 1 October as promised",
        units.get(CANDIDATE_ARM) == on_b and levels == {"stable"},
        f"{units.get(CONTROL_ARM, 0):,} to {units.get(CANDIDATE_ARM, 0):,}, {joined(sorted(levels))}",
    )
    mean = {(field, measure): values for field, measure, _, _, _, *values in found.compared}.get(("score", "mean"))
    known = None if found.compared_end is None else source.mean_scores(found.compared_end)
    held = (
        mean is not None and known is not None and all(abs(a - b) < 1e-9 for a, b in zip(mean[:2], known, strict=True))
    )
    yield Expectation(
        "the mean scores of both arms are those of their flights",
        held,
        "not compared" if mean is None else f"{mean[0]:.3f} and {mean[1]:.3f}",
    )
