-- Performance: labels joined to predictions, state per score window, and what was measured, every revision of it.
--
-- Raw tables are sorted for reading by model and hour. What came since the scorer looked last is found by Kafka
-- position: the index by_arrival passes over parts and granules whose rows were all looked at.
--
-- The join is kept, not made anew: prediction_hours tells the hours of an id by its hash, hour_labels holds labels under
-- the hours of their predictions, so that an hour is measured from its own rows whatever else the tables hold.

ALTER TABLE predictions ADD INDEX IF NOT EXISTS by_arrival (epoch, partition, offset) TYPE minmax GRANULARITY 1;

ALTER TABLE predictions MATERIALIZE INDEX by_arrival;

ALTER TABLE labels ADD INDEX IF NOT EXISTS by_arrival (epoch, partition, offset) TYPE minmax GRANULARITY 1;

ALTER TABLE labels MATERIALIZE INDEX by_arrival;

CREATE TABLE IF NOT EXISTS prediction_hours
(
    model LowCardinality(String) COMMENT 'Model that made the prediction',
    hash UInt64 COMMENT 'cityHash64 of the id of the prediction',
    version LowCardinality(String) COMMENT 'Version of the model',
    hour DateTime('UTC') COMMENT 'Hour of event time in which the prediction was made' CODEC(ZSTD(1)),
    received_on Date COMMENT 'Day on which Kafka took the prediction' CODEC(ZSTD(1))
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(received_on)
ORDER BY (model, hash, version, hour)
TTL received_on + INTERVAL 100 DAY
SETTINGS ttl_only_drop_parts = 1, index_granularity = 256, min_compress_block_size = 4096, max_compress_block_size = 16384, fsync_after_insert = 1, fsync_part_directory = 1
COMMENT 'In which hours predictions of an id were made: how the scorer finds the hours that a label changes. Kept for 100 days from receipt, longer than raw predictions.';

CREATE TABLE IF NOT EXISTS hour_labels
(
    model LowCardinality(String) COMMENT 'Model whose prediction is labelled',
    hour DateTime('UTC') COMMENT 'Hour of event time in which the prediction was made; a label stands under each hour that has one of its id' CODEC(Delta, ZSTD(1)),
    id String COMMENT 'Identifier of the prediction that is labelled' CODEC(ZSTD(1)),
    at DateTime64(3, 'UTC') COMMENT 'When the ground truth became known, in event time' CODEC(Delta, ZSTD(1)),
    epoch UInt16 COMMENT 'Incarnation of the labels topic',
    partition UInt16 COMMENT 'Partition of the labels topic that the label was read from',
    offset UInt64 COMMENT 'Kafka offset of the message that held the label' CODEC(Delta, ZSTD(1)),
    idx UInt32 COMMENT 'Index of the label in its message',
    label String COMMENT 'The ground truth as text' CODEC(ZSTD(1)),
    label_type LowCardinality(String) COMMENT 'What the label was: bool, number or string',
    received_at DateTime64(3, 'UTC') COMMENT 'When Kafka took the label' CODEC(Delta, ZSTD(1))
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(received_at)
ORDER BY (model, hour, id, at, epoch, partition, offset, idx)
TTL toDateTime(received_at) + INTERVAL 190 DAY
SETTINGS ttl_only_drop_parts = 1, fsync_after_insert = 1, fsync_part_directory = 1
COMMENT 'Labels under the hours of the predictions that they are for, every revision of each; kept for 190 days from receipt.';

CREATE TABLE IF NOT EXISTS waiting_labels
(
    model LowCardinality(String) COMMENT 'Model whose prediction is labelled',
    hash UInt64 COMMENT 'cityHash64 of the id',
    id String COMMENT 'Identifier of the prediction that is labelled' CODEC(ZSTD(1)),
    at DateTime64(3, 'UTC') COMMENT 'When the ground truth became known, in event time' CODEC(Delta, ZSTD(1)),
    epoch UInt16 COMMENT 'Incarnation of the labels topic',
    partition UInt16 COMMENT 'Partition of the labels topic that the label was read from',
    offset UInt64 COMMENT 'Kafka offset of the message that held the label' CODEC(Delta, ZSTD(1)),
    idx UInt32 COMMENT 'Index of the label in its message',
    label String COMMENT 'The ground truth as text' CODEC(ZSTD(1)),
    label_type LowCardinality(String) COMMENT 'What the label was: bool, number or string',
    received_at DateTime64(3, 'UTC') COMMENT 'When Kafka took the label' CODEC(Delta, ZSTD(1)),
    came UInt8 COMMENT '1 once a prediction of the id has come: the row then replaces the one with 0'
)
ENGINE = ReplacingMergeTree(came)
PARTITION BY toYYYYMM(received_at)
ORDER BY (model, hash, id, at, epoch, partition, offset, idx)
TTL toDateTime(received_at) + INTERVAL 190 DAY
SETTINGS ttl_only_drop_parts = 1, index_granularity = 1024, fsync_after_insert = 1, fsync_part_directory = 1
COMMENT 'Labels that came before a prediction of their id; kept for 190 days from receipt. The view unknown_labels counts those that still wait.';

CREATE TABLE IF NOT EXISTS repeated_predictions
(
    model LowCardinality(String) COMMENT 'Model that made the prediction',
    version LowCardinality(String) COMMENT 'Version of the model',
    hash UInt64 COMMENT 'cityHash64 of the id of the prediction',
    hour DateTime('UTC') COMMENT 'Hour of event time that holds one of its rows',
    found_on Date COMMENT 'Day on which the scorer found the repeat'
)
ENGINE = ReplacingMergeTree
ORDER BY (model, hash, version, hour)
TTL found_on + INTERVAL 100 DAY
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1
COMMENT 'Hours of predictions whose (version, id) stands in more than one: the earliest counts, the others are repeats. Kept for 100 days.';

CREATE TABLE IF NOT EXISTS performance_state
(
    model LowCardinality(String) COMMENT 'Model that is measured',
    version LowCardinality(String) COMMENT 'Version of the model',
    basis LowCardinality(String) COMMENT 'Hash of what is measured by: the label of the contract, the length of a score window, the share of raw events. Only rows of one basis add up',
    slice LowCardinality(String) COMMENT 'Slice of the events: all, or NAME=value',
    window_start DateTime('UTC') COMMENT 'Start of the score window in event time' CODEC(Delta, ZSTD(1)),
    window_s UInt32 COMMENT 'Length of the score window in seconds',
    predictions UInt64 COMMENT 'Predictions, each (version, id) once, failed ones included; 0 where all of them turned out to belong elsewhere' CODEC(T64, ZSTD(1)),
    failed UInt64 COMMENT 'Predictions that failed; they are not measured' CODEC(T64, ZSTD(1)),
    duplicates UInt64 COMMENT 'Further events of a prediction that was counted: the earliest counts' CODEC(T64, ZSTD(1)),
    unscored UInt64 COMMENT 'Predictions that did not fail and hold nothing to measure: neither class nor usable score' CODEC(T64, ZSTD(1)),
    out_of_range UInt64 COMMENT 'Predictions with a score outside [0, 1], or scores of which one is; their scores are not measured' CODEC(T64, ZSTD(1)),
    strange_class UInt64 COMMENT 'Predictions whose class is none of the contract; they are not measured' CODEC(T64, ZSTD(1)),
    bad_sum UInt64 COMMENT 'Predictions whose scores do not sum to 1; their scores are not measured' CODEC(T64, ZSTD(1)),
    labelled UInt64 COMMENT 'Predictions with a label that holds' CODEC(T64, ZSTD(1)),
    early UInt64 COMMENT 'Labels that were given before their prediction; they count' CODEC(T64, ZSTD(1)),
    corrections UInt64 COMMENT 'Labels beyond the first of a prediction; the last holds' CODEC(T64, ZSTD(1)),
    late UInt64 COMMENT 'Labels that came beyond the horizon; they are not measured' CODEC(T64, ZSTD(1)),
    wrong_type UInt64 COMMENT 'Labels that are not of the type that the contract says; they are not measured' CODEC(T64, ZSTD(1)),
    strange_label UInt64 COMMENT 'Labels that are none of the classes of the contract; they are not measured' CODEC(T64, ZSTD(1)),
    confusion Array(UInt64) COMMENT 'Labelled predictions: TP, FP, FN, TN of two classes; true × predicted of more, row by row' CODEC(T64, ZSTD(1)),
    bins Array(Int32) COMMENT 'Bins that hold something. Of two classes that of the score; of more class × bins + that of its probability; of numbers ± (bin of the error in steps of 1 % + 2^17), 0 where there is no error' CODEC(ZSTD(1)),
    bin_predictions Array(UInt64) COMMENT 'Predictions per bin, labelled or not' CODEC(ZSTD(1)),
    bin_scores Array(Float64) COMMENT 'Sum of their scores' CODEC(ZSTD(1)),
    bin_labelled Array(UInt64) COMMENT 'Labelled predictions per bin' CODEC(ZSTD(1)),
    bin_labelled_scores Array(Float64) COMMENT 'Sum of their scores' CODEC(ZSTD(1)),
    bin_positives Array(UInt64) COMMENT 'Labelled predictions per bin whose label is the class that the score is the probability of' CODEC(ZSTD(1)),
    sums Array(Float64) COMMENT 'Of labelled predictions. Classes: n, sum and sum of squares of the log-loss, then of the Brier score; numbers: n and sums of error, |error|, error^2, error^4, error being prediction - label' CODEC(ZSTD(1)),
    ages Map(UInt16, UInt64) COMMENT 'First labels per bin of the age at which they came, bins as maturity has them; of the slice all' CODEC(ZSTD(1)),
    records UInt64 COMMENT 'Raw rows that the whole window rests on: of two states of it that of more holds' CODEC(T64, ZSTD(1)),
    scored_at DateTime64(3, 'UTC') COMMENT 'When it was made, by the clock of the scorer' CODEC(Delta, ZSTD(1))
)
ENGINE = ReplacingMergeTree(records)
PARTITION BY toYYYYMM(window_start)
ORDER BY (model, basis, window_start, version, slice)
TTL window_start + INTERVAL 750 DAY
SETTINGS ttl_only_drop_parts = 1, index_granularity = 512, fsync_after_insert = 1, fsync_part_directory = 1
COMMENT 'What performance is computed from, per score window (an hour, or a pane where that is longer) and slice: counts and sums, which add up to any longer window. Kept for 750 days of event time.';

CREATE TABLE IF NOT EXISTS scorer_checkpoints
(
    topic LowCardinality(String) COMMENT 'predictions or labels',
    epoch UInt16 COMMENT 'Incarnation of the topic',
    partition UInt16 COMMENT 'Partition of the topic',
    offset UInt64 COMMENT 'Everything up to this Kafka offset has been looked at',
    marked_at DateTime64(3, 'UTC') COMMENT 'When it was written'
)
ENGINE = ReplacingMergeTree(offset)
ORDER BY (topic, epoch, partition)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1
COMMENT 'Up to where the scorer has looked at raw rows, per source partition; kept for good. It starts from here.';

CREATE TABLE IF NOT EXISTS scorer_models
(
    model LowCardinality(String) COMMENT 'Model with a contract',
    state LowCardinality(String) COMMENT 'scored, or skipped where its performance cannot be measured',
    reason String COMMENT 'Why it is skipped, and what to do; empty where it is not',
    basis LowCardinality(String) COMMENT 'Hash of what it is measured by: with another one everything is measured anew',
    kind LowCardinality(String) COMMENT 'binary, classes or number',
    raw_share Float64 COMMENT 'Share of the predictions that is recorded: performance is measured on these',
    newest_at DateTime64(3, 'UTC') COMMENT 'Newest event time seen of its predictions and labels',
    scored_until DateTime64(3, 'UTC') COMMENT 'Windows that ended up to then have been measured',
    updated_at DateTime64(3, 'UTC') COMMENT 'When the scorer wrote the row'
)
ENGINE = ReplacingMergeTree(updated_at)
ORDER BY model
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1
COMMENT 'What the scorer does about each model; kept for good.';

-- The figures. The sorting key ends in revision and the engine has no version column, as drift has it.

CREATE TABLE IF NOT EXISTS performance
(
    model LowCardinality(String) COMMENT 'Model that is measured',
    version LowCardinality(String) COMMENT 'Version of the model',
    slice LowCardinality(String) COMMENT 'Slice of the events: all, or NAME=value',
    metric LowCardinality(String) COMMENT 'What is measured: accuracy, auc, mae, …, as docs/statistics.md has them',
    class LowCardinality(String) COMMENT 'Class of a metric that is about one class; empty for the model as a whole',
    window LowCardinality(String) COMMENT 'Length of the window, such as 1h, 1d or 7d; windows of one length do not overlap',
    window_start DateTime('UTC') COMMENT 'Start of the window in event time, inclusive' CODEC(Delta, ZSTD(1)),
    window_end DateTime('UTC') COMMENT 'End of the window in event time, exclusive' CODEC(Delta, ZSTD(1)),
    value Float64 COMMENT 'The figure; NaN where it is not defined' CODEC(ZSTD(1)),
    low Float64 COMMENT 'Lower end of its 95 % interval' CODEC(ZSTD(1)),
    high Float64 COMMENT 'Upper end of its 95 % interval' CODEC(ZSTD(1)),
    enough Bool COMMENT 'Whether its labels are enough to say anything, as docs/statistics.md has it; without, level is insufficient',
    n UInt64 COMMENT 'Labelled predictions that it is measured on' CODEC(T64, ZSTD(1)),
    predictions UInt64 COMMENT 'Predictions of the window, labelled or not' CODEC(T64, ZSTD(1)),
    coverage Float64 COMMENT 'Share of the predictions that have a label' CODEC(ZSTD(1)),
    maturity Float64 COMMENT 'Share of the labels that ever come that had come when it was measured, by the learned curve; NaN where none is learned yet' CODEC(ZSTD(1)),
    mature Bool COMMENT 'Whether that share is the one that the contract asks for, or the horizon has passed',
    level LowCardinality(String) COMMENT 'stable, minor, major, or insufficient: too few labels to say, or nothing to hold the figure against. Mature windows are held against the promise of the contract where there is one, all others against the reference',
    promise Float64 COMMENT 'What the contract promises of the metric, NaN where it promises nothing' CODEC(ZSTD(1)),
    reference Float64 COMMENT 'The figure of the reference at the same age of labels, NaN where there is no reference' CODEC(ZSTD(1)),
    difference Float64 COMMENT 'value - reference' CODEC(ZSTD(1)),
    difference_low Float64 COMMENT 'Lower end of the 95 % interval of the difference' CODEC(ZSTD(1)),
    difference_high Float64 COMMENT 'Upper end of the 95 % interval of the difference' CODEC(ZSTD(1)),
    selective Bool COMMENT 'Whether labels come for some scores rather than for others, so that the figure is not that of all predictions; of classes whether they do of one, of numbers it is not tested',
    selective_p Float64 COMMENT 'Probability of such a dependence if labels came at random; NaN where it is not tested' CODEC(ZSTD(1)),
    corrected Float64 COMMENT 'The figure of all predictions, where labels are selective but random among rows of like score; NaN elsewhere, and where a side of the threshold has too few labels' CODEC(ZSTD(1)),
    corrected_low Float64 COMMENT 'Lower end of its 95 % interval' CODEC(ZSTD(1)),
    corrected_high Float64 COMMENT 'Upper end of its 95 % interval' CODEC(ZSTD(1)),
    cbpe Float64 COMMENT 'Estimate from the scores of all predictions, without labels; NaN where there is none. It is blind to what scores mean anew' CODEC(ZSTD(1)),
    cbpe_low Float64 COMMENT 'Lower end of its 95 % interval' CODEC(ZSTD(1)),
    cbpe_high Float64 COMMENT 'Upper end of its 95 % interval' CODEC(ZSTD(1)),
    cbpe_error Float64 COMMENT 'Estimate - value once the labels are mature, NaN before' CODEC(ZSTD(1)),
    raw_share Float64 COMMENT 'Share of the predictions that is recorded: n and predictions are of this share' CODEC(ZSTD(1)),
    revised_at DateTime64(3, 'UTC') COMMENT 'When the row was written, by the clock of the scorer' CODEC(Delta, ZSTD(1)),
    revision UInt32 COMMENT 'Counts what was said of the window, from 1; the last revision has the greatest' CODEC(Delta, ZSTD(1))
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(window_end)
ORDER BY (model, version, slice, metric, class, window, window_end, revision)
TTL window_end + INTERVAL 750 DAY
SETTINGS ttl_only_drop_parts = 1, fsync_after_insert = 1, fsync_part_directory = 1
COMMENT 'Performance per window on the labels that had come, every revision; kept for 750 days of event time. The view latest_performance holds the last revision.';

CREATE TABLE IF NOT EXISTS performance_reference
(
    model LowCardinality(String) COMMENT 'Model that is measured',
    version LowCardinality(String) COMMENT 'Version of the model',
    basis LowCardinality(String) COMMENT 'Hash of what is measured by, as in performance_state',
    slice LowCardinality(String) COMMENT 'Slice of the events: all, or NAME=value',
    age_s UInt32 COMMENT 'Labels that had come at this age of their prediction, in seconds, are counted: a window of that age is held against them',
    from_time DateTime('UTC') COMMENT 'Start of the windows that make the reference, in event time',
    until_time DateTime('UTC') COMMENT 'End of them, exclusive',
    predictions UInt64 COMMENT 'Predictions in them',
    labelled UInt64 COMMENT 'Predictions with a label of that age',
    confusion Array(UInt64) COMMENT 'As in performance_state' CODEC(T64, ZSTD(1)),
    bins Array(Int32) COMMENT 'As in performance_state' CODEC(ZSTD(1)),
    bin_predictions Array(UInt64) COMMENT 'As in performance_state' CODEC(ZSTD(1)),
    bin_scores Array(Float64) COMMENT 'As in performance_state' CODEC(ZSTD(1)),
    bin_labelled Array(UInt64) COMMENT 'As in performance_state' CODEC(ZSTD(1)),
    bin_labelled_scores Array(Float64) COMMENT 'As in performance_state' CODEC(ZSTD(1)),
    bin_positives Array(UInt64) COMMENT 'As in performance_state' CODEC(ZSTD(1)),
    sums Array(Float64) COMMENT 'As in performance_state' CODEC(ZSTD(1)),
    frozen_at DateTime64(3, 'UTC') COMMENT 'When it was frozen: of two the first holds'
)
ENGINE = ReplacingMergeTree
ORDER BY (model, version, basis, slice, age_s, frozen_at)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1
COMMENT 'The first matured week of each version, by age of labels: what performance is compared with. Frozen once, kept for good.';

CREATE TABLE IF NOT EXISTS maturity
(
    model LowCardinality(String) COMMENT 'Model whose labels are awaited',
    basis LowCardinality(String) COMMENT 'Hash of what is measured by, as in performance_state',
    ages_s Array(Float64) COMMENT 'Ages of a prediction in seconds' CODEC(ZSTD(1)),
    shares Array(Float64) COMMENT 'Share of the labels that ever come that have come by each age' CODEC(ZSTD(1)),
    shares_low Array(Float64) COMMENT 'Lower ends of the 95 % intervals of the shares' CODEC(ZSTD(1)),
    shares_high Array(Float64) COMMENT 'Upper ends of the 95 % intervals of the shares' CODEC(ZSTD(1)),
    coverage Float64 COMMENT 'Share of the predictions that are ever labelled within the horizon',
    mature_age_s Float64 COMMENT 'Age by which the share that the contract calls mature has come; infinite where it is not known to be reached',
    predictions UInt64 COMMENT 'Predictions that it is learned from',
    labels UInt64 COMMENT 'Labels that it is learned from',
    learned_at DateTime64(3, 'UTC') COMMENT 'When it was learned: the last one of a model holds'
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(learned_at)
ORDER BY (model, basis, learned_at)
TTL toDateTime(learned_at) + INTERVAL 750 DAY
SETTINGS ttl_only_drop_parts = 1, fsync_after_insert = 1, fsync_part_directory = 1
COMMENT 'How labels come with the age of their predictions, as it was learned; kept for 750 days. The view label_maturity holds the last curve.';

-- Views.

CREATE OR REPLACE VIEW latest_performance
(
    model LowCardinality(String) COMMENT 'Model that is measured',
    version LowCardinality(String) COMMENT 'Version of the model',
    slice LowCardinality(String) COMMENT 'Slice of the events: all, or NAME=value',
    metric LowCardinality(String) COMMENT 'What is measured: accuracy, auc, mae, …, as docs/statistics.md has them',
    class LowCardinality(String) COMMENT 'Class of a metric that is about one class; empty for the model as a whole',
    window LowCardinality(String) COMMENT 'Length of the window, such as 1h, 1d or 7d; windows of one length do not overlap',
    window_start DateTime('UTC') COMMENT 'Start of the window in event time, inclusive',
    window_end DateTime('UTC') COMMENT 'End of the window in event time, exclusive',
    value Float64 COMMENT 'The figure; NaN where it is not defined',
    low Float64 COMMENT 'Lower end of its 95 % interval',
    high Float64 COMMENT 'Upper end of its 95 % interval',
    enough Bool COMMENT 'Whether its labels are enough to say anything, as docs/statistics.md has it; without, level is insufficient',
    n UInt64 COMMENT 'Labelled predictions that it is measured on',
    predictions UInt64 COMMENT 'Predictions of the window, labelled or not',
    coverage Float64 COMMENT 'Share of the predictions that have a label',
    maturity Float64 COMMENT 'Share of the labels that ever come that had come when it was measured, by the learned curve; NaN where none is learned yet',
    mature Bool COMMENT 'Whether that share is the one that the contract asks for, or the horizon has passed',
    level LowCardinality(String) COMMENT 'stable, minor, major, or insufficient: too few labels to say, or nothing to hold the figure against. Mature windows are held against the promise of the contract where there is one, all others against the reference',
    promise Float64 COMMENT 'What the contract promises of the metric, NaN where it promises nothing',
    reference Float64 COMMENT 'The figure of the reference at the same age of labels, NaN where there is no reference',
    difference Float64 COMMENT 'value - reference',
    difference_low Float64 COMMENT 'Lower end of the 95 % interval of the difference',
    difference_high Float64 COMMENT 'Upper end of the 95 % interval of the difference',
    selective Bool COMMENT 'Whether labels come for some scores rather than for others, so that the figure is not that of all predictions; of classes whether they do of one, of numbers it is not tested',
    selective_p Float64 COMMENT 'Probability of such a dependence if labels came at random; NaN where it is not tested',
    corrected Float64 COMMENT 'The figure of all predictions, where labels are selective but random among rows of like score; NaN elsewhere, and where a side of the threshold has too few labels',
    corrected_low Float64 COMMENT 'Lower end of its 95 % interval',
    corrected_high Float64 COMMENT 'Upper end of its 95 % interval',
    cbpe Float64 COMMENT 'Estimate from the scores of all predictions, without labels; NaN where there is none. It is blind to what scores mean anew',
    cbpe_low Float64 COMMENT 'Lower end of its 95 % interval',
    cbpe_high Float64 COMMENT 'Upper end of its 95 % interval',
    cbpe_error Float64 COMMENT 'Estimate - value once the labels are mature, NaN before',
    raw_share Float64 COMMENT 'Share of the predictions that is recorded: n and predictions are of this share',
    revised_at DateTime64(3, 'UTC') COMMENT 'When the row was written, by the clock of the scorer',
    revisions UInt64 COMMENT 'How often something was said of the window',
    revision UInt32 COMMENT 'Number of the last revision'
)
AS
SELECT
    model,
    version,
    slice,
    metric,
    class,
    window,
    window_start,
    window_end,
    value,
    low,
    high,
    enough,
    n,
    predictions,
    coverage,
    maturity,
    mature,
    level,
    promise,
    reference,
    difference,
    difference_low,
    difference_high,
    selective,
    selective_p,
    corrected,
    corrected_low,
    corrected_high,
    cbpe,
    cbpe_low,
    cbpe_high,
    cbpe_error,
    raw_share,
    revised_at,
    revisions,
    revision
FROM
(
    SELECT *, uniqExact(revision) OVER (PARTITION BY model, version, slice, metric, class, window, window_end) AS revisions
    FROM performance
    ORDER BY revision DESC, revised_at DESC
    LIMIT 1 BY model, version, slice, metric, class, window, window_end
)
WHERE predictions > 0
COMMENT 'The last word on the performance of each window; as far as its labels have come: look at mature and coverage.';

CREATE OR REPLACE VIEW arm_performance
(
    model LowCardinality(String) COMMENT 'Model that is measured',
    version LowCardinality(String) COMMENT 'Version that answers in the arm',
    other_version LowCardinality(String) COMMENT 'Version that answers in the other arm',
    metric LowCardinality(String) COMMENT 'What is measured',
    class LowCardinality(String) COMMENT 'Class of a metric that is about one class',
    window LowCardinality(String) COMMENT 'Length of the window',
    window_start DateTime('UTC') COMMENT 'Start of the window in event time, inclusive',
    window_end DateTime('UTC') COMMENT 'End of the window in event time, exclusive',
    arm String COMMENT 'One arm',
    other_arm String COMMENT 'The arm that it is compared with',
    value Float64 COMMENT 'The figure of the arm',
    other_value Float64 COMMENT 'The figure of the other arm',
    difference Float64 COMMENT 'value - other_value',
    difference_low Float64 COMMENT 'Lower end of the 95 % interval of the difference (square and add; Newcombe 1998 for shares)',
    difference_high Float64 COMMENT 'Upper end of the 95 % interval of the difference',
    n UInt64 COMMENT 'Labelled predictions of the arm',
    other_n UInt64 COMMENT 'Labelled predictions of the other arm',
    mature Bool COMMENT 'Whether the labels of both are mature',
    sufficient Bool COMMENT 'Whether both have labels enough to say'
)
AS
SELECT
    a.model,
    a.version,
    b.version AS other_version,
    a.metric,
    a.class,
    a.window,
    a.window_start,
    a.window_end,
    substring(a.slice, 5) AS arm,
    substring(b.slice, 5) AS other_arm,
    a.value,
    b.value AS other_value,
    a.value - b.value AS difference,
    difference - sqrt(pow(a.value - a.low, 2) + pow(b.high - b.value, 2)) AS difference_low,
    difference + sqrt(pow(a.high - a.value, 2) + pow(b.value - b.low, 2)) AS difference_high,
    a.n,
    b.n AS other_n,
    a.mature AND b.mature AS mature,
    a.enough AND b.enough AS sufficient
FROM (SELECT * FROM latest_performance WHERE startsWith(slice, 'arm=')) AS a
INNER JOIN (SELECT * FROM latest_performance WHERE startsWith(slice, 'arm=')) AS b
    ON a.model = b.model AND a.metric = b.metric AND a.class = b.class AND a.window = b.window AND a.window_end = b.window_end
WHERE a.slice != b.slice AND a.slice != 'arm=other' AND b.slice != 'arm=other'
COMMENT 'Performance of the arms of an A/B test against one another, each pair both ways, with the interval of the difference. An arm that several versions answer in is there with each of them.';

CREATE OR REPLACE VIEW estimate_trust
(
    model LowCardinality(String) COMMENT 'Model that is measured',
    version LowCardinality(String) COMMENT 'Version of the model',
    metric LowCardinality(String) COMMENT 'What is estimated: accuracy, precision, recall, f1 or auc',
    window LowCardinality(String) COMMENT 'Length of the windows',
    first_window DateTime('UTC') COMMENT 'Start of the earliest of the windows',
    last_window DateTime('UTC') COMMENT 'Start of the latest',
    windows UInt64 COMMENT 'Windows whose labels have matured: the last twenty, of the slice all',
    bias Float64 COMMENT 'Mean of estimate - value',
    off_share Float64 COMMENT 'Share of the windows whose estimate was off by more than 0.02 and by more than chance',
    known Bool COMMENT 'Whether there are windows enough to say, three',
    trusted Bool COMMENT 'Whether the estimate may be believed: at most a fifth of the windows were off, and the mean was not'
)
AS
SELECT
    model,
    version,
    metric,
    window,
    min(window_start) AS first_window,
    max(window_start) AS last_window,
    count() AS windows,
    avg(error) AS bias,
    avg(abs(error) > 0.02 AND (error_low > 0 OR error_high < 0)) AS off_share,
    windows >= 3 AS known,
    known AND off_share <= 0.2 AND NOT (abs(bias) > 0.02 AND abs(bias) > sqrt(sum(pow((error_high - error_low) / 2, 2))) / windows) AS trusted
FROM
(
    SELECT
        model,
        version,
        metric,
        window,
        window_start,
        cbpe_error AS error,
        error - sqrt(pow(cbpe - cbpe_low, 2) + pow(high - value, 2)) AS error_low,
        error + sqrt(pow(cbpe_high - cbpe, 2) + pow(value - low, 2)) AS error_high
    FROM latest_performance
    WHERE slice = 'all' AND class = '' AND isFinite(cbpe_error)
    ORDER BY window_start DESC
    LIMIT 20 BY model, version, metric, window
)
GROUP BY model, version, metric, window
COMMENT 'Whether estimates without labels held against what labels showed once they had matured. Where scores mean something else than they did, it is here that it shows.';

CREATE OR REPLACE VIEW calibration_curve
(
    model LowCardinality(String) COMMENT 'Model that is measured',
    version LowCardinality(String) COMMENT 'Version of the model',
    slice LowCardinality(String) COMMENT 'Slice of the events: all, or NAME=value',
    window_start DateTime('UTC') COMMENT 'Start of the score window in event time: sum n, score_sum and positives over windows for a longer one',
    bin Int32 COMMENT 'Bin of the score, by ascending score; of more than two classes class × bins + bin',
    n UInt64 COMMENT 'Labelled predictions in the bin',
    score_sum Float64 COMMENT 'Sum of their scores',
    positives UInt64 COMMENT 'Those whose label is the class that the score is the probability of',
    score Float64 COMMENT 'Mean score',
    rate Float64 COMMENT 'Share of positives: the same as score where the model is calibrated'
)
AS
SELECT
    model,
    version,
    slice,
    window_start,
    bin,
    n,
    score_sum,
    positives,
    score_sum / n AS score,
    positives / n AS rate
FROM
(
    SELECT state.model AS model, state.version AS version, state.slice AS slice, state.window_start AS window_start, bins, bin_labelled, bin_labelled_scores, bin_positives
    FROM performance_state AS state FINAL
    INNER JOIN (SELECT model, argMax(basis, updated_at) AS basis FROM scorer_models GROUP BY model) AS held ON state.model = held.model AND state.basis = held.basis
)
ARRAY JOIN bins AS bin, bin_labelled AS n, bin_labelled_scores AS score_sum, bin_positives AS positives
WHERE n > 0
COMMENT 'Scores against what came, per score window and bin. Give a model and a range of window_start.';

CREATE OR REPLACE VIEW label_maturity
(
    model LowCardinality(String) COMMENT 'Model whose labels are awaited',
    age_s Float64 COMMENT 'Age of a prediction in seconds',
    share Float64 COMMENT 'Share of the labels that ever come that have come by then',
    share_low Float64 COMMENT 'Lower end of the 95 % interval of the share',
    share_high Float64 COMMENT 'Upper end of the 95 % interval of the share',
    coverage Float64 COMMENT 'Share of the predictions that are ever labelled',
    mature_age_s Float64 COMMENT 'Age from which a window is mature',
    learned_at DateTime64(3, 'UTC') COMMENT 'When the curve was learned'
)
AS
SELECT model, age_s, share, share_low, share_high, coverage, mature_age_s, learned_at
FROM
(
    SELECT
        model,
        argMax(curve.ages_s, curve.learned_at) AS ages_s,
        argMax(curve.shares, curve.learned_at) AS shares,
        argMax(curve.shares_low, curve.learned_at) AS shares_low,
        argMax(curve.shares_high, curve.learned_at) AS shares_high,
        argMax(curve.coverage, curve.learned_at) AS coverage,
        argMax(curve.mature_age_s, curve.learned_at) AS mature_age_s,
        max(curve.learned_at) AS learned_at
    FROM maturity AS curve
    GROUP BY model
)
ARRAY JOIN ages_s AS age_s, shares AS share, shares_low AS share_low, shares_high AS share_high
COMMENT 'How labels come with the age of their predictions, by model: the curve that was learned last.';

CREATE OR REPLACE VIEW unknown_labels
(
    model LowCardinality(String) COMMENT 'Model whose prediction is labelled',
    hour DateTime('UTC') COMMENT 'Hour of event time in which the ground truth became known',
    labels UInt64 COMMENT 'Labels whose prediction has not come'
)
AS
SELECT model, toStartOfHour(at) AS hour, count() AS labels
FROM waiting_labels FINAL
WHERE came = 0
GROUP BY model, hour
COMMENT 'Labels whose prediction has not come, by the hour of the label; of models that record a share, those of the share.';

CREATE OR REPLACE VIEW label_counts
(
    model LowCardinality(String) COMMENT 'Model that is measured',
    version LowCardinality(String) COMMENT 'Version of the model; empty for labels of unknown predictions',
    hour DateTime('UTC') COMMENT 'Start of the score window of the predictions; of unknown ones the hour of the label',
    kind LowCardinality(String) COMMENT 'What is counted: predictions, failed, duplicates, unscored, out_of_range, strange_class, bad_sum, labelled, early, corrections, late, wrong_type, strange_label as performance_state has them, unlabelled: predictions without a label that holds, most of which is late or never comes, or unknown: labels whose prediction has not come',
    n UInt64 COMMENT 'How many'
)
AS
SELECT model, version, hour, kind, n
FROM
(
    SELECT
        state.model AS model,
        state.version AS version,
        state.window_start AS hour,
        [('predictions', predictions), ('failed', failed), ('duplicates', duplicates), ('unscored', unscored), ('out_of_range', out_of_range), ('strange_class', strange_class), ('bad_sum', bad_sum), ('labelled', labelled), ('unlabelled', toUInt64(predictions - labelled)), ('early', early), ('corrections', corrections), ('late', late), ('wrong_type', wrong_type), ('strange_label', strange_label)] AS counts
    FROM performance_state AS state FINAL
    INNER JOIN (SELECT model, argMax(basis, updated_at) AS basis FROM scorer_models GROUP BY model) AS held ON state.model = held.model AND state.basis = held.basis
    WHERE state.slice = 'all' AND state.predictions > 0
    UNION ALL
    SELECT model, '' AS version, hour, [('unknown', labels)] AS counts FROM unknown_labels
)
ARRAY JOIN counts.1 AS kind, counts.2 AS n
COMMENT 'How many predictions and labels there were of each kind, per score window of the slice all.';
