-- What describes a window beside PSI: Jensen-Shannon and q-values in drift, and a table for what is read from sketches
-- and moments.

ALTER TABLE drift ADD COLUMN IF NOT EXISTS js Float64 DEFAULT nan COMMENT 'Jensen-Shannon distance of the window from the baseline, to base 2, from exact counts: 0 is equal, 1 has nothing in common; NaN without events' CODEC(ZSTD(1)) AFTER psi_high;

ALTER TABLE drift ADD COLUMN IF NOT EXISTS q_value Float64 DEFAULT nan COMMENT 'p_value corrected for the number of fields of the model, slice and window, by their weights (Benjamini-Hochberg): the share of false alarms among fields with no greater q_value; NaN where the data are too few. It sets no level' CODEC(ZSTD(1)) AFTER p_value;

CREATE TABLE IF NOT EXISTS distances
(
    model LowCardinality(String) COMMENT 'Model that is judged',
    version LowCardinality(String) COMMENT 'Version of the model',
    baseline_id LowCardinality(String) COMMENT 'Baseline that the window is compared with',
    slice LowCardinality(String) COMMENT 'Slice of the events: all',
    field LowCardinality(String) COMMENT 'Observed series of numbers: a feature, the score, latency, a metric',
    window LowCardinality(String) COMMENT 'Length of the window, such as 15m, 1h, 1d or 7d',
    window_start DateTime('UTC') COMMENT 'Start of the window in event time, inclusive' CODEC(Delta, ZSTD(1)),
    window_end DateTime('UTC') COMMENT 'End of the window in event time, exclusive; a window is described at every quarter of its length, rounded up to whole hops' CODEC(Delta, ZSTD(1)),
    n UInt64 COMMENT 'Valid numbers in the window' CODEC(T64, ZSTD(1)),
    phi Float64 COMMENT 'Overdispersion that divides the sample size: 1 is independent traffic' CODEC(ZSTD(1)),
    ks Float64 COMMENT 'Kolmogorov-Smirnov statistic of the window against the baseline, from the sketch; NaN where the sketch does not hold every value or the baseline keeps no quantiles' CODEC(ZSTD(1)),
    ks_error Float64 COMMENT 'How far ks may be from the statistic of the raw values, with 99 % confidence: the errors of rank of sketch and baseline' CODEC(ZSTD(1)),
    ks_threshold Float64 COMMENT 'What ks must exceed to be called different at 5 %: the critical value for n / phi, and ks_error' CODEC(ZSTD(1)),
    ks_rejects Bool COMMENT 'Whether ks exceeds it; false where the window was recorded in part. It sets no level',
    w1 Float64 COMMENT 'Wasserstein distance from the baseline in its interquartile ranges, within the baseline''s 0.1 to 99.9 % quantiles; in units of that span where the range is 0, NaN where that is 0 too' CODEC(ZSTD(1)),
    mean Float64 COMMENT 'Mean of the valid numbers' CODEC(ZSTD(1)),
    mean_shift Float64 COMMENT 'Mean less that of the baseline, in standard deviations of the baseline; NaN where the baseline is constant' CODEC(ZSTD(1)),
    mean_shift_low Float64 COMMENT 'Lower end of the 95 % interval of mean_shift; NaN under two independent numbers' CODEC(ZSTD(1)),
    mean_shift_high Float64 COMMENT 'Upper end of the 95 % interval of mean_shift' CODEC(ZSTD(1)),
    std_ratio Float64 COMMENT 'Standard deviation of the valid numbers in those of the baseline' CODEC(ZSTD(1)),
    std_ratio_low Float64 COMMENT 'Lower end of the 95 % interval of std_ratio; NaN under two independent numbers' CODEC(ZSTD(1)),
    std_ratio_high Float64 COMMENT 'Upper end of the 95 % interval of std_ratio' CODEC(ZSTD(1)),
    p05 Float64 COMMENT 'Value that 5 % of the numbers do not exceed, from the sketch' CODEC(ZSTD(1)),
    p25 Float64 COMMENT 'Value that 25 % of the numbers do not exceed, from the sketch' CODEC(ZSTD(1)),
    p50 Float64 COMMENT 'Value that 50 % of the numbers do not exceed, from the sketch' CODEC(ZSTD(1)),
    p75 Float64 COMMENT 'Value that 75 % of the numbers do not exceed, from the sketch' CODEC(ZSTD(1)),
    p95 Float64 COMMENT 'Value that 95 % of the numbers do not exceed, from the sketch' CODEC(ZSTD(1)),
    p99 Float64 COMMENT 'Value that 99 % of the numbers do not exceed, from the sketch' CODEC(ZSTD(1)),
    completeness Float64 COMMENT 'Merged / (merged + lost) source offsets of the window: 1 is complete',
    judged_at DateTime64(3, 'UTC') COMMENT 'When the window was described, by the clock of the monitor' CODEC(Delta, ZSTD(1)),
    record_seq UInt64 COMMENT 'Place in the partials topic of the record at which the window was described: epoch * 2^48 + offset; the last revision has the greatest' CODEC(Delta, ZSTD(1))
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(window_end)
ORDER BY (model, version, baseline_id, slice, field, window, window_end, record_seq)
TTL window_end + INTERVAL 750 DAY
SETTINGS ttl_only_drop_parts = 1, fsync_after_insert = 1, fsync_part_directory = 1
COMMENT 'What describes the numbers of a window beside PSI, from sketches and moments, every revision; it sets no level. Kept for 750 days of event time. The view latest_distances holds the last revision.';

CREATE VIEW IF NOT EXISTS latest_distances
(
    model LowCardinality(String) COMMENT 'Name of the model',
    version LowCardinality(String) COMMENT 'Version of the model',
    baseline_id LowCardinality(String) COMMENT 'Baseline that the window is compared with',
    slice LowCardinality(String) COMMENT 'Slice of the events: all',
    field LowCardinality(String) COMMENT 'Observed series of numbers: a feature, the score, latency, a metric',
    window LowCardinality(String) COMMENT 'Length of the window, such as 15m, 1h, 1d or 7d',
    window_start DateTime('UTC') COMMENT 'Start of the window in event time, inclusive',
    window_end DateTime('UTC') COMMENT 'End of the window in event time, exclusive; a window is described at every quarter of its length, rounded up to whole hops',
    n UInt64 COMMENT 'Valid numbers in the window',
    phi Float64 COMMENT 'Overdispersion that divides the sample size: 1 is independent traffic',
    ks Float64 COMMENT 'Kolmogorov-Smirnov statistic of the window against the baseline, from the sketch; NaN where the sketch does not hold every value or the baseline keeps no quantiles',
    ks_error Float64 COMMENT 'How far ks may be from the statistic of the raw values, with 99 % confidence: the errors of rank of sketch and baseline',
    ks_threshold Float64 COMMENT 'What ks must exceed to be called different at 5 %: the critical value for n / phi, and ks_error',
    ks_rejects Bool COMMENT 'Whether ks exceeds it; false where the window was recorded in part. It sets no level',
    w1 Float64 COMMENT 'Wasserstein distance from the baseline in its interquartile ranges, within the baseline''s 0.1 to 99.9 % quantiles; in units of that span where the range is 0, NaN where that is 0 too',
    mean Float64 COMMENT 'Mean of the valid numbers',
    mean_shift Float64 COMMENT 'Mean less that of the baseline, in standard deviations of the baseline; NaN where the baseline is constant',
    mean_shift_low Float64 COMMENT 'Lower end of the 95 % interval of mean_shift; NaN under two independent numbers',
    mean_shift_high Float64 COMMENT 'Upper end of the 95 % interval of mean_shift',
    std_ratio Float64 COMMENT 'Standard deviation of the valid numbers in those of the baseline',
    std_ratio_low Float64 COMMENT 'Lower end of the 95 % interval of std_ratio; NaN under two independent numbers',
    std_ratio_high Float64 COMMENT 'Upper end of the 95 % interval of std_ratio',
    p05 Float64 COMMENT 'Value that 5 % of the numbers do not exceed, from the sketch',
    p25 Float64 COMMENT 'Value that 25 % of the numbers do not exceed, from the sketch',
    p50 Float64 COMMENT 'Value that 50 % of the numbers do not exceed, from the sketch',
    p75 Float64 COMMENT 'Value that 75 % of the numbers do not exceed, from the sketch',
    p95 Float64 COMMENT 'Value that 95 % of the numbers do not exceed, from the sketch',
    p99 Float64 COMMENT 'Value that 99 % of the numbers do not exceed, from the sketch',
    completeness Float64 COMMENT 'Merged / (merged + lost) source offsets of the window: 1 is complete',
    judged_at DateTime64(3, 'UTC') COMMENT 'When the window was last described',
    revisions UInt64 COMMENT 'How often the window was described: more than once where late events came',
    record_seq UInt64 COMMENT 'Place in the partials topic of the record at which the window was described'
)
AS
SELECT
    model,
    version,
    baseline_id,
    slice,
    field,
    window,
    window_start,
    window_end,
    n,
    phi,
    ks,
    ks_error,
    ks_threshold,
    ks_rejects,
    w1,
    mean,
    mean_shift,
    mean_shift_low,
    mean_shift_high,
    std_ratio,
    std_ratio_low,
    std_ratio_high,
    p05,
    p25,
    p50,
    p75,
    p95,
    p99,
    completeness,
    judged_at,
    revisions,
    record_seq
FROM
(
    SELECT *, uniqExact(record_seq) OVER (PARTITION BY model, version, baseline_id, slice, field, window, window_end) AS revisions
    FROM distances
    ORDER BY record_seq DESC, judged_at DESC
    LIMIT 1 BY model, version, baseline_id, slice, field, window, window_end
)
COMMENT 'What describes the numbers of a window beside PSI: the last revision of each.';
