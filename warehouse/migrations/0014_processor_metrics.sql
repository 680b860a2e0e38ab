-- The metrics of processors by five minutes, for the dashboard Pipeline over days and weeks.
--
-- A report holds all metrics of its processor in one map: over a month a panel that draws three of them would unpack the
-- other forty of a million reports too. Here they lie by metric.

CREATE TABLE IF NOT EXISTS processor_metrics
(
    metric LowCardinality(String) COMMENT 'The metric and its labels, as processors.details names them',
    kind LowCardinality(String) COMMENT 'What told it: sketcher, recorder, monitor, scorer',
    instance String COMMENT 'Stable name of the instance among its kind',
    started_at DateTime64(3, 'UTC') COMMENT 'When the process started: its counters count from there',
    since DateTime('UTC') COMMENT 'Start of the five minutes, by the clock of the processor',
    low SimpleAggregateFunction(min, Float64) COMMENT 'The least that it told in them',
    high SimpleAggregateFunction(max, Float64) COMMENT 'The greatest that it told in them; of a counter the last'
)
ENGINE = AggregatingMergeTree
PARTITION BY toMonday(since)
ORDER BY (metric, kind, instance, started_at, since)
TTL since + INTERVAL 30 DAY
SETTINGS ttl_only_drop_parts = 1
COMMENT 'The metrics of each processor by five minutes, kept for 30 days; until they are merged several rows of each.';

INSERT INTO processor_metrics (metric, kind, instance, started_at, since, low, high)
SELECT
    detail.1 AS metric,
    kind,
    instance,
    started_at,
    toStartOfFiveMinutes(at) AS since,
    min(detail.2) AS low,
    max(detail.2) AS high
FROM processors
ARRAY JOIN mapFilter((key, value) -> true, details) AS detail
GROUP BY metric, kind, instance, started_at, since;
