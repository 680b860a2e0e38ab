-- Verdicts on windows: drift, rates and descriptive statistics, every revision.
--
-- The sorting key ends in record_seq and the engine has no version column: a second verdict on a window is a new row, and
-- a repeat of the same record_seq replaces the row. A verdict that may have paged someone is never overwritten.

CREATE TABLE IF NOT EXISTS drift
(
    model LowCardinality(String) COMMENT 'Model',
    version LowCardinality(String) COMMENT 'Version of the model',
    baseline_id LowCardinality(String) COMMENT 'Baseline that the window is compared with',
    slice LowCardinality(String) COMMENT 'Slice of the events: all, or NAME=value',
    field LowCardinality(String) COMMENT 'Field: a feature, the score, the class, latency or a metric',
    window LowCardinality(String) COMMENT 'Length of the window, such as 15m, 1h, 1d or 7d; or its events, such as last 2000',
    window_start DateTime('UTC') COMMENT 'Start of the window in event time, inclusive' CODEC(Delta, ZSTD(1)),
    window_end DateTime('UTC') COMMENT 'End of the window in event time, exclusive' CODEC(Delta, ZSTD(1)),
    n UInt64 COMMENT 'Events in the window with a valid or null value' CODEC(T64, ZSTD(1)),
    psi Float64 COMMENT 'Population stability index of the window against the baseline, from exact counts' CODEC(ZSTD(1)),
    psi_low Float64 COMMENT 'Lower end of the 95 % interval of the true PSI' CODEC(ZSTD(1)),
    psi_high Float64 COMMENT 'Upper end of the 95 % interval of the true PSI; psi contains sampling noise and can exceed it if n is small' CODEC(ZSTD(1)),
    js Float64 COMMENT 'Jensen-Shannon distance between window and baseline, base 2, from exact counts: 0 for equal, 1 for disjoint distributions; NaN without events' CODEC(ZSTD(1)),
    p_value Float64 COMMENT 'Probability of a PSI this large without drift' CODEC(ZSTD(1)),
    q_value Float64 COMMENT 'p_value corrected for the number of fields of the model, slice and window, weighted (Benjamini-Hochberg): the false discovery rate among fields with at most this q_value; NaN with too little data. It sets no level' CODEC(ZSTD(1)),
    df Float64 COMMENT 'Degrees of freedom of PSI: occupied bins minus one, or fewer if windows of training move in fewer directions',
    phi Float64 COMMENT 'Overdispersion, which divides the sample size; 1 for independent traffic' CODEC(ZSTD(1)),
    season LowCardinality(String) COMMENT 'Seasonal reference of the window: hour_of_week (the same hours of the week in the training data) or none (all training data)',
    level LowCardinality(String) COMMENT 'stable, minor, major, or insufficient (too little independent data)',
    reason LowCardinality(String) COMMENT 'Why the level is insufficient (docs/statistics.md lists the reasons); empty for other levels',
    threshold_minor Float64 COMMENT 'PSI above which the level is minor',
    threshold_major Float64 COMMENT 'PSI above which the level is major',
    top_bin String COMMENT 'Cell that contributes most to the PSI, as text' CODEC(ZSTD(1)),
    top_bin_index Int32 COMMENT 'Index of that cell in counts; -1 if there is none',
    expected_share Float64 COMMENT 'Share of that cell in the baseline' CODEC(ZSTD(1)),
    actual_share Float64 COMMENT 'Share of that cell in the window' CODEC(ZSTD(1)),
    visible_shift Float64 COMMENT 'Minimum detectable shift of the mean at 80 % power, in standard deviations' CODEC(ZSTD(1)),
    readings Float64 COMMENT 'Independent events of the window: n and the rows of training, combined and divided by phi' CODEC(ZSTD(1)),
    readings_needed Float64 COMMENT 'readings from which the level follows from the thresholds alone' CODEC(ZSTD(1)),
    mean_rank Float64 COMMENT 'Mean rank of the values among those of training: the probability that a value is above one of training; categories have the order of the bins; 0.5 without values' CODEC(ZSTD(1)),
    mean_p Float64 COMMENT 'Probability of a mean rank this far from 0.5 without drift, from its variation between windows of training; NaN if training had fewer than five' CODEC(ZSTD(1)),
    false_major Float64 COMMENT 'Share of windows without drift that would be major, at most, if phi was learned from 5 to 19 windows; else 0' CODEC(ZSTD(1)),
    completeness Float64 COMMENT 'Merged / (merged + lost) source offsets of the window; 1 if complete',
    judged_at DateTime64(3, 'UTC') COMMENT 'Time of the verdict, by the monitor''s clock' CODEC(Delta, ZSTD(1)),
    record_seq UInt64 COMMENT 'Position of the record that triggered the verdict in the partials topic: epoch * 2^48 + offset; the latest revision has the greatest' CODEC(Delta, ZSTD(1)),
    PROJECTION levels
    (
        SELECT model, version, slice, window, window_end, level, max(psi)
        GROUP BY model, version, slice, window, window_end, level
    )
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(window_end)
ORDER BY (model, version, baseline_id, slice, field, window, window_end, record_seq)
TTL window_end + INTERVAL 750 DAY
SETTINGS ttl_only_drop_parts = 1, fsync_after_insert = 1, fsync_part_directory = 1, deduplicate_merge_projection_mode = 'rebuild'
COMMENT 'Drift verdicts on the distribution of each field per window, every revision; kept for 750 days of event time. The view latest_drift holds the latest revision.';

CREATE TABLE IF NOT EXISTS rates
(
    model LowCardinality(String) COMMENT 'Model',
    version LowCardinality(String) COMMENT 'Version of the model',
    baseline_id LowCardinality(String) COMMENT 'Baseline that the window is compared with',
    slice LowCardinality(String) COMMENT 'Slice of the events: all, or NAME=value',
    field LowCardinality(String) COMMENT 'Field; events for the kind error, which counts whole predictions',
    kind LowCardinality(String) COMMENT 'Kind of event: error, or a kind of value, such as null or unseen (see docs/statistics.md)',
    window LowCardinality(String) COMMENT 'Length of the window, such as 15m, 1h, 1d or 7d; or its events, such as last 2000',
    window_start DateTime('UTC') COMMENT 'Start of the window in event time, inclusive' CODEC(Delta, ZSTD(1)),
    window_end DateTime('UTC') COMMENT 'End of the window in event time, exclusive' CODEC(Delta, ZSTD(1)),
    n UInt64 COMMENT 'Events in the window' CODEC(T64, ZSTD(1)),
    k UInt64 COMMENT 'Events of the kind' CODEC(T64, ZSTD(1)),
    rate Float64 COMMENT 'Share of the kind in the window: k / n; NaN if n is 0' CODEC(ZSTD(1)),
    baseline_rate Float64 COMMENT 'Share of the kind in the baseline; for unseen a Good-Turing estimate' CODEC(ZSTD(1)),
    delta Float64 COMMENT 'rate - baseline_rate; 0.05 is five percentage points' CODEC(ZSTD(1)),
    delta_low Float64 COMMENT 'Lower end of the 95 % interval of delta' CODEC(ZSTD(1)),
    delta_high Float64 COMMENT 'Upper end of the 95 % interval of delta' CODEC(ZSTD(1)),
    p_value Float64 COMMENT 'Probability of a difference this large if the rates were equal' CODEC(ZSTD(1)),
    phi Float64 COMMENT 'Overdispersion, which divides the sample size; 1 for independent traffic' CODEC(ZSTD(1)),
    training_delta Float64 COMMENT 'delta_low that windows of training repeatedly had; major and pages need more' CODEC(ZSTD(1)),
    level LowCardinality(String) COMMENT 'stable, minor, major, or insufficient (too little independent data)',
    reason LowCardinality(String) COMMENT 'Why the level is insufficient (docs/statistics.md lists the reasons); empty for other levels',
    threshold_minor Float64 COMMENT 'delta above which the level is minor',
    threshold_major Float64 COMMENT 'delta above which the level is major',
    completeness Float64 COMMENT 'Merged / (merged + lost) source offsets of the window; 1 if complete',
    judged_at DateTime64(3, 'UTC') COMMENT 'Time of the verdict, by the monitor''s clock' CODEC(Delta, ZSTD(1)),
    record_seq UInt64 COMMENT 'Position of the record that triggered the verdict in the partials topic: epoch * 2^48 + offset; the latest revision has the greatest' CODEC(Delta, ZSTD(1)),
    PROJECTION levels
    (
        SELECT model, version, slice, kind, window, window_end, level, max(delta)
        GROUP BY model, version, slice, kind, window, window_end, level
    )
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(window_end)
ORDER BY (model, version, baseline_id, slice, field, kind, window, window_end, record_seq)
TTL window_end + INTERVAL 750 DAY
SETTINGS ttl_only_drop_parts = 1, fsync_after_insert = 1, fsync_part_directory = 1, deduplicate_merge_projection_mode = 'rebuild'
COMMENT 'Verdicts on the rates of nulls, invalid, out-of-range and unseen values and of errors, every revision; kept for 750 days of event time. The view latest_rates holds the latest revision.';

CREATE TABLE IF NOT EXISTS distances
(
    model LowCardinality(String) COMMENT 'Model',
    version LowCardinality(String) COMMENT 'Version of the model',
    baseline_id LowCardinality(String) COMMENT 'Baseline that the window is compared with',
    slice LowCardinality(String) COMMENT 'Slice of the events: all',
    field LowCardinality(String) COMMENT 'Numeric field: a feature, the score, latency or a metric',
    window LowCardinality(String) COMMENT 'Length of the window, such as 15m, 1h, 1d or 7d; or its events, such as last 2000',
    window_start DateTime('UTC') COMMENT 'Start of the window in event time, inclusive' CODEC(Delta, ZSTD(1)),
    window_end DateTime('UTC') COMMENT 'End of the window in event time, exclusive; windows end at every quarter of their length, rounded up to whole hops' CODEC(Delta, ZSTD(1)),
    n UInt64 COMMENT 'Valid numbers in the window' CODEC(T64, ZSTD(1)),
    phi Float64 COMMENT 'Overdispersion, which divides the sample size; 1 for independent traffic' CODEC(ZSTD(1)),
    ks Float64 COMMENT 'Kolmogorov-Smirnov statistic of the window against the baseline, from the sketch; NaN if the sketch is incomplete or the baseline has no quantiles' CODEC(ZSTD(1)),
    ks_error Float64 COMMENT 'Error bound of ks against the statistic of the raw values, at 99 % confidence: the rank errors of sketch and baseline' CODEC(ZSTD(1)),
    ks_threshold Float64 COMMENT 'Threshold of ks at the 5 % level: the critical value for n / phi, plus ks_error' CODEC(ZSTD(1)),
    ks_rejects Bool COMMENT 'Whether ks exceeds ks_threshold; false if the window is incomplete. It sets no level',
    w1 Float64 COMMENT 'Wasserstein distance from the baseline within its 0.1 to 99.9 % quantiles, in interquartile ranges of the baseline; in units of the quantile span if that range is 0, NaN if both are 0' CODEC(ZSTD(1)),
    mean Float64 COMMENT 'Mean of the valid numbers' CODEC(ZSTD(1)),
    mean_shift Float64 COMMENT 'Mean minus the baseline mean, in standard deviations of the baseline; NaN if the baseline is constant' CODEC(ZSTD(1)),
    mean_shift_low Float64 COMMENT 'Lower end of the 95 % interval of mean_shift; NaN with fewer than two independent numbers' CODEC(ZSTD(1)),
    mean_shift_high Float64 COMMENT 'Upper end of the 95 % interval of mean_shift' CODEC(ZSTD(1)),
    std_ratio Float64 COMMENT 'Standard deviation of the valid numbers divided by that of the baseline' CODEC(ZSTD(1)),
    std_ratio_low Float64 COMMENT 'Lower end of the 95 % interval of std_ratio; NaN with fewer than two independent numbers' CODEC(ZSTD(1)),
    std_ratio_high Float64 COMMENT 'Upper end of the 95 % interval of std_ratio' CODEC(ZSTD(1)),
    p05 Float64 COMMENT 'Value that 5 % of the numbers do not exceed, from the sketch' CODEC(ZSTD(1)),
    p25 Float64 COMMENT 'Value that 25 % of the numbers do not exceed, from the sketch' CODEC(ZSTD(1)),
    p50 Float64 COMMENT 'Value that 50 % of the numbers do not exceed, from the sketch' CODEC(ZSTD(1)),
    p75 Float64 COMMENT 'Value that 75 % of the numbers do not exceed, from the sketch' CODEC(ZSTD(1)),
    p95 Float64 COMMENT 'Value that 95 % of the numbers do not exceed, from the sketch' CODEC(ZSTD(1)),
    p99 Float64 COMMENT 'Value that 99 % of the numbers do not exceed, from the sketch' CODEC(ZSTD(1)),
    completeness Float64 COMMENT 'Merged / (merged + lost) source offsets of the window; 1 if complete',
    judged_at DateTime64(3, 'UTC') COMMENT 'Time of the revision, by the monitor''s clock' CODEC(Delta, ZSTD(1)),
    record_seq UInt64 COMMENT 'Position of the record that triggered the revision in the partials topic: epoch * 2^48 + offset; the latest revision has the greatest' CODEC(Delta, ZSTD(1))
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(window_end)
ORDER BY (model, version, baseline_id, slice, field, window, window_end, record_seq)
TTL window_end + INTERVAL 750 DAY
SETTINGS ttl_only_drop_parts = 1, fsync_after_insert = 1, fsync_part_directory = 1
COMMENT 'Descriptive statistics of the numbers in a window, from sketches and moments, every revision. Kept for 750 days of event time. The view latest_distances holds the latest revision.';
