-- Arms that serve versions of a prompt, compared after every hour, and proposals to roll back.

CREATE TABLE IF NOT EXISTS arm_comparisons
(
    model LowCardinality(String) COMMENT 'Model that runs the test',
    control LowCardinality(String) COMMENT 'Arm that is compared with, such as answer@7',
    arm LowCardinality(String) COMMENT 'Arm that is judged, such as answer@8',
    criterion LowCardinality(String) COMMENT 'Criterion from the section rollback of the contract',
    at DateTime('UTC') COMMENT 'Time of the look: end of the newest hour that it uses' CODEC(Delta, ZSTD(1)),
    value Float64 COMMENT 'How much more the arm has than the control, in the unit of the margin: more is worse. NaN if unknown' CODEC(ZSTD(1)),
    low Float64 COMMENT 'Lower end of the interval that holds at all looks together; -inf if there is not enough data' CODEC(ZSTD(1)),
    high Float64 COMMENT 'Upper end; inf if there is not enough data' CODEC(ZSTD(1)),
    margin Float64 COMMENT 'Margin of the contract at the look' CODEC(ZSTD(1)),
    unit LowCardinality(String) COMMENT 'share: the difference of two shares; ratio: the relative difference, 0.1 is 10 % more',
    control_value Float64 COMMENT 'Mean of the control: a share, tokens, dollars, or of times the typical value in milliseconds. NaN if unknown' CODEC(ZSTD(1)),
    control_events UInt64 COMMENT 'Predictions of the control so far with the number' CODEC(T64, ZSTD(1)),
    arm_events UInt64 COMMENT 'Predictions of the arm so far with the number' CODEC(T64, ZSTD(1)),
    control_units UInt64 COMMENT 'Units of the control so far, also of hours without the other arm; predictions, if each is assigned by itself' CODEC(T64, ZSTD(1)),
    arm_units UInt64 COMMENT 'Units of the arm so far, counted in the same way' CODEC(T64, ZSTD(1)),
    outcome LowCardinality(String) COMMENT 'harm: worse by more than the margin; no-harm: not worse by more than it; undecided; insufficient: not enough data',
    compared_at DateTime64(3, 'UTC') COMMENT 'Time at which the row was computed, by the scorer''s clock' CODEC(Delta, ZSTD(1))
)
ENGINE = ReplacingMergeTree(compared_at)
PARTITION BY toYYYYMM(at)
ORDER BY (model, arm, control, criterion, at)
TTL at + INTERVAL 750 DAY
SETTINGS ttl_only_drop_parts = 1, fsync_after_insert = 1, fsync_part_directory = 1
COMMENT 'Comparison of every arm with its control after each hour with both, per criterion. A look stays as it was computed: late data counts in the next one. Kept for 750 days of event time.';

CREATE TABLE IF NOT EXISTS rollback_proposals
(
    model LowCardinality(String) COMMENT 'Model whose contract asks for the rollback',
    prompt LowCardinality(String) COMMENT 'Name of the prompt',
    label LowCardinality(String) COMMENT 'Label to move',
    version UInt32 COMMENT 'Version that does harm',
    control LowCardinality(String) COMMENT 'Arm that it was compared with',
    arm LowCardinality(String) COMMENT 'Arm that serves the version',
    target String COMMENT 'Where the label is to point: previous, a version or a label',
    mode LowCardinality(String) COMMENT 'propose or act, from the contract at the look',
    at DateTime('UTC') COMMENT 'Time of the look: end of the newest hour of the evidence',
    reason String COMMENT 'The evidence, as text',
    proposed_at DateTime64(3, 'UTC') COMMENT 'Time at which the row was written, by the scorer''s clock'
)
ENGINE = ReplacingMergeTree
ORDER BY (model, prompt, label, version, control)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1
COMMENT 'Proposals to roll a prompt back: one for each version and label, at the first harm. Kept forever.';
