-- Raw events: predictions and labels as read from Kafka.
--
-- The sorting key ends in the Kafka position, and everything before it follows from the event's bytes, so rereading the
-- same offsets replaces rows instead of adding rows. Partitions and TTL use received time: partitions by event time
-- would fail a long replay ("too many partitions"), and a TTL by event time would delete it.
--
-- Raw tables are sorted for reading by model and hour. The scorer finds new rows by Kafka position: the index by_arrival
-- skips parts and granules whose rows it has already processed.

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
