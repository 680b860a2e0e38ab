-- Views for analysts: last revisions, no repeats, no engine details.
--
-- They are written so that conditions on the columns of a sorting key (model, version, slice, field, window, time)
-- reach the table's index through the view.

CREATE VIEW IF NOT EXISTS latest_drift
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
    p_value Float64 COMMENT 'Probability of such a PSI without drift',
    df UInt16 COMMENT 'Degrees of freedom: occupied cells less one',
    phi Float64 COMMENT 'Overdispersion that divides the sample size: 1 is independent traffic',
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
    argMax(given.window_start, given.record_seq) AS window_start,
    window_end,
    argMax(given.n, given.record_seq) AS n,
    argMax(given.psi, given.record_seq) AS psi,
    argMax(given.psi_low, given.record_seq) AS psi_low,
    argMax(given.psi_high, given.record_seq) AS psi_high,
    argMax(given.p_value, given.record_seq) AS p_value,
    argMax(given.df, given.record_seq) AS df,
    argMax(given.phi, given.record_seq) AS phi,
    argMax(given.level, given.record_seq) AS level,
    argMax(given.threshold_minor, given.record_seq) AS threshold_minor,
    argMax(given.threshold_major, given.record_seq) AS threshold_major,
    argMax(given.top_bin, given.record_seq) AS top_bin,
    argMax(given.top_bin_index, given.record_seq) AS top_bin_index,
    argMax(given.expected_share, given.record_seq) AS expected_share,
    argMax(given.actual_share, given.record_seq) AS actual_share,
    argMax(given.visible_shift, given.record_seq) AS visible_shift,
    argMax(given.completeness, given.record_seq) AS completeness,
    argMax(given.judged_at, given.record_seq) AS judged_at,
    count() AS revisions,
    max(given.record_seq) AS record_seq
FROM drift AS given FINAL
GROUP BY model, version, baseline_id, slice, field, window, window_end
COMMENT 'Verdicts on the distribution of each field per window: the last revision of each.';

CREATE VIEW IF NOT EXISTS latest_rates
(
    model LowCardinality(String) COMMENT 'Name of the model',
    version LowCardinality(String) COMMENT 'Version of the model',
    baseline_id LowCardinality(String) COMMENT 'Baseline that the window is judged against',
    slice LowCardinality(String) COMMENT 'Slice of the events: all, or NAME=value',
    field LowCardinality(String) COMMENT 'Observed series; empty for the kind error, which is about whole predictions',
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
    argMax(given.window_start, given.record_seq) AS window_start,
    window_end,
    argMax(given.n, given.record_seq) AS n,
    argMax(given.k, given.record_seq) AS k,
    argMax(given.rate, given.record_seq) AS rate,
    argMax(given.baseline_rate, given.record_seq) AS baseline_rate,
    argMax(given.delta, given.record_seq) AS delta,
    argMax(given.delta_low, given.record_seq) AS delta_low,
    argMax(given.delta_high, given.record_seq) AS delta_high,
    argMax(given.p_value, given.record_seq) AS p_value,
    argMax(given.phi, given.record_seq) AS phi,
    argMax(given.level, given.record_seq) AS level,
    argMax(given.threshold_minor, given.record_seq) AS threshold_minor,
    argMax(given.threshold_major, given.record_seq) AS threshold_major,
    argMax(given.completeness, given.record_seq) AS completeness,
    argMax(given.judged_at, given.record_seq) AS judged_at,
    count() AS revisions,
    max(given.record_seq) AS record_seq
FROM rates AS given FINAL
GROUP BY model, version, baseline_id, slice, field, kind, window, window_end
COMMENT 'Verdicts on the rates of nulls, invalid, outlying and unseen values and of errors per window: the last revision of each.';

CREATE VIEW IF NOT EXISTS all_panes
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
LEFT JOIN (SELECT baseline_id, any(means) AS means FROM baselines GROUP BY baseline_id) AS known USING (baseline_id)
COMMENT 'Counts and moments of each field per slice and pane, one row of each.';

CREATE VIEW IF NOT EXISTS hours
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
LEFT JOIN (SELECT baseline_id, any(means) AS means FROM baselines GROUP BY baseline_id) AS known USING (baseline_id)
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
LEFT JOIN (SELECT baseline_id, any(means) AS means FROM baselines GROUP BY baseline_id) AS known USING (baseline_id)
WHERE pane_s >= 3600
COMMENT 'Counts and moments of each field per slice and hour: hourly roll-ups, and the panes that are an hour or longer themselves.';

CREATE VIEW IF NOT EXISTS all_volume
(
    model LowCardinality(String) COMMENT 'Name of the model',
    version LowCardinality(String) COMMENT 'Version of the model',
    baseline_id LowCardinality(String) COMMENT 'Baseline in force for the pane',
    slice LowCardinality(String) COMMENT 'Slice of the events: all, or NAME=value',
    pane_start DateTime('UTC') COMMENT 'Start of the pane in event time, inclusive',
    pane_end DateTime('UTC') COMMENT 'End of the pane in event time, exclusive',
    pane_s UInt32 COMMENT 'Length of the pane in seconds',
    n UInt64 COMMENT 'Predictions, failed ones included; 0 is silence and has a row',
    errors UInt64 COMMENT 'Predictions that failed',
    error_rate Float64 COMMENT 'errors / n, NaN where n is 0',
    late UInt64 COMMENT 'Predictions that came after the pane was sealed; they are in n too',
    sealed Bool COMMENT 'Whether no event for the pane is expected any more',
    unregistered Bool COMMENT 'Whether the version has no baseline of its own'
)
AS
SELECT
    model,
    version,
    baseline_id,
    slice,
    pane_start,
    pane_start + pane_s AS pane_end,
    pane_s,
    n,
    errors,
    errors / n AS error_rate,
    late,
    sealed,
    unregistered
FROM volume FINAL
COMMENT 'Predictions and failures per slice and pane, one row of each, silence included.';

CREATE VIEW IF NOT EXISTS all_predictions
(
    model LowCardinality(String) COMMENT 'Name of the model',
    version LowCardinality(String) COMMENT 'Version of the model',
    id String COMMENT 'Identifier of the prediction: (model, version, id) is one prediction',
    at DateTime64(3, 'UTC') COMMENT 'Event time: when the prediction was made',
    received_at DateTime64(3, 'UTC') COMMENT 'Received time: when Kafka took the event',
    arm LowCardinality(String) COMMENT 'A/B assignment, empty where there is none',
    context Map(LowCardinality(String), String) COMMENT 'Request context',
    numbers Map(LowCardinality(String), Nullable(Float64)) COMMENT 'Numeric and boolean features (true is 1): NULL where the event does not hold the name',
    strings Map(LowCardinality(String), String) COMMENT 'Text features: an empty string where the event does not hold the name',
    nulls Array(LowCardinality(String)) COMMENT 'Names of the features that the event gave as null',
    score Float64 COMMENT 'Score of the prediction, NaN where there is none',
    class LowCardinality(String) COMMENT 'Predicted class, empty where there is none',
    scores Map(LowCardinality(String), Nullable(Float64)) COMMENT 'Probability per class: NULL where the event does not hold the class',
    metrics Map(LowCardinality(String), Nullable(Float64)) COMMENT 'Further numbers of the request: NULL where the event does not hold the name',
    latency_ms Float64 COMMENT 'How long the prediction took in milliseconds, NaN where it is not known',
    status LowCardinality(String) COMMENT 'Status that the serving system gave, empty where there is none',
    error LowCardinality(String) COMMENT 'Kind of error: not empty means that the prediction failed',
    partition UInt16 COMMENT 'Partition of the predictions topic that the event was read from',
    offset UInt64 COMMENT 'Kafka offset of the message that held the event',
    idx UInt32 COMMENT 'Index of the event in its message'
)
AS
SELECT
    model,
    version,
    id,
    at,
    received_at,
    arm,
    context,
    numbers,
    strings,
    nulls,
    score,
    class,
    scores,
    metrics,
    latency_ms,
    status,
    error,
    partition,
    offset,
    idx
FROM predictions FINAL
SETTINGS do_not_merge_across_partitions_select_final = 1
COMMENT 'Predictions, one row per event. Give a model and a range of at.';

CREATE VIEW IF NOT EXISTS last_labels
(
    model LowCardinality(String) COMMENT 'Model whose prediction is labelled',
    id String COMMENT 'Identifier of the prediction, of every version and shadow that answered it',
    label String COMMENT 'The ground truth as text',
    label_type LowCardinality(String) COMMENT 'What the label was: bool, number or string',
    labelled_at DateTime64(3, 'UTC') COMMENT 'When the ground truth became known, in event time',
    label_received_at DateTime64(3, 'UTC') COMMENT 'When Kafka took the label',
    given UInt64 COMMENT 'How many labels were given; the one with the latest time counts'
)
AS
SELECT
    model,
    id,
    argMax(every.label, (every.at, epoch, offset, idx)) AS label,
    argMax(every.label_type, (every.at, epoch, offset, idx)) AS label_type,
    max(every.at) AS labelled_at,
    argMax(every.received_at, (every.at, epoch, offset, idx)) AS label_received_at,
    count() AS given
FROM labels AS every FINAL
GROUP BY model, id
SETTINGS do_not_merge_across_partitions_select_final = 1
COMMENT 'The label that counts of each prediction: the one with the latest time, then the latest in Kafka.';

CREATE VIEW IF NOT EXISTS predictions_labelled
(
    model LowCardinality(String) COMMENT 'Name of the model',
    version LowCardinality(String) COMMENT 'Version of the model',
    id String COMMENT 'Identifier of the prediction: (model, version, id) is one prediction',
    at DateTime64(3, 'UTC') COMMENT 'Event time: when the prediction was made',
    received_at DateTime64(3, 'UTC') COMMENT 'Received time: when Kafka took the event',
    arm LowCardinality(String) COMMENT 'A/B assignment, empty where there is none',
    context Map(LowCardinality(String), String) COMMENT 'Request context',
    numbers Map(LowCardinality(String), Nullable(Float64)) COMMENT 'Numeric and boolean features (true is 1): NULL where the event does not hold the name',
    strings Map(LowCardinality(String), String) COMMENT 'Text features: an empty string where the event does not hold the name',
    nulls Array(LowCardinality(String)) COMMENT 'Names of the features that the event gave as null',
    score Float64 COMMENT 'Score of the prediction, NaN where there is none',
    class LowCardinality(String) COMMENT 'Predicted class, empty where there is none',
    scores Map(LowCardinality(String), Nullable(Float64)) COMMENT 'Probability per class: NULL where the event does not hold the class',
    metrics Map(LowCardinality(String), Nullable(Float64)) COMMENT 'Further numbers of the request: NULL where the event does not hold the name',
    latency_ms Float64 COMMENT 'How long the prediction took in milliseconds, NaN where it is not known',
    status LowCardinality(String) COMMENT 'Status that the serving system gave, empty where there is none',
    error LowCardinality(String) COMMENT 'Kind of error: not empty means that the prediction failed',
    labelled Bool COMMENT 'Whether a label has arrived',
    label String COMMENT 'The ground truth as text, empty where no label has arrived',
    label_type LowCardinality(String) COMMENT 'What the label was: bool, number or string; empty where no label has arrived',
    labelled_at DateTime64(3, 'UTC') COMMENT 'When the ground truth became known, in event time; 1970 where no label has arrived'
)
AS
SELECT
    event.model,
    event.version,
    event.id,
    event.at,
    event.received_at,
    event.arm,
    event.context,
    event.numbers,
    event.strings,
    event.nulls,
    event.score,
    event.class,
    event.scores,
    event.metrics,
    event.latency_ms,
    event.status,
    event.error,
    truth.given > 0 AS labelled,
    truth.label,
    truth.label_type,
    truth.labelled_at
FROM all_predictions AS event
LEFT JOIN last_labels AS truth ON event.model = truth.model AND event.id = truth.id
COMMENT 'Predictions with the label that counts, also those that have none yet. Give a model and a range of at.';

CREATE VIEW IF NOT EXISTS model_freshness
(
    model LowCardinality(String) COMMENT 'Name of the model',
    version LowCardinality(String) COMMENT 'Version of the model; empty where no prediction has been counted',
    last_traffic_at DateTime('UTC') COMMENT 'End of the last pane in which the version made predictions; 1970 where there is none',
    last_counted_at DateTime('UTC') COMMENT 'End of the last pane that was counted, silent ones included',
    watermark DateTime64(3, 'UTC') COMMENT 'Event time up to which everything has been read; 1970 where a source partition has not spoken',
    sealed_until DateTime64(3, 'UTC') COMMENT 'Event time up to which verdicts are final, late events apart',
    traffic_age_s Int64 COMMENT 'Seconds from last_traffic_at to now',
    sealed_age_s Int64 COMMENT 'Seconds from sealed_until to now: how old the newest final verdict can be',
    updated_at DateTime64(3, 'UTC') COMMENT 'When the monitor wrote this last'
)
AS
SELECT
    model,
    counted.version AS version,
    counted.last_traffic_at AS last_traffic_at,
    counted.last_counted_at AS last_counted_at,
    read.watermark AS watermark,
    read.sealed_until AS sealed_until,
    dateDiff('second', counted.last_traffic_at, now('UTC')) AS traffic_age_s,
    dateDiff('second', read.sealed_until, now('UTC')) AS sealed_age_s,
    read.updated_at AS updated_at
FROM
(
    SELECT model FROM contracts
    UNION DISTINCT
    SELECT model FROM progress
) AS known
LEFT JOIN
(
    SELECT
        model,
        argMax(state.watermark, state.record_seq) AS watermark,
        argMax(state.sealed_until, state.record_seq) AS sealed_until,
        argMax(state.updated_at, state.record_seq) AS updated_at
    FROM progress AS state FINAL
    GROUP BY model
) AS read USING (model)
LEFT JOIN
(
    SELECT model, version, maxIf(pane_start + pane_s, n > 0) AS last_traffic_at, max(pane_start + pane_s) AS last_counted_at
    FROM volume
    WHERE slice = 'all'
    GROUP BY model, version
) AS counted USING (model)
COMMENT 'How fresh each model is that was applied or read: times are 1970 where nothing has come yet.';

CREATE VIEW IF NOT EXISTS pipeline
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
    max(report.at) AS at,
    dateDiff('second', max(report.at), now64(3, 'UTC')) AS silent_s,
    argMax(report.host, report.at) AS host,
    argMax(report.pid, report.at) AS pid,
    argMax(report.started_at, report.at) AS started_at,
    argMax(report.lag, report.at) AS lag,
    argMax(report.events, report.at) AS events,
    argMax(report.rate, report.at) AS rate,
    argMax(report.retries, report.at) AS retries,
    argMax(report.dead_letters, report.at) AS dead_letters,
    argMax(report.last_commit_at, report.at) AS last_commit_at,
    argMax(report.details, report.at) AS details
FROM processors AS report FINAL
GROUP BY kind, instance
COMMENT 'How each processor is: its last report, kept for 30 days after it went.';

CREATE VIEW IF NOT EXISTS lost_ranges
(
    source_partition UInt16 COMMENT 'Partition of the predictions topic that the offsets belong to',
    start_offset UInt64 COMMENT 'First offset that was lost',
    end_offset UInt64 COMMENT 'First offset after it that was not lost',
    offsets UInt64 COMMENT 'How many offsets were lost: at most so many messages, because markers of transactions count too',
    from_time DateTime64(3, 'UTC') COMMENT 'Least event time that may have been lost',
    to_time DateTime64(3, 'UTC') COMMENT 'First event time after the range',
    reason LowCardinality(String) COMMENT 'Why it was lost',
    recorded_at DateTime64(3, 'UTC') COMMENT 'When the loss was recorded first',
    epoch UInt16 COMMENT 'Incarnation of the partials topic'
)
AS
SELECT
    source_partition,
    start_offset,
    end_offset,
    end_offset - start_offset AS offsets,
    min(loss.from_time) AS from_time,
    max(loss.to_time) AS to_time,
    argMin(loss.reason, loss.recorded_at) AS reason,
    min(loss.recorded_at) AS recorded_at,
    epoch
FROM losses AS loss FINAL
GROUP BY source_partition, epoch, start_offset, end_offset
COMMENT 'Ranges of source offsets whose events are in no pane, each once.';
