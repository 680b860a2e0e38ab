-- Rates of faulty answers, corrected by the labels of people, as the scorer computes them for alert rules.

CREATE TABLE IF NOT EXISTS evaluation_rates
(
    model LowCardinality(String) COMMENT 'Model that answered',
    evaluator LowCardinality(String) COMMENT 'Evaluator, as the contract names it',
    evaluator_version LowCardinality(String) COMMENT 'Hash of what decides the result; the rates of two versions are not joined',
    prompt LowCardinality(String) COMMENT 'Prompt and its version, such as answer@7; empty for answers without one; * for all answers together',
    at DateTime('UTC') COMMENT 'Time of the computation: end of the seven days of answers that are counted' CODEC(Delta, ZSTD(1)),
    newest_at DateTime64(3, 'UTC') COMMENT 'Event time of the newest of these answers' CODEC(Delta, ZSTD(1)),
    judged UInt64 COMMENT 'Answers with a result of the evaluator' CODEC(T64, ZSTD(1)),
    flagged UInt64 COMMENT 'Of these, answers that it calls faulty' CODEC(T64, ZSTD(1)),
    labels UInt64 COMMENT 'Answers with a result and a label of people' CODEC(T64, ZSTD(1)),
    rate Float64 COMMENT 'Share of faulty answers; NaN if labels of a verdict are missing' CODEC(ZSTD(1)),
    low Float64 COMMENT 'Lower end of its 95 % interval; NaN like the rate' CODEC(ZSTD(1)),
    high Float64 COMMENT 'Upper end of the interval' CODEC(ZSTD(1)),
    reason LowCardinality(String) COMMENT 'Why the rate is insufficient: no gold (no label of a verdict), little gold (fewer than 50 labels); empty if it is sufficient',
    alpha Float64 COMMENT 'Agreement of the evaluator''s reviewers: Krippendorff''s alpha of labels of the last 28 days for answers that were chosen at random, in rows of all answers. NaN if unknown' CODEC(ZSTD(1)),
    alpha_low Float64 COMMENT 'Lower end of its 95 % interval; NaN with less than 10 answers about which reviewers differ' CODEC(ZSTD(1)),
    alpha_high Float64 COMMENT 'Upper end of the interval' CODEC(ZSTD(1)),
    reviewed_twice UInt64 COMMENT 'Answers with the labels of at least two reviewers' CODEC(T64, ZSTD(1)),
    disagreements UInt64 COMMENT 'Of these, answers with labels that differ' CODEC(T64, ZSTD(1))
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(at)
ORDER BY (model, evaluator, evaluator_version, prompt, at)
TTL at + INTERVAL 750 DAY
SETTINGS ttl_only_drop_parts = 1, fsync_after_insert = 1, fsync_part_directory = 1
COMMENT 'Rates of faulty answers of seven days by evaluator, its version and prompt, about once an hour while the evaluator has new results; kept for 750 days.';
