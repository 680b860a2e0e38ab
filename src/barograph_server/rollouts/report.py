"""The report about a candidate as HTML: one page without scripts and without references to other files.

The same daily sums give the same page: it states no time of its creation.
"""

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from barograph_server.html.charts import ChartLine, ChartPoint, metric_chart
from barograph_server.html.page import badge, html_page, render
from barograph_server.rollouts.candidate import CandidateEvaluation
from barograph_server.rollouts.decision_text import REASON_TEXTS, decision_line, number, state_text, title
from barograph_server.rollouts.projected_cost import ProjectedCost, projected_cost
from barograph_server.sketches.rollout.criteria import criterion_days, noise_floor
from barograph_server.sketches.rollout.day_interval import BURN_IN_DAYS, day_interval
from barograph_server.sketches.rollout.decision import AucDays, Criterion, CriterionVerdict, Outcome, SliceVerdict
from barograph_server.sketches.rollout.exceedances import bucket_quantiles
from barograph_server.sketches.rollout.mirror import mirrored_prices
from barograph_server.sketches.rollout.planned_auc import planned_auc, planned_days
from barograph_server.sketches.rollout.shadow_days import FloatArray, ShadowDays
from barograph_server.terminal import percentage, ratio
from barograph_server.warehouse.rollouts.pair_histograms import LATENCY_RANKS, PairHistograms

MAX_SLICES = 60
"""Slices that are listed, the strongest evidence of harm first."""
MAX_REASONS = 6
"""Reasons of missing pairs with a chart, the most frequent first."""
_LEVELS = {Outcome.promote: "stable", Outcome.hold: "major", Outcome.insufficient: "insufficient"}
_P50, _P99 = LATENCY_RANKS.index(0.5), LATENCY_RANKS.index(0.99)

Rows = list[tuple[str, ...]]
Figure = tuple[str, Markup]
"""A caption and its chart."""


def render_report(evaluation: CandidateEvaluation, histograms: PairHistograms | None = None) -> str:
    """Render the whole page. Arguments are those of `render_fragment`."""
    return html_page(_title(evaluation), render_fragment(evaluation, histograms))


def render_fragment(evaluation: CandidateEvaluation, histograms: PairHistograms | None = None) -> Markup:
    """Render the report for a page that exists, such as a notebook.

    Args:
        histograms: those of all pairs. The page of a bundle has none: it shows what the bundle's daily sums give.
    """
    test, whole, decided = evaluation.test, evaluation.whole, evaluation.decision
    versions = [test.shadow.candidate, test.shadow.of]
    requests, pairs = int(whole.sums["requests"].sum()), int(whole.sums["pairs"].sum())
    tiles = [
        (str(len(whole.days)), "days with requests"),
        (f"{requests:,}", "requests"),
        (ratio(pairs, requests), "of them are pairs"),
        (f"{len(decided.harmed_slices)} of {decided.judged_slices}", "judged slices are worse"),
    ]
    if decided.outcome is Outcome.insufficient:
        left = decided.days_left
        tiles.insert(1, (f"about {math.ceil(left)}" if math.isfinite(left) else "unknown", "days left"))
    verdicts = sorted(
        (each for each in decided.slices if not math.isnan(each.log_evidence)),
        key=lambda each: (-each.log_evidence, each.name, each.criterion),
    )
    missing = sorted(whole.missing.items(), key=lambda item: (-item[1].sum(), item[0]))
    cost = projected_cost(test.shadow, whole, test.contract.raw_share)
    return render(
        "candidate.html",
        evaluation=evaluation,
        title=_title(evaluation),
        level=_LEVELS[decided.outcome],
        decision_line=decision_line(test.shadow, decided, after_promotion=test.after_promotion),
        tiles=tiles,
        judged_version=versions[test.after_promotion],
        other_version=versions[not test.after_promotion],
        burn_in_days=BURN_IN_DAYS,
        criteria=[_criterion_cells(verdict) for verdict in decided.criteria],
        criteria_charts=list(_criteria_charts(evaluation)),
        slices=[_slice_cells(verdict) for verdict in verdicts],
        most_slices=MAX_SLICES,
        requests=requests,
        missing=[
            _counted(name, n, requests)
            for name, n in (
                ("pairs", pairs),
                *((REASON_TEXTS.get(reason, reason), int(each.sum())) for reason, each in missing),
            )
        ],
        missing_charts=[
            _share_figure(whole.days, counts, whole.sums["requests"], REASON_TEXTS.get(reason, reason))
            for reason, counts in missing[:MAX_REASONS]
            if counts.any()
        ],
        errors=_errors(histograms, requests) if histograms else (),
        latency=_latency(evaluation),
        hours=_hours(histograms) if histograms else (),
        hour_charts=list(_hour_charts(evaluation, histograms)) if histograms else (),
        slo_ms=test.contract.slo.latency_ms,
        cost=cost,
        costs=_costs(evaluation, cost) if cost else (),
        agreement=_agreement(whole, test.shadow.candidate, test.shadow.of),
        floor=noise_floor(whole),
        correlation=None if histograms is None or math.isnan(histograms.correlation) else histograms.correlation,
        number=number,
    )


def _title(evaluation: CandidateEvaluation) -> str:
    return title(evaluation.test.model, evaluation.test.shadow, after_promotion=evaluation.test.after_promotion)


def _counted(name: str, n: int, whole: int) -> tuple[str, str, str]:
    return name, f"{n:,}", ratio(n, whole)


# --- criteria and slices ----------------------------------------------------------------------------------------------


def _criterion_cells(verdict: CriterionVerdict) -> tuple[str, ...]:
    level = "major" if verdict.is_harmed else "stable" if verdict.is_met else "insufficient"
    return (
        verdict.criterion.name,
        badge(level, state_text(verdict)),
        number(verdict.value),
        f"{number(verdict.low)} to {number(verdict.high)}",
        f"-{verdict.criterion.margin:.3g}",
        str(verdict.days),
        str(verdict.least_days),
        number(verdict.least_value),
    )


def _slice_cells(verdict: SliceVerdict) -> tuple[str, ...]:
    return (
        verdict.name,
        verdict.criterion,
        badge("major", "worse") if verdict.is_harmed else badge("insufficient", "not shown"),
        number(verdict.value),
        f"{number(verdict.low)} to {number(verdict.high)}",
        str(verdict.days),
        f"{math.exp(min(verdict.log_evidence, 50.0)):.3g}",
    )


def _criteria_charts(evaluation: CandidateEvaluation) -> Iterator[Figure]:
    for verdict in evaluation.decision.criteria:
        name = verdict.criterion.name
        if points := list(_looks(evaluation, verdict, evaluation.judged)):
            lines = [
                ChartLine("margin", -verdict.criterion.margin, "major-line", 12),
                ChartLine("no difference", 0.0, "training-line"),
            ]
            yield name, metric_chart(points, lines, f"Difference of {name} by day")


def _looks(evaluation: CandidateEvaluation, verdict: CriterionVerdict, whole: ShadowDays) -> Iterator[ChartPoint]:
    """Yield the interval as of each day from the end of the burn-in."""
    criterion = verdict.criterion
    shadow = mirrored_prices(evaluation.test.shadow) if evaluation.test.after_promotion else evaluation.test.shadow
    data = criterion_days(criterion.name, shadow.margins[criterion.name], shadow, whole)
    if isinstance(data, AucDays):
        yield from _planned_looks(data, np.array(whole.days)[whole.ended & whole.mature])
        return
    used = whole.ended & whole.mature if len(data.pairs) < int(whole.ended.sum()) else whole.ended
    days = np.array(whole.days)[used][data.pairs > 0.0]
    sums, pairs = data.differences[data.pairs > 0.0], data.pairs[data.pairs > 0.0]
    for n in range(BURN_IN_DAYS, len(sums) + 1):
        interval = day_interval(sums[:n], pairs[:n])
        yield _look(criterion, days[n - 1], float(interval.value), float(interval.low), float(interval.high))


def _planned_looks(data: AucDays, days: NDArray[np.str_]) -> Iterator[ChartPoint]:
    """Yield the interval of each planned look that has been reached."""
    has_rows = data.primary[..., 0].sum(axis=-1) > 0.0
    primary, candidate, days = data.primary[has_rows], data.candidate[has_rows], days[has_rows]
    for n in (each for each in planned_days(data.planned_days) if each <= len(days)):
        reached = planned_auc(primary[:n], candidate[:n], data.planned_days, worst_day=data.criterion.worst_day)
        low, high = reached.value - reached.half, reached.value + reached.half
        yield _look(data.criterion, days[n - 1], reached.value, low, high)


def _look(criterion: Criterion, day: np.str_, value: float, low: float, high: float) -> ChartPoint:
    level = "stable" if low > -criterion.margin else "major" if high < criterion.harmless else "minor"
    return ChartPoint(str(day), value, *((low, high) if math.isfinite(low) else (math.nan, math.nan)), level)


# --- requests, latency, agreement -------------------------------------------------------------------------------------


def _errors(histograms: PairHistograms, requests: int) -> Rows:
    """Count the requests by kind of error of each version, the most frequent first."""
    of_primary, of_candidate = histograms.errors_primary, histograms.errors_candidate
    counts = {
        kind: (of_primary.get(kind, 0), of_candidate.get(kind, 0)) for kind in of_primary.keys() | of_candidate.keys()
    }
    return [
        (kind, *(f"{n:,} ({ratio(n, requests)})" for n in own))
        for kind, own in sorted(counts.items(), key=lambda item: (-max(item[1]), item[0]))
    ]


def _latency(evaluation: CandidateEvaluation) -> dict[str, Any] | None:
    """Compare the latencies of pairs; None if no pair has them on both sides."""
    sums = evaluation.whole.sums
    timed = sums["timed"]
    if not timed.any():
        return None
    with np.errstate(invalid="ignore", divide="ignore"):
        ratios = np.exp(sums["log_latency"] / timed)
    points = [
        ChartPoint(day, float(value), math.nan, math.nan, "stable")
        for day, value in zip(evaluation.whole.days, ratios, strict=True)
    ]
    histograms = [evaluation.whole.histograms.get(f"latencies_{side}") for side in ("primary", "candidate")]
    values = [bucket_quantiles(each.sum(axis=0), LATENCY_RANKS) for each in histograms if each is not None]
    return {
        "pairs": int(timed.sum()),
        "ratio": math.exp(float(sums["log_latency"].sum() / timed.sum())),
        "quantiles": [
            (f"p{100 * rank:g}", f"{of:.4g}", f"{candidate:.4g}")
            for rank, of, candidate in zip(LATENCY_RANKS, *values, strict=True)
        ]
        if len(values) == 2
        else (),
        "chart": metric_chart(points, [ChartLine("equal", 1.0, "training-line")], "Ratio of latencies by day"),
    }


def _hours(histograms: PairHistograms) -> Rows:
    """List p50 and p99 of both versions by local hour of the day."""
    return [
        (
            f"{each.hour:02}",
            f"{each.pairs:,}",
            *(f"{side[rank]:.4g}" for rank in (_P50, _P99) for side in (each.primary, each.candidate)),
        )
        for each in histograms.hours
    ]


def _hour_charts(evaluation: CandidateEvaluation, histograms: PairHistograms) -> Iterator[Figure]:
    shadow, limit_ms = evaluation.test.shadow, evaluation.test.contract.slo.latency_ms
    lines = [ChartLine("slo.latency_ms", limit_ms, "major-line")] if limit_ms else []
    hours = histograms.hours
    for version, sides in (
        (shadow.of, [each.primary for each in hours]),
        (shadow.candidate, [each.candidate for each in hours]),
    ):
        points = [
            ChartPoint(f"{each.hour:02}:00", side[_P50], side[_P50], side[_P99], "stable")
            for each, side in zip(hours, sides, strict=True)
        ]
        chart = metric_chart(points, lines, f"Latency of version {version} by hour of the day")
        yield f"version {version}, ms: p50, with bars up to p99", chart


def _costs(evaluation: CandidateEvaluation, cost: ProjectedCost) -> Rows:
    shadow = evaluation.test.shadow
    values = (
        (f"version {shadow.of}", cost.primary),
        (f"version {shadow.candidate}", cost.candidate),
        ("difference", cost.difference),
        ("95% interval, from", cost.low),
        ("95% interval, to", cost.high),
    )
    return [(name, number(value / cost.requests * 1000), number(value)) for name, value in values]


def _agreement(whole: ShadowDays, candidate: str, primary: str) -> dict[str, Any] | None:
    """Count the pairs with equal classes, and which versions are right; None without classes."""
    counts = {name: int(values.sum()) for name, values in whole.sums.items()}
    if not counts["compared"]:
        return None
    labelled, both = counts["labelled"], counts["both_right"]
    only_candidate, only_primary = counts["candidate_right"], counts["primary_right"]
    rows = (
        ("both are right", both),
        (f"only version {candidate} is right", only_candidate),
        (f"only version {primary} is right", only_primary),
        ("neither is right", labelled - both - only_candidate - only_primary),
    )
    return {
        "share": ratio(counts["agreed"], counts["compared"]),
        "compared": counts["compared"],
        "rows": [_counted(name, n, labelled) for name, n in rows] if labelled else (),
        "chart": _share_figure(whole.days, whole.sums["agreed"], whole.sums["compared"], "pairs with the same class"),
    }


def _share_figure(days: Sequence[str], counts: FloatArray, totals: FloatArray, name: str) -> Figure:
    points = [
        ChartPoint(day, float(n / total) if total else math.nan, math.nan, math.nan, "stable")
        for day, n, total in zip(days, counts, totals, strict=True)
    ]
    return f"{name} ({percentage(float(counts.sum() / totals.sum()), 2)})", metric_chart(points, [], name)
