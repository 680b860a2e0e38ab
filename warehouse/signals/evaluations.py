"""Signals of the quality of a language model's answers: rates of evaluators, and runs of suites."""

from collections.abc import Sequence

from barograph_server.warehouse.evaluation.anchor_runs import RUN
from barograph_server.warehouse.evaluation.eval_runs import is_served_version
from barograph_server.warehouse.signals.literals import literal, literals
from barograph_server.warehouse.signals.signal import EMPTY, SURE, UNSURE, EventTimeRange, Facts, FactTime, Signal

HOUR_S, DAY_S = 3600, 86_400
ARRIVAL_S = 300
"""How long after an hour its answers are expected in ClickHouse."""
LEAST_LABELS = 50
"""Fewest labels for a rate, as in `sketches.judges.fault_rate`."""
LEAST_CALLS = 100
"""Answers in a day that a version needs to be in traffic."""
Z = 1.959963984540054
"""The 97.5 % point of the normal distribution."""


def rate_above_promise(model: str, evaluator: str, promise: float) -> Signal:
    """Return the signal of the largest rate of faulty answers of an evaluator, by its version and the prompt.

    It exceeds the promise only if the whole interval of a sufficient rate does. An insufficient rate has no number.
    """
    state = f"multiIf(reason != '' OR NOT isFinite(rate), {EMPTY}, low > {float(promise)!r}, {SURE}, {UNSURE})"
    prompt = "multiIf(prompt = '*', 'all prompts', prompt = '', 'no prompt', prompt)"

    def select(period: EventTimeRange, fact_time: FactTime) -> str:
        return (
            f"SELECT evaluator AS key, concat(evaluator_version, ', ', {prompt}) AS version, "
            f"{_RATE_TIMES}, tuple(toUInt8({state}), rate, low, high, 0.) AS verdict "
            f"{_rates(model, [evaluator], period)}"
        )

    return Signal("evaluator", (evaluator,), promise, Facts(select, DAY_S))


def missing_labels(model: str, evaluators: Sequence[str]) -> Signal:
    """Return the signal of how many labels evaluators with at least 50 results lack for a rate.

    `low` is the number of labels, and `high` how many are needed.
    """
    lacks = f"judged >= {LEAST_LABELS} AND reason IN ('no gold', 'little gold')"
    needed = f"if({lacks}, greatest({LEAST_LABELS}, labels + 1), labels)"
    reason = f"multiIf(NOT ({lacks}), '', labels < {LEAST_LABELS}, 'too few labels', 'no label of one verdict')"

    def select(period: EventTimeRange, fact_time: FactTime) -> str:
        return (
            f"SELECT evaluator AS key, evaluator_version AS version, {_RATE_TIMES}, tuple(toUInt8({SURE}), "
            f"toFloat64({needed} - labels), toFloat64(labels), toFloat64({needed}), 0., {reason}) AS verdict "
            f"{_rates(model, evaluators, period)} AND prompt = '*'"
        )

    return Signal("evaluator", tuple(evaluators), 0.5, Facts(select, DAY_S, has_reason=True))


def reviewer_agreement(model: str, evaluators: Sequence[str], threshold: float) -> Signal:
    """Return the signal of the alpha of reviewers, which falls below the threshold only with its whole interval."""
    state = f"multiIf(NOT isFinite(alpha_high), {EMPTY}, alpha_high < {float(threshold)!r}, {SURE}, {UNSURE})"

    def select(period: EventTimeRange, fact_time: FactTime) -> str:
        # All versions of an evaluator have the same reviewers.
        return (
            f"SELECT evaluator AS key, '' AS version, {_RATE_TIMES}, tuple(toUInt8({state}), alpha, alpha_low, "
            f"alpha_high, 0.) AS verdict {_rates(model, evaluators, period)} AND prompt = '*'"
        )

    return Signal("evaluator", tuple(evaluators), threshold, Facts(select, DAY_S), below=True, has_versions=False)


def unevaluated_calls(model: str, threshold: float) -> Signal:
    """Return the signal of the answers of a day by version, of versions without a run of a suite.

    A version is a prompt or, if no run of the model names one, a served model. Without any run, every number is 0. The
    keys are the versions with answers in the last day, and an empty one, which has no number.
    """

    def select(period: EventTimeRange, fact_time: FactTime) -> str:
        imported = "0" if fact_time == "now" else "toUInt32(toUnixTimestamp64Milli(imported_at) / 1000)"
        runs = (
            f"SELECT groupArray(({_evaluated(model)}, {imported})) FROM eval_runs FINAL WHERE model = {literal(model)}"
        )
        is_quiet = f"empty(known) OR arrayExists(run -> {_is_version('run.1', model)}, known)"
        return (
            f"SELECT served AS key, '' AS version, end AS until, until AS ended_at, until + {ARRIVAL_S} AS judged_at, "
            f"tuple(until) AS rank, arrayFilter(run -> run.2 <= end, ({runs})) AS known, "
            f"tuple(toUInt8({SURE}), if({is_quiet}, 0., toFloat64(calls)), nan, nan, 0.) AS verdict "
            f"FROM ({_served(model, period)}) WHERE end > {period.start}"
        )

    return Signal("served", ("",), threshold, Facts(select, DAY_S), has_further_keys=True)


def suite_regression(model: str) -> Signal:
    """Return the signal of how much lower the mean score of a version in traffic is than that of the accepted run.

    The number is the lower end of the 95 % interval of the fall, by item, of `sketches.comparison.paired_items`. The
    newest run of each version and suite counts, and the run that was accepted last. Runs of other versions of the
    suite, scorers or formats are not compared. Replayed history has no numbers. The keys are `SUITE: VERSION` of
    versions with at least 100 answers in a day, and an empty one, which has no number.
    """

    def select(period: EventTimeRange, fact_time: FactTime) -> str:
        # Suites run on the wall clock, so they do not apply to replayed history.
        of_model = f"model = {literal(model)} AND {'0' if fact_time == 'ended' else '1'}"
        kind = "(suite_version, scorer, format)"
        newest = (
            f"SELECT suite, {_evaluated(model)} AS name, argMax(run_id, (started_at, run_id)) AS candidate, "
            f"argMax({kind}, (started_at, run_id)) AS candidate_kind, argMax(imported_at, (started_at, run_id)) AS "
            f"imported FROM eval_runs FINAL WHERE {of_model} GROUP BY suite, name"
        )
        last = (
            "SELECT suite, argMax(run_id, accepted_at) AS accepted, max(accepted_at) AS since "
            f"FROM eval_acceptances FINAL WHERE {of_model} GROUP BY suite"
        )
        kinds = f"SELECT run_id, {kind} AS accepted_kind FROM eval_runs FINAL WHERE {of_model}"
        pairs = (
            "SELECT newest.suite AS suite, name, candidate, accepted, "
            "toUInt32(toUnixTimestamp64Milli(greatest(imported, since)) / 1000) AS known_at "
            f"FROM ({newest}) AS newest JOIN ({last}) AS last ON newest.suite = last.suite "
            f"JOIN ({kinds}) AS kinds ON last.accepted = kinds.run_id "
            "WHERE candidate != accepted AND candidate_kind = accepted_kind"
        )
        means = (
            "SELECT run_id, item, avg(score) AS mean FROM eval_items FINAL "
            f"WHERE run_id IN (SELECT arrayJoin([candidate, accepted]) FROM ({pairs})) GROUP BY run_id, item"
        )
        sums = (
            "SELECT suite, name, any(known_at) AS known_at, count() + 2 AS n, sum(new.mean - old.mean) / n AS middle, "
            f"{Z} * sqrt((sum(pow(new.mean - old.mean, 2)) + 2) / n - pow(middle, 2)) / sqrt(n) AS half "
            f"FROM ({pairs}) AS pair JOIN ({means}) AS new ON pair.candidate = new.run_id "
            f"JOIN ({means}) AS old ON pair.accepted = old.run_id AND new.item = old.item GROUP BY suite, name"
        )
        is_known = "1" if fact_time == "now" else "known_at <= end"
        return (
            f"SELECT concat(suite, ': ', served) AS key, '' AS version, end AS until, until AS ended_at, "
            f"until + {ARRIVAL_S} AS judged_at, tuple(until) AS rank, tuple(toUInt8({SURE}), "
            f"greatest(-1, -middle - half), greatest(-1, -middle - half), least(1, half - middle), 0.) AS verdict "
            f"FROM ({_served(model, period)}) AS traffic CROSS JOIN ({sums}) AS compared "
            f"WHERE end > {period.start} AND calls >= {LEAST_CALLS} AND {is_known} AND {_is_version('name', model)}"
        )

    return Signal("comparison", ("",), 0.0, Facts(select, DAY_S), has_further_keys=True)


_RATE_TIMES = "toUInt32(toUnixTimestamp(at)) AS until, until AS ended_at, until AS judged_at, tuple(until) AS rank"


def _rates(model: str, evaluators: Sequence[str], period: EventTimeRange) -> str:
    """Return the source of rates: versions and prompts with an evaluation in the last day."""
    return (
        f"FROM evaluation_rates FINAL WHERE model = {literal(model)} AND evaluator IN {literals(evaluators)} "
        f"AND at > toDateTime({period.start}) AND at <= toDateTime({period.end}) AND newest_at > at - INTERVAL 1 DAY"
    )


def _names_prompts(model: str) -> str:
    return f"(SELECT countIf(prompt != '') > 0 FROM eval_runs WHERE model = {literal(model)})"


def _evaluated(model: str) -> str:
    """Return the expression for what a run evaluates: its prompt or, if no run of the model has one, its model."""
    return f"if({_names_prompts(model)}, prompt, eval_runs.version)"


def _is_version(name: str, model: str) -> str:
    """Return the condition that a run evaluates what is served; programs may put the provider before a served model."""
    return f"({name} = served OR NOT {_names_prompts(model)} AND {is_served_version(name, 'served')})"


def _served(model: str, period: EventTimeRange) -> str:
    """Return the query for the answers of the day before each whole hour with answers, by version: `served`, `end`."""
    hours = (
        f"SELECT if({_names_prompts(model)}, prompt, toString(version)) AS served, "
        "toUInt32(toUnixTimestamp(hour) + 3600) AS end, sum(answered) AS n FROM model_costs "
        f"WHERE model = {literal(model)} AND hour >= toDateTime({period.start} - {DAY_S + HOUR_S}, 'UTC') "
        f"AND hour < toDateTime({period.end}, 'UTC') GROUP BY served, end"
    )
    return (
        f"SELECT served, end, sum(n) OVER (PARTITION BY served ORDER BY end ASC RANGE BETWEEN {DAY_S - 1} PRECEDING "
        f"AND CURRENT ROW) AS calls FROM ({hours}) WHERE served != '' AND n > 0 AND end <= {period.end}"
    )


DRIFTED, USED_UP = "{} has drifted", "{} has used up its bank"
"""Findings about a judge."""
REACH_S = 30 * 86_400
"""How long the newest run of a judge counts."""


def judge_findings(model: str, judges: Sequence[str]) -> Signal:
    """Return the signal of the findings about judges: 1 for each that holds after the judge's newest run, else 0.

    The newest run counts, of whatever version of the judge or its anchors: a new bank ends the findings about the
    judge before.

    Args:
        judges: its judges with anchors, as the contract names them.
    """

    def select(period: EventTimeRange, fact_time: FactTime) -> str:
        # Judges run on the wall clock, so their runs do not apply to replayed history.
        of_model = f"model = {literal(model)} AND {'0' if fact_time == 'ended' else '1'}"
        findings = (
            f"[(replaceOne({literal(DRIFTED)}, '{{}}', evaluator), has_drifted), "
            f"(replaceOne({literal(USED_UP)}, '{{}}', evaluator), runs_left = 0 AND kind = {literal(RUN)})]"
        )
        return (
            f"SELECT arrayJoin({findings}) AS finding, finding.1 AS key, '' AS version, "
            "toUInt32(ceil(toUnixTimestamp64Milli(at) / 1000)) AS until, until AS ended_at, until AS judged_at, "
            f"tuple(at, run_id) AS rank, tuple(toUInt8({SURE}), toFloat64(finding.2), nan, nan, 0.) AS verdict "
            f"FROM anchor_runs FINAL WHERE {of_model} AND evaluator IN {literals(judges)} "
            f"AND at > toDateTime64({period.start}, 3, 'UTC') AND at <= toDateTime64({period.end}, 3, 'UTC')"
        )

    keys = tuple(finding.format(judge) for judge in judges for finding in (DRIFTED, USED_UP))
    return Signal("finding", keys, 0.5, Facts(select, REACH_S), has_versions=False)
