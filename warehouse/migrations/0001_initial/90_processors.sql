-- Reports of processors.
--
-- processor_metrics serves the dashboard Pipeline over days and weeks. A report holds all metrics of its processor in one
-- map: over a month, a panel that draws three metrics would unpack forty others of a million reports.

CREATE TABLE IF NOT EXISTS processors
(
    kind LowCardinality(String) COMMENT 'Kind of process: sketcher, recorder, monitor, scorer or publisher',
    instance String COMMENT 'Stable instance name within its kind',
    at DateTime64(3, 'UTC') COMMENT 'Time of the report, by the process''s clock' CODEC(Delta, ZSTD(1)),
    host LowCardinality(String) COMMENT 'Host of the process',
    pid UInt32 COMMENT 'Process id on the host',
    started_at DateTime64(3, 'UTC') COMMENT 'Start time of the process',
    lag Int64 COMMENT 'Consumer lag: messages between the committed offsets and the end of the assigned partitions; -1 if unknown',
    events UInt64 COMMENT 'Events processed since the start',
    rate Float64 COMMENT 'Events per second since the previous row',
    retries UInt64 COMMENT 'Retried writes since the start',
    dead_letters UInt64 COMMENT 'Dead-lettered events since the start',
    last_commit_at DateTime64(3, 'UTC') COMMENT 'Time of the last offset commit; 1970 before the first commit',
    details Map(String, Float64) COMMENT 'Other metrics of the kind, by name (see docs/metrics.md)'
)
ENGINE = ReplacingMergeTree
PARTITION BY toMonday(at)
ORDER BY (kind, instance, at)
TTL toDateTime(at) + INTERVAL 30 DAY
SETTINGS ttl_only_drop_parts = 1
COMMENT 'Reports of each processor, one row every ten seconds; kept for 30 days. The view pipeline holds the latest row of each.';

CREATE TABLE IF NOT EXISTS processor_metrics
(
    metric LowCardinality(String) COMMENT 'Metric name with its labels, as in processors.details',
    kind LowCardinality(String) COMMENT 'Kind of processor: sketcher, recorder, monitor or scorer',
    instance String COMMENT 'Stable instance name within its kind',
    started_at DateTime64(3, 'UTC') COMMENT 'Start time of the process, at which its counters start',
    bucket_start DateTime('UTC') COMMENT 'Start of the five minutes, by the processor''s clock',
    minimum SimpleAggregateFunction(min, Float64) COMMENT 'Smallest reported value',
    maximum SimpleAggregateFunction(max, Float64) COMMENT 'Largest reported value; for a counter the last value'
)
ENGINE = AggregatingMergeTree
PARTITION BY toMonday(bucket_start)
ORDER BY (metric, kind, instance, started_at, bucket_start)
TTL bucket_start + INTERVAL 30 DAY
SETTINGS ttl_only_drop_parts = 1
COMMENT 'Minimum and maximum of each processor metric per five minutes, kept for 30 days. Until the next merge a metric can have several rows.';
