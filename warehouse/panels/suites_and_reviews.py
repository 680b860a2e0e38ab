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
