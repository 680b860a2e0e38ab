"""The demo's queries: those that it prints beside their results, and those that it computes and waits with.

Their SQL contains no user input: names and times come from the demo and its own tables.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from barograph_server.examples.demo.flights import (
    CANDIDATE,
    CANDIDATE_ARM,
    CONTROL_ARM,
    DAY,
    LATE,
    MODEL,
    VERSION,
    WEATHER,
    WEEK,
    ZONE,
    Calendar,
)
from barograph_server.warehouse.client import Client, identifier
from barograph_server.warehouse.operations.status import DriftRow, RateRow
from barograph_server.warehouse.queries import rows_of

if TYPE_CHECKING:
    import pyarrow as pa

_OF_MODEL = f"model = '{MODEL}'"
_OF_VERSION = f"{_OF_MODEL} AND version = '{VERSION}'"
_OF_CONTROL = f"{_OF_VERSION} AND slice = 'all'"
_OF_ARMS = f"FROM arm_comparison WHERE {_OF_MODEL} AND arm = '{CANDIDATE_ARM}' AND window = '{WEEK.name}'"


@dataclass(frozen=True, slots=True)
class DemoQuery:
    """A query and its rows."""

    sql: str
    """SQL text without characters that a shell expands in double quotes."""
    rows: tuple[tuple[Any, ...], ...]

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)


def _query(client: Client, *lines: str) -> DemoQuery:
    sql = "\n".join(lines)
    return DemoQuery(sql, tuple(client.rows(sql)))


def _time(at: datetime) -> str:
    return f"'{at:%Y-%m-%d %H:%M:%S}'"


# ------------------------------------------------------------------------------------------ progress


class StageSums(NamedTuple):
    """Events that passed each stage of the pipeline."""

    recorded: int
    judged: int
    sketched: int
    scored: int
    paired: int


def stage_sums(client: Client) -> StageSums:
    """Count the events of the stages after publishing."""
    [row] = client.rows(
        "SELECT (SELECT count() FROM predictions) + (SELECT count() FROM labels) "
        "+ (SELECT count() FROM shadow_predictions), "
        # Only `progress` says up to when everything derived from sealed panes is written.
        "(SELECT sum(n) FROM volume FINAL WHERE model = {model:String} AND slice = 'all' "
        "AND pane_start < (SELECT max(sealed_until) FROM progress FINAL WHERE model = {model:String})), "
        # Each process counts from its start.
        "(SELECT sum(most) FROM (SELECT max(events) AS most FROM processors WHERE kind = 'sketcher' "
        "GROUP BY instance, started_at)), "
        # The scorer measures its longest windows last.
        "(SELECT sum(n) FROM latest_performance WHERE model = {model:String} AND slice = 'all' AND metric = 'auc' "
        "AND window = {window:String}), "
        "(SELECT sum(requests + labelled + missing_labelled) FROM shadow_pairs FINAL WHERE model = {model:String} "
        "AND slice = 'all')",
        {"model": MODEL, "window": WEEK.name},
    )
    return StageSums(*map(int, row))


# -------------------------------------------------------------------------------------------- volume


def month_volume(client: Client, calendar: Calendar, end: datetime) -> DemoQuery:
    """Read per month: first day in 2013, flights, failed, slow, timed, hours without a flight."""
    return _query(
        client,
        f"SELECT {calendar.month_sql('hour')} AS month, sum(requests) AS flights,",
        "  sum(errors) AS failed, sum(slow) AS slow, sum(timed) AS timed,",
        # Both versions have a row per hour; an hour is silent if both are.
        "  uniqExact(hour) - uniqExactIf(hour, requests > 0) AS silent_hours",
        _hours_before(end),
        "GROUP BY month ORDER BY month",
    )


def silent_hours(client: Client, end: datetime) -> tuple[datetime, ...]:
    """Return the hours without a flight, in event time of the replay."""
    rows = client.rows(f"SELECT hour {_hours_before(end)} GROUP BY hour HAVING sum(requests) = 0 ORDER BY hour")
    return tuple(hour for (hour,) in rows)


def _hours_before(end: datetime) -> str:
    return f"FROM volume_by_hour WHERE {_OF_MODEL} AND slice = 'all' AND hour < {_time(end)}"


def whole_volume(client: Client) -> DemoQuery:
    """Read one row: late, dead letters, duplicates, lost before Kafka, lost in Kafka; null if there are no rows."""
    return _query(
        client,
        f"SELECT (SELECT sum(late) FROM volume_by_hour WHERE {_OF_MODEL} AND slice = 'all') AS late,",
        "  (SELECT sum(n) FROM dead_letters) AS dead,",
        "  (SELECT sum(repeats) FROM duplicates) AS duplicates,",
        "  (SELECT sum(lost) FROM producer_gaps) AS lost_before_kafka,",
        "  (SELECT sum(offsets) FROM lost_ranges) AS lost_in_kafka",
    )


def recorded_events(client: Client) -> tuple[int, int]:
    """Count the raw predictions and the labels, without duplicates."""
    [(predictions, labels)] = client.rows(
        "SELECT (SELECT count() FROM all_predictions WHERE model = {model:String}), "
        "(SELECT sum(label_count) FROM latest_labels WHERE model = {model:String})",
        {"model": MODEL},
    )
    return int(predictions), int(labels)


def daily_volume(client: Client, calendar: Calendar) -> list[tuple[date, int]]:
    """Count the flights by local day of 2013."""
    rows = client.rows(
        "SELECT toDate(toTimeZone(hour - toIntervalWeek({weeks:UInt32}), {zone:String})) AS day, sum(requests) "
        "FROM volume_by_hour WHERE model = {model:String} AND slice = 'all' "
        "GROUP BY day HAVING sum(requests) > 0 ORDER BY day",
        {"model": MODEL, "zone": ZONE, "weeks": calendar.shift_weeks},
    )
    return [(day, int(n)) for day, n in rows]


# -------------------------------------------------------------------------------------------- inputs


def week_levels(client: Client) -> list[tuple[str, datetime, str]]:
    """Read field, end and level of the week windows of the control, by field and end."""
    # A window that spans a change of baseline has a row on each baseline, both insufficient.
    rows = client.rows(
        "SELECT field, window_end, any(level) FROM latest_drift "
        "WHERE model = {model:String} AND version = {version:String} "
        "AND slice = 'all' AND window = {window:String} GROUP BY field, window_end ORDER BY field, window_end",
        {"model": MODEL, "version": VERSION, "window": WEEK.name},
    )
    return [(str(field), end, str(level)) for field, end, level in rows]


def week_psi(client: Client, field: str) -> list[tuple[datetime, float, float, float]]:
    """Read end, PSI and its interval of a field's week windows, without those that span a change of baseline."""
    rows = client.rows(
        "SELECT window_end, any(psi), any(psi_low), any(psi_high) FROM latest_drift "
        "WHERE model = {model:String} AND version = {version:String} AND slice = 'all' "
        "AND field = {field:String} AND window = {window:String} AND n > 0 "
        "GROUP BY window_end HAVING count() = 1 ORDER BY window_end",
        {"model": MODEL, "version": VERSION, "field": field, "window": WEEK.name},
    )
    return [(end, psi, low, high) for end, psi, low, high in rows]


def weeks_around(client: Client, calendar: Calendar, row: DriftRow) -> DemoQuery:
    """Read the week windows of a field around a verdict."""
    end = _time(row.window_end)
    return _query(
        client,
        f"SELECT {calendar.sql('window_end')} AS ends_2013, level, round(psi, 3) AS psi,",
        "  round(psi_low, 3) AS low, round(psi_high, 3) AS high, n, round(phi) AS phi, top_bin",
        f"FROM latest_drift WHERE {_OF_CONTROL} AND field = '{row.field}' AND window = '{WEEK.name}'",
        f"  AND window_end BETWEEN toDateTime({end}) - INTERVAL 5 DAY AND toDateTime({end}) + INTERVAL 2 DAY",
        "ORDER BY window_end",
    )


def unseen_destinations(client: Client, calendar: Calendar) -> DemoQuery:
    """Read destination, flights and first hour in 2013, the most frequent first."""
    return _query(
        client,
        f"SELECT category, n, {calendar.sql('first_seen')} AS first_2013",
        f"FROM unseen_categories WHERE {_OF_MODEL} AND field = 'dest' ORDER BY n DESC, category",
    )


def weather_nulls(client: Client, end: datetime) -> list[RateRow]:
    """Read the null rates of weather fields in a day window."""
    return rows_of(
        client,
        RateRow,
        "FROM latest_rates WHERE model = {model:String} AND version = {version:String} AND slice = 'all' "
        "AND window = {window:String} AND kind = 'null' AND window_end = {end:DateTime} "
        "AND field IN {fields:Array(String)} ORDER BY field",
        {"model": MODEL, "version": VERSION, "window": DAY.name, "end": end, "fields": list(WEATHER)},
    )


def major_nulls(client: Client, end: datetime) -> DemoQuery:
    """Read the major null rates in a day window."""
    return _query(
        client,
        "SELECT field, level, n, k, round(rate, 3) AS rate, round(baseline_rate, 4) AS baseline_rate,",
        "  round(delta_low, 3) AS low, round(delta_high, 3) AS high",
        f"FROM latest_rates WHERE {_OF_CONTROL} AND kind = 'null' AND window = '{DAY.name}'",
        f"  AND window_end = {_time(end)} AND level = 'major' ORDER BY field",
    )


# -------------------------------------------------------------------------------------------- season


def judged_weeks(
    client: Client, baseline_id: str, begin: datetime, end: datetime
) -> list[tuple[str, datetime, str, float]]:
    """Read field, end, level and PSI of the week windows in a range of time, judged against a baseline."""
    rows = client.rows(
        "SELECT field, window_end, level, psi FROM latest_drift WHERE model = {model:String} "
        "AND version = {version:String} AND slice = 'all' AND window = {window:String} "
        "AND baseline_id = {baseline:String} AND window_start >= {begin:DateTime} "
        "AND window_end <= {end:DateTime} ORDER BY field, window_end",
        {"model": MODEL, "version": VERSION, "window": WEEK.name, "baseline": baseline_id, "begin": begin, "end": end},
    )
    return [(field, at, level, psi) for field, at, level, psi in rows]


def week_means(client: Client, calendar: Calendar, field: str, begin: datetime, end: datetime) -> DemoQuery:
    """Read the mean of a field in disjoint weeks and in both baselines."""
    mean = f"SELECT round(means['{field}'], 1) FROM baselines FINAL WHERE {_OF_VERSION}"
    start = f"toDateTime({_time(begin)})"
    return _query(
        client,
        f"SELECT toDate({calendar.sql('max(pane_end)')}) AS ends_2013, round(sum(mean * n) / sum(n), 1) AS {field},",
        f"  ({mean} AND effective_from = 0) AS in_training,",
        f"  ({mean} AND effective_from > 0) AS in_autumn",
        f"FROM days WHERE {_OF_CONTROL} AND field = '{field}'",
        f"  AND pane_start >= {start} AND pane_end <= {_time(end)} AND n > nulls",
        f"GROUP BY intDiv(dateDiff('day', {start}, pane_start), 7) ORDER BY ends_2013",
    )


# ------------------------------------------------------------------------------------------- outputs


def month_outputs(client: Client, calendar: Calendar) -> DemoQuery:
    """Read first day of the month in 2013, mean score and share of `late` of the control."""
    return _query(
        client,
        f"SELECT {calendar.month_sql('at')} AS month,",
        f"  avg(score) AS mean_score, avg(class = '{LATE}') AS called_late",
        f"FROM all_predictions WHERE {_OF_VERSION} GROUP BY month ORDER BY month",
    )


def score_shifts(client: Client, calendar: Calendar) -> DemoQuery:
    """Read the largest mean shifts of scores per week: end in 2013, standard deviations, low, high."""
    return _query(
        client,
        f"SELECT {calendar.sql('window_end')} AS ends_2013, mean_shift, mean_shift_low, mean_shift_high",
        f"FROM latest_distances WHERE {_OF_CONTROL} AND field = 'score'",
        f"  AND window = '{WEEK.name}' AND n > 1000 ORDER BY abs(mean_shift) DESC LIMIT 5",
    )


def last_arm_week(client: Client, record_end: datetime) -> datetime:
    """Return the end of the last compared week that ends a day before `record_end`; 1970 if there is none."""
    [(end,)] = client.rows(
        f"SELECT max(window_end) {_OF_ARMS} AND window_end <= toDateTime({_time(record_end)}) - INTERVAL 1 DAY"
    )
    assert isinstance(end, datetime)
    return end


def arm_week(client: Client, end: datetime) -> DemoQuery:
    """Read field, measure, category, flights of a and of b, value of a and of b, difference, low, high and level."""
    return _query(
        client,
        "SELECT field, measure, category, control_n, arm_n, control_value, arm_value, difference,",
        "  difference_low, difference_high, level",
        f"{_OF_ARMS} AND window_end = {_time(end)}",
        "ORDER BY field, measure, category",
    )


def arm_levels(client: Client) -> DemoQuery:
    """Count the weeks by level of the PSI between the scores of both arms."""
    return _query(
        client,
        f"SELECT level, count() AS weeks {_OF_ARMS}",
        "  AND field = 'score' AND measure = 'psi' GROUP BY level ORDER BY weeks DESC",
    )


def arm_shares(client: Client) -> DemoQuery:
    """Read arm, configured share, units, share, p and level."""
    return _query(
        client,
        "SELECT arm, expected_share, units, round(share, 4) AS share, round(p_value, 3) AS p, level",
        f"FROM latest_arm_ratios WHERE {_OF_MODEL} ORDER BY arm",
    )


# --------------------------------------------------------------------------------------------- truth


@dataclass(frozen=True, slots=True)
class WeekMetric:
    """One metric of the control in one week."""

    metric: str
    end: datetime
    """Event time of the replay."""
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


def week_metrics(client: Client, metrics: Sequence[str]) -> list[WeekMetric]:
    """Read metrics of the control, by metric and week."""
    rows = client.rows(
        "SELECT metric, window_end, value, low, high, n, coverage, mature, level, reference, cbpe, cbpe_low, cbpe_high "
        "FROM latest_performance WHERE model = {model:String} AND version = {version:String} AND slice = 'all' "
        "AND window = {window:String} AND metric IN {metrics:Array(String)} ORDER BY metric, window_end",
        {"model": MODEL, "version": VERSION, "window": WEEK.name, "metrics": metrics},
    )
    return [WeekMetric(*row) for row in rows]


def week_metrics_sql(calendar: Calendar, metric: str) -> str:
    """Return a query of one metric per week for people."""
    return "\n".join(
        (
            f"SELECT {calendar.sql('window_end')} AS ends_2013, round(value, 3) AS value, round(low, 3) AS low,",
            "  round(high, 3) AS high, round(reference, 3) AS reference, level, round(coverage, 3) AS coverage,",
            "  round(maturity, 3) AS maturity, round(cbpe, 3) AS estimated, round(cbpe_error, 3) AS error",
            f"FROM latest_performance WHERE {_OF_MODEL} AND slice = 'all' AND window = '{WEEK.name}'",
            f"  AND version = '{VERSION}' AND metric = '{metric}' ORDER BY window_end",
        )
    )


def reference_week(client: Client, calendar: Calendar) -> DemoQuery:
    """Read first day in 2013, day after the last, and age of labels in seconds of the reference week."""
    return _query(
        client,
        f"SELECT {calendar.sql('from_time')} AS first, {calendar.sql('to_time')} AS last, max(age_s) AS age_s",
        f"FROM latest_references WHERE {_OF_CONTROL} GROUP BY first, last",
    )


def label_delay(client: Client) -> DemoQuery:
    """Read one row: flights, labelled flights, age in seconds by which half of the labels arrived, age of maturity."""
    return _query(
        client,
        "SELECT sumIf(n, kind = 'predictions') AS flights, sumIf(n, kind = 'labelled') AS labelled,",
        f"  (SELECT min(age_s) FROM label_maturity WHERE {_OF_MODEL} AND share >= 0.5) AS half_s,",
        f"  (SELECT any(mature_age_s) FROM label_maturity WHERE {_OF_MODEL}) AS mature_s",
        f"FROM label_counts WHERE {_OF_MODEL}",
    )


def selective_days(client: Client, calendar: Calendar) -> DemoQuery:
    """Read day in 2013, coverage and p of days with selective labels."""
    return _query(
        client,
        f"SELECT toDate({calendar.sql('window_start')}) AS day_2013, round(coverage, 3) AS labelled, selective_p",
        f"FROM latest_performance WHERE {_OF_CONTROL}",
        f"  AND window = '{DAY.name}' AND metric = 'auc' AND selective ORDER BY labelled",
    )


def arm_auc(client: Client, calendar: Calendar) -> DemoQuery:
    """Read end in 2013, AUC of b, AUC of a, difference, low, high and sufficiency of mature weeks."""
    return _query(
        client,
        f"SELECT {calendar.sql('window_end')} AS ends_2013, value AS b, other_value AS a, difference,",
        "  difference_low, difference_high, sufficient",
        f"FROM arm_performance WHERE {_OF_MODEL} AND window = '{WEEK.name}' AND metric = 'auc'",
        f"  AND arm = '{CANDIDATE_ARM}' AND other_arm = '{CONTROL_ARM}' AND mature ORDER BY window_end",
    )


def week_scores(client: Client) -> list[tuple[datetime, float, float]]:
    """Read end, mean score and share of positives among the labelled predictions of each week."""
    rows = client.rows(
        "SELECT toDateTime((intDiv(toUnixTimestamp(window_start), {length:UInt32}) + 1) * {length:UInt32}, 'UTC') "
        "AS end, sum(score_sum) / sum(n), sum(positives) / sum(n) FROM calibration_curve WHERE model = {model:String} "
        "AND version = {version:String} AND slice = 'all' GROUP BY end ORDER BY end",
        {"model": MODEL, "version": VERSION, "length": WEEK.length_s},
    )
    return [(end, score, came) for end, score, came in rows]


# -------------------------------------------------------------------------------------------- shadow


def shadow_requests(client: Client) -> DemoQuery:
    """Read the account of the candidate's requests in one row."""
    return _query(
        client,
        "SELECT sum(requests) AS requests, sum(pairs) AS pairs, sum(agreed) AS agreed, sum(labelled) AS labelled,",
        "  sum(primary_right) AS only_primary_right, sum(candidate_right) AS only_candidate_right,",
        "  sum(copy_compared) AS compared_with_copy, sum(copy_agreed) AS copy_agreed, sumMap(missing) AS missing",
        f"FROM shadow_pairs FINAL WHERE {_OF_MODEL} AND candidate = '{CANDIDATE}' AND slice = 'all'",
    )


def shadow_volume(client: Client) -> DemoQuery:
    """Read one row: predictions that count for the model, recorded predictions of the candidate."""
    return _query(
        client,
        f"SELECT (SELECT sum(requests) FROM volume_by_hour WHERE {_OF_MODEL} AND slice = 'all') AS counted,",
        f"  (SELECT count() FROM shadow_predictions FINAL WHERE {_OF_MODEL} AND version = '{CANDIDATE}') AS shadows",
    )


# -------------------------------------------------------------------------------- generations of bots


def recorded_generations(client: Client, model: str, metrics: Sequence[str], features: Sequence[str]) -> pa.Table:
    """Read the generations of a model with columns for their metrics and text features, in order of time."""
    columns = [f"metrics['{name}'] AS {name}" for name in metrics] + [
        f"strings['{name}'] AS {name}" for name in features
    ]
    return client.arrow(
        f"SELECT at, {', '.join(columns)} FROM all_predictions WHERE model = {{model:String}} ORDER BY at",
        {"model": model},
    )


def generation_metrics(client: Client, model: str) -> dict[str, dict[str, Any]]:
    """Read the metrics of each generation by its id."""
    rows = client.rows("SELECT id, metrics FROM all_predictions WHERE model = {model:String}", {"model": model})
    return {str(id_): dict(metrics) for id_, metrics in rows}


def prompt_costs(client: Client, model: str) -> DemoQuery:
    """Read per prompt: generations, failed ones, mean tokens, medians of time to first token and latency in ms."""
    return _query(
        client,
        "SELECT context['prompt'] AS prompt, count() AS generations, countIf(error != '') AS failed,",
        "  round(avg(metrics['input_tokens']), 1) AS input_tokens,",
        "  round(avg(metrics['output_tokens']), 1) AS output_tokens,",
        "  round(quantile(0.5)(metrics['ttft_ms'])) AS ttft_ms, round(quantile(0.5)(latency_ms)) AS latency_ms",
        f"FROM all_predictions WHERE model = '{model}' GROUP BY prompt ORDER BY prompt",
    )


def prompt_looks(client: Client, model: str, arm: str) -> DemoQuery:
    """Read the last look per criterion: criterion, difference, low, high, margin, generations of both, outcome."""
    return _query(
        client,
        "SELECT criterion, round(value, 3) AS difference, round(low, 3) AS low, round(high, 3) AS high, margin,",
        "  concat(toString(control_events), ' and ', toString(arm_events)) AS generations, outcome",
        f"FROM arm_comparisons FINAL WHERE model = '{model}' AND arm = '{arm}'",
        "ORDER BY at DESC LIMIT 1 BY criterion",
    )


def text_drift(client: Client, model: str) -> DemoQuery:
    """Read the last window of each text feature: field, end, PSI, its interval, events, level."""
    return _query(
        client,
        "SELECT field, toString(window_end) AS window_end, round(psi, 2) AS psi, round(psi_low, 2) AS psi_low,",
        "  round(psi_high, 2) AS psi_high, n, level",
        f"FROM latest_drift WHERE model = '{model}' AND slice = 'all' AND field IN ('topic', 'language')",
        "ORDER BY window_end DESC LIMIT 1 BY field",
    )


def serving_fact_count(client: Client, model: str) -> int:
    """Count the different facts that the inference server of a model reported."""
    [(n,)] = client.rows("SELECT uniqExact(name) FROM serving_facts WHERE model = {model:String}", {"model": model})
    return int(n)


def guard_change(client: Client) -> tuple[str, ...] | None:
    """Return the guard's first change of a label: time, before, after, reason; None if there is none yet."""
    rows = client.rows(
        "SELECT toString(changed_at), before, after, reason FROM changes FINAL WHERE changed_by = 'guard' "
        "ORDER BY changed_at LIMIT 1"
    )
    return tuple(map(str, rows[0])) if rows else None


def rows_with_text(client: Client, table: str, text: str) -> tuple[int, int]:
    """Count the rows of a table, and those that have a text in a column."""
    [(rows, hits)] = client.rows(
        f"SELECT count(), countIf(position(formatRow('JSONEachRow', *), {{text:String}}) > 0) FROM {identifier(table)}",
        {"text": text},
    )
    return int(rows), int(hits)


# --------------------------------------------------------------------------------------- evaluations


class EvaluationCounts(NamedTuple):
    """The evaluations of one evaluator, with or without a result."""

    evaluations: int
    answers: int
    versions: int
    labelled: int


def evaluation_counts(client: Client, evaluator: str) -> EvaluationCounts:
    """Count the evaluations of an evaluator, which is a model of its own: `support-bot.helpful`."""
    [row] = client.rows(
        "SELECT count(), uniqExact(id), uniqExact(evaluator_version), countIf(label != '') FROM evaluations "
        "WHERE evaluator_model = {model:String}",
        {"model": evaluator},
    )
    return EvaluationCounts(*map(int, row))


def evaluated_classes(client: Client, evaluator: str) -> list[tuple[str, str, str]]:
    """Read id of the answer, version of the evaluator and class of each evaluation."""
    rows = client.rows(
        "SELECT id, evaluator_version, class FROM evaluations WHERE evaluator_model = {model:String}",
        {"model": evaluator},
    )
    return [(id_, version, class_) for id_, version, class_ in rows]


def answers_with_text(client: Client, model: str) -> int:
    """Count the answers with text that did not fail."""
    [(answers,)] = client.rows(
        "SELECT uniqExact(id) FROM all_predictions WHERE model = {model:String} AND error = '' "
        "AND context['answer_text'] != ''",
        {"model": model},
    )
    return int(answers)


def evaluation_results(client: Client, model: str) -> DemoQuery:
    """Read for each evaluator: its name, version, evaluations, those without a result, and the share called faulty."""
    return _query(
        client,
        "SELECT evaluator, evaluator_version AS version, count() AS evaluations, countIf(error != '') AS no_result,",
        "  round(100 * countIf(class = 'faulty') / greatest(1, countIf(class != '')), 1) AS flagged_percent",
        f"FROM evaluations WHERE model = '{model}' GROUP BY evaluator, version ORDER BY evaluator, version",
    )


def labelled_results(client: Client, model: str) -> DemoQuery:
    """Read per evaluator and its version: evaluations, those that say faulty, those without a result, and more.

    The other columns are the share of faulty ones in percent, labels, and the 95th percentile of the time from the
    answer to its evaluation in seconds.
    """
    return _query(
        client,
        "SELECT evaluator, evaluator_version AS version, count() AS evaluations,",
        "  countIf(evaluation.class = 'faulty') AS faulty, countIf(evaluation.class = '') AS no_result,",
        "  round(100 * faulty / greatest(1, evaluations - no_result), 1) AS faulty_percent,",
        "  countIf(label != '') AS labels,",
        "  round(quantile(0.95)(dateDiff('millisecond', answer.received_at, own.received_at) / 1000), 1) AS p95_s",
        f"FROM (SELECT * FROM evaluations WHERE model = '{model}') AS evaluation",
        "INNER JOIN all_predictions AS own ON own.model = evaluation.evaluator_model AND own.id = evaluation.id",
        f"INNER JOIN all_predictions AS answer ON answer.model = '{model}' AND answer.id = evaluation.id",
        "GROUP BY evaluator, version ORDER BY evaluator, max(evaluation.at)",
    )
