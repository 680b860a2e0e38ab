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
