-- Raw events: predictions and labels as they were read from Kafka.
--
-- The sorting key ends in the Kafka position, and everything before it follows from the event's bytes, so that reading
-- the same offsets again replaces rows instead of adding some. Partitions and the TTL go by received time: an
-- event-time partition would fail a long replay ("too many partitions"), an event-time TTL would delete it.

CREATE TABLE IF NOT EXISTS predictions
(
    partition UInt16 COMMENT 'Partition of the predictions topic that the event was read from',
    offset UInt64 COMMENT 'Kafka offset of the message that held the event' CODEC(Delta, ZSTD(1)),
    idx UInt32 COMMENT 'Index of the event in its message: 0 for JSON, the row of an Arrow batch',
    epoch UInt16 COMMENT 'Incarnation of the topic: one more each time it was deleted and created again',
    model LowCardinality(String) COMMENT 'Model that made the prediction',
    version LowCardinality(String) COMMENT 'Version of the model',
    id String COMMENT 'Identifier of the prediction: (model, version, id) is one prediction; a label names (model, id)' CODEC(ZSTD(1)),
    at DateTime64(3, 'UTC') COMMENT 'Event time: when the prediction was made' CODEC(Delta, ZSTD(1)),
    received_at DateTime64(3, 'UTC') COMMENT 'Received time: the timestamp that Kafka gave the message' CODEC(Delta, ZSTD(1)),
    arm LowCardinality(String) COMMENT 'A/B assignment, empty where there is none',
    context Map(LowCardinality(String), String) COMMENT 'Request context' CODEC(ZSTD(1)),
    numbers Map(LowCardinality(String), Nullable(Float64)) COMMENT 'Numeric and boolean features (true is 1): NULL where the event does not hold the name' CODEC(ZSTD(1)),
    strings Map(LowCardinality(String), String) COMMENT 'Text features: an empty string where the event does not hold the name' CODEC(ZSTD(1)),
    nulls Array(LowCardinality(String)) COMMENT 'Names of the features that the event gave as null' CODEC(ZSTD(1)),
    score Float64 COMMENT 'Score of the prediction, NaN where there is none' CODEC(ZSTD(1)),
    class LowCardinality(String) COMMENT 'Predicted class, empty where there is none',
    scores Map(LowCardinality(String), Nullable(Float64)) COMMENT 'Probability per class: NULL where the event does not hold the class' CODEC(ZSTD(1)),
    metrics Map(LowCardinality(String), Nullable(Float64)) COMMENT 'Further numbers of the request (tokens, cost, time to first token): NULL where the event does not hold the name' CODEC(ZSTD(1)),
    latency_ms Float64 COMMENT 'How long the prediction took in milliseconds, NaN where it is not known' CODEC(ZSTD(1)),
    status LowCardinality(String) COMMENT 'Status that the serving system gave, empty where there is none',
    error LowCardinality(String) COMMENT 'Kind of error: not empty means that the prediction failed',
    producer LowCardinality(String) COMMENT 'Publisher process that sent the event, empty where it is not known',
    seq Int64 COMMENT 'Number of the event in its publisher process, counted from 0, -1 where it is not known: gaps are losses before Kafka' CODEC(Delta, ZSTD(1)),
    unknown UInt16 COMMENT 'Members of the event that are not part of the format and were passed over',
    INDEX by_id id TYPE bloom_filter(0.01) GRANULARITY 1
)
ENGINE = ReplacingMergeTree
PARTITION BY toMonday(received_at)
ORDER BY (model, toStartOfHour(at), epoch, partition, offset, idx)
TTL toDateTime(received_at) + INTERVAL 90 DAY
SETTINGS ttl_only_drop_parts = 1
COMMENT 'Predictions as they were read from Kafka, one row per event; kept for 90 days from receipt. A replay can leave repeats until the next merge: read the view all_predictions.';

CREATE TABLE IF NOT EXISTS labels
(
    partition UInt16 COMMENT 'Partition of the labels topic that the label was read from',
    offset UInt64 COMMENT 'Kafka offset of the message that held the label' CODEC(Delta, ZSTD(1)),
    idx UInt32 COMMENT 'Index of the label in its message: 0 for JSON, the row of an Arrow batch',
    epoch UInt16 COMMENT 'Incarnation of the topic: one more each time it was deleted and created again',
    model LowCardinality(String) COMMENT 'Model whose prediction is labelled',
    id String COMMENT 'Identifier of the prediction that is labelled, of every version and shadow that answered it' CODEC(ZSTD(1)),
    label String COMMENT 'The ground truth as text: true or false, a number in its shortest form, or a string' CODEC(ZSTD(1)),
    label_type LowCardinality(String) COMMENT 'What the label was: bool, number or string',
    at DateTime64(3, 'UTC') COMMENT 'When the ground truth became known, in event time' CODEC(Delta, ZSTD(1)),
    received_at DateTime64(3, 'UTC') COMMENT 'Received time: the timestamp that Kafka gave the message' CODEC(Delta, ZSTD(1))
)
ENGINE = ReplacingMergeTree
PARTITION BY toMonday(received_at)
ORDER BY (model, id, at, epoch, partition, offset, idx)
TTL toDateTime(received_at) + INTERVAL 400 DAY
SETTINGS ttl_only_drop_parts = 1
COMMENT 'Labels as they were read from Kafka, every revision of each; kept for 400 days from receipt. The view last_labels holds the label that counts.';
