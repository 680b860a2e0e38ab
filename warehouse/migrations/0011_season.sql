-- Whether a window was held against its own hours of the week; the view has js and q_value too, which came with distances.

ALTER TABLE drift ADD COLUMN IF NOT EXISTS season LowCardinality(String) DEFAULT 'none' COMMENT 'What the window was held against: hour_of_week, the same hours of the week in training; none, the whole of it' AFTER phi;

CREATE OR REPLACE VIEW latest_drift
(
    model LowCardinality(String) COMMENT 'Name of the model',
    version LowCardinality(String) COMMENT 'Version of the model',
    baseline_id LowCardinality(String) COMMENT 'Baseline that the window is judged against',
    slice LowCardinality(String) COMMENT 'Slice of the events: all, or NAME=value',
    field LowCardinality(String) COMMENT 'Observed series: a feature, the score, the class, latency, a metric',
    window LowCardinality(String) COMMENT 'Length of the window, such as 15m, 1h, 1d or 7d',
    window_start DateTime('UTC') COMMENT 'Start of the window in event time, inclusive',
    window_end DateTime('UTC') COMMENT 'End of the window in event time, exclusive',
    n UInt64 COMMENT 'Events in the window with a valid or null value',
    psi Float64 COMMENT 'Population stability index of the window against the baseline, from exact counts',
    psi_low Float64 COMMENT 'Lower end of the 95 % interval of the PSI',
    psi_high Float64 COMMENT 'Upper end of the 95 % interval of the PSI',
    js Float64 COMMENT 'Jensen-Shannon distance of the window from the baseline, to base 2, from exact counts: 0 is equal, 1 has nothing in common; NaN without events',
    p_value Float64 COMMENT 'Probability of such a PSI without drift',
    q_value Float64 COMMENT 'p_value corrected for the number of fields of the model, slice and window, by their weights (Benjamini-Hochberg): the share of false alarms among fields with no greater q_value; NaN where the data are too few. It sets no level',
    df UInt16 COMMENT 'Degrees of freedom: occupied cells less one',
    phi Float64 COMMENT 'Overdispersion that divides the sample size: 1 is independent traffic',
    season LowCardinality(String) COMMENT 'What the window was held against: hour_of_week, the same hours of the week in training; none, the whole of it',
    level LowCardinality(String) COMMENT 'stable, minor, major, or insufficient: too little independent data to say',
    threshold_minor Float64 COMMENT 'PSI above which the level is minor',
    threshold_major Float64 COMMENT 'PSI above which the level is major',
    top_bin String COMMENT 'Cell that contributes most to the PSI, in words',
    top_bin_index Int32 COMMENT 'Index of that cell in counts, -1 where there is none',
    expected_share Float64 COMMENT 'Share of that cell in the baseline',
    actual_share Float64 COMMENT 'Share of that cell in the window',
    visible_shift Float64 COMMENT 'Smallest shift of the mean, in standard deviations, that the window could have shown with 80 % power',
    completeness Float64 COMMENT 'Merged / (merged + lost) source offsets of the window: 1 is complete',
    judged_at DateTime64(3, 'UTC') COMMENT 'When the last verdict was given',
    revisions UInt64 COMMENT 'How often the window was judged: more than once where late events came',
    record_seq UInt64 COMMENT 'Place in the partials topic of the record at which the verdict was given'
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
    psi,
    psi_low,
    psi_high,
    js,
    p_value,
    q_value,
    df,
    phi,
    season,
    level,
    threshold_minor,
    threshold_major,
    top_bin,
    top_bin_index,
    expected_share,
    actual_share,
    visible_shift,
    completeness,
    judged_at,
    revisions,
    record_seq
FROM
(
    SELECT *, uniqExact(record_seq) OVER (PARTITION BY model, version, baseline_id, slice, field, window, window_end) AS revisions
    FROM drift
    ORDER BY record_seq DESC, judged_at DESC
    LIMIT 1 BY model, version, baseline_id, slice, field, window, window_end
)
COMMENT 'Verdicts on the distribution of each field per window: the last revision of each.';
