-- Verdicts: drift and rates, every revision of each.
--
-- The sorting key ends in record_seq and the engine has no version column: a second verdict on a window is a new row, a
-- repeat of the same record_seq replaces the row. What a pager saw is never overwritten.

CREATE TABLE IF NOT EXISTS drift
(
    model LowCardinality(String) COMMENT 'Model that is judged',
    version LowCardinality(String) COMMENT 'Version of the model',
    baseline_id LowCardinality(String) COMMENT 'Baseline that the window is judged against',
    slice LowCardinality(String) COMMENT 'Slice of the events: all, or NAME=value',
    field LowCardinality(String) COMMENT 'Observed series: a feature, the score, the class, latency, a metric',
    window LowCardinality(String) COMMENT 'Length of the window, such as 15m, 1h, 1d or 7d',
    window_start DateTime('UTC') COMMENT 'Start of the window in event time, inclusive' CODEC(Delta, ZSTD(1)),
    window_end DateTime('UTC') COMMENT 'End of the window in event time, exclusive' CODEC(Delta, ZSTD(1)),
    n UInt64 COMMENT 'Events in the window with a valid or null value' CODEC(T64, ZSTD(1)),
    psi Float64 COMMENT 'Population stability index of the window against the baseline, from exact counts' CODEC(ZSTD(1)),
    psi_low Float64 COMMENT 'Lower end of the 95 % interval of the PSI' CODEC(ZSTD(1)),
    psi_high Float64 COMMENT 'Upper end of the 95 % interval of the PSI' CODEC(ZSTD(1)),
    p_value Float64 COMMENT 'Probability of such a PSI without drift' CODEC(ZSTD(1)),
    df UInt16 COMMENT 'Degrees of freedom: occupied cells less one',
    phi Float64 COMMENT 'Overdispersion that divides the sample size: 1 is independent traffic' CODEC(ZSTD(1)),
    level LowCardinality(String) COMMENT 'stable, minor, major, or insufficient: too little independent data to say',
    threshold_minor Float64 COMMENT 'PSI above which the level is minor',
    threshold_major Float64 COMMENT 'PSI above which the level is major',
    top_bin String COMMENT 'Cell that contributes most to the PSI, in words' CODEC(ZSTD(1)),
    top_bin_index Int32 COMMENT 'Index of that cell in counts, -1 where there is none',
    expected_share Float64 COMMENT 'Share of that cell in the baseline' CODEC(ZSTD(1)),
    actual_share Float64 COMMENT 'Share of that cell in the window' CODEC(ZSTD(1)),
    visible_shift Float64 COMMENT 'Smallest shift of the mean, in standard deviations, that the window could have shown with 80 % power' CODEC(ZSTD(1)),
    completeness Float64 COMMENT 'Merged / (merged + lost) source offsets of the window: 1 is complete',
    judged_at DateTime64(3, 'UTC') COMMENT 'When the verdict was given, by the clock of the monitor' CODEC(Delta, ZSTD(1)),
    record_seq UInt64 COMMENT 'Place in the partials topic of the record at which the verdict was given: epoch * 2^48 + offset; the last revision has the greatest' CODEC(Delta, ZSTD(1))
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(window_end)
ORDER BY (model, version, baseline_id, slice, field, window, window_end, record_seq)
TTL window_end + INTERVAL 750 DAY
SETTINGS ttl_only_drop_parts = 1, fsync_after_insert = 1, fsync_part_directory = 1
COMMENT 'Verdicts on the distribution of each field per window, every revision; kept for 750 days of event time. The view latest_drift holds the last revision.';

CREATE TABLE IF NOT EXISTS rates
(
    model LowCardinality(String) COMMENT 'Model that is judged',
    version LowCardinality(String) COMMENT 'Version of the model',
    baseline_id LowCardinality(String) COMMENT 'Baseline that the window is judged against',
    slice LowCardinality(String) COMMENT 'Slice of the events: all, or NAME=value',
    field LowCardinality(String) COMMENT 'Observed series; empty for the kind error, which is about whole predictions',
    kind LowCardinality(String) COMMENT 'What is counted: null, invalid, below, above, unseen or error',
    window LowCardinality(String) COMMENT 'Length of the window, such as 15m, 1h, 1d or 7d',
    window_start DateTime('UTC') COMMENT 'Start of the window in event time, inclusive' CODEC(Delta, ZSTD(1)),
    window_end DateTime('UTC') COMMENT 'End of the window in event time, exclusive' CODEC(Delta, ZSTD(1)),
    n UInt64 COMMENT 'Events in the window' CODEC(T64, ZSTD(1)),
    k UInt64 COMMENT 'Events of the kind' CODEC(T64, ZSTD(1)),
    rate Float64 COMMENT 'Share of the kind in the window: k / n, NaN where n is 0' CODEC(ZSTD(1)),
    baseline_rate Float64 COMMENT 'Share of the kind in the baseline; for unseen the Good-Turing estimate' CODEC(ZSTD(1)),
    delta Float64 COMMENT 'rate - baseline_rate: 0.05 is five points' CODEC(ZSTD(1)),
    delta_low Float64 COMMENT 'Lower end of the 95 % interval of delta' CODEC(ZSTD(1)),
    delta_high Float64 COMMENT 'Upper end of the 95 % interval of delta' CODEC(ZSTD(1)),
    p_value Float64 COMMENT 'Probability of such a difference if the rates were equal' CODEC(ZSTD(1)),
    phi Float64 COMMENT 'Overdispersion that divides the sample size: 1 is independent traffic' CODEC(ZSTD(1)),
    level LowCardinality(String) COMMENT 'stable, minor, major, or insufficient: too little independent data to say',
    threshold_minor Float64 COMMENT 'delta above which the level is minor',
    threshold_major Float64 COMMENT 'delta above which the level is major',
    completeness Float64 COMMENT 'Merged / (merged + lost) source offsets of the window: 1 is complete',
    judged_at DateTime64(3, 'UTC') COMMENT 'When the verdict was given, by the clock of the monitor' CODEC(Delta, ZSTD(1)),
    record_seq UInt64 COMMENT 'Place in the partials topic of the record at which the verdict was given: epoch * 2^48 + offset; the last revision has the greatest' CODEC(Delta, ZSTD(1))
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(window_end)
ORDER BY (model, version, baseline_id, slice, field, kind, window, window_end, record_seq)
TTL window_end + INTERVAL 750 DAY
SETTINGS ttl_only_drop_parts = 1, fsync_after_insert = 1, fsync_part_directory = 1
COMMENT 'Verdicts on the rates of nulls, invalid, outlying and unseen values and of errors, every revision; kept for 750 days of event time. The view latest_rates holds the last revision.';
