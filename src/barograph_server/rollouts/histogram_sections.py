"""Sections of the report from the histograms of pairs: latency by hour of the day, errors by kind, rank correlation."""

from __future__ import annotations

import math

from barograph_server.html.charts import ChartLine, ChartPoint, metric_chart
from barograph_server.html.page import html_table, html_text
from barograph_server.rollouts.candidate import CandidateEvaluation
from barograph_server.terminal import ratio
from barograph_server.warehouse.rollouts.pair_histograms import LATENCY_RANKS, PairHistograms

_P50, _P99 = LATENCY_RANKS.index(0.5), LATENCY_RANKS.index(0.99)


def hours_section(evaluation: CandidateEvaluation, histograms: PairHistograms) -> str:
    """Render p50 and p99 of both versions by local hour of the day; nothing without pairs that have a latency."""
    hours = histograms.hours
    if not hours:
        return ""
    contract, shadow = evaluation.test.contract, evaluation.test.shadow
    limit_ms = contract.slo.latency_ms
    rows, charts = [], []
    for each in hours:
        values = [side[rank] for rank in (_P50, _P99) for side in (each.primary, each.candidate)]
        rows.append((f"{each.hour:02}", f"{each.pairs:,}", *(f"{value:.4g}" for value in values)))
    lines = [ChartLine("slo.latency_ms", limit_ms, "major-line")] if limit_ms else []
    sides = [(shadow.of, [each.primary for each in hours]), (shadow.candidate, [each.candidate for each in hours])]
    for version, own in sides:
        points = [
            ChartPoint(f"{each.hour:02}:00", side[_P50], side[_P50], side[_P99], "stable")
            for each, side in zip(hours, own, strict=True)
        ]
        chart = metric_chart(points, lines, f"Latency of version {version} by hour of the day")
        caption = f"version {version}, ms: p50, with bars up to p99"
        charts.append(f"<figure><figcaption>{html_text(caption)}</figcaption>{chart}</figure>")
    columns = ("hour", "pairs", *(f"{rank}, version {version}" for rank in ("p50", "p99") for version, _ in sides))
    slo = f" The line is `slo.latency_ms` of the contract, {limit_ms:g} ms." if limit_ms else ""
    return (
        '<section><h2>Latency by hour of the day</h2><p class="faint">Of pairs, in ms, by hours of '
        f'{html_text(contract.timezone)}.{slo}</p><div class="charts">{"".join(charts)}</div>'
        f"{html_table(columns, rows, numbers=range(1, len(columns)))}</section>"
    )


def errors_section(evaluation: CandidateEvaluation, histograms: PairHistograms) -> str:
    """Render the requests by kind of error of each version, the most frequent first; nothing without errors."""
    of_primary, of_candidate = histograms.errors_primary, histograms.errors_candidate
    kinds = sorted(
        of_primary.keys() | of_candidate.keys(),
        key=lambda kind: (-max(of_primary.get(kind, 0), of_candidate.get(kind, 0)), kind),
    )
    if not kinds:
        return ""
    shadow, requests = evaluation.test.shadow, int(evaluation.whole.sums["requests"].sum())
    rows = [
        (kind, *(f"{n:,} ({ratio(n, requests)})" for n in (of_primary.get(kind, 0), of_candidate.get(kind, 0))))
        for kind in kinds
    ]
    columns = ("kind of error", f"version {shadow.of}", f"version {shadow.candidate}")
    return (
        '<section><h2>Errors</h2><p class="faint">Requests by the error of each version, whether or not the other '
        f"one answered. Time-outs and skipped requests of the client are above.</p>"
        f"{html_table(columns, rows, numbers=(1, 2))}</section>"
    )


def correlation_text(histograms: PairHistograms) -> str:
    """Render the rank correlation of scores; nothing without it."""
    if math.isnan(histograms.correlation):
        return ""
    return (
        '<p class="faint">Rank correlation of the scores of both versions: '
        f"<b>{histograms.correlation:.3f}</b> (1: the same order).</p>"
    )
