-- Registry: what `barograph apply` writes (contracts, baselines, codebooks, topics).

CREATE TABLE IF NOT EXISTS contracts
(
    model LowCardinality(String) COMMENT 'Model of the contract',
    contract_id String COMMENT 'Hash of the content of the contract',
    yaml String COMMENT 'Text of the contract file' CODEC(ZSTD(3)),
    applied_at DateTime64(3, 'UTC') COMMENT 'Time at which it was applied; the latest contract of a model is in effect'
)
ENGINE = ReplacingMergeTree
ORDER BY (model, applied_at, contract_id)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1
COMMENT 'Every applied contract; kept forever.';

CREATE TABLE IF NOT EXISTS baselines
(
    model LowCardinality(String) COMMENT 'Model of the baseline',
    version LowCardinality(String) COMMENT 'Version of the model: a version is registered when it has a baseline',
    baseline_id LowCardinality(String) COMMENT 'Hash of the content of the baseline',
    effective_from DateTime('UTC') COMMENT 'Event time from which panes use its bins; 1970 for the first baseline of a version',
    body String COMMENT 'The baseline as JSON' CODEC(ZSTD(3)),
    means Map(LowCardinality(String), Float64) MATERIALIZED mapFromArrays(
        arrayMap(f -> JSONExtractString(f, 'name'), JSONExtractArrayRaw(body, 'baseline', 'fields')),
        arrayMap(f -> JSONExtractFloat(f, 'mean'), JSONExtractArrayRaw(body, 'baseline', 'fields'))
    ) COMMENT 'Training mean per field, read from body; the moments of panes are centered on it',
    reason String COMMENT 'Reason given when the baseline was applied',
    accepted_at DateTime64(3, 'UTC') COMMENT 'Time at which it was applied; of two baselines with equal effective_from the later one counts'
)
ENGINE = ReplacingMergeTree(accepted_at)
ORDER BY (model, version, effective_from, baseline_id)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1
COMMENT 'Every applied baseline; kept forever, because panes refer to it.';

CREATE TABLE IF NOT EXISTS codebooks
(
    codebook_id String COMMENT 'Hash of the content of the codebook, by which contracts name it',
    embedding LowCardinality(String) COMMENT 'Name and version of the embedding that it was trained with',
    topics Array(LowCardinality(String)) COMMENT 'Names of its topics',
    threshold Float64 COMMENT 'Largest distance of a known topic: one minus the cosine to the nearest centroid',
    body String COMMENT 'The file of the codebook in base64: centroids, no text' CODEC(ZSTD(3)),
    applied_at DateTime64(3, 'UTC') COMMENT 'Time at which it was applied'
)
ENGINE = ReplacingMergeTree(applied_at)
ORDER BY codebook_id
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1
COMMENT 'Every applied codebook of topics of texts; kept forever.';

CREATE TABLE IF NOT EXISTS promotions
(
    model LowCardinality(String) COMMENT 'Model',
    contract_id String COMMENT 'Hash of the content of the contract that was applied',
    replaced LowCardinality(String) COMMENT 'Version that the contract before it named in serving',
    serving LowCardinality(String) COMMENT 'Version that the contract names in serving; empty if it no longer names one',
    evidence String COMMENT 'Digest of the evidence bundle: SHA-256 of its manifest; empty without a bundle',
    eval_runs Array(String) COMMENT 'Accepted runs of the new version in the suites that the contract before it named',
    override_reason String COMMENT 'Reason for applying the contract without what it requires; else empty',
    override_by String COMMENT 'Name given with the reason',
    applied_at DateTime64(3, 'UTC') COMMENT 'Time at which the contract was applied'
)
ENGINE = ReplacingMergeTree
ORDER BY (model, applied_at, contract_id)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1
COMMENT 'Every change of the serving version of a contract with promotion: required or suites, and every removal of these; kept forever.';

CREATE TABLE IF NOT EXISTS topics
(
    name String COMMENT 'Name of the Kafka topic',
    topic_id String COMMENT 'Kafka id of the topic; it changes when the topic is recreated',
    partitions UInt16 COMMENT 'Number of partitions; that of partials must not change',
    recorded_at DateTime64(3, 'UTC') COMMENT 'Time at which apply recorded the topic'
)
ENGINE = ReplacingMergeTree(recorded_at)
ORDER BY name
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1
COMMENT 'Kafka topics as recorded by barograph apply; kept forever.';
