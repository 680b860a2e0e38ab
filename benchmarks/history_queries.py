"""Queries on a generated history: the worked questions of docs/queries.md, every view, and the queries of commands."""

from __future__ import annotations

from collections.abc import Callable, Sized
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pyarrow as pa

from barograph_server.sketches.baseline.baseline import ALL
from barograph_server.warehouse.client import Client
from barograph_server.warehouse.history import distribution
from barograph_server.warehouse.operations import status
from benchmarks.history import MODEL, History
from benchmarks.history.series import DAY_S, HOUR_S
from benchmarks.questions import questions

LIMIT_MS = 200.0


@dataclass(frozen=True, slots=True)
class HistoryQuery:
    """A query and the time that it may take."""

    name: str
    query: str | Callable[[Client], Sized]
    """SQL, or a function that runs a query and returns its rows."""
    limit_ms: float = LIMIT_MS

    def run(self, client: Client) -> int:
        """Run the query and return the number of rows of its result."""
        return client.arrow(self.query).num_rows if isinstance(self.query, str) else len(self.query(client))


def question_queries(history: History) -> list[HistoryQuery]:
    """The questions of docs/queries.md for the last week that the history covers completely."""
    end = datetime.fromtimestamp(history.end_s, UTC)
    monday = (end - timedelta(days=end.weekday() + 7)).date()
    return [HistoryQuery(f"question {each.number}: {each.title}", each.in_week(monday)) for each in questions()]


def view_queries(history: History) -> list[HistoryQuery]:
    """A query of each view as its description recommends: for a model and a time range."""
    end = history.end_s
    day, month = _since(end, DAY_S), _since(end, history.size.days * DAY_S)
    one, whole = f"model = '{MODEL}'", "slice = 'all'"
    field = f"{one} AND {whole} AND field = 'amount'"
    of_day = f"{one} AND {whole} AND pane_start >= {day}"
    of_month = f"{field} AND pane_start >= {month}"
    cells = "pane_start, n, nulls, unseen, below, above, counts, mean, stddev, minimum, maximum"
    psi = "window_end, psi, psi_low, psi_high, level, threshold_major, top_bin"
    rate = "window_end, kind, rate, delta, delta_low, delta_high, level"
    moments = "window_end, ks, w1, mean_shift, mean_shift_low, mean_shift_high, p05, p50, p95"
    score = "window_start, value, low, high, n, coverage, mature, level, cbpe"
    hour = f"at >= {_since(end, HOUR_S, 'DateTime64(3)')}"
    compared = "measure, difference, difference_low, difference_high, level"
    queries = [
        ("latest_drift: a field, month", f"SELECT {psi} FROM latest_drift WHERE {field} AND window = '6h' "
              f"AND window_end > {month} ORDER BY window_end"),
        ("latest_drift: a model, day", f"SELECT field, {psi} FROM latest_drift WHERE {one} AND {whole} "
              f"AND window = '6h' AND window_end > {day} ORDER BY field, window_end"),
        ("latest_drift: a model, levels of a month", "SELECT window_end, countIf(level = 'major') AS major, "
              f"countIf(level = 'minor') AS minor FROM latest_drift WHERE {one} AND {whole} AND window = '1d' "
              f"AND window_end > {month} GROUP BY window_end ORDER BY window_end"),
        ("latest_drift: all models, newest window", "SELECT model, max(psi) AS worst, argMax(field, psi) AS top, "
              f"countIf(level = 'major') AS major FROM latest_drift WHERE {whole} AND window = '1d' "
              f"AND window_end = {_at(end)} GROUP BY model ORDER BY worst DESC"),
        ("latest_drift: all models, day", "SELECT window_end, uniqExactIf(model, level = 'major') AS models, "
              f"max(psi) AS worst FROM latest_drift WHERE {whole} AND window = '1d' AND window_end > {day} "
              "GROUP BY window_end ORDER BY window_end"),
        ("latest_rates: a field, month", f"SELECT {rate} FROM latest_rates WHERE {field} AND window = '6h' "
              f"AND window_end > {month} ORDER BY kind, window_end"),
        ("latest_rates: a model, day", f"SELECT field, {rate} FROM latest_rates WHERE {one} AND {whole} "
              f"AND window = '6h' AND window_end > {day} ORDER BY field, kind, window_end"),
        ("latest_rates: all models, newest window", "SELECT model, field, kind, rate FROM latest_rates "
              f"WHERE {whole} AND window = '6h' AND window_end = {_at(end)} AND level != 'insufficient' "
              "ORDER BY rate DESC LIMIT 100"),
        ("drift_levels: all models, month", "SELECT window_end, model, max(worst_psi) AS worst FROM drift_levels "
              f"WHERE {whole} AND window_end > {month} AND level != 'insufficient' GROUP BY window_end, model "
              "ORDER BY window_end, model"),
        ("rate_levels: all models, month", "SELECT window_end, uniqExactIf(model, level = 'major') AS models "
              f"FROM rate_levels WHERE {whole} AND window = '6h' AND window_end > {month} GROUP BY window_end "
              "ORDER BY window_end"),
        ("latest_distances: a field, month", f"SELECT {moments} FROM latest_distances WHERE {field} "
              f"AND window = '6h' AND window_end > {month} ORDER BY window_end"),
        ("latest_distances: a model, day", f"SELECT field, {moments} FROM latest_distances WHERE {one} "
              f"AND {whole} AND window = '6h' AND window_end > {day} ORDER BY field, window_end"),
        ("all_panes: a field, month", f"SELECT {cells} FROM all_panes WHERE {of_month} ORDER BY pane_start"),
        ("all_panes: a field by slice, day", f"SELECT slice, {cells} FROM all_panes WHERE {one} "
              f"AND field = 'amount' AND pane_start >= {day} ORDER BY slice, pane_start"),
        ("all_panes: a model, day", f"SELECT field, sum(n) AS events, sum(nulls) AS missing FROM all_panes "
              f"WHERE {of_day} GROUP BY field ORDER BY field"),
        ("hours: a field, month", f"SELECT {cells} FROM hours WHERE {of_month} ORDER BY pane_start"),
        ("days: a field, month", f"SELECT {cells} FROM days WHERE {of_month} ORDER BY pane_start"),
        ("days: a model, month", f"SELECT field, sum(n) AS events, sum(nulls) AS missing FROM days WHERE {one} "
              f"AND {whole} AND pane_start >= {month} GROUP BY field ORDER BY field"),
        ("all_volume: a model, month", f"SELECT pane_start, n, error_rate, slow_share, late FROM all_volume "
              f"WHERE {one} AND {whole} AND pane_start >= {month} ORDER BY pane_start"),
        ("all_volume: all models, day", f"SELECT model, sum(n) AS requests, sum(errors) AS failed FROM all_volume "
              f"WHERE {whole} AND pane_start >= {day} GROUP BY model ORDER BY model"),
        ("volume_by_hour: a model, month", f"SELECT hour, requests, error_rate, slow_share FROM volume_by_hour "
              f"WHERE {one} AND {whole} AND hour >= {month} ORDER BY hour"),
        ("errors_by_kind: a model, month", f"SELECT kind, pane_start, n FROM errors_by_kind WHERE {one} "
              f"AND {whole} AND pane_start >= {month} ORDER BY kind, pane_start"),
        ("all_violations: a model, month", f"SELECT field, kind, sum(n) AS broken FROM all_violations WHERE {one} "
              f"AND pane_start >= {month} GROUP BY field, kind ORDER BY broken DESC"),
        ("dead_letters: all models, month", "SELECT topic, model, reason, sum(n) AS dead_letters FROM dead_letters "
              f"WHERE hour >= {month} GROUP BY topic, model, reason ORDER BY dead_letters DESC"),
        ("producer_gaps: a model", f"SELECT * FROM producer_gaps WHERE {one}"),
        ("producer_totals: all models", "SELECT * FROM producer_totals ORDER BY lost DESC"),
        ("producer_panes: a model, day", f"SELECT producer, pane_start, missing FROM producer_panes WHERE {one} "
              f"AND pane_start >= {day} ORDER BY producer, pane_start"),
        ("duplicates: a model, month", f"SELECT hour, repeats, repeat_rate FROM duplicates WHERE {one} "
              f"AND hour >= {month} ORDER BY hour"),
        ("silence: all models", "SELECT * FROM silence ORDER BY model"),
        ("model_freshness: all models", "SELECT * FROM model_freshness ORDER BY model, version"),
        ("pipeline: all processors", "SELECT * FROM pipeline ORDER BY kind, instance"),
        ("lost_ranges: all", "SELECT * FROM lost_ranges ORDER BY recorded_at DESC"),
        ("unseen_categories: a model", f"SELECT * FROM unseen_categories WHERE {one} ORDER BY n DESC"),
        ("all_predictions: a model, hour", f"SELECT * FROM all_predictions WHERE {one} AND {hour}"),
        ("labelled_predictions: a model, hour", f"SELECT id, score, label FROM labelled_predictions WHERE {one} "
              f"AND {hour}"),
        ("latest_labels: a model", f"SELECT label, count() AS n FROM latest_labels WHERE {one} GROUP BY label"),
        ("latest_performance: a metric, month", f"SELECT {score} FROM latest_performance WHERE {one} AND {whole} "
              f"AND metric = 'auc' AND window = '6h' AND window_end > {month} ORDER BY window_start"),
        ("latest_performance: a model, day", f"SELECT metric, slice, {score} FROM latest_performance WHERE {one} "
              f"AND window = '1h' AND window_end > {day} ORDER BY metric, slice, window_start"),
        ("arm_performance: a metric, month", "SELECT window_start, arm, difference, difference_low, "
              f"difference_high FROM arm_performance WHERE {one} AND metric = 'auc' AND window = '6h' "
              f"AND window_end > {month} ORDER BY window_start, arm"),
        ("estimate_trust: a model", "SELECT version, metric, window, windows, bias, off_share, trusted "
              f"FROM estimate_trust WHERE {one} ORDER BY ALL"),
        ("calibration_curve: a model, month", "SELECT bin, sum(score_sum) / sum(n) AS mean_score, "
              f"sum(positives) / sum(n) AS positive_rate FROM calibration_curve WHERE {one} AND {whole} "
              f"AND window_start >= {month} GROUP BY bin ORDER BY bin"),
        ("label_maturity: a model", f"SELECT age_s, share FROM label_maturity WHERE {one} ORDER BY age_s"),
        ("unmatched_labels: a model, month", f"SELECT hour, labels FROM unmatched_labels WHERE {one} "
              f"AND hour >= {month} ORDER BY hour"),
        ("label_counts: a model, month", f"SELECT kind, sum(n) AS how_many FROM label_counts WHERE {one} "
              f"AND hour >= {month} GROUP BY kind ORDER BY kind"),
        ("latest_comparisons: a model, day", f"SELECT kind, right, field, {compared} FROM latest_comparisons "
              f"WHERE {one} AND window_end > {day} ORDER BY ALL"),
        ("arm_comparison: a measure, month", f"SELECT window_end, {compared} FROM arm_comparison WHERE {one} "
              f"AND field = 'score' AND measure = 'psi' AND window = '6h' AND window_end > {month} "
              "ORDER BY window_end"),
        ("version_comparison: a measure, month", f"SELECT window_end, {compared} FROM version_comparison "
              f"WHERE {one} AND field = 'score' AND measure = 'psi' AND window = '6h' AND window_end > {month} "
              "ORDER BY window_end"),
        ("latest_arm_ratios: all models", "SELECT * FROM latest_arm_ratios ORDER BY model, arm"),
    ]  # fmt: skip
    return [HistoryQuery(name, sql) for name, sql in queries]


def command_queries(history: History) -> list[HistoryQuery]:
    """The queries of `status`, `distribution` and the demo for one model."""
    first_s, end_s = history.end_s - history.size.days * DAY_S, history.end_s

    def month_of_amount(client: Client) -> pa.Table:
        span = distribution.counted_ranges(client, MODEL, first_s, end_s)[0]
        return distribution.pane_rows(
            client, MODEL, span.version, span.baseline_id, ALL, "amount", first_s, end_s - HOUR_S
        )

    return [
        HistoryQuery("status: freshness", status.freshness),
        HistoryQuery("status: processors", status.processors),
        HistoryQuery("status: last drift of a model", lambda client: status.latest_drift(client, MODEL)),
        HistoryQuery("status: last rates of a model", lambda client: status.latest_rates(client, MODEL)),
        HistoryQuery(
            "demo: first major drift of a model", lambda client: status.first_major_drift(client, MODEL, "6h")
        ),
        HistoryQuery("distribution: a field, month", month_of_amount),
    ]


def _at(second: int, kind: str = "DateTime") -> str:
    text = datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%d %H:%M:%S")
    return f"to{kind}('{text}', 'UTC')" if kind == "DateTime" else f"toDateTime64('{text}', 3, 'UTC')"


def _since(end_s: int, length_s: int, kind: str = "DateTime") -> str:
    return _at(end_s - length_s, kind)
