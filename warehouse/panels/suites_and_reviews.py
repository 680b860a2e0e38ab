"""Runs of evaluation suites and labels of reviewers, for the selected model."""

from __future__ import annotations

from barograph_server.warehouse.panels.fragments import MODEL, finite, interval, selected
from barograph_server.warehouse.panels.query import table

_MODEL = selected("model")

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
    "suite:text",
    "prompt:text",
    "version:text",
    "started:time",
    "items",
    "score",
    "interval:text",
    "accepted:text",
)

REVIEWS = table(
    "reviews.agreement",
    f"""
    SELECT
        substring(evaluator_model, length({_MODEL}) + 2) AS evaluator,
        uniqExactArray(reviewers) AS people,
        countIf(n > 0) AS answers,
        countIf(is_gold) AS gold,
        sum(unsure) AS "not sure",
        countIf(n > 1) AS "labelled twice",
        {finite("countIf(n > 1 AND faulty IN (0, n)) / countIf(n > 1)")} AS agree,
        toDateTime(max(newest)) AS newest
    FROM
    (
        SELECT
            evaluator_model,
            groupUniqArray(reviewer) AS reviewers,
            countIf(label IN ('faulty', 'sound')) AS n,
            countIf(label = 'faulty') AS faulty,
            countIf(label = 'unsure') AS unsure,
            countIf(label IN ('faulty', 'sound') AND reason = 'random') > 0 AS is_gold,
            max(at) AS newest
        FROM review_labels
        WHERE startsWith(evaluator_model, concat({_MODEL}, '.'))
            AND position(substring(evaluator_model, length({_MODEL}) + 2), '.') = 0
            AND $__timeFilter(at)
        GROUP BY evaluator_model, id, version
    )
    GROUP BY evaluator_model
    ORDER BY evaluator
    LIMIT 100
    """,
    "evaluator:text",
    "people",
    "answers",
    "gold",
    "not sure",
    "labelled twice",
    "agree",
    "newest:time",
)
