"""The report about a candidate as HTML: one page without scripts and without references to other files.

The same daily sums give the same page: it states no time of its creation.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from barograph_server.html.charts import ChartLine, ChartPoint, metric_chart
from barograph_server.html.page import html_fragment, html_page, html_table, html_text
from barograph_server.rollouts.candidate import CandidateEvaluation
from barograph_server.rollouts.decision_text import REASON_TEXTS, decision_line, state_text, title
from barograph_server.rollouts.histogram_sections import correlation_text, errors_section, hours_section
from barograph_server.rollouts.projected_cost import projected_cost
from barograph_server.sketches.rollout.criteria import criterion_days
from barograph_server.sketches.rollout.day_interval import BURN_IN_DAYS, day_interval
from barograph_server.sketches.rollout.decision import AucDays, CriterionVerdict, Outcome
from barograph_server.sketches.rollout.exceedances import bucket_quantiles
from barograph_server.sketches.rollout.mirror import mirrored_prices
from barograph_server.sketches.rollout.noise_floor import noise_floor
from barograph_server.sketches.rollout.planned_auc import planned_auc, planned_days
from barograph_server.sketches.rollout.shadow_days import FloatArray, ShadowDays
from barograph_server.terminal import percentage, ratio
from barograph_server.warehouse.rollouts.pair_histograms import PairHistograms

MAX_SLICES = 60
"""Slices that are listed, the strongest evidence of harm first."""
MAX_REASONS = 6
"""Reasons of missing pairs with a chart, the most frequent first."""
QUANTILES = (0.5, 0.9, 0.95, 0.99, 0.999)
"""Ranks of the quantiles of latency."""
_ALONE = 'style="max-width: 600px"'
"""Attributes of a chart without a neighbor, which would otherwise fill the page."""
_LEVELS = {Outcome.promote: "stable", Outcome.hold: "major", Outcome.insufficient: "insufficient"}


def render_report(evaluation: CandidateEvaluation, histograms: PairHistograms | None = None) -> str:
    """Render the whole page. Arguments are those of `render_fragment`."""
    return html_page(_title(evaluation), render_fragment(evaluation, histograms))


def render_fragment(evaluation: CandidateEvaluation, histograms: PairHistograms | None = None) -> str:
    """Render the report for a page that exists, such as a notebook.

    Args:
        evaluation: the decision and its daily sums.
        histograms: those of all pairs. The page of a bundle has none: it shows what the bundle's daily sums give.
    """
    sections = [
        _header(evaluation),
        _criteria(evaluation),
        _slices(evaluation),
        _missing(evaluation.whole),
        errors_section(evaluation, histograms) if histograms is not None else "",
        _latency(evaluation),
        hours_section(evaluation, histograms) if histograms is not None else "",
        _cost(evaluation),
        _agreement(evaluation, correlation_text(histograms) if histograms is not None else ""),
        _explanation(evaluation),
    ]
    return html_fragment("".join(sections))


def _title(evaluation: CandidateEvaluation) -> str:
    return title(evaluation.test.model, evaluation.test.shadow, is_canary=evaluation.test.is_canary)


def _header(evaluation: CandidateEvaluation) -> str:
    whole, decided = evaluation.whole, evaluation.decision
    requests, pairs = int(whole.sums["requests"].sum()), int(whole.sums["pairs"].sum())
    left = decided.days_left
    tiles = [
        (str(len(whole.days)), "days with requests"),
        (f"{requests:,}", "requests"),
        (ratio(pairs, requests), "of them are pairs"),
        (f"{len(decided.harmed_slices)} of {decided.judged_slices}", "judged slices are worse"),
    ]
    if decided.outcome is Outcome.insufficient:
        tiles.insert(1, (f"about {math.ceil(left)}" if math.isfinite(left) else "unknown", "days left"))
    items = "".join(f'<li class="tile"><b>{html_text(value)}</b><span>{text}</span></li>' for value, text in tiles)
    test, contract = evaluation.test, evaluation.test.contract
    line = decision_line(test.shadow, decided, is_canary=test.is_canary)
    return (
        f"<header><h1>{html_text(_title(evaluation))}</h1>"
        f'<p class="faint">Local days {whole.days[0]} to {whole.days[-1]} ({html_text(contract.timezone)}), contract '
        f"{html_text(evaluation.test.row.contract_id)}.</p>"
        f'<p class="worst">{_badge(_LEVELS[decided.outcome], line)}</p>'
        f'<ul class="tiles">{items}</ul></header>'
    )


def _badge(level: str, text: str) -> str:
    return f'<span class="badge b-{level}">{html_text(text)}</span>'


# --- criteria ---------------------------------------------------------------------------------------------------------


def _criteria(evaluation: CandidateEvaluation) -> str:
    rows, charts = [], []
    judged = evaluation.judged
    for verdict in evaluation.decision.criteria:
        name = verdict.criterion.name
        level = "major" if verdict.is_harmed else "stable" if verdict.is_met else "insufficient"
        rows.append(
            (
                name,
                _badge(level, state_text(verdict)),
                _number(verdict.value),
                f"{_number(verdict.low)} to {_number(verdict.high)}",
                f"-{verdict.criterion.margin:.3g}",
                str(verdict.days),
                str(verdict.least_days),
                _number(verdict.least_value),
            )
        )
        points = list(_looks(evaluation, verdict, judged))
        if points:
            lines = [
                ChartLine("margin", -verdict.criterion.margin, "major-line", 12),
                ChartLine("no difference", 0.0, "training-line"),
            ]
            chart = metric_chart(points, lines, f"Difference of {name} by day")
            charts.append(f"<figure><figcaption>{html_text(name)}</figcaption>{chart}</figure>")
    columns = ("criterion", "state", "difference", "95% interval", "margin", "days", "needs", "if missing are worst")
    table = html_table(columns, rows, numbers=(2, 3, 4, 5, 6, 7), html=(1,))
    judged_version, other = evaluation.test.shadow.candidate, evaluation.test.shadow.of
    if evaluation.test.is_canary:
        judged_version, other = other, judged_version
    legend = (
        f'<p class="faint">Quality of version {html_text(judged_version)} minus that of version {html_text(other)}: '
        "above 0 is better. The interval holds at every day, however often it is read. Charts show it from day "
        f"{BURN_IN_DAYS} on, as of each day with mature labels; a criterion is met while the interval is above the "
        "margin.</p>"
    )
    return f'<section><h2>Criteria</h2>{legend}{table}<div class="charts">{"".join(charts)}</div></section>'


def _looks(evaluation: CandidateEvaluation, verdict: CriterionVerdict, whole: ShadowDays) -> Iterator[ChartPoint]:
    """Yield the interval as of each day from the end of the burn-in."""
    criterion = verdict.criterion
    shadow = mirrored_prices(evaluation.test.shadow) if evaluation.test.is_canary else evaluation.test.shadow
    data = criterion_days(criterion.name, shadow.margins[criterion.name], shadow, whole)
    if isinstance(data, AucDays):
        yield from _planned_looks(data, np.array(whole.days)[whole.ended & whole.mature])
        return
    used = whole.ended & whole.mature if len(data.pairs) < int(whole.ended.sum()) else whole.ended
    days = np.array(whole.days)[used][data.pairs > 0.0]
    sums, pairs = data.differences[data.pairs > 0.0], data.pairs[data.pairs > 0.0]
    for n in range(BURN_IN_DAYS, len(sums) + 1):
        interval = day_interval(sums[:n], pairs[:n])
        low, high = float(interval.low), float(interval.high)
        level = "stable" if low > -criterion.margin else "major" if high < criterion.harmless else "minor"
        known = math.isfinite(low)
        yield ChartPoint(
            str(days[n - 1]), float(interval.value), low if known else math.nan, high if known else math.nan, level
        )


def _planned_looks(data: AucDays, days: NDArray[np.str_]) -> Iterator[ChartPoint]:
    """Yield the interval of each planned look that has been reached."""
    has_rows = data.primary[..., 0].sum(axis=-1) > 0.0
    primary, candidate, days = data.primary[has_rows], data.candidate[has_rows], days[has_rows]
    for n in (each for each in planned_days(data.planned_days) if each <= len(days)):
        reached = planned_auc(primary[:n], candidate[:n], data.planned_days, worst_day=data.criterion.worst_day)
        low, high = reached.value - reached.half, reached.value + reached.half
        level = "stable" if low > -data.criterion.margin else "major" if high < data.criterion.harmless else "minor"
        known = math.isfinite(low)
        yield ChartPoint(
            str(days[n - 1]), reached.value, low if known else math.nan, high if known else math.nan, level
        )


# --- slices -----------------------------------------------------------------------------------------------------------


def _slices(evaluation: CandidateEvaluation) -> str:
    verdicts = [each for each in evaluation.decision.slices if not math.isnan(each.log_evidence)]
    if not verdicts:
        return (
            '<section><h2>Slices</h2><p class="faint">No slice has enough data: more than 28 days, half of them with '
            "50 labelled pairs.</p></section>"
        )
    verdicts.sort(key=lambda each: (-each.log_evidence, each.name, each.criterion))
    rows = [
        (
            each.name,
            each.criterion,
            _badge("major", "worse") if each.is_harmed else _badge("insufficient", "not shown"),
            _number(each.value),
            f"{_number(each.low)} to {_number(each.high)}",
            str(each.days),
            f"{math.exp(min(each.log_evidence, 50.0)):.3g}",
        )
        for each in verdicts[:MAX_SLICES]
    ]
    columns = ("slice", "criterion", "harm", "difference", "95% interval of this slice alone", "days", "e-value")
    more = len(verdicts) - len(rows)
    note = f'<p class="faint">… and {more} with less evidence.</p>' if more else ""
    unnamed = (
        '<p class="worst">Some slice is worse, but there is not enough evidence to name it.</p>'
        if evaluation.decision.some_slice_harmed and not evaluation.decision.harmed_slices
        else ""
    )
    return (
        '<section><h2>Slices by evidence of harm</h2><p class="faint">Of the slices that are called worse, at most '
        f"one in ten is not, on average.</p>{unnamed}{html_table(columns, rows, numbers=(3, 4, 5, 6), html=(2,))}{note}"
        "</section>"
    )


# --- requests, latency, agreement -------------------------------------------------------------------------------------


def _missing(whole: ShadowDays) -> str:
    requests = whole.sums["requests"]
    reasons = sorted(whole.missing, key=lambda reason: (-whole.missing[reason].sum(), reason))
    total = int(requests.sum())
    rows = [("pairs", f"{int(whole.sums['pairs'].sum()):,}", ratio(int(whole.sums["pairs"].sum()), total))]
    rows += [
        (REASON_TEXTS.get(reason, reason), f"{int(counts.sum()):,}", ratio(int(counts.sum()), total))
        for reason in reasons
        for counts in [whole.missing[reason]]
    ]
    charts = "".join(
        _share_chart(whole.days, whole.missing[reason], requests, REASON_TEXTS.get(reason, reason))
        for reason in reasons[:MAX_REASONS]
        if whole.missing[reason].any()
    )
    table = html_table(("request", "count", "share"), rows, numbers=(1, 2))
    return (
        f'<section><h2>Requests</h2><p class="faint">Each of the {total:,} requests is a pair or has no pair for one '
        f"reason. Charts: share of the day's requests.</p>{table}"
        f'<div class="charts">{charts}</div></section>'
    )


def _latency(evaluation: CandidateEvaluation) -> str:
    sums = evaluation.whole.sums
    timed = sums["timed"]
    if not timed.any():
        return (
            '<section><h2>Latency</h2><p class="faint">No pair has a latency on both sides: publish `latency_ms` '
            "with both versions.</p></section>"
        )
    shadow = evaluation.test.shadow
    overall = math.exp(float(sums["log_latency"].sum() / timed.sum()))
    with np.errstate(invalid="ignore", divide="ignore"):
        ratios = np.exp(sums["log_latency"] / timed)
    points = [
        ChartPoint(day, float(value), math.nan, math.nan, "stable")
        for day, value in zip(evaluation.whole.days, ratios, strict=True)
    ]
    chart = metric_chart(points, [ChartLine("equal", 1.0, "training-line")], "Ratio of latencies by day")
    table = ""
    histograms = [evaluation.whole.histograms.get(f"latencies_{side}") for side in ("primary", "candidate")]
    if all(each is not None for each in histograms):
        values = [bucket_quantiles(each.sum(axis=0), QUANTILES) for each in histograms if each is not None]
        rows = [
            (f"p{100 * rank:g}", f"{of:.4g}", f"{candidate:.4g}")
            for rank, of, candidate in zip(QUANTILES, *values, strict=True)
        ]
        columns = ("latency, ms", f"version {shadow.of}", f"version {shadow.candidate}")
        table = html_table(columns, rows, numbers=(1, 2))
    return (
        f'<section><h2>Latency</h2><p class="faint">Geometric mean of the latency of version '
        f"{html_text(shadow.candidate)} divided by that of version {html_text(shadow.of)}, of {int(timed.sum()):,} "
        f'pairs: <b>{overall:.3f}</b>.</p>{table}<div class="charts"><figure {_ALONE}><figcaption>ratio by day'
        f"</figcaption>{chart}</figure></div></section>"
    )


def _cost(evaluation: CandidateEvaluation) -> str:
    test = evaluation.test
    cost = projected_cost(test.shadow, evaluation.whole, test.contract.raw_share)
    if cost is None:
        return ""
    versions = ((f"version {test.shadow.of}", cost.primary), (f"version {test.shadow.candidate}", cost.candidate))
    ends = ("difference", cost.difference), ("95% interval, from", cost.low), ("95% interval, to", cost.high)
    rows = [(name, _number(value / cost.requests * 1000), _number(value)) for name, value in (*versions, *ends)]
    table = html_table(("cost", "per 1,000 predictions", "per day at full traffic"), rows, numbers=(1, 2))
    return (
        f'<section><h2>Cost</h2><p class="faint">In the unit of the prices. Full traffic: version '
        f"{html_text(test.shadow.candidate)} or {html_text(test.shadow.of)} answers all {cost.requests:,.0f} requests "
        f"of a day, the mean of the last {BURN_IN_DAYS} days that are over. The difference is that of version "
        f"{html_text(test.shadow.candidate)} minus that of version {html_text(test.shadow.of)}: below 0 is cheaper."
        f"</p>{table}</section>"
    )


def _noise_floor(evaluation: CandidateEvaluation) -> str:
    floor, shadow = noise_floor(evaluation.whole), evaluation.test.shadow
    if floor is None:
        return ""
    names = [html_text(each) for each in (shadow.candidate, shadow.copy, shadow.of)]
    shares = (
        f"Of {floor.compared:,} requests that three versions answered, version {names[0]} gives another class than "
        f"version {names[2]} in {percentage(floor.candidate, 2)}, and its copy {names[1]} in "
        f"{percentage(floor.copy, 2)}."
    )
    if floor.copy == 0.0:
        return f'<p class="faint">{shares} The copy never disagrees, so there is no noise to subtract.</p>'
    return (
        f'<p class="faint">{shares} Beyond the noise of the copy: <b>{_number(floor.candidate - floor.copy)}</b> '
        f"(95% interval {_number(floor.low)} to {_number(floor.high)}).</p>"
    )


def _agreement(evaluation: CandidateEvaluation, correlation: str) -> str:
    sums, shadow = evaluation.whole.sums, evaluation.test.shadow
    compared = int(sums["compared"].sum())
    if not compared:
        return f"<section><h2>Agreement</h2>{correlation}</section>" if correlation else ""
    labelled = int(sums["labelled"].sum())
    only_candidate, only_primary = int(sums["candidate_right"].sum()), int(sums["primary_right"].sum())
    both = int(sums["both_right"].sum())
    rows = [
        ("both are right", both),
        (f"only version {shadow.candidate} is right", only_candidate),
        (f"only version {shadow.of} is right", only_primary),
        ("neither is right", labelled - both - only_candidate - only_primary),
    ]
    cells = [(text, f"{n:,}", ratio(n, labelled)) for text, n in rows] if labelled else []
    table = html_table(("labelled pairs", "count", "share"), cells, numbers=(1, 2)) if cells else ""
    agreed = int(sums["agreed"].sum())
    chart = _share_chart(evaluation.whole.days, sums["agreed"], sums["compared"], "pairs with the same class", _ALONE)
    return (
        f'<section><h2>Agreement</h2><p class="faint">{ratio(agreed, compared)} of {compared:,} pairs have the same '
        f'class.</p>{_noise_floor(evaluation)}{correlation}{table}<div class="charts">{chart}</div></section>'
    )


def _share_chart(days: Sequence[str], counts: FloatArray, totals: FloatArray, name: str, attributes: str = "") -> str:
    points = [
        ChartPoint(day, float(n / total) if total else math.nan, math.nan, math.nan, "stable")
        for day, n, total in zip(days, counts, totals, strict=True)
    ]
    text = f"{name} ({percentage(float(counts.sum() / totals.sum()), 2)})"
    chart = metric_chart(points, [], name)
    return f"<figure {attributes}><figcaption>{html_text(text)}</figcaption>{chart}</figure>"


def _explanation(evaluation: CandidateEvaluation) -> str:
    worst_day = evaluation.test.shadow.worst_day
    return (
        '<section><h2>What this does not show</h2><p class="faint">Harm on days that have not occurred: a candidate '
        f"that loses at most {worst_day:g} per pair on a bad day can lose its margin on average and show nothing "
        "for the days that each criterion needs. Days count once they are over, and with labels once these are mature."
        "</p></section>"
    )


def _number(value: float) -> str:
    return f"{value:.4g}" if math.isfinite(value) else "unknown"
