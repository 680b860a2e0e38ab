"""Evaluations of the selected model's answers: rates of faults with labels of people, and answers without a result."""

from __future__ import annotations

from barograph_server.sketches.judges.trust import CHANCE, FEW_LABELS, LEAST_LABELS, NO_BETTER, WORSE
from barograph_server.warehouse.panels.fragments import MODEL, finite, interval, is_selected, selected
from barograph_server.warehouse.panels.query import hourly, table

_MODEL = selected("model")
_Z = 1.959963984540054
_RANGE = "$__timeFilter(at)"
# Names of evaluator models begin with the model's name, so that the primary key finds them.
_OWN = f"startsWith(evaluator_model, concat({_MODEL}, '.')) AND model = {_MODEL}"
_COUNTS = f"evaluation_counts WHERE {_OWN} AND $__timeFilter(hour)"


def _wilson(part: str, whole: str, sign: str) -> str:
    """Return the expression for an end of Wilson's 95 % interval; 0 or 1 without rows."""
    share = f"{part} / {whole}"
    center = f"{share} + {_Z**2 / 2} / {whole}"
    half = f"{_Z} * sqrt({share} * (1 - {share}) / {whole} + {_Z**2 / 4} / ({whole} * {whole}))"
    return f"if({whole} = 0, {0 if sign == '-' else 1}, ({center} {sign} {half}) / (1 + {_Z**2} / {whole}))"


def _end(sign: str) -> str:
    """Return the expression for an end of the interval of `sketches.judges.strata`."""

    def width(part: str, whole: str, rate: str) -> str:
        end = _wilson(part, whole, sign)
        return f"{rate} - {end}" if sign == "-" else f"{end} - {rate}"

    flagged = width("flagged_faulty", "flagged_gold", "p1")
    unflagged = width("unflagged_faulty", "unflagged_gold", "p0")
    share = f"pow({_Z} * (p1 - p0), 2) * q * (1 - q) / judged"
    half = f"sqrt(pow(q * ({flagged}), 2) + pow((1 - q) * ({unflagged}), 2) + {share})"
    return f"greatest(0, rate - {half})" if sign == "-" else f"least(1, rate + {half})"


RATES = table(
    "evaluations.rates",
    f"""
    SELECT
        evaluator,
        evaluator_version AS version,
        prompt,
        judged AS evaluated,
        without_result AS "no result",
        {finite("q")} AS flagged,
        labels,
        {finite("(flagged_faulty + unflagged_gold - unflagged_faulty) / labels")} AS agree,
        {finite("rate")} AS faulty,
        if(isNaN(rate), '', {interval(f"({_end('-')}) * 100", f"({_end('+')}) * 100")}) AS interval,
        multiIf(judged = 0, 'no result', labels = 0, 'no labels', isNaN(rate), 'no labels of one verdict',
            labels < 50, 'few labels', shares > 1, 'not weighted', '') AS insufficient
    FROM
    (
        SELECT
            evaluator, evaluator_version, prompt, max(hour) AS newest,
            uniqExact(share) AS shares,
            sumIf(n, class != '') AS judged,
            sumIf(n, class = '') AS without_result,
            sumIf(n, class = 'faulty' AND label != '') AS flagged_gold,
            sumIf(n, class = 'faulty' AND label = 'faulty') AS flagged_faulty,
            sumIf(n, class = 'sound' AND label != '') AS unflagged_gold,
            sumIf(n, class = 'sound' AND label = 'faulty') AS unflagged_faulty,
            flagged_gold + unflagged_gold AS labels,
            sumIf(n, class = 'faulty') / judged AS q,
            if(flagged_gold = 0, if(q = 0, 0, nan), flagged_faulty / flagged_gold) AS p1,
            if(unflagged_gold = 0, if(q = 1, 0, nan), unflagged_faulty / unflagged_gold) AS p0,
            q * p1 + (1 - q) * p0 AS rate
        FROM {_COUNTS}
        GROUP BY evaluator, evaluator_version, prompt
    )
    ORDER BY evaluator, newest DESC, version, prompt
    LIMIT 100
    """,
    "evaluator:text | version:text | prompt:text | evaluated | no result | flagged | labels | agree | faulty | "
    "interval:text | insufficient:text",
)


def _share(part: str, other: str) -> str:
    """Return the expression for Wilson's interval of `part` among both, in percent."""
    whole = f"({part} + {other})"
    ends = (f"100 * {_wilson(part, whole, sign)}" for sign in "-+")
    return f"if({whole} = 0, '', {interval(*ends)})"


AGREEMENT = table(
    "evaluations.agreement",
    f"""
    SELECT
        evaluator,
        evaluator_version AS version,
        sumIf(n, label = 'faulty' AND class = 'faulty') AS "faulty, flagged",
        sumIf(n, label = 'faulty' AND class = 'sound') AS "faulty, missed",
        sumIf(n, label = 'sound' AND class = 'sound') AS "sound, accepted",
        sumIf(n, label = 'sound' AND class = 'faulty') AS "sound, flagged",
        {_share('"faulty, flagged"', '"faulty, missed"')} AS "sensitivity, %",
        {_share('"sound, accepted"', '"sound, flagged"')} AS "specificity, %"
    FROM {_COUNTS} AND label != '' AND class != ''
    GROUP BY evaluator, evaluator_version
    ORDER BY evaluator, max(hour) DESC, evaluator_version
    LIMIT 100
    """,
    "evaluator:text | version:text | faulty, flagged | faulty, missed | sound, accepted | sound, flagged | "
    "sensitivity, %:text | specificity, %:text",
)


def _auroc_end(sign: str) -> str:
    """Return the expression for an end of the interval of `sketches.judges.trust`."""
    half = f"{_Z} * sqrt(variance) / (auroc * (1 - auroc))"
    inside = f"1 / (1 + exp(-(log(auroc / (1 - auroc)) {sign} {half})))"
    beyond = f"{'least' if sign == '-' else 'greatest'}(auroc, {_wilson('(auroc * rows)', 'rows', sign)})"
    return f"if(auroc > 0 AND auroc < 1 AND variance > 0, {inside}, {beyond})"


# The columns `n_sound` and `n_faulty` are of one score, `sound` and `faulty` of one version of an evaluator.
_BY_SCORE = "PARTITION BY evaluator, evaluator_version ORDER BY value"
_BY_VERSION = "PARTITION BY evaluator, evaluator_version"
TRUST = table(
    "evaluations.trust",
    f"""
    SELECT
        evaluator,
        evaluator_version AS version,
        if(by_score, 'score', 'verdict') AS "measured by",
        faulty,
        sound,
        {finite("auroc")} AS AUROC,
        if(isNaN(auroc), '', {interval("low", "high")}) AS interval,
        multiIf(rows < {LEAST_LABELS}, '{FEW_LABELS}', low <= {CHANCE} AND high >= {CHANCE}, '{NO_BETTER}',
            high < {CHANCE}, '{WORSE}', '') AS "not trusted"
    FROM
    (
        SELECT
            evaluator, evaluator_version, any(has_scores) AS by_score, max(newest) AS newest_of_all,
            any(all_faulty) AS faulty, any(all_sound) AS sound, least(faulty, sound) AS rows,
            if(rows = 0, nan, any(mean)) AS auroc,
            sum(n_sound * pow(faulty_below - mean, 2)) / greatest(sound - 1, 1) / sound
                + sum(n_faulty * pow(sound_below - (1 - mean), 2)) / greatest(faulty - 1, 1) / faulty AS variance,
            {_auroc_end("-")} AS low,
            {_auroc_end("+")} AS high
        FROM
        (
            SELECT
                evaluator, evaluator_version, has_scores, newest, n_sound, n_faulty, all_sound, all_faulty,
                sound_below, faulty_below,
                sum(n_sound * faulty_below) OVER ({_BY_VERSION}) / all_sound AS mean
            FROM
            (
                SELECT
                    evaluator, evaluator_version, has_scores, newest, n_sound, n_faulty,
                    sum(n_sound) OVER ({_BY_VERSION}) AS all_sound,
                    sum(n_faulty) OVER ({_BY_VERSION}) AS all_faulty,
                    (sum(n_sound) OVER ({_BY_SCORE}) - n_sound / 2) / all_sound AS sound_below,
                    (sum(n_faulty) OVER ({_BY_SCORE}) - n_faulty / 2) / all_faulty AS faulty_below
                FROM
                (
                    SELECT
                        evaluator, evaluator_version, has_scores, if(has_scores, score, class = 'sound') AS value,
                        max(hour) AS newest,
                        sumIf(n, label = 'sound' AND NOT isNaN(value)) AS n_sound,
                        sumIf(n, label = 'faulty' AND NOT isNaN(value)) AS n_faulty
                    FROM
                    (
                        SELECT
                            evaluator, evaluator_version, hour, class, score, label, n,
                            max(NOT isNaN(score)) OVER ({_BY_VERSION}) AS has_scores
                        FROM {_COUNTS} AND class != ''
                    )
                    GROUP BY evaluator, evaluator_version, has_scores, value
                )
            )
        )
        GROUP BY evaluator, evaluator_version
    )
    ORDER BY evaluator, newest_of_all DESC, version
    LIMIT 100
    """,
    "evaluator:text | version:text | measured by:text | faulty | sound | AUROC | interval:text | not trusted:text",
)


def _hourly(name: str, key: str, value: str, condition: str = "1") -> tuple[str, str]:
    return (
        f"evaluations.{name}",
        f"""
        SELECT $__timeInterval(hour) AS time, {key} AS of_evaluator, {value} AS {name}
        FROM {_COUNTS} AND {condition}
        GROUP BY time, of_evaluator
        ORDER BY time, of_evaluator
        """,
    )


_VERSION = "concat(evaluator, ' ', left(evaluator_version, 6))"
FLAGGED = hourly(
    *_hourly("flagged", _VERSION, "sumIf(n, class = 'faulty') / sum(n)", "class != ''"),
    "of_evaluator:text | flagged",
)
WITHOUT_RESULT = hourly(
    *_hourly("without_result", "concat(evaluator, ': ', error)", "sum(n)", "error != ''"),
    "of_evaluator:text | without_result",
)
COST = hourly(
    *_hourly("cost", _VERSION, "sum(cost_usd)", "kind = 'judge'"),
    "of_evaluator:text | cost",
)
LATENCY = hourly(
    "evaluations.latency",
    f"""
    SELECT
        $__timeInterval(hour) AS time, {_VERSION} AS of_evaluator, quantileExactWeighted(0.95)(ms, answers) AS latency
    FROM (SELECT hour, evaluator, evaluator_version, latencies FROM {_COUNTS} AND kind = 'judge')
    ARRAY JOIN mapKeys(latencies) AS ms, mapValues(latencies) AS answers
    GROUP BY time, of_evaluator
    ORDER BY time, of_evaluator
    """,
    "of_evaluator:text | latency",
)

CITATION_FAULTS = hourly(
    "evaluations.citation_faults",
    f"""
    SELECT
        $__timeInterval(hour) AS time,
        concat(evaluator, ': ', replaceAll(status, '_', ' ')) AS fault,
        sum(claimed) AS total
    FROM (SELECT hour, evaluator, claims FROM {_COUNTS})
    ARRAY JOIN mapKeys(claims) AS status, mapValues(claims) AS claimed
    WHERE status != 'supported'
    GROUP BY time, fault
    ORDER BY time, fault
    """,
    "fault:text | total",
)

STORED_RATES = hourly(
    "evaluations.stored_rates",
    f"""
    SELECT
        $__timeInterval(at) AS time,
        concat(evaluator, ' ', left(evaluator_version, 6), ', ', end.1) AS of_rate,
        {finite("argMax(end.2, at)")} AS faulty
    FROM evaluation_rates FINAL
    ARRAY JOIN [('at least', low), ('rate', rate), ('at most', high)] AS end
    WHERE {is_selected("model")} AND prompt = '*' AND {_RANGE}
    GROUP BY time, evaluator, evaluator_version, of_rate
    ORDER BY time, of_rate
    """,
    "of_rate:text | faulty",
)

SUITES = table(
    "suites.runs",
    f"""
    SELECT
        suite,
        run.prompt AS prompt,
        run.version AS version,
        toDateTime(run.started_at) AS started,
        run.items AS items,
        run.mean AS score,
        {interval("run.low * 100", "run.high * 100")} AS interval,
        if(run.run_id IN (SELECT run_id FROM eval_acceptances WHERE {MODEL}), 'accepted', '') AS accepted
    FROM eval_runs AS run FINAL
    WHERE {MODEL} AND $__timeFilter(run.started_at)
    ORDER BY suite, started DESC, run.run_id
    LIMIT 100
    """,
    "suite:text | prompt:text | version:text | started:time | items | score | interval:text | accepted:text",
)

REVIEWS = table(
    "reviews.agreement",
    f"""
    SELECT
        substring(evaluator_model, length({_MODEL}) + 2) AS evaluator,
        uniqExactArray(review.people) AS people,
        sum(review.answers) AS answers,
        sum(review.gold) AS gold,
        sum(unsure) AS "not sure",
        sum(labelled_twice) AS "labelled twice",
        {finite("sum(agreed) / sum(labelled_twice)")} AS agree,
        max(hour) AS newest
    FROM review_counts AS review
    WHERE startsWith(evaluator_model, concat({_MODEL}, '.'))
        AND position(substring(evaluator_model, length({_MODEL}) + 2), '.') = 0
        AND $__timeFilter(hour)
    GROUP BY evaluator_model
    ORDER BY evaluator
    LIMIT 100
    """,
    "evaluator:text | people | answers | gold | not sure | labelled twice | agree | newest:time",
)
