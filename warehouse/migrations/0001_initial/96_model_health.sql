-- States of models, as the guard published them in the topic model-health.

CREATE TABLE IF NOT EXISTS model_health
(
    model LowCardinality(String) COMMENT 'Model',
    at DateTime64(3, 'UTC') COMMENT 'Time of the record, by the clock of the guard' CODEC(Delta, ZSTD(1)),
    sequence UInt64 COMMENT 'Number of the record; each record of a model has a higher one than the record before',
    state LowCardinality(String) COMMENT 'healthy, degraded, or unknown while monitoring is blind',
    since DateTime64(3, 'UTC') COMMENT 'Time at which the model entered the state',
    evaluated_at DateTime64(3, 'UTC') COMMENT 'Time of the last evaluation of the rules while monitoring was not blind',
    rules Array(LowCardinality(String)) COMMENT 'Rules that fire; blind if monitoring is blind',
    fields Array(String) COMMENT 'Field of each rule, in the order of rules; empty for rules on the model',
    texts Array(String) COMMENT 'Sentence for people on each rule, with its value and interval, in the order of rules',
    guard LowCardinality(String) COMMENT 'Instance of the guard that wrote the record'
)
ENGINE = ReplacingMergeTree
PARTITION BY toMonday(at)
ORDER BY (model, at, sequence)
TTL toDateTime(at) + INTERVAL 90 DAY
SETTINGS ttl_only_drop_parts = 1
COMMENT 'States of models for serving: one row per model and minute, and one for each change; kept for 90 days. Rows are missing while the guard or ClickHouse is down.';
