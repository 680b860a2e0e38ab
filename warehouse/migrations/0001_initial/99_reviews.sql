-- Labels that people give to answers of language models: what `barograph review` wrote.

CREATE TABLE IF NOT EXISTS reviews
(
    evaluator_model LowCardinality(String) COMMENT 'Model of the evaluations: MODEL.EVALUATOR',
    id String COMMENT 'Identifier of the answer',
    version LowCardinality(String) COMMENT 'Version of the model that answered',
    reviewer LowCardinality(String) COMMENT 'Person that gave the label',
    at DateTime64(3, 'UTC') COMMENT 'Time of the label; of several of a reviewer for an answer, the latest counts',
    label LowCardinality(String) COMMENT 'faulty, sound or unsure; empty if the reviewer took the label back',
    reason LowCardinality(String) COMMENT 'Why the answer was chosen: random, uncertain, disagreement or reported. Only random ones are labels of the evaluator''s model',
    probability Float64 COMMENT 'Probability with which the answer was chosen, among those with this reason',
    note String COMMENT 'Remark of the reviewer; may quote the answer'
)
ENGINE = ReplacingMergeTree(at)
ORDER BY (evaluator_model, id, version, reviewer)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1
COMMENT 'Labels of reviewers for evaluated answers, the latest of each reviewer and answer; kept forever.';

CREATE VIEW IF NOT EXISTS review_counts
(
    evaluator_model LowCardinality(String) COMMENT 'Model of the evaluations: MODEL.EVALUATOR',
    hour DateTime('UTC') COMMENT 'Start of the hour of the newest label of the answers',
    people Array(UInt64) COMMENT 'Reviewers, as numbers: names are not shown. A number is one person within the evaluator, until a further person reviews it',
    answers UInt64 COMMENT 'Answers with a label faulty or sound',
    gold UInt64 COMMENT 'Of these, answers that were chosen at random',
    unsure UInt64 COMMENT 'Labels of people who were not sure',
    labelled_twice UInt64 COMMENT 'Answers with the labels faulty or sound of at least two people',
    agreed UInt64 COMMENT 'Of these, answers with equal labels'
)
DEFINER = CURRENT_USER SQL SECURITY DEFINER
AS
SELECT
    evaluator_model,
    toStartOfHour(newest) AS hour,
    groupUniqArrayArray(numbers) AS people,
    countIf(labels > 0) AS answers,
    countIf(is_gold) AS gold,
    sum(not_sure) AS unsure,
    countIf(labels > 1) AS labelled_twice,
    countIf(labels > 1 AND faulty IN (0, labels)) AS agreed
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
