-- What was applied (contracts, baselines, topics) and who is at work (processors).

CREATE TABLE IF NOT EXISTS contracts
(
    model LowCardinality(String) COMMENT 'Model that the contract is for',
    contract_id String COMMENT 'Hash of the content of the contract',
    yaml String COMMENT 'The contract file' CODEC(ZSTD(3)),
    applied_at DateTime64(3, 'UTC') COMMENT 'When it was applied: the last one of a model is in force'
)
ENGINE = ReplacingMergeTree
ORDER BY (model, applied_at, contract_id)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1
COMMENT 'Every contract that was applied; kept for good.';

CREATE TABLE IF NOT EXISTS baselines
(
    model LowCardinality(String) COMMENT 'Model that the baseline is for',
    version LowCardinality(String) COMMENT 'Version of the model: a version is registered when it has a baseline',
    baseline_id LowCardinality(String) COMMENT 'Hash of the content of the baseline',
    effective_from DateTime('UTC') COMMENT 'Event time from which panes are counted on its bins; 1970 for the first of a version',
    body String COMMENT 'The baseline as JSON' CODEC(ZSTD(3)),
    means Map(LowCardinality(String), Float64) MATERIALIZED mapFromArrays(
        arrayMap(f -> JSONExtractString(f, 'name'), JSONExtractArrayRaw(body, 'baseline', 'fields')),
        arrayMap(f -> JSONExtractFloat(f, 'mean'), JSONExtractArrayRaw(body, 'baseline', 'fields'))
    ) COMMENT 'Training mean per field, read from body: the point that the moments of panes are taken around',
    reason String COMMENT 'Why it was applied, in the words of whoever did',
    accepted_at DateTime64(3, 'UTC') COMMENT 'When it was applied: of two with one effective_from the later one counts'
)
ENGINE = ReplacingMergeTree(accepted_at)
ORDER BY (model, version, effective_from, baseline_id)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1
COMMENT 'Every baseline that was applied; kept for good, because panes refer to it.';

CREATE TABLE IF NOT EXISTS topics
(
    name String COMMENT 'Name of the Kafka topic',
    topic_id String COMMENT 'Its Kafka id: another one means that it was deleted and created again',
    partitions UInt16 COMMENT 'Number of partitions; that of parts must stay as it is',
    recorded_at DateTime64(3, 'UTC') COMMENT 'When apply recorded it'
)
ENGINE = ReplacingMergeTree(recorded_at)
ORDER BY name
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1
COMMENT 'The Kafka topics as apply fixed them; kept for good.';

CREATE TABLE IF NOT EXISTS processors
(
    kind LowCardinality(String) COMMENT 'What it is: sketcher, recorder, monitor, publisher',
    instance String COMMENT 'Stable name of the instance among its kind',
    at DateTime64(3, 'UTC') COMMENT 'When it wrote the row, by its own clock' CODEC(Delta, ZSTD(1)),
    host LowCardinality(String) COMMENT 'Host that it runs on',
    pid UInt32 COMMENT 'Process id on that host',
    started_at DateTime64(3, 'UTC') COMMENT 'When the process started',
    lag Int64 COMMENT 'Messages between its committed offsets and the end of its partitions, -1 where it is not known',
    events UInt64 COMMENT 'Events handled since the start',
    rate Float64 COMMENT 'Events per second since its previous row',
    retries UInt64 COMMENT 'Writes that had to be tried again since the start',
    dead_letters UInt64 COMMENT 'Events put aside since the start',
    last_commit_at DateTime64(3, 'UTC') COMMENT 'When it committed offsets last, 1970 where it has not yet',
    details Map(String, Float64) COMMENT 'Further numbers of its kind, by name'
)
ENGINE = ReplacingMergeTree
PARTITION BY toMonday(at)
ORDER BY (kind, instance, at)
TTL toDateTime(at) + INTERVAL 30 DAY
SETTINGS ttl_only_drop_parts = 1
COMMENT 'How each processor is, one row every ten seconds; kept for 30 days. The view pipeline holds the last row of each.';
