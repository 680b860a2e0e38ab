-- Outputs compared: a version with the one before it, arms of a test with the control, and the ratio of arms.
--
-- All comparisons of one (model, kind, window, window_end) are judged together and written with one record_seq; the last such
-- set counts, so that a version that turns up late takes the place of the pair that was judged without it.

CREATE TABLE IF NOT EXISTS comparisons
(
    model LowCardinality(String) COMMENT 'Model whose outputs are compared',
    kind LowCardinality(String) COMMENT 'What is compared: version (a version and the one before it) or arm (an arm of a test and the control)',
    left LowCardinality(String) COMMENT 'The version before, or the control: the first arm in the contract''s order',
    right LowCardinality(String) COMMENT 'The version or arm that is held against it',
    field LowCardinality(String) COMMENT 'Output that is compared: score, class, confidence, latency, a metric; events for error_rate',
    measure LowCardinality(String) COMMENT 'psi, mean, p50, p99, share (of one category), null_rate, error_rate or slow_rate (latency over the promise of the contract)',
    category LowCardinality(String) COMMENT 'Category whose share it is; empty for all other measures',
    window LowCardinality(String) COMMENT 'Length of the window, such as 15m, 1h, 1d or 7d',
    window_start DateTime('UTC') COMMENT 'Start of the window in event time, inclusive' CODEC(Delta, ZSTD(1)),
    window_end DateTime('UTC') COMMENT 'End of the window in event time, exclusive' CODEC(Delta, ZSTD(1)),
    n_left UInt64 COMMENT 'Events of the left side that the measure is of' CODEC(T64, ZSTD(1)),
    n_right UInt64 COMMENT 'Events of the right side that the measure is of' CODEC(T64, ZSTD(1)),
    left_value Float64 COMMENT 'Mean, quantile or rate of the left side; NaN for psi and where it has none' CODEC(ZSTD(1)),
    right_value Float64 COMMENT 'Mean, quantile or rate of the right side; NaN for psi and where it has none' CODEC(ZSTD(1)),
    difference Float64 COMMENT 'right_value - left_value; for psi the PSI of the two sides' CODEC(ZSTD(1)),
    difference_low Float64 COMMENT 'Lower end of the 95 % interval of difference; -inf where it is open' CODEC(ZSTD(1)),
    difference_high Float64 COMMENT 'Upper end of the 95 % interval of difference; inf where it is open' CODEC(ZSTD(1)),
    p_value Float64 COMMENT 'Probability of such a difference between sides that do not differ; NaN for quantiles' CODEC(ZSTD(1)),
    df Float64 COMMENT 'Degrees of freedom of psi and mean; 0 for all other measures' CODEC(ZSTD(1)),
    phi_left Float64 COMMENT 'Overdispersion that divides the events of the left side: 1 is independent traffic' CODEC(ZSTD(1)),
    phi_right Float64 COMMENT 'Overdispersion that divides the events of the right side' CODEC(ZSTD(1)),
    level LowCardinality(String) COMMENT 'How much they differ, not which is better: stable, minor, major, or insufficient; empty for mean, p50 and p99, which have no line',
    threshold_minor Float64 COMMENT 'Difference above which the level is minor; NaN where there is no line' CODEC(ZSTD(1)),
    threshold_major Float64 COMMENT 'Difference above which the level is major; NaN where there is no line' CODEC(ZSTD(1)),
    top_bin String COMMENT 'For psi the cell that contributes most, in words; else empty' CODEC(ZSTD(1)),
    source LowCardinality(String) COMMENT 'What it was read from: counts (exact), moments (exact) or sketches',
    completeness Float64 COMMENT 'Merged / (merged + lost) source offsets of the window: 1 is complete',
    judged_at DateTime64(3, 'UTC') COMMENT 'When the verdict was given, by the clock of the monitor' CODEC(Delta, ZSTD(1)),
    record_seq UInt64 COMMENT 'Place in the partials topic of the record at which the verdict was given: epoch * 2^48 + offset; all rows of a revision have the same' CODEC(Delta, ZSTD(1))
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(window_end)
ORDER BY (model, kind, window, window_end, left, right, field, measure, category, record_seq)
TTL window_end + INTERVAL 750 DAY
SETTINGS ttl_only_drop_parts = 1, fsync_after_insert = 1, fsync_part_directory = 1
COMMENT 'Outputs of a version held against the version before, and of an arm against the control, one row per measure, every revision; kept for 750 days of event time. The view latest_comparisons holds the last revision.';

CREATE VIEW IF NOT EXISTS latest_comparisons
(
    model LowCardinality(String) COMMENT 'Model whose outputs are compared',
    kind LowCardinality(String) COMMENT 'What is compared: version (a version and the one before it) or arm (an arm of a test and the control)',
    left LowCardinality(String) COMMENT 'The version before, or the control: the first arm in the contract''s order',
    right LowCardinality(String) COMMENT 'The version or arm that is held against it',
    field LowCardinality(String) COMMENT 'Output that is compared: score, class, confidence, latency, a metric; events for error_rate',
    measure LowCardinality(String) COMMENT 'psi, mean, p50, p99, share (of one category), null_rate, error_rate or slow_rate (latency over the promise of the contract)',
    category LowCardinality(String) COMMENT 'Category whose share it is; empty for all other measures',
    window LowCardinality(String) COMMENT 'Length of the window, such as 15m, 1h, 1d or 7d',
    window_start DateTime('UTC') COMMENT 'Start of the window in event time, inclusive',
    window_end DateTime('UTC') COMMENT 'End of the window in event time, exclusive',
    n_left UInt64 COMMENT 'Events of the left side that the measure is of',
    n_right UInt64 COMMENT 'Events of the right side that the measure is of',
    left_value Float64 COMMENT 'Mean, quantile or rate of the left side; NaN for psi and where it has none',
    right_value Float64 COMMENT 'Mean, quantile or rate of the right side; NaN for psi and where it has none',
    difference Float64 COMMENT 'right_value - left_value; for psi the PSI of the two sides',
    difference_low Float64 COMMENT 'Lower end of the 95 % interval of difference; -inf where it is open',
    difference_high Float64 COMMENT 'Upper end of the 95 % interval of difference; inf where it is open',
    p_value Float64 COMMENT 'Probability of such a difference between sides that do not differ; NaN for quantiles',
    df Float64 COMMENT 'Degrees of freedom of psi and mean; 0 for all other measures',
    phi_left Float64 COMMENT 'Overdispersion that divides the events of the left side: 1 is independent traffic',
    phi_right Float64 COMMENT 'Overdispersion that divides the events of the right side',
    level LowCardinality(String) COMMENT 'How much they differ, not which is better: stable, minor, major, or insufficient; empty for mean, p50 and p99, which have no line',
    threshold_minor Float64 COMMENT 'Difference above which the level is minor; NaN where there is no line',
    threshold_major Float64 COMMENT 'Difference above which the level is major; NaN where there is no line',
    top_bin String COMMENT 'For psi the cell that contributes most, in words; else empty',
    source LowCardinality(String) COMMENT 'What it was read from: counts (exact), moments (exact) or sketches',
    completeness Float64 COMMENT 'Merged / (merged + lost) source offsets of the window: 1 is complete',
    judged_at DateTime64(3, 'UTC') COMMENT 'When the verdict was given, by the clock of the monitor',
    record_seq UInt64 COMMENT 'Place in the partials topic of the record at which the verdict was given: epoch * 2^48 + offset; all rows of a revision have the same'
)
AS
SELECT
    model,
    kind,
    left,
    right,
    field,
    measure,
    category,
    window,
    window_start,
    window_end,
    n_left,
    n_right,
    left_value,
    right_value,
    difference,
    difference_low,
    difference_high,
    p_value,
    df,
    phi_left,
    phi_right,
    level,
    threshold_minor,
    threshold_major,
    top_bin,
    source,
    completeness,
    judged_at,
    record_seq
FROM
(
    SELECT *, max(record_seq) OVER (PARTITION BY model, kind, window, window_end) AS last_record_seq
    FROM comparisons FINAL
)
WHERE record_seq = last_record_seq
COMMENT 'Outputs of a version held against the version before, and of an arm against the control: the last revision of each window. Give a model and a range of window_end.';

CREATE VIEW IF NOT EXISTS arm_comparison
(
    model LowCardinality(String) COMMENT 'Name of the model',
    window LowCardinality(String) COMMENT 'Length of the window, such as 15m, 1h, 1d or 7d',
    window_start DateTime('UTC') COMMENT 'Start of the window in event time, inclusive',
    window_end DateTime('UTC') COMMENT 'End of the window in event time, exclusive',
    control LowCardinality(String) COMMENT 'First arm in the contract''s order',
    arm LowCardinality(String) COMMENT 'Arm that is held against the control',
    field LowCardinality(String) COMMENT 'Output that is compared: score, class, confidence, latency, a metric; events for error_rate',
    measure LowCardinality(String) COMMENT 'psi, mean, p50, p99, share (of one category), null_rate, error_rate or slow_rate',
    category LowCardinality(String) COMMENT 'Category whose share it is; empty for all other measures',
    control_n UInt64 COMMENT 'Events on the side of control',
    arm_n UInt64 COMMENT 'Events on the side of arm',
    control_value Float64 COMMENT 'Mean, quantile or rate of control; NaN for psi',
    arm_value Float64 COMMENT 'Mean, quantile or rate of arm; NaN for psi',
    difference Float64 COMMENT 'arm_value - control_value; for psi the PSI of the two',
    difference_low Float64 COMMENT 'Lower end of its 95 % interval',
    difference_high Float64 COMMENT 'Upper end of its 95 % interval',
    p_value Float64 COMMENT 'Probability of such a difference between sides that do not differ; NaN for quantiles',
    level LowCardinality(String) COMMENT 'How much they differ, not which is better: stable, minor, major, or insufficient; empty for mean, p50 and p99',
    top_bin String COMMENT 'For psi the cell that contributes most, in words',
    source LowCardinality(String) COMMENT 'What it was read from: counts (exact), moments (exact) or sketches',
    completeness Float64 COMMENT 'Merged / (merged + lost) source offsets of the window: 1 is complete'
)
AS
SELECT
    model,
    window,
    window_start,
    window_end,
    left AS control,
    right AS arm,
    field,
    measure,
    category,
    n_left AS control_n,
    n_right AS arm_n,
    left_value AS control_value,
    right_value AS arm_value,
    difference,
    difference_low,
    difference_high,
    p_value,
    level,
    top_bin,
    source,
    completeness
FROM latest_comparisons
WHERE kind = 'arm'
COMMENT 'How each arm of a test differs from the control: one line per window and measure. Give a model and a range of window_end.';

CREATE VIEW IF NOT EXISTS version_comparison
(
    model LowCardinality(String) COMMENT 'Name of the model',
    window LowCardinality(String) COMMENT 'Length of the window, such as 15m, 1h, 1d or 7d',
    window_start DateTime('UTC') COMMENT 'Start of the window in event time, inclusive',
    window_end DateTime('UTC') COMMENT 'End of the window in event time, exclusive',
    previous LowCardinality(String) COMMENT 'Version before',
    version LowCardinality(String) COMMENT 'Version that is held against it',
    field LowCardinality(String) COMMENT 'Output that is compared: score, class, confidence, latency, a metric; events for error_rate',
    measure LowCardinality(String) COMMENT 'psi, mean, p50, p99, share (of one category), null_rate, error_rate or slow_rate',
    category LowCardinality(String) COMMENT 'Category whose share it is; empty for all other measures',
    previous_n UInt64 COMMENT 'Events on the side of previous',
    version_n UInt64 COMMENT 'Events on the side of version',
    previous_value Float64 COMMENT 'Mean, quantile or rate of previous; NaN for psi',
    version_value Float64 COMMENT 'Mean, quantile or rate of version; NaN for psi',
    difference Float64 COMMENT 'version_value - previous_value; for psi the PSI of the two',
    difference_low Float64 COMMENT 'Lower end of its 95 % interval',
    difference_high Float64 COMMENT 'Upper end of its 95 % interval',
    p_value Float64 COMMENT 'Probability of such a difference between sides that do not differ; NaN for quantiles',
    level LowCardinality(String) COMMENT 'How much they differ, not which is better: stable, minor, major, or insufficient; empty for mean, p50 and p99',
    top_bin String COMMENT 'For psi the cell that contributes most, in words',
    source LowCardinality(String) COMMENT 'What it was read from: counts (exact), moments (exact) or sketches',
    completeness Float64 COMMENT 'Merged / (merged + lost) source offsets of the window: 1 is complete'
)
AS
SELECT
    model,
    window,
    window_start,
    window_end,
    left AS previous,
    right AS version,
    field,
    measure,
    category,
    n_left AS previous_n,
    n_right AS version_n,
    left_value AS previous_value,
    right_value AS version_value,
    difference,
    difference_low,
    difference_high,
    p_value,
    level,
    top_bin,
    source,
    completeness
FROM latest_comparisons
WHERE kind = 'version'
COMMENT 'How a version differs from the one before it where both had traffic in a window: one line per window and measure. Give a model and a range of window_end.';

CREATE TABLE IF NOT EXISTS arm_ratios
(
    model LowCardinality(String) COMMENT 'Model whose arms they are',
    unit LowCardinality(String) COMMENT 'What is assigned to arms: context.NAME as the contract says, or prediction',
    since DateTime64(3, 'UTC') COMMENT 'Received time from which units are counted: when the contract first promised these shares' CODEC(Delta, ZSTD(1)),
    at DateTime64(3, 'UTC') COMMENT 'When the units were counted' CODEC(Delta, ZSTD(1)),
    arm LowCardinality(String) COMMENT 'Arm of the test',
    expected_share Float64 COMMENT 'Share of units that the contract promises the arm' CODEC(ZSTD(1)),
    units UInt64 COMMENT 'Distinct units that were seen in this arm and in no other' CODEC(T64, ZSTD(1)),
    share Float64 COMMENT 'Share of the units that the arm has: units / all units, NaN where there is none' CODEC(ZSTD(1)),
    crossed UInt64 COMMENT 'Distinct units of the arm that were seen in another arm too: they are in no arm''s units' CODEC(T64, ZSTD(1)),
    unitless UInt64 COMMENT 'Distinct predictions of the arm whose context does not hold the unit: they are not counted' CODEC(T64, ZSTD(1)),
    p_value Float64 COMMENT 'Of the whole test, the same for every arm: the probability that a test with the promised shares ever comes this far, however often it is looked at; 1 where nothing is known' CODEC(ZSTD(1)),
    level LowCardinality(String) COMMENT 'stable, minor (p up to 0.01), major (p up to 0.001), or insufficient: too few units to show five points, or no raw predictions are kept'
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(at)
ORDER BY (model, unit, since, at, arm)
TTL toDateTime(at) + INTERVAL 750 DAY
SETTINGS ttl_only_drop_parts = 1, fsync_after_insert = 1, fsync_part_directory = 1
COMMENT 'Whether the units of a test fall to its arms in the promised shares, one row per look and arm; kept for 750 days. The view latest_arm_ratios holds the last look of each test.';

CREATE VIEW IF NOT EXISTS latest_arm_ratios
(
    model LowCardinality(String) COMMENT 'Model whose arms they are',
    unit LowCardinality(String) COMMENT 'What is assigned to arms: context.NAME as the contract says, or prediction',
    since DateTime64(3, 'UTC') COMMENT 'Received time from which units are counted: when the contract first promised these shares',
    at DateTime64(3, 'UTC') COMMENT 'When the units were counted',
    arm LowCardinality(String) COMMENT 'Arm of the test',
    expected_share Float64 COMMENT 'Share of units that the contract promises the arm',
    units UInt64 COMMENT 'Distinct units that were seen in this arm and in no other',
    share Float64 COMMENT 'Share of the units that the arm has: units / all units, NaN where there is none',
    crossed UInt64 COMMENT 'Distinct units of the arm that were seen in another arm too: they are in no arm''s units',
    unitless UInt64 COMMENT 'Distinct predictions of the arm whose context does not hold the unit: they are not counted',
    p_value Float64 COMMENT 'Of the whole test, the same for every arm: the probability that a test with the promised shares ever comes this far, however often it is looked at; 1 where nothing is known',
    level LowCardinality(String) COMMENT 'stable, minor (p up to 0.01), major (p up to 0.001), or insufficient: too few units to show five points, or no raw predictions are kept'
)
AS
SELECT
    model,
    unit,
    since,
    max(looked.at) AS at,
    arm,
    argMax(looked.expected_share, looked.at) AS expected_share,
    argMax(looked.units, looked.at) AS units,
    argMax(looked.share, looked.at) AS share,
    argMax(looked.crossed, looked.at) AS crossed,
    argMax(looked.unitless, looked.at) AS unitless,
    argMax(looked.p_value, looked.at) AS p_value,
    argMax(looked.level, looked.at) AS level
FROM arm_ratios AS looked FINAL
GROUP BY model, unit, since, arm
COMMENT 'Whether the units of a test fall to its arms in the promised shares: the last look of each test.';
