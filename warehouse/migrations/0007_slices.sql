-- Daily roll-ups beside the hourly ones, and the new categories by name.
--
-- A UTC day is one more row of rollups per series, slice and field, so that a year of a field is 365 rows. Which values
-- the unseen ones of an hour were is read from its sketch; an hour that is read again has greater positions, and its
-- rows of the greatest are the ones that count.

ALTER TABLE rollups COMMENT COLUMN pane_start 'Start of the hour or UTC day in event time';

ALTER TABLE rollups COMMENT COLUMN pane_s 'Length in seconds: 3600 for an hour, 86400 for a day';

ALTER TABLE rollups COMMENT COLUMN sealed 'Whether all panes of the hour or day are sealed';

ALTER TABLE rollups MODIFY COMMENT 'Panes shorter than an hour merged by the hour, and all that are shorter than a day by the UTC day; kept for 750 days of event time. The views hours and days join them with the panes that are as long or longer.';

CREATE TABLE IF NOT EXISTS new_categories
(
    model LowCardinality(String) COMMENT 'Model that got the value',
    version LowCardinality(String) COMMENT 'Version of the model',
    baseline_id LowCardinality(String) COMMENT 'Baseline whose categories do not hold the value',
    field LowCardinality(String) COMMENT 'Category field that held the value',
    category String COMMENT 'The value, its first 256 characters' CODEC(ZSTD(1)),
    pane_start DateTime('UTC') COMMENT 'Start of the hour in event time, or of the pane where panes are longer' CODEC(Delta, ZSTD(1)),
    pane_s UInt32 COMMENT 'Length in seconds: 3600, or that of the pane where panes are longer',
    n_low UInt64 COMMENT 'Events that held the value, at least' CODEC(T64, ZSTD(1)),
    n_high UInt64 COMMENT 'Events that held the value, at most; the same as n_low while at most 192 distinct unseen values came' CODEC(T64, ZSTD(1)),
    record_seq UInt64 COMMENT 'Place in the partials topic of the last record that changed the hour: epoch * 2^48 + offset; rows of an hour with a smaller one are of an earlier reading' CODEC(Delta, ZSTD(1))
)
ENGINE = ReplacingMergeTree(record_seq)
PARTITION BY toYYYYMM(pane_start)
ORDER BY (model, version, baseline_id, field, pane_start, category)
TTL pane_start + INTERVAL 750 DAY
SETTINGS ttl_only_drop_parts = 1, fsync_after_insert = 1, fsync_part_directory = 1
COMMENT 'Values of category fields that training did not hold: per hour and field the 50 that came most often for certain; kept for 750 days of event time. The hour that is still open is here on the live clock. Read the view unseen_categories.';

CREATE OR REPLACE VIEW hours
(
    model LowCardinality(String) COMMENT 'Name of the model',
    version LowCardinality(String) COMMENT 'Version of the model',
    baseline_id LowCardinality(String) COMMENT 'Baseline whose bins the counts are on',
    slice LowCardinality(String) COMMENT 'Slice of the events: all, or NAME=value',
    field LowCardinality(String) COMMENT 'Observed series: a feature, the score, the class, latency, a metric',
    pane_start DateTime('UTC') COMMENT 'Start of the pane in event time, inclusive',
    pane_end DateTime('UTC') COMMENT 'End of the pane in event time, exclusive',
    pane_s UInt32 COMMENT 'Length of the pane in seconds',
    n UInt64 COMMENT 'Events with a valid or null value; invalid ones are not among them',
    nulls UInt64 COMMENT 'Events whose value is null or missing',
    invalid UInt64 COMMENT 'Events whose value is not of the type that the contract says',
    below UInt64 COMMENT 'Valid values under the lower limit',
    above UInt64 COMMENT 'Valid values over the upper limit',
    unseen UInt64 COMMENT 'Values of categories that the baseline does not keep',
    counts Array(UInt64) COMMENT 'Events per cell of the baseline: one per bin (numbers) or per category and then unseen (categories), and null last',
    mean Float64 COMMENT 'Mean of the valid numbers, NaN where there is none, moments are not kept or the baseline is not known',
    stddev Float64 COMMENT 'Sample standard deviation of the valid numbers, NaN under two of them or where moments are not kept',
    minimum Float64 COMMENT 'Least valid number, NaN where there is none or it is not kept',
    maximum Float64 COMMENT 'Greatest valid number, NaN where there is none or it is not kept',
    sealed Bool COMMENT 'Whether no event for the pane is expected any more'
)
AS
SELECT
    model,
    version,
    baseline_id,
    slice,
    field,
    pane_start,
    pane_start + pane_s AS pane_end,
    pane_s,
    n,
    nulls,
    invalid,
    below,
    above,
    unseen,
    counts,
    if(isFinite(stored.minimum) AND n > nulls AND mapContains(means, field), means[field] + shift_sum / (n - nulls), nan) AS mean,
    if(
        isFinite(stored.minimum) AND n > nulls + 1,
        sqrt(greatest(shift_square_sum - shift_sum * shift_sum / (n - nulls), 0) / (n - nulls - 1)),
        nan
    ) AS stddev,
    if(isFinite(stored.minimum), stored.minimum, nan) AS minimum,
    if(isFinite(stored.maximum), stored.maximum, nan) AS maximum,
    sealed
FROM rollups AS stored FINAL
LEFT JOIN (SELECT model, baseline_id, any(means) AS means FROM baselines GROUP BY model, baseline_id) AS known USING (model, baseline_id)
WHERE pane_s = 3600
UNION ALL
SELECT
    model,
    version,
    baseline_id,
    slice,
    field,
    pane_start,
    pane_start + pane_s AS pane_end,
    pane_s,
    n,
    nulls,
    invalid,
    below,
    above,
    unseen,
    counts,
    if(isFinite(stored.minimum) AND n > nulls AND mapContains(means, field), means[field] + shift_sum / (n - nulls), nan) AS mean,
    if(
        isFinite(stored.minimum) AND n > nulls + 1,
        sqrt(greatest(shift_square_sum - shift_sum * shift_sum / (n - nulls), 0) / (n - nulls - 1)),
        nan
    ) AS stddev,
    if(isFinite(stored.minimum), stored.minimum, nan) AS minimum,
    if(isFinite(stored.maximum), stored.maximum, nan) AS maximum,
    sealed
FROM panes AS stored FINAL
LEFT JOIN (SELECT model, baseline_id, any(means) AS means FROM baselines GROUP BY model, baseline_id) AS known USING (model, baseline_id)
WHERE pane_s >= 3600
COMMENT 'Counts and moments of each field per slice and hour: hourly roll-ups, and the panes that are an hour or longer themselves.';

CREATE OR REPLACE VIEW days
(
    model LowCardinality(String) COMMENT 'Name of the model',
    version LowCardinality(String) COMMENT 'Version of the model',
    baseline_id LowCardinality(String) COMMENT 'Baseline whose bins the counts are on',
    slice LowCardinality(String) COMMENT 'Slice of the events: all, or NAME=value',
    field LowCardinality(String) COMMENT 'Observed series: a feature, the score, the class, latency, a metric',
    pane_start DateTime('UTC') COMMENT 'Start of the pane in event time, inclusive',
    pane_end DateTime('UTC') COMMENT 'End of the pane in event time, exclusive',
    pane_s UInt32 COMMENT 'Length of the pane in seconds',
    n UInt64 COMMENT 'Events with a valid or null value; invalid ones are not among them',
    nulls UInt64 COMMENT 'Events whose value is null or missing',
    invalid UInt64 COMMENT 'Events whose value is not of the type that the contract says',
    below UInt64 COMMENT 'Valid values under the lower limit',
    above UInt64 COMMENT 'Valid values over the upper limit',
    unseen UInt64 COMMENT 'Values of categories that the baseline does not keep',
    counts Array(UInt64) COMMENT 'Events per cell of the baseline: one per bin (numbers) or per category and then unseen (categories), and null last',
    mean Float64 COMMENT 'Mean of the valid numbers, NaN where there is none, moments are not kept or the baseline is not known',
    stddev Float64 COMMENT 'Sample standard deviation of the valid numbers, NaN under two of them or where moments are not kept',
    minimum Float64 COMMENT 'Least valid number, NaN where there is none or it is not kept',
    maximum Float64 COMMENT 'Greatest valid number, NaN where there is none or it is not kept',
    sealed Bool COMMENT 'Whether no event for the pane is expected any more'
)
AS
SELECT
    model,
    version,
    baseline_id,
    slice,
    field,
    pane_start,
    pane_start + pane_s AS pane_end,
    pane_s,
    n,
    nulls,
    invalid,
    below,
    above,
    unseen,
    counts,
    if(isFinite(stored.minimum) AND n > nulls AND mapContains(means, field), means[field] + shift_sum / (n - nulls), nan) AS mean,
    if(
        isFinite(stored.minimum) AND n > nulls + 1,
        sqrt(greatest(shift_square_sum - shift_sum * shift_sum / (n - nulls), 0) / (n - nulls - 1)),
        nan
    ) AS stddev,
    if(isFinite(stored.minimum), stored.minimum, nan) AS minimum,
    if(isFinite(stored.maximum), stored.maximum, nan) AS maximum,
    sealed
FROM rollups AS stored FINAL
LEFT JOIN (SELECT model, baseline_id, any(means) AS means FROM baselines GROUP BY model, baseline_id) AS known USING (model, baseline_id)
WHERE pane_s = 86400
UNION ALL
SELECT
    model,
    version,
    baseline_id,
    slice,
    field,
    pane_start,
    pane_start + pane_s AS pane_end,
    pane_s,
    n,
    nulls,
    invalid,
    below,
    above,
    unseen,
    counts,
    if(isFinite(stored.minimum) AND n > nulls AND mapContains(means, field), means[field] + shift_sum / (n - nulls), nan) AS mean,
    if(
        isFinite(stored.minimum) AND n > nulls + 1,
        sqrt(greatest(shift_square_sum - shift_sum * shift_sum / (n - nulls), 0) / (n - nulls - 1)),
        nan
    ) AS stddev,
    if(isFinite(stored.minimum), stored.minimum, nan) AS minimum,
    if(isFinite(stored.maximum), stored.maximum, nan) AS maximum,
    sealed
FROM panes AS stored FINAL
LEFT JOIN (SELECT model, baseline_id, any(means) AS means FROM baselines GROUP BY model, baseline_id) AS known USING (model, baseline_id)
WHERE pane_s >= 86400
COMMENT 'Counts and moments of each field per slice and UTC day: daily roll-ups, and the panes that are a day or longer themselves. A day is here when it is sealed. Panes of a length that does not divide a day have no days.';

CREATE OR REPLACE VIEW unseen_categories
(
    model LowCardinality(String) COMMENT 'Name of the model',
    field LowCardinality(String) COMMENT 'Category field that held the value',
    category String COMMENT 'The value, its first 256 characters',
    first_seen DateTime('UTC') COMMENT 'Start of the first hour (or longer pane) in which it came, in event time',
    last_seen DateTime('UTC') COMMENT 'Start of the last one',
    n UInt64 COMMENT 'Events that held the value, at least: hours in which it was not among the 50 most frequent are not in',
    n_high UInt64 COMMENT 'Events of those hours that held the value, at most'
)
AS
SELECT
    model,
    field,
    category,
    min(hour.pane_start) AS first_seen,
    max(hour.pane_start) AS last_seen,
    sum(hour.n_low) AS n,
    sum(hour.n_high) AS n_high
FROM
(
    SELECT
        model,
        field,
        category,
        pane_start,
        n_low,
        n_high,
        record_seq = max(record_seq) OVER (PARTITION BY model, version, baseline_id, field, pane_start) AS is_last
    FROM new_categories FINAL
) AS hour
WHERE hour.is_last
GROUP BY model, field, category
COMMENT 'Values that training did not hold, by name: since when they come, and how often.';
