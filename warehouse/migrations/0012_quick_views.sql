-- Views that are quick on months of history.
--
-- What was said last of a window is the first of its rows by descending record_seq: argMax of every column and FINAL cost twice
-- as much. Baselines are looked up by model too, so that those of other models are not read; the last report of a
-- processor is found by its time before any other column is read.
--
-- Tables of verdicts are sorted by model and field, so that a question about a window of all models reads every row.
-- The projections hold the levels by window instead; a maximum stays what it is where rows are repeated.

ALTER TABLE drift MODIFY SETTING deduplicate_merge_projection_mode = 'rebuild';

ALTER TABLE drift ADD PROJECTION IF NOT EXISTS levels
(
    SELECT model, version, slice, window, window_end, level, max(psi)
    GROUP BY model, version, slice, window, window_end, level
);

ALTER TABLE drift MATERIALIZE PROJECTION levels;

ALTER TABLE rates MODIFY SETTING deduplicate_merge_projection_mode = 'rebuild';

ALTER TABLE rates ADD PROJECTION IF NOT EXISTS levels
(
    SELECT model, version, slice, kind, window, window_end, level, max(delta)
    GROUP BY model, version, slice, kind, window, window_end, level
);

ALTER TABLE rates MATERIALIZE PROJECTION levels;

ALTER TABLE rates COMMENT COLUMN IF EXISTS field 'Observed series; events for the kind error, which is about whole predictions';

CREATE VIEW IF NOT EXISTS drift_levels
(
    model LowCardinality(String) COMMENT 'Name of the model',
    version LowCardinality(String) COMMENT 'Version of the model',
    slice LowCardinality(String) COMMENT 'Slice of the events: all, or NAME=value',
    window LowCardinality(String) COMMENT 'Length of the window, such as 15m, 1h, 1d or 7d',
    window_end DateTime('UTC') COMMENT 'End of the window in event time, exclusive',
    level LowCardinality(String) COMMENT 'stable, minor, major or insufficient: some field was given it',
    worst_psi Float64 COMMENT 'Greatest PSI of the fields that were given it, NaN where none has one'
)
AS
SELECT model, version, slice, window, window_end, level, max(given.psi) AS worst_psi
FROM drift AS given
GROUP BY model, version, slice, window, window_end, level
COMMENT 'Which levels the fields of a model were given in each window: for questions about all models. Every revision counts. Give a slice and a range of window_end.';

CREATE VIEW IF NOT EXISTS rate_levels
(
    model LowCardinality(String) COMMENT 'Name of the model',
    version LowCardinality(String) COMMENT 'Version of the model',
    slice LowCardinality(String) COMMENT 'Slice of the events: all, or NAME=value',
    kind LowCardinality(String) COMMENT 'What is counted: null, invalid, below, above, unseen or error',
    window LowCardinality(String) COMMENT 'Length of the window, such as 15m, 1h, 1d or 7d',
    window_end DateTime('UTC') COMMENT 'End of the window in event time, exclusive',
    level LowCardinality(String) COMMENT 'stable, minor, major or insufficient: the rate of some field was given it',
    worst_delta Float64 COMMENT 'Greatest delta of the fields that were given it, NaN where none has one'
)
AS
SELECT model, version, slice, kind, window, window_end, level, max(given.delta) AS worst_delta
FROM rates AS given
GROUP BY model, version, slice, kind, window, window_end, level
COMMENT 'Which levels the rates of a model were given in each window, by kind: for questions about all models. Every revision counts. Give a slice and a range of window_end.';

CREATE OR REPLACE VIEW latest_rates
(
    model LowCardinality(String) COMMENT 'Name of the model',
    version LowCardinality(String) COMMENT 'Version of the model',
    baseline_id LowCardinality(String) COMMENT 'Baseline that the window is judged against',
    slice LowCardinality(String) COMMENT 'Slice of the events: all, or NAME=value',
    field LowCardinality(String) COMMENT 'Observed series; events for the kind error, which is about whole predictions',
    kind LowCardinality(String) COMMENT 'What is counted: null, invalid, below, above, unseen or error',
    window LowCardinality(String) COMMENT 'Length of the window, such as 15m, 1h, 1d or 7d',
    window_start DateTime('UTC') COMMENT 'Start of the window in event time, inclusive',
    window_end DateTime('UTC') COMMENT 'End of the window in event time, exclusive',
    n UInt64 COMMENT 'Events in the window',
    k UInt64 COMMENT 'Events of the kind',
    rate Float64 COMMENT 'Share of the kind in the window: k / n, NaN where n is 0',
    baseline_rate Float64 COMMENT 'Share of the kind in the baseline; for unseen the Good-Turing estimate',
    delta Float64 COMMENT 'rate - baseline_rate: 0.05 is five points',
    delta_low Float64 COMMENT 'Lower end of the 95 % interval of delta',
    delta_high Float64 COMMENT 'Upper end of the 95 % interval of delta',
    p_value Float64 COMMENT 'Probability of such a difference if the rates were equal',
    phi Float64 COMMENT 'Overdispersion that divides the sample size: 1 is independent traffic',
    level LowCardinality(String) COMMENT 'stable, minor, major, or insufficient: too little independent data to say',
    threshold_minor Float64 COMMENT 'delta above which the level is minor',
    threshold_major Float64 COMMENT 'delta above which the level is major',
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
    kind,
    window,
    window_start,
    window_end,
    n,
    k,
    rate,
    baseline_rate,
    delta,
    delta_low,
    delta_high,
    p_value,
    phi,
    level,
    threshold_minor,
    threshold_major,
    completeness,
    judged_at,
    revisions,
    record_seq
FROM
(
    SELECT *, uniqExact(record_seq) OVER (PARTITION BY model, version, baseline_id, slice, field, kind, window, window_end) AS revisions
    FROM rates
    ORDER BY record_seq DESC, judged_at DESC
    LIMIT 1 BY model, version, baseline_id, slice, field, kind, window, window_end
)
COMMENT 'Verdicts on the rates of nulls, invalid, outlying and unseen values and of errors per window: the last revision of each.';

CREATE OR REPLACE VIEW all_panes
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
FROM panes AS stored FINAL
LEFT JOIN (SELECT model, baseline_id, any(means) AS means FROM baselines GROUP BY model, baseline_id) AS known USING (model, baseline_id)
COMMENT 'Counts and moments of each field per slice and pane, one row of each.';

CREATE OR REPLACE VIEW pipeline
(
    kind LowCardinality(String) COMMENT 'What it is: sketcher, recorder, monitor, publisher',
    instance String COMMENT 'Stable name of the instance among its kind',
    at DateTime64(3, 'UTC') COMMENT 'When it reported last',
    silent_s Int64 COMMENT 'Seconds since it reported last: more than 30 means that it is gone',
    host LowCardinality(String) COMMENT 'Host that it runs on',
    pid UInt32 COMMENT 'Process id on that host',
    started_at DateTime64(3, 'UTC') COMMENT 'When the process started',
    lag Int64 COMMENT 'Messages between its committed offsets and the end of its partitions, -1 where it is not known',
    events UInt64 COMMENT 'Events handled since the start',
    rate Float64 COMMENT 'Events per second at its last report',
    retries UInt64 COMMENT 'Writes that had to be tried again since the start',
    dead_letters UInt64 COMMENT 'Events put aside since the start',
    last_commit_at DateTime64(3, 'UTC') COMMENT 'When it committed offsets last, 1970 where it has not yet',
    details Map(String, Float64) COMMENT 'Further numbers of its kind, by name'
)
AS
SELECT
    kind,
    instance,
    at,
    dateDiff('second', at, now64(3, 'UTC')) AS silent_s,
    host,
    pid,
    started_at,
    lag,
    events,
    rate,
    retries,
    dead_letters,
    last_commit_at,
    details
FROM processors FINAL
WHERE (kind, instance, at) IN (SELECT kind, instance, max(at) FROM processors GROUP BY kind, instance)
COMMENT 'How each processor is: its last report, kept for 30 days after it went.';
