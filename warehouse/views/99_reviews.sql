CREATE OR REPLACE VIEW review_counts
(
    evaluator_model,
    hour DateTime('UTC') ALIAS toStartOfHour(newest) COMMENT 'Start of the hour of the newest label of the answers',
    people Array(UInt64) ALIAS groupUniqArrayArray(numbers) COMMENT 'Reviewers, as numbers: names are not shown. A number is one person within the evaluator, until a further person reviews it',
    answers UInt64 ALIAS countIf(labels > 0) COMMENT 'Answers with a label faulty or sound',
    gold UInt64 ALIAS countIf(is_gold) COMMENT 'Of these, answers that were chosen at random',
    unsure UInt64 ALIAS sum(not_sure) COMMENT 'Labels of people who were not sure',
    labelled_twice UInt64 ALIAS countIf(labels > 1) COMMENT 'Answers with the labels faulty or sound of at least two people',
    agreed UInt64 ALIAS countIf(labels > 1 AND faulty IN (0, labels)) COMMENT 'Of these, answers with equal labels'
)
DEFINER = CURRENT_USER SQL SECURITY DEFINER
FROM
(
    SELECT
        evaluator_model,
        groupArray(person) AS numbers,
        countIf(label IN ('faulty', 'sound')) AS labels,
        countIf(label = 'faulty') AS faulty,
        countIf(label = 'unsure') AS not_sure,
        countIf(label IN ('faulty', 'sound') AND reason = 'random') > 0 AS is_gold,
        max(at) AS newest
    FROM
    (
        SELECT
            evaluator_model, id, version, label, reason, at,
            dense_rank() OVER (PARTITION BY evaluator_model ORDER BY reviewer) AS person
        FROM reviews FINAL
        WHERE label != ''
    )
    GROUP BY evaluator_model, id, version
)
GROUP BY evaluator_model, hour
COMMENT 'Labels of reviewers in effect, counted per evaluator and hour, without ids, names and remarks.';
