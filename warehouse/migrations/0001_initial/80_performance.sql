-- Performance: labels joined to predictions, state per score window, and the resulting metrics, every revision.
--
-- The join is stored, not recomputed: prediction_hours maps the hash of an id to its hours, and hour_labels holds labels
-- under the hours of their predictions. So an hour is measured from its own rows, whatever else the tables hold.
--
-- performance is keyed like drift: the sorting key ends in revision and the engine has no version column.

CREATE TABLE IF NOT EXISTS prediction_hours
(
    model LowCardinality(String) COMMENT 'Model that made the prediction',
    hash UInt64 COMMENT 'cityHash64 of the id of the prediction',
    version LowCardinality(String) COMMENT 'Version of the model',
    hour DateTime('UTC') COMMENT 'Hour of event time of the prediction' CODEC(ZSTD(1)),
    received_on Date COMMENT 'Day of the received time' CODEC(ZSTD(1))
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(received_on)
ORDER BY (model, hash, version, hour)
TTL received_on + INTERVAL 100 DAY
SETTINGS ttl_only_drop_parts = 1, index_granularity = 256, min_compress_block_size = 4096, max_compress_block_size = 16384, fsync_after_insert = 1, fsync_part_directory = 1
COMMENT 'Hours in which predictions of an id were made: the index by which the scorer finds the hours that a label changes. Kept for 100 days from receipt, longer than raw predictions.';

CREATE TABLE IF NOT EXISTS hour_labels
(
    model LowCardinality(String) COMMENT 'Model',
    hour DateTime('UTC') COMMENT 'Hour of event time of the prediction; a label has a row for each hour with a prediction of its id' CODEC(Delta, ZSTD(1)),
    id String COMMENT 'Identifier of the labelled prediction' CODEC(ZSTD(1)),
    at DateTime64(3, 'UTC') COMMENT 'Event time at which the ground truth became known' CODEC(Delta, ZSTD(1)),
    epoch UInt16 COMMENT 'Incarnation of the labels topic',
    partition UInt16 COMMENT 'Partition of the labels topic',
    offset UInt64 COMMENT 'Kafka offset of the label''s message' CODEC(Delta, ZSTD(1)),
    message_index UInt32 COMMENT 'Index of the label in its message',
    label String COMMENT 'The ground truth as text' CODEC(ZSTD(1)),
    label_type LowCardinality(String) COMMENT 'Type of the label: bool, number or string',
    received_at DateTime64(3, 'UTC') COMMENT 'Received time: Kafka''s timestamp of the label' CODEC(Delta, ZSTD(1))
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(received_at)
ORDER BY (model, hour, id, at, epoch, partition, offset, message_index)
TTL toDateTime(received_at) + INTERVAL 190 DAY
SETTINGS ttl_only_drop_parts = 1, fsync_after_insert = 1, fsync_part_directory = 1
COMMENT 'Labels keyed by the hour of their prediction, every revision; kept for 190 days from receipt.';

CREATE TABLE IF NOT EXISTS pending_labels
(
    model LowCardinality(String) COMMENT 'Model',
    hash UInt64 COMMENT 'cityHash64 of the id',
    id String COMMENT 'Identifier of the labelled prediction' CODEC(ZSTD(1)),
    at DateTime64(3, 'UTC') COMMENT 'Event time at which the ground truth became known' CODEC(Delta, ZSTD(1)),
    epoch UInt16 COMMENT 'Incarnation of the labels topic',
    partition UInt16 COMMENT 'Partition of the labels topic',
    offset UInt64 COMMENT 'Kafka offset of the label''s message' CODEC(Delta, ZSTD(1)),
    message_index UInt32 COMMENT 'Index of the label in its message',
    label String COMMENT 'The ground truth as text' CODEC(ZSTD(1)),
    label_type LowCardinality(String) COMMENT 'Type of the label: bool, number or string',
    received_at DateTime64(3, 'UTC') COMMENT 'Received time: Kafka''s timestamp of the label' CODEC(Delta, ZSTD(1)),
    matched UInt8 COMMENT '1 once a prediction of the id has arrived; the row then replaces the one with 0'
)
ENGINE = ReplacingMergeTree(matched)
PARTITION BY toYYYYMM(received_at)
ORDER BY (model, hash, id, at, epoch, partition, offset, message_index)
TTL toDateTime(received_at) + INTERVAL 190 DAY
SETTINGS ttl_only_drop_parts = 1, index_granularity = 1024, fsync_after_insert = 1, fsync_part_directory = 1
COMMENT 'Labels that arrived before their prediction; kept for 190 days from receipt. The view unmatched_labels counts those still without one.';

CREATE TABLE IF NOT EXISTS duplicate_predictions
(
    model LowCardinality(String) COMMENT 'Model that made the prediction',
    version LowCardinality(String) COMMENT 'Version of the model',
    hash UInt64 COMMENT 'cityHash64 of the id of the prediction',
    hour DateTime('UTC') COMMENT 'Hour of event time with a row of the prediction',
    detected_on Date COMMENT 'Day on which the scorer detected the duplicate'
)
ENGINE = ReplacingMergeTree
ORDER BY (model, hash, version, hour)
TTL detected_on + INTERVAL 100 DAY
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1
COMMENT 'Hours of predictions whose (version, id) occurs in more than one hour: the earliest counts, the others are duplicates. Kept for 100 days.';

CREATE TABLE IF NOT EXISTS performance_state
(
    model LowCardinality(String) COMMENT 'Model',
    version LowCardinality(String) COMMENT 'Version of the model',
    basis LowCardinality(String) COMMENT 'Hash of the scoring rules: the contract''s label, the length of a score window, the recorded share. Only rows of one basis add up',
    slice LowCardinality(String) COMMENT 'Slice of the events: all, or NAME=value',
    window_start DateTime('UTC') COMMENT 'Start of the score window in event time' CODEC(Delta, ZSTD(1)),
    window_s UInt32 COMMENT 'Length of the score window in seconds',
    predictions UInt64 COMMENT 'Predictions, each (version, id) once, including failed ones; 0 if all of them turned out to belong to other windows' CODEC(T64, ZSTD(1)),
    failed UInt64 COMMENT 'Failed predictions; they are not measured' CODEC(T64, ZSTD(1)),
    duplicates UInt64 COMMENT 'Duplicate events of a counted prediction; the earliest event counts' CODEC(T64, ZSTD(1)),
    unscored UInt64 COMMENT 'Successful predictions without anything to measure: neither a class nor a usable score' CODEC(T64, ZSTD(1)),
    out_of_range UInt64 COMMENT 'Predictions with any score outside [0, 1]; their scores are not measured' CODEC(T64, ZSTD(1)),
    undeclared_class UInt64 COMMENT 'Predictions whose class is not declared in the contract; they are not measured' CODEC(T64, ZSTD(1)),
    invalid_sum UInt64 COMMENT 'Predictions whose scores do not sum to 1; their scores are not measured' CODEC(T64, ZSTD(1)),
    labelled UInt64 COMMENT 'Predictions with an accepted label' CODEC(T64, ZSTD(1)),
    early UInt64 COMMENT 'Labels dated before their prediction; they count' CODEC(T64, ZSTD(1)),
    corrections UInt64 COMMENT 'Additional labels of a prediction; the last one counts' CODEC(T64, ZSTD(1)),
    late UInt64 COMMENT 'Labels that arrived after the horizon; they are not measured' CODEC(T64, ZSTD(1)),
    wrong_type UInt64 COMMENT 'Labels that do not have the contract''s type; they are not measured' CODEC(T64, ZSTD(1)),
    undeclared_label UInt64 COMMENT 'Labels whose class is not declared in the contract; they are not measured' CODEC(T64, ZSTD(1)),
    confusion Array(UInt64) COMMENT 'Confusion matrix of labelled predictions: TP, FP, FN, TN for two classes; true × predicted in row-major order for more' CODEC(T64, ZSTD(1)),
    bins Array(Int32) COMMENT 'Occupied bins. Two classes: bin of the score; more classes: class × bins + bin of its probability, for every class, and -1 - that number for the predicted class; numbers: ± (bin of the error in steps of 1 % + 2^17), 0 for no error, and for every prediction 3 × 2^19 + the step of 2 % of the error that its features predict, or without these 2^20 + the same number of its value' CODEC(ZSTD(1)),
    bin_predictions Array(UInt64) COMMENT 'Predictions per bin, labelled or not' CODEC(ZSTD(1)),
    bin_scores Array(Float64) COMMENT 'Sum of the scores per bin; numbers: of the squares of the errors, per bin of a prediction' CODEC(ZSTD(1)),
    bin_labelled Array(UInt64) COMMENT 'Labelled predictions per bin' CODEC(ZSTD(1)),
    bin_labelled_scores Array(Float64) COMMENT 'Sum of the scores of labelled predictions per bin; numbers: of the absolute errors, per bin of the value' CODEC(ZSTD(1)),
    bin_positives Array(UInt64) COMMENT 'Labelled predictions per bin whose label is the scored class' CODEC(ZSTD(1)),
    sums Array(Float64) COMMENT 'Sums over labelled predictions. Classes: n, sum and sum of squares of the log loss, then of the Brier score; numbers: n and sums of error, |error|, error^2, error^4, with error = prediction - label' CODEC(ZSTD(1)),
    ages Map(UInt16, UInt64) COMMENT 'First labels per bin of arrival age, in the bins of maturity; slice all only' CODEC(ZSTD(1)),
    records UInt64 COMMENT 'Raw rows behind the whole window; of two states the one with more rows counts' CODEC(T64, ZSTD(1)),
    scored_at DateTime64(3, 'UTC') COMMENT 'Time at which the state was computed, by the scorer''s clock' CODEC(Delta, ZSTD(1))
)
ENGINE = ReplacingMergeTree(records)
PARTITION BY toYYYYMM(window_start)
ORDER BY (model, basis, window_start, version, slice)
TTL window_start + INTERVAL 750 DAY
SETTINGS ttl_only_drop_parts = 1, index_granularity = 512, fsync_after_insert = 1, fsync_part_directory = 1
COMMENT 'Counts and sums from which performance is computed, per score window (an hour, or a pane if longer) and slice; they add up to any longer window. Kept for 750 days of event time.';

CREATE TABLE IF NOT EXISTS shadow_pairs
(
    model LowCardinality(String) COMMENT 'Model',
    candidate LowCardinality(String) COMMENT 'Version of the candidate, whose predictions have the role shadow',
    of LowCardinality(String) COMMENT 'Version whose answers were used',
    basis LowCardinality(String) COMMENT 'Hash of the scoring rules, as in performance_state',
    slice LowCardinality(String) COMMENT 'Slice of the events of the primary: all, or NAME=value',
    window_start DateTime('UTC') COMMENT 'Start of the score window in event time' CODEC(Delta, ZSTD(1)),
    window_s UInt32 COMMENT 'Length of the score window in seconds',
    requests UInt64 COMMENT 'Predictions of the primary, each id once: pairs and missing add up to them' CODEC(T64, ZSTD(1)),
    pairs UInt64 COMMENT 'Requests that both versions answered' CODEC(T64, ZSTD(1)),
    missing Map(LowCardinality(String), UInt64) COMMENT 'Requests without a pair by reason: primary-failed, no-event, error, timeout, wrong-output, closed, skipped-sample, skipped-queue, skipped-breaker, skipped-budget' CODEC(ZSTD(1)),
    unpaired UInt64 COMMENT 'Ids that the candidate answered and the primary did not; slice all only' CODEC(T64, ZSTD(1)),
    compared UInt64 COMMENT 'Pairs in which both versions decided for a class' CODEC(T64, ZSTD(1)),
    agreed UInt64 COMMENT 'Compared pairs with the same class' CODEC(T64, ZSTD(1)),
    class_pairs Map(String, UInt64) COMMENT 'Compared pairs by PRIMARY → CANDIDATE, the classes of both; classes after the 31st of the contract are other; slice all only' CODEC(ZSTD(1)),
    copy_compared UInt64 COMMENT 'Compared pairs in which the copy of the primary decided too; 0 without a copy' CODEC(T64, ZSTD(1)),
    copy_agreed UInt64 COMMENT 'Those of them in which the copy and the primary have the same class' CODEC(T64, ZSTD(1)),
    copy_candidate_agreed UInt64 COMMENT 'Those of them in which the candidate and the primary have the same class' CODEC(T64, ZSTD(1)),
    labelled UInt64 COMMENT 'Compared pairs with an accepted label' CODEC(T64, ZSTD(1)),
    both_right UInt64 COMMENT 'Labelled pairs in which both were right' CODEC(T64, ZSTD(1)),
    primary_right UInt64 COMMENT 'Labelled pairs in which only the primary was right' CODEC(T64, ZSTD(1)),
    candidate_right UInt64 COMMENT 'Labelled pairs in which only the candidate was right' CODEC(T64, ZSTD(1)),
    missing_labelled UInt64 COMMENT 'Labelled requests without a pair for which the primary decided' CODEC(T64, ZSTD(1)),
    missing_right UInt64 COMMENT 'Those of them in which the primary was right' CODEC(T64, ZSTD(1)),
    scored UInt64 COMMENT 'Labelled pairs with usable scores on both sides; numbers: with errors below 1e60' CODEC(T64, ZSTD(1)),
    loss_primary Float64 COMMENT 'Sum of the log loss of the primary over scored pairs' CODEC(ZSTD(1)),
    loss_candidate Float64 COMMENT 'Sum of the log loss of the candidate over scored pairs' CODEC(ZSTD(1)),
    brier_primary Float64 COMMENT 'Sum of the Brier score of the primary over scored pairs' CODEC(ZSTD(1)),
    brier_candidate Float64 COMMENT 'Sum of the Brier score of the candidate over scored pairs' CODEC(ZSTD(1)),
    scores_primary Map(UInt32, UInt64) COMMENT 'Two classes: scored pairs by 2 × bin of the primary''s score, + 1 if the label is positive; bins of 1/8 in log-odds from -12 on; slice all only' CODEC(ZSTD(1)),
    scores_candidate Map(UInt32, UInt64) COMMENT 'The same by the candidate''s score' CODEC(ZSTD(1)),
    error_primary Float64 COMMENT 'Numbers: sum of the absolute error of the primary over scored pairs' CODEC(ZSTD(1)),
    error_candidate Float64 COMMENT 'Numbers: sum of the absolute error of the candidate over scored pairs' CODEC(ZSTD(1)),
    score_pairs UInt64 COMMENT 'Pairs with scores below 1e29 in size on both sides' CODEC(T64, ZSTD(1)),
    score_difference Float64 COMMENT 'Sum of the candidate''s score minus that of the primary over score pairs' CODEC(ZSTD(1)),
    score_difference_2 Float64 COMMENT 'Sum of the squares of these differences' CODEC(ZSTD(1)),
    score_bins Map(UInt32, UInt64) COMMENT 'Score pairs by 1024 × (bin of the primary''s score + 512) + bin of the candidate''s score + 512, for the rank correlation. Classes: bins of 1/2 in log-odds on [-12, 12]; numbers: steps of 2^(1/8); slice all only' CODEC(ZSTD(1)),
    timed UInt64 COMMENT 'Pairs with a latency on both sides' CODEC(T64, ZSTD(1)),
    log_latency Float64 COMMENT 'Sum of ln(candidate''s latency / latency of the primary) over timed pairs' CODEC(ZSTD(1)),
    latencies_primary Map(Int32, UInt64) COMMENT 'Timed pairs by bucket of the primary''s latency: bucket b holds 2^(b/8) ms and more, and less than 2^((b+1)/8) ms; slice all only' CODEC(ZSTD(1)),
    latencies_candidate Map(Int32, UInt64) COMMENT 'The same by the candidate''s latency' CODEC(ZSTD(1)),
    slow_ms Float64 COMMENT 'The contract''s slo.latency_ms when the row was counted; 0 without it' CODEC(ZSTD(1)),
    slow_primary UInt64 COMMENT 'Timed pairs in which the primary took longer than slow_ms; 0 without it' CODEC(T64, ZSTD(1)),
    slow_candidate UInt64 COMMENT 'Timed pairs in which the candidate did' CODEC(T64, ZSTD(1)),
    costed UInt64 COMMENT 'Pairs in which each event has all metrics that have a price for its side; 0 without prices' CODEC(T64, ZSTD(1)),
    spent_primary Array(Float64) COMMENT 'Sums of the metrics of the primary over costed pairs, in the order of cost_metrics' CODEC(ZSTD(1)),
    spent_candidate Array(Float64) COMMENT 'Sums of the metrics of the candidate' CODEC(ZSTD(1)),
    errors_primary Map(String, UInt64) COMMENT 'Requests by kind of the primary''s error; the 20 most frequent kinds, then other; slice all only' CODEC(ZSTD(1)),
    errors_candidate Map(String, UInt64) COMMENT 'Requests by kind of the candidate''s error, whether or not the primary answered; as errors_primary' CODEC(ZSTD(1)),
    answered_alone UInt64 COMMENT 'Requests that failed in the primary and that the candidate answered' CODEC(T64, ZSTD(1)),
    cost_metrics Array(LowCardinality(String)) COMMENT 'Metrics that had a price when the row was counted' CODEC(ZSTD(1)),
    settings LowCardinality(String) COMMENT 'Hash of the contract''s copy, priced metrics and slo.latency_ms when the row was counted: rows of another hash do not add up in the columns that depend on them',
    records UInt64 COMMENT 'Raw rows behind the whole window; of two rows the one with more records counts' CODEC(T64, ZSTD(1)),
    counted_at DateTime64(3, 'UTC') COMMENT 'Time at which the pairs were counted, by the scorer''s clock' CODEC(Delta, ZSTD(1))
)
ENGINE = ReplacingMergeTree(records)
PARTITION BY toYYYYMM(window_start)
ORDER BY (model, candidate, of, basis, window_start, slice)
TTL window_start + INTERVAL 750 DAY
SETTINGS ttl_only_drop_parts = 1, index_granularity = 512, fsync_after_insert = 1, fsync_part_directory = 1
COMMENT 'Counts and sums of pairs of a candidate and the version that answers the same requests, per score window and slice; read with FINAL. They add up to any longer window. Kept for 750 days of event time.';

CREATE TABLE IF NOT EXISTS shadow_verdicts
(
    model LowCardinality(String) COMMENT 'Model',
    candidate LowCardinality(String) COMMENT 'Version of the candidate, whose predictions have the role shadow',
    of LowCardinality(String) COMMENT 'Version whose answers were used',
    basis LowCardinality(String) COMMENT 'Hash of the scoring rules, as in performance_state',
    day Date COMMENT 'Local day that the look ends with; the look uses the ended days up to it, for criteria with labels those of them with mature labels',
    day_end DateTime('UTC') COMMENT 'End of that day' CODEC(Delta, ZSTD(1)),
    slice LowCardinality(String) COMMENT 'Slice of the events of the primary: all, or NAME=value',
    criterion LowCardinality(String) COMMENT 'Criterion of the contract, as accuracy or latency; decision for the row of the whole look',
    value Float64 COMMENT 'Mean difference per pair, above 0 if the candidate is better; NaN without pairs and for the decision' CODEC(ZSTD(1)),
    low Float64 COMMENT 'Lower end of the 95 % confidence sequence; -inf if there is not enough data' CODEC(ZSTD(1)),
    high Float64 COMMENT 'Upper end; inf if there is not enough data' CODEC(ZSTD(1)),
    least_low Float64 COMMENT 'Lower end if missing answers are as bad for the candidate as possible; slices: low' CODEC(ZSTD(1)),
    margin Float64 COMMENT 'Acceptable loss per pair; latency: ln(1 + margin of the contract); NaN for slices and the decision' CODEC(ZSTD(1)),
    days UInt32 COMMENT 'Days with pairs that the row uses' CODEC(T64, ZSTD(1)),
    least_days UInt32 COMMENT 'Days before which the margin is never shown; 0 for slices' CODEC(T64, ZSTD(1)),
    days_left Float64 COMMENT 'Forecast of the days until the margin is shown; inf if the difference is beyond it, NaN if there is no forecast' CODEC(ZSTD(1)),
    evidence Float64 COMMENT 'Slices: natural logarithm of the e-value that the candidate is worse. Decision: of the mean e-value of the slices; some slice is harmed from ln 10 on. NaN otherwise, and if there is not enough data' CODEC(ZSTD(1)),
    state LowCardinality(String) COMMENT 'met, worse, open (not yet known) or insufficient (not enough data)',
    outcome LowCardinality(String) COMMENT 'Decision of the look: promote, hold or insufficient; after a promotion: keep, roll back or insufficient',
    after_promotion UInt8 COMMENT '1: of was promoted and candidate is the version that it replaced. The row then judges the new primary: wherever a column names the candidate, it means of',
    inputs String COMMENT 'Hash of the daily sums and settings that the look was computed from',
    is_removed UInt8 COMMENT '1: a later computation of the look has no such row; FINAL leaves the row out',
    judged_at DateTime64(3, 'UTC') COMMENT 'Time at which the row was computed, by the scorer''s clock' CODEC(Delta, ZSTD(1))
)
ENGINE = ReplacingMergeTree(judged_at, is_removed)
PARTITION BY toYYYYMM(day)
ORDER BY (model, candidate, of, day, slice, criterion)
TTL day_end + INTERVAL 750 DAY
SETTINGS ttl_only_drop_parts = 1, index_granularity = 512, fsync_after_insert = 1, fsync_part_directory = 1
COMMENT 'Decision about a candidate at the end of each local day, with a row per criterion and slice; read with FINAL. A row changes when late events or labels change a day that the look uses. Kept for 750 days of event time.';

CREATE TABLE IF NOT EXISTS arm_counts
(
    model LowCardinality(String) COMMENT 'Model that runs the test',
    basis LowCardinality(String) COMMENT 'Hash of the scoring rules, as in performance_state',
    unit LowCardinality(String) COMMENT 'Unit of assignment: context.NAME from the contract, or prediction',
    slice LowCardinality(String) COMMENT 'Slice of the events: all, or NAME=value',
    window_start DateTime('UTC') COMMENT 'Start of the score window in event time' CODEC(Delta, ZSTD(1)),
    window_s UInt32 COMMENT 'Length of the score window in seconds',
    arm LowCardinality(String) COMMENT 'Arm of the test',
    version LowCardinality(String) COMMENT 'Version that serves the arm',
    bucket UInt8 COMMENT 'sipHash64 of the unit modulo 64: units of one bucket stay together. 0 in slices, and if each prediction is assigned by itself',
    predictions UInt64 COMMENT 'Predictions, each (version, id) once, including failed ones; those without a unit are not counted' CODEC(T64, ZSTD(1)),
    failed UInt64 COMMENT 'Failed predictions' CODEC(T64, ZSTD(1)),
    timed UInt64 COMMENT 'Predictions with a latency' CODEC(T64, ZSTD(1)),
    log_latency Float64 COMMENT 'Sum of ln(latency in milliseconds) over timed predictions' CODEC(ZSTD(1)),
    labelled UInt64 COMMENT 'Predictions with a class and an accepted label' CODEC(T64, ZSTD(1)),
    right UInt64 COMMENT 'Labelled predictions of the true class' CODEC(T64, ZSTD(1)),
    scored UInt64 COMMENT 'Predictions with a usable score and an accepted label; numbers: with an error below 1e60' CODEC(T64, ZSTD(1)),
    loss Float64 COMMENT 'Sum of the log loss over scored predictions' CODEC(ZSTD(1)),
    brier Float64 COMMENT 'Sum of the Brier score over scored predictions' CODEC(ZSTD(1)),
    error Float64 COMMENT 'Numbers: sum of the absolute error over scored predictions' CODEC(ZSTD(1)),
    log_latency_squares Float64 COMMENT 'Sum of the squares of ln(latency in milliseconds) over timed predictions' CODEC(ZSTD(1)),
    with_status UInt64 COMMENT 'Predictions with a status' CODEC(T64, ZSTD(1)),
    refused UInt64 COMMENT 'Predictions whose status is a refusal (docs/contract.md)' CODEC(T64, ZSTD(1)),
    with_ttft UInt64 COMMENT 'Predictions with a time to first token' CODEC(T64, ZSTD(1)),
    log_ttft Float64 COMMENT 'Sum of ln(time to first token in milliseconds) over them' CODEC(ZSTD(1)),
    log_ttft_squares Float64 COMMENT 'Sum of its squares' CODEC(ZSTD(1)),
    with_token_time UInt64 COMMENT 'Predictions with a time per output token' CODEC(T64, ZSTD(1)),
    log_token_time Float64 COMMENT 'Sum of ln(time per output token in milliseconds) over them' CODEC(ZSTD(1)),
    log_token_time_squares Float64 COMMENT 'Sum of its squares' CODEC(ZSTD(1)),
    with_input_tokens UInt64 COMMENT 'Predictions with a number of input tokens' CODEC(T64, ZSTD(1)),
    input_tokens Float64 COMMENT 'Sum of the input tokens over them' CODEC(ZSTD(1)),
    input_token_squares Float64 COMMENT 'Sum of their squares' CODEC(ZSTD(1)),
    with_output_tokens UInt64 COMMENT 'Predictions with a number of output tokens' CODEC(T64, ZSTD(1)),
    output_tokens Float64 COMMENT 'Sum of the output tokens over them' CODEC(ZSTD(1)),
    output_token_squares Float64 COMMENT 'Sum of their squares' CODEC(ZSTD(1)),
    with_cost UInt64 COMMENT 'Predictions with a cost' CODEC(T64, ZSTD(1)),
    micro_cost Float64 COMMENT 'Sum of their cost in millionths of a dollar' CODEC(ZSTD(1)),
    micro_cost_squares Float64 COMMENT 'Sum of its squares' CODEC(ZSTD(1)),
    evaluated UInt64 COMMENT 'Evaluations with a result' CODEC(T64, ZSTD(1)),
    faulty UInt64 COMMENT 'Evaluations that call the answer faulty' CODEC(T64, ZSTD(1)),
    records UInt64 COMMENT 'Raw rows behind the whole window; of two rows the one with more records counts' CODEC(T64, ZSTD(1)),
    counted_at DateTime64(3, 'UTC') COMMENT 'Time at which the predictions were counted, by the scorer''s clock' CODEC(Delta, ZSTD(1))
)
ENGINE = ReplacingMergeTree(records)
PARTITION BY toYYYYMM(window_start)
ORDER BY (model, basis, unit, window_start, slice, arm, version, bucket)
TTL window_start + INTERVAL 750 DAY
SETTINGS ttl_only_drop_parts = 1, index_granularity = 512, fsync_after_insert = 1, fsync_part_directory = 1
COMMENT 'Counts and sums of the arms of an A/B test, per score window, slice and bucket of units; read with FINAL. They add up to any longer window. Kept for 750 days of event time.';

CREATE TABLE IF NOT EXISTS scorer_checkpoints
(
    topic LowCardinality(String) COMMENT 'predictions or labels',
    epoch UInt16 COMMENT 'Incarnation of the topic',
    partition UInt16 COMMENT 'Partition of the topic',
    offset UInt64 COMMENT 'Offset up to which everything has been processed',
    committed_at DateTime64(3, 'UTC') COMMENT 'Time of the checkpoint'
)
ENGINE = ReplacingMergeTree(offset)
ORDER BY (topic, epoch, partition)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1
COMMENT 'Offsets up to which the scorer has processed raw rows, per source partition; kept forever. The scorer resumes from them.';

CREATE TABLE IF NOT EXISTS scorer_models
(
    model LowCardinality(String) COMMENT 'Model with a contract',
    state LowCardinality(String) COMMENT 'scored; counted if performance cannot be measured, but a candidate or arms are compared; or skipped',
    reason String COMMENT 'Why performance is not measured, and what to do; empty if scored',
    basis LowCardinality(String) COMMENT 'Hash of the scoring rules; when it changes, all performance is recomputed',
    kind LowCardinality(String) COMMENT 'binary, classes, number, or unlabelled',
    raw_share Float64 COMMENT 'Share of the predictions that is recorded; performance uses this share',
    newest_at DateTime64(3, 'UTC') COMMENT 'Latest event time among its predictions and labels',
    scored_until DateTime64(3, 'UTC') COMMENT 'Windows that end up to this time have been measured',
    updated_at DateTime64(3, 'UTC') COMMENT 'Time at which the row was written'
)
ENGINE = ReplacingMergeTree(updated_at)
ORDER BY model
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1
COMMENT 'Scoring status of each model; kept forever.';

CREATE TABLE IF NOT EXISTS performance
(
    model LowCardinality(String) COMMENT 'Model',
    version LowCardinality(String) COMMENT 'Version of the model',
    slice LowCardinality(String) COMMENT 'Slice of the events: all, or NAME=value',
    metric LowCardinality(String) COMMENT 'Metric: accuracy, auc, mae, … (see docs/statistics.md)',
    class LowCardinality(String) COMMENT 'Class of a per-class metric; empty for the whole model',
    window LowCardinality(String) COMMENT 'Length of the window, such as 1h, 1d or 7d; windows of one length do not overlap',
    window_start DateTime('UTC') COMMENT 'Start of the window in event time, inclusive' CODEC(Delta, ZSTD(1)),
    window_end DateTime('UTC') COMMENT 'End of the window in event time, exclusive' CODEC(Delta, ZSTD(1)),
    value Float64 COMMENT 'Value of the metric; NaN if undefined' CODEC(ZSTD(1)),
    low Float64 COMMENT 'Lower end of the 95 % interval' CODEC(ZSTD(1)),
    high Float64 COMMENT 'Upper end of the 95 % interval' CODEC(ZSTD(1)),
    sufficient Bool COMMENT 'Whether there are enough labels (see docs/statistics.md); if not, level is insufficient',
    n UInt64 COMMENT 'Labelled predictions that the metric uses' CODEC(T64, ZSTD(1)),
    predictions UInt64 COMMENT 'Predictions of the window, labelled or not' CODEC(T64, ZSTD(1)),
    coverage Float64 COMMENT 'Share of the predictions that have a label' CODEC(ZSTD(1)),
    maturity Float64 COMMENT 'Share of the labels that ever arrive that had arrived at the time of measurement, by the learned curve; NaN until a curve is learned' CODEC(ZSTD(1)),
    mature Bool COMMENT 'Whether maturity reaches the share required by the contract, or the horizon has passed',
    level LowCardinality(String) COMMENT 'stable, minor, major, or insufficient (too few labels, or nothing to compare with). Mature windows are compared with the objective of the contract if there is one, all others with the reference',
    reason LowCardinality(String) COMMENT 'Why the level is insufficient (docs/statistics.md lists the reasons); empty for other levels',
    promise Float64 COMMENT 'Objective of the contract for the metric; NaN if there is none' CODEC(ZSTD(1)),
    reference Float64 COMMENT 'Value of the metric in the reference at the same label age; NaN without a reference' CODEC(ZSTD(1)),
    difference Float64 COMMENT 'value - reference' CODEC(ZSTD(1)),
    difference_low Float64 COMMENT 'Lower end of the 95 % interval of the difference' CODEC(ZSTD(1)),
    difference_high Float64 COMMENT 'Upper end of the 95 % interval of the difference' CODEC(ZSTD(1)),
    selective Bool COMMENT 'Whether labelling depends on the score (selection bias), so that value does not represent all predictions; with several classes, whether it does for any class; not tested for numbers',
    selective_p Float64 COMMENT 'Probability of a dependence this strong if labelling were random; NaN if not tested' CODEC(ZSTD(1)),
    corrected Float64 COMMENT 'Value of the metric corrected for selective labels, assuming random labelling among similar scores; NaN if labels are not selective or one side of the threshold has too few labels' CODEC(ZSTD(1)),
    corrected_low Float64 COMMENT 'Lower end of the 95 % interval' CODEC(ZSTD(1)),
    corrected_high Float64 COMMENT 'Upper end of the 95 % interval' CODEC(ZSTD(1)),
    cbpe Float64 COMMENT 'Label-free estimate from the scores of all predictions (CBPE), for mae and rmse from features (DLE); NaN if there is none. It cannot detect concept drift' CODEC(ZSTD(1)),
    cbpe_low Float64 COMMENT 'Lower end of the 95 % interval; NaN for mae and rmse' CODEC(ZSTD(1)),
    cbpe_high Float64 COMMENT 'Upper end of the 95 % interval; NaN for mae and rmse' CODEC(ZSTD(1)),
    cbpe_error Float64 COMMENT 'cbpe - value once the labels are mature; NaN before' CODEC(ZSTD(1)),
    cbpe_reason LowCardinality(String) COMMENT 'Why there is no estimate although the version has a reference: class differs from score and threshold, or misses the reference; otherwise empty',
    raw_share Float64 COMMENT 'Share of the predictions that is recorded; n and predictions count this share' CODEC(ZSTD(1)),
    revised_at DateTime64(3, 'UTC') COMMENT 'Time at which the row was written, by the scorer''s clock' CODEC(Delta, ZSTD(1)),
    revision UInt32 COMMENT 'Number of the revision, from 1; the latest revision has the greatest' CODEC(Delta, ZSTD(1))
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(window_end)
ORDER BY (model, version, slice, metric, class, window, window_end, revision)
TTL window_end + INTERVAL 750 DAY
SETTINGS ttl_only_drop_parts = 1, fsync_after_insert = 1, fsync_part_directory = 1
COMMENT 'Performance per window on the labels received so far, every revision; kept for 750 days of event time. The view latest_performance holds the latest revision.';

CREATE TABLE IF NOT EXISTS performance_reference
(
    model LowCardinality(String) COMMENT 'Model',
    version LowCardinality(String) COMMENT 'Version of the model',
    basis LowCardinality(String) COMMENT 'Hash of the scoring rules, as in performance_state',
    slice LowCardinality(String) COMMENT 'Slice of the events: all, or NAME=value',
    age_s UInt32 COMMENT 'Age in seconds: labels that arrived by this age of their prediction count, for comparison with windows of the same age',
    from_time DateTime('UTC') COMMENT 'Start of the reference windows in event time',
    to_time DateTime('UTC') COMMENT 'End of the reference windows in event time, exclusive',
    predictions UInt64 COMMENT 'Predictions in the reference windows',
    labelled UInt64 COMMENT 'Predictions with a label by that age',
    confusion Array(UInt64) COMMENT 'As in performance_state' CODEC(T64, ZSTD(1)),
    bins Array(Int32) COMMENT 'As in performance_state' CODEC(ZSTD(1)),
    bin_predictions Array(UInt64) COMMENT 'As in performance_state' CODEC(ZSTD(1)),
    bin_scores Array(Float64) COMMENT 'As in performance_state' CODEC(ZSTD(1)),
    bin_labelled Array(UInt64) COMMENT 'As in performance_state' CODEC(ZSTD(1)),
    bin_labelled_scores Array(Float64) COMMENT 'As in performance_state' CODEC(ZSTD(1)),
    bin_positives Array(UInt64) COMMENT 'As in performance_state' CODEC(ZSTD(1)),
    sums Array(Float64) COMMENT 'As in performance_state' CODEC(ZSTD(1)),
    chosen Bool COMMENT 'Whether a person chose the period with barograph reference set',
    frozen_at DateTime64(3, 'UTC') COMMENT 'Time at which the reference was counted; of a version the rows with the latest time count'
)
ENGINE = ReplacingMergeTree
ORDER BY (model, version, basis, slice, age_s, frozen_at)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1
COMMENT 'Reference performance of each version, by label age: its first good mature week, or the period that a person chose. It is counted again when rows of the period or of an earlier week arrive; every revision is kept forever. The view latest_references holds the reference in force.';

CREATE TABLE IF NOT EXISTS reference_choices
(
    model LowCardinality(String) COMMENT 'Model',
    version LowCardinality(String) COMMENT 'Version of the model',
    from_time DateTime('UTC') COMMENT 'Start of the chosen period in event time',
    to_time DateTime('UTC') COMMENT 'End of the chosen period in event time, exclusive; equal to from_time if the scorer is to choose again',
    reason String COMMENT 'Reason given with the choice',
    chosen_at DateTime64(3, 'UTC') COMMENT 'Time of the choice; of a version the latest counts'
)
ENGINE = ReplacingMergeTree
ORDER BY (model, version, chosen_at)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1
COMMENT 'Reference periods chosen with barograph reference set, instead of the first good week; kept forever.';

CREATE TABLE IF NOT EXISTS maturity
(
    model LowCardinality(String) COMMENT 'Model',
    basis LowCardinality(String) COMMENT 'Hash of the scoring rules, as in performance_state',
    ages_s Array(Float64) COMMENT 'Ages of a prediction in seconds' CODEC(ZSTD(1)),
    shares Array(Float64) COMMENT 'Share of the labels that ever arrive that has arrived by each age' CODEC(ZSTD(1)),
    shares_low Array(Float64) COMMENT 'Lower ends of the 95 % intervals of the shares' CODEC(ZSTD(1)),
    shares_high Array(Float64) COMMENT 'Upper ends of the 95 % intervals of the shares' CODEC(ZSTD(1)),
    coverage Float64 COMMENT 'Share of the predictions that ever receive a label within the horizon',
    mature_age_s Float64 COMMENT 'Age at which the mature share of the contract is reached; infinite if it is not known to be reached',
    predictions UInt64 COMMENT 'Predictions from which the curve was learned',
    labels UInt64 COMMENT 'Labels from which the curve was learned',
    learned_at DateTime64(3, 'UTC') COMMENT 'Time at which the curve was learned; the latest curve of a model counts'
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(learned_at)
ORDER BY (model, basis, learned_at)
TTL toDateTime(learned_at) + INTERVAL 750 DAY
SETTINGS ttl_only_drop_parts = 1, fsync_after_insert = 1, fsync_part_directory = 1
COMMENT 'Learned label delay curves: the share of labels that arrive by each prediction age; kept for 750 days. The view label_maturity holds the latest curve.';
