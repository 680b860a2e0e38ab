-- Raw events: predictions and labels as read from Kafka, and the views on them.
--
-- The sorting key ends in the Kafka position, and everything before it follows from the event's bytes, so rereading the
-- same offsets replaces rows instead of adding rows. Partitions and TTL use received time: partitions by event time
-- would fail a long replay ("too many partitions"), and a TTL by event time would delete it.
--
-- Raw tables are sorted for reading by model and hour. The scorer finds new rows by Kafka position: the index by_arrival
-- skips parts and granules whose rows it has already processed.
--
-- Views with DEFINER read raw rows with the privileges of the user that ran `barograph apply`, and return no raw row, so
-- that users without access to raw rows can read them, such as Grafana.

CREATE TABLE IF NOT EXISTS predictions
(
    partition UInt16 COMMENT 'Partition of the predictions topic',
    offset UInt64 COMMENT 'Kafka offset of the event''s message' CODEC(Delta, ZSTD(1)),
    message_index UInt32 COMMENT 'Index of the event in its message: 0 for JSON, the row number in an Arrow batch',
    epoch UInt16 COMMENT 'Incarnation of the topic: increases each time the topic is recreated',
    model LowCardinality(String) COMMENT 'Model that made the prediction',
    version LowCardinality(String) COMMENT 'Version of the model',
    id String COMMENT 'Identifier of the prediction: (model, version, id) is unique; a label refers to (model, id)' CODEC(ZSTD(1)),
    at DateTime64(3, 'UTC') COMMENT 'Event time: when the prediction was made' CODEC(Delta, ZSTD(1)),
    received_at DateTime64(3, 'UTC') COMMENT 'Received time: Kafka''s timestamp of the message' CODEC(Delta, ZSTD(1)),
    arm LowCardinality(String) COMMENT 'Arm of an A/B test; empty if there is none',
    context Map(LowCardinality(String), String) COMMENT 'Request context' CODEC(ZSTD(1)),
    numbers Map(LowCardinality(String), Nullable(Float64)) COMMENT 'Numeric and boolean features (true is 1); NULL if the event lacks the feature' CODEC(ZSTD(1)),
    strings Map(LowCardinality(String), String) COMMENT 'Text features; empty if the event lacks the feature' CODEC(ZSTD(1)),
    nulls Array(LowCardinality(String)) COMMENT 'Names of the features that are null in the event' CODEC(ZSTD(1)),
    score Float64 COMMENT 'Score of the prediction; NaN if there is none' CODEC(ZSTD(1)),
    class LowCardinality(String) COMMENT 'Predicted class; empty if there is none',
    scores Map(LowCardinality(String), Nullable(Float64)) COMMENT 'Probability per class; NULL if the event lacks the class' CODEC(ZSTD(1)),
    metrics Map(LowCardinality(String), Nullable(Float64)) COMMENT 'Other numbers of the request (tokens, cost, time to first token); NULL if the event lacks the name' CODEC(ZSTD(1)),
    latency_ms Float64 COMMENT 'Latency of the prediction in milliseconds; NaN if unknown' CODEC(ZSTD(1)),
    status LowCardinality(String) COMMENT 'Status from the serving system; empty if there is none',
    error LowCardinality(String) COMMENT 'Kind of error; not empty if the prediction failed',
    producer LowCardinality(String) COMMENT 'Publisher process that sent the event; empty if unknown',
    seq Int64 COMMENT 'Sequence number of the event in its publisher process, from 0; -1 if unknown. Gaps are losses before Kafka' CODEC(Delta, ZSTD(1)),
    unknown UInt16 COMMENT 'Number of event members that are not part of the format and were ignored',
    INDEX by_id id TYPE bloom_filter(0.01) GRANULARITY 1,
    INDEX by_arrival (epoch, partition, offset) TYPE minmax GRANULARITY 1
)
ENGINE = ReplacingMergeTree
PARTITION BY toMonday(received_at)
ORDER BY (model, toStartOfHour(at), epoch, partition, offset, message_index)
TTL toDateTime(received_at) + INTERVAL 90 DAY
SETTINGS ttl_only_drop_parts = 1
COMMENT 'Predictions as read from Kafka, one row per event; kept for 90 days from receipt. A replay can leave duplicate rows until the next merge: read the view all_predictions.';

CREATE TABLE IF NOT EXISTS shadow_predictions
(
    partition UInt16 COMMENT 'Partition of the predictions topic',
    offset UInt64 COMMENT 'Kafka offset of the event''s message' CODEC(Delta, ZSTD(1)),
    message_index UInt32 COMMENT 'Index of the event in its message: 0 for JSON, the row number in an Arrow batch',
    epoch UInt16 COMMENT 'Incarnation of the topic: increases each time the topic is recreated',
    model LowCardinality(String) COMMENT 'Model that made the prediction',
    version LowCardinality(String) COMMENT 'Version of the model',
    id String COMMENT 'Identifier of the prediction: (model, version, id) is unique; a label refers to (model, id)' CODEC(ZSTD(1)),
    at DateTime64(3, 'UTC') COMMENT 'Event time: when the prediction was made' CODEC(Delta, ZSTD(1)),
    received_at DateTime64(3, 'UTC') COMMENT 'Received time: Kafka''s timestamp of the message' CODEC(Delta, ZSTD(1)),
    arm LowCardinality(String) COMMENT 'Arm of an A/B test; empty if there is none',
    context Map(LowCardinality(String), String) COMMENT 'Request context' CODEC(ZSTD(1)),
    numbers Map(LowCardinality(String), Nullable(Float64)) COMMENT 'Numeric and boolean features (true is 1); NULL if the event lacks the feature' CODEC(ZSTD(1)),
    strings Map(LowCardinality(String), String) COMMENT 'Text features; empty if the event lacks the feature' CODEC(ZSTD(1)),
    nulls Array(LowCardinality(String)) COMMENT 'Names of the features that are null in the event' CODEC(ZSTD(1)),
    score Float64 COMMENT 'Score of the prediction; NaN if there is none' CODEC(ZSTD(1)),
    class LowCardinality(String) COMMENT 'Predicted class; empty if there is none',
    scores Map(LowCardinality(String), Nullable(Float64)) COMMENT 'Probability per class; NULL if the event lacks the class' CODEC(ZSTD(1)),
    metrics Map(LowCardinality(String), Nullable(Float64)) COMMENT 'Other numbers of the request (tokens, cost, time to first token); NULL if the event lacks the name' CODEC(ZSTD(1)),
    latency_ms Float64 COMMENT 'Latency of the prediction in milliseconds; NaN if unknown' CODEC(ZSTD(1)),
    status LowCardinality(String) COMMENT 'Status from the serving system; empty if there is none',
    error LowCardinality(String) COMMENT 'Kind of error, or why the shadow did not answer; empty if it answered',
    producer LowCardinality(String) COMMENT 'Publisher process that sent the event; empty if unknown',
    seq Int64 COMMENT 'Sequence number of the event in its publisher process, from 0; -1 if unknown. Gaps are losses before Kafka' CODEC(Delta, ZSTD(1)),
    unknown UInt16 COMMENT 'Number of event members that are not part of the format and were ignored',
    INDEX by_id id TYPE bloom_filter(0.01) GRANULARITY 1,
    INDEX by_arrival (epoch, partition, offset) TYPE minmax GRANULARITY 1
)
ENGINE = ReplacingMergeTree
PARTITION BY toMonday(received_at)
ORDER BY (model, toStartOfHour(at), epoch, partition, offset, message_index)
TTL toDateTime(received_at) + INTERVAL 90 DAY
SETTINGS ttl_only_drop_parts = 1
COMMENT 'Predictions with the role shadow as read from Kafka, one row per event; kept for 90 days from receipt. No count, alert or metric of the model includes them. A replay can leave duplicate rows until the next merge: read with FINAL.';

CREATE TABLE IF NOT EXISTS labels
(
    partition UInt16 COMMENT 'Partition of the labels topic',
    offset UInt64 COMMENT 'Kafka offset of the label''s message' CODEC(Delta, ZSTD(1)),
    message_index UInt32 COMMENT 'Index of the label in its message: 0 for JSON, the row number in an Arrow batch',
    epoch UInt16 COMMENT 'Incarnation of the topic: increases each time the topic is recreated',
    model LowCardinality(String) COMMENT 'Model',
    id String COMMENT 'Identifier of the labelled prediction; applies to every version and shadow that served it' CODEC(ZSTD(1)),
    label String COMMENT 'The ground truth as text: true or false, a number in its shortest form, or a string' CODEC(ZSTD(1)),
    label_type LowCardinality(String) COMMENT 'Type of the label: bool, number or string',
    at DateTime64(3, 'UTC') COMMENT 'Event time at which the ground truth became known' CODEC(Delta, ZSTD(1)),
    received_at DateTime64(3, 'UTC') COMMENT 'Received time: Kafka''s timestamp of the message' CODEC(Delta, ZSTD(1)),
    INDEX by_arrival (epoch, partition, offset) TYPE minmax GRANULARITY 1
)
ENGINE = ReplacingMergeTree
PARTITION BY toMonday(received_at)
ORDER BY (model, id, at, epoch, partition, offset, message_index)
TTL toDateTime(received_at) + INTERVAL 400 DAY
SETTINGS ttl_only_drop_parts = 1
COMMENT 'Labels as read from Kafka, every revision; kept for 400 days from receipt. The view latest_labels holds the effective label.';

CREATE VIEW IF NOT EXISTS all_predictions
(
    model LowCardinality(String) COMMENT 'Model',
    version LowCardinality(String) COMMENT 'Version of the model',
    id String COMMENT 'Identifier of the prediction: (model, version, id) is unique',
    at DateTime64(3, 'UTC') COMMENT 'Event time: when the prediction was made',
    received_at DateTime64(3, 'UTC') COMMENT 'Received time: Kafka''s timestamp of the event',
    arm LowCardinality(String) COMMENT 'Arm of an A/B test; empty if there is none',
    context Map(LowCardinality(String), String) COMMENT 'Request context',
    numbers Map(LowCardinality(String), Nullable(Float64)) COMMENT 'Numeric and boolean features (true is 1); NULL if the event lacks the feature',
    strings Map(LowCardinality(String), String) COMMENT 'Text features; empty if the event lacks the feature',
    nulls Array(LowCardinality(String)) COMMENT 'Names of the features that are null in the event',
    score Float64 COMMENT 'Score of the prediction; NaN if there is none',
    class LowCardinality(String) COMMENT 'Predicted class; empty if there is none',
    scores Map(LowCardinality(String), Nullable(Float64)) COMMENT 'Probability per class; NULL if the event lacks the class',
    metrics Map(LowCardinality(String), Nullable(Float64)) COMMENT 'Other numbers of the request; NULL if the event lacks the name',
    latency_ms Float64 COMMENT 'Latency of the prediction in milliseconds; NaN if unknown',
    status LowCardinality(String) COMMENT 'Status from the serving system; empty if there is none',
    error LowCardinality(String) COMMENT 'Kind of error; not empty if the prediction failed',
    partition UInt16 COMMENT 'Partition of the predictions topic',
    offset UInt64 COMMENT 'Kafka offset of the event''s message',
    message_index UInt32 COMMENT 'Index of the event in its message'
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
    message_index
FROM predictions FINAL
SETTINGS do_not_merge_across_partitions_select_final = 1
COMMENT 'Predictions, one row per event. Filter by model and a range of at.';

CREATE VIEW IF NOT EXISTS latest_labels
(
    model LowCardinality(String) COMMENT 'Model',
    id String COMMENT 'Identifier of the prediction; applies to every version and shadow that served it',
    label String COMMENT 'The ground truth as text',
    label_type LowCardinality(String) COMMENT 'Type of the label: bool, number or string',
    labelled_at DateTime64(3, 'UTC') COMMENT 'Event time at which the ground truth became known',
    label_received_at DateTime64(3, 'UTC') COMMENT 'Received time: Kafka''s timestamp of the label',
    label_count UInt64 COMMENT 'Number of labels of the prediction'
)
AS
SELECT
    model,
    id,
    argMax(revision.label, (revision.at, epoch, offset, message_index)) AS label,
    argMax(revision.label_type, (revision.at, epoch, offset, message_index)) AS label_type,
    max(revision.at) AS labelled_at,
    argMax(revision.received_at, (revision.at, epoch, offset, message_index)) AS label_received_at,
    count() AS label_count
FROM labels AS revision FINAL
GROUP BY model, id
SETTINGS do_not_merge_across_partitions_select_final = 1
COMMENT 'The effective label of each prediction: the one with the latest time, then the latest offset in Kafka.';

CREATE VIEW IF NOT EXISTS label_times
(
    model LowCardinality(String) COMMENT 'Model',
    at DateTime64(3, 'UTC') COMMENT 'Event time at which the ground truth became known',
    received_at DateTime64(3, 'UTC') COMMENT 'Received time: Kafka''s timestamp of the label'
)
DEFINER = CURRENT_USER SQL SECURITY DEFINER
AS
SELECT model, at, received_at
FROM labels
COMMENT 'When labels arrived, without their ids and values, for users that may not read labels. Filter by model and a range of received_at.';

CREATE VIEW IF NOT EXISTS topic_counts
(
    model LowCardinality(String) COMMENT 'Model',
    version LowCardinality(String) COMMENT 'Version of the model',
    hour DateTime('UTC') COMMENT 'Start of the hour of event time',
    topic String COMMENT 'Topic of the prompt by the codebook of the contract; new if the prompt is far from every topic',
    n UInt64 COMMENT 'Recorded predictions; one that was recorded twice counts once'
)
DEFINER = CURRENT_USER SQL SECURITY DEFINER
AS
SELECT model, version, toStartOfHour(at) AS hour, strings['topic'] AS topic, uniqExact(id) AS n
FROM predictions
WHERE topic != ''
GROUP BY model, version, hour, topic
COMMENT 'Topics of prompts per hour, from raw predictions, for users that may not read these. Filter by model and a range of hour.';

CREATE VIEW IF NOT EXISTS labelled_predictions
(
    model LowCardinality(String) COMMENT 'Model',
    version LowCardinality(String) COMMENT 'Version of the model',
    id String COMMENT 'Identifier of the prediction: (model, version, id) is unique',
    at DateTime64(3, 'UTC') COMMENT 'Event time: when the prediction was made',
    received_at DateTime64(3, 'UTC') COMMENT 'Received time: Kafka''s timestamp of the event',
    arm LowCardinality(String) COMMENT 'Arm of an A/B test; empty if there is none',
    context Map(LowCardinality(String), String) COMMENT 'Request context',
    numbers Map(LowCardinality(String), Nullable(Float64)) COMMENT 'Numeric and boolean features (true is 1); NULL if the event lacks the feature',
    strings Map(LowCardinality(String), String) COMMENT 'Text features; empty if the event lacks the feature',
    nulls Array(LowCardinality(String)) COMMENT 'Names of the features that are null in the event',
    score Float64 COMMENT 'Score of the prediction; NaN if there is none',
    class LowCardinality(String) COMMENT 'Predicted class; empty if there is none',
    scores Map(LowCardinality(String), Nullable(Float64)) COMMENT 'Probability per class; NULL if the event lacks the class',
    metrics Map(LowCardinality(String), Nullable(Float64)) COMMENT 'Other numbers of the request; NULL if the event lacks the name',
    latency_ms Float64 COMMENT 'Latency of the prediction in milliseconds; NaN if unknown',
    status LowCardinality(String) COMMENT 'Status from the serving system; empty if there is none',
    error LowCardinality(String) COMMENT 'Kind of error; not empty if the prediction failed',
    labelled Bool COMMENT 'Whether a label has arrived',
    label String COMMENT 'The ground truth as text; empty if no label has arrived',
    label_type LowCardinality(String) COMMENT 'Type of the label: bool, number or string; empty if no label has arrived',
    labelled_at DateTime64(3, 'UTC') COMMENT 'Event time at which the ground truth became known; 1970 if no label has arrived'
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
    truth.label_count > 0 AS labelled,
    truth.label,
    truth.label_type,
    truth.labelled_at
FROM all_predictions AS event
LEFT JOIN latest_labels AS truth ON event.model = truth.model AND event.id = truth.id
COMMENT 'Predictions with their effective label; unlabelled predictions are included. Filter by model and a range of at.';

CREATE VIEW IF NOT EXISTS duplicates
(
    model LowCardinality(String) COMMENT 'Model',
    version LowCardinality(String) COMMENT 'Version of the model',
    hour DateTime('UTC') COMMENT 'Hour of event time of the predictions',
    counted UInt64 COMMENT 'Predictions of the hour by volume; panes longer than an hour count in their first hour',
    recorded UInt64 COMMENT 'Raw predictions recorded for the hour',
    ids UInt64 COMMENT 'Distinct ids among the recorded predictions',
    repeats Nullable(UInt64) COMMENT 'recorded - ids; NULL (unknown) if predictions were counted but none recorded',
    repeat_rate Nullable(Float64) COMMENT 'repeats / recorded; also valid for a recorded share, because predictions of one id are recorded or skipped together',
    raw_share Float64 COMMENT 'Share of predictions that the current contract records'
)
DEFINER = CURRENT_USER SQL SECURITY DEFINER
AS
SELECT
    hourly.model AS model,
    hourly.version AS version,
    hourly.hour AS hour,
    hourly.counted AS counted,
    hourly.recorded AS recorded,
    hourly.ids AS ids,
    if(hourly.recorded = 0 AND hourly.counted > 0, NULL, hourly.recorded - hourly.ids) AS repeats,
    repeats / hourly.recorded AS repeat_rate,
    if(contract.model = '', 1, contract.raw_share) AS raw_share
FROM
(
    SELECT model, version, hour, sum(source.counted) AS counted, sum(source.recorded) AS recorded, sum(source.ids) AS ids
    FROM
    (
        SELECT model, version, toStartOfHour(raw.at, 'UTC') AS hour, 0 AS counted, count() AS recorded, uniqExact(raw.id) AS ids
        FROM predictions AS raw FINAL
        GROUP BY model, version, hour
        UNION ALL
        SELECT model, version, toStartOfHour(pane.pane_start) AS hour, sum(pane.n) AS counted, 0 AS recorded, 0 AS ids
        FROM volume AS pane FINAL
        WHERE slice = 'all' AND pane.n > 0
        GROUP BY model, version, hour
    ) AS source
    GROUP BY model, version, hour
) AS hourly
LEFT JOIN
(
    SELECT
        model,
        multiIf(
            match(argMax(yaml, applied_at), '(?m)^raw:\\s*none'), 0,
            match(argMax(yaml, applied_at), '(?m)^raw:\\s*\\{?\\s*share:'),
            toFloat64OrZero(extract(argMax(yaml, applied_at), '(?m)^raw:\\s*\\{?\\s*share:\\s*([0-9.eE+-]+)')),
            1
        ) AS raw_share
    FROM contracts
    GROUP BY model
) AS contract ON hourly.model = contract.model
COMMENT 'Duplicate predictions: the same id of the same version in one hour, counted in raw events. Filter by model and a range of hours.';
