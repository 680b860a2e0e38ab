-- Output comparisons: a version with its predecessor, arms of a test with the control, and the sample ratio of arms.
--
-- All comparisons of one (model, kind, window, window_end) are judged together and written with one record_seq. The latest
-- set counts, so a version that appears late replaces the pair that was judged without it.

CREATE TABLE IF NOT EXISTS comparisons
(
    model LowCardinality(String) COMMENT 'Model',
    kind LowCardinality(String) COMMENT 'Kind of comparison: version (a version with its predecessor) or arm (an arm of a test with the control)',
    left LowCardinality(String) COMMENT 'The preceding version, or the control of the test',
    right LowCardinality(String) COMMENT 'The version or arm that is compared with left',
    field LowCardinality(String) COMMENT 'Compared output: score, class, confidence, latency or a metric; events for error_rate',
    measure LowCardinality(String) COMMENT 'psi, mean, p50, p99, share (of one category), null_rate, error_rate or slow_rate (latency above the contract''s objective)',
    category LowCardinality(String) COMMENT 'Category of a share; empty for all other measures',
    window LowCardinality(String) COMMENT 'Length of the window, such as 15m, 1h, 1d or 7d',
    window_start DateTime('UTC') COMMENT 'Start of the window in event time, inclusive' CODEC(Delta, ZSTD(1)),
    window_end DateTime('UTC') COMMENT 'End of the window in event time, exclusive' CODEC(Delta, ZSTD(1)),
    n_left UInt64 COMMENT 'Events of the left side that the measure uses' CODEC(T64, ZSTD(1)),
    n_right UInt64 COMMENT 'Events of the right side that the measure uses' CODEC(T64, ZSTD(1)),
    left_value Float64 COMMENT 'Mean, quantile or rate of the left side; NaN for psi or if undefined' CODEC(ZSTD(1)),
    right_value Float64 COMMENT 'Mean, quantile or rate of the right side; NaN for psi or if undefined' CODEC(ZSTD(1)),
    difference Float64 COMMENT 'right_value - left_value; for psi the PSI between the two sides' CODEC(ZSTD(1)),
    difference_low Float64 COMMENT 'Lower end of the 95 % interval of difference; -inf if unbounded' CODEC(ZSTD(1)),
    difference_high Float64 COMMENT 'Upper end of the 95 % interval of difference; inf if unbounded' CODEC(ZSTD(1)),
    p_value Float64 COMMENT 'Probability of a difference this large if the sides do not differ; NaN for quantiles' CODEC(ZSTD(1)),
    df Float64 COMMENT 'Degrees of freedom of psi and mean; 0 for all other measures' CODEC(ZSTD(1)),
    phi_left Float64 COMMENT 'Overdispersion of the left side, which divides its number of events; 1 for independent traffic' CODEC(ZSTD(1)),
    phi_right Float64 COMMENT 'Overdispersion of the right side, which divides its number of events' CODEC(ZSTD(1)),
    level LowCardinality(String) COMMENT 'Size of the difference, not which side is better: stable, minor, major or insufficient; empty for mean, p50 and p99, which have no threshold',
    reason LowCardinality(String) COMMENT 'Why the level is insufficient (docs/statistics.md lists the reasons); empty for other levels',
    threshold_minor Float64 COMMENT 'Difference above which the level is minor; NaN if there is no threshold' CODEC(ZSTD(1)),
    threshold_major Float64 COMMENT 'Difference above which the level is major; NaN if there is no threshold' CODEC(ZSTD(1)),
    top_bin String COMMENT 'For psi the cell that contributes most, as text; otherwise empty' CODEC(ZSTD(1)),
    source LowCardinality(String) COMMENT 'Data source: counts (exact), moments (exact) or sketches',
    completeness Float64 COMMENT 'Merged / (merged + lost) source offsets of the window; 1 if complete',
    judged_at DateTime64(3, 'UTC') COMMENT 'Time of the verdict, by the monitor''s clock' CODEC(Delta, ZSTD(1)),
    record_seq UInt64 COMMENT 'Position of the record that triggered the verdict in the partials topic: epoch * 2^48 + offset; equal for all rows of a revision' CODEC(Delta, ZSTD(1))
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(window_end)
ORDER BY (model, kind, window, window_end, left, right, field, measure, category, record_seq)
TTL window_end + INTERVAL 750 DAY
SETTINGS ttl_only_drop_parts = 1, fsync_after_insert = 1, fsync_part_directory = 1
COMMENT 'Output comparisons of a version with its predecessor and of an arm with the control, one row per measure, every revision; kept for 750 days of event time. The view latest_comparisons holds the latest revision.';

CREATE TABLE IF NOT EXISTS arm_ratios
(
    model LowCardinality(String) COMMENT 'Model that runs the test',
    unit LowCardinality(String) COMMENT 'Unit of assignment: context.NAME from the contract, or prediction',
    since DateTime64(3, 'UTC') COMMENT 'Received time from which units are counted: the time at which the contract first specified these shares' CODEC(Delta, ZSTD(1)),
    at DateTime64(3, 'UTC') COMMENT 'Time of the check' CODEC(Delta, ZSTD(1)),
    arm LowCardinality(String) COMMENT 'Arm of the test',
    expected_share Float64 COMMENT 'Share of units that the contract specifies for the arm' CODEC(ZSTD(1)),
    units UInt64 COMMENT 'Distinct units that appear in this arm only' CODEC(T64, ZSTD(1)),
    share Float64 COMMENT 'Share of the arm: units / units of all arms; NaN if there are none' CODEC(ZSTD(1)),
    crossovers UInt64 COMMENT 'Distinct units of the arm that also appear in another arm; no arm''s units include them' CODEC(T64, ZSTD(1)),
    without_unit UInt64 COMMENT 'Distinct predictions of the arm whose context lacks the unit; they are not counted' CODEC(T64, ZSTD(1)),
    p_value Float64 COMMENT 'For the whole test, equal for every arm: the probability that a test with the specified shares ever deviates this far, however often it is checked; 1 if nothing is known' CODEC(ZSTD(1)),
    level LowCardinality(String) COMMENT 'stable, minor (p up to 0.01), major (p up to 0.001), or insufficient (too few units to detect five points, or no raw predictions)',
    reason LowCardinality(String) COMMENT 'Why the level is insufficient: no units or too few units (see docs/statistics.md); empty for other levels'
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(at)
ORDER BY (model, unit, since, at, arm)
TTL toDateTime(at) + INTERVAL 750 DAY
SETTINGS ttl_only_drop_parts = 1, fsync_after_insert = 1, fsync_part_directory = 1
COMMENT 'Sample ratio checks: whether a test assigns units to its arms in the promised shares, one row per check and arm; kept for 750 days. The view latest_arm_ratios holds the latest check of each test.';
