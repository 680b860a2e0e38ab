-- Language models: facts of inference servers, what contracts state about costs and deployments, and views of calls.
--
-- serving_facts has values of the metrics endpoints of servers, beside the spans of applications. Its counters are of the
-- whole server, so that adding them to what spans count would count twice. cost_settings and deployments have what applied
-- contracts state; latest_deployments has the descriptions in effect. The views model_costs and user_costs sum raw
-- predictions.

CREATE TABLE IF NOT EXISTS serving_facts
(
    model LowCardinality(String) COMMENT 'Model that the server serves, from the settings',
    instance LowCardinality(String) COMMENT 'Host and port of the endpoint',
    name LowCardinality(String) COMMENT 'Name of the fact, such as waiting_requests or ttft_ms; up is 1 if the scrape succeeded, restarts is 1 if the server started again',
    label LowCardinality(String) COMMENT 'For finished_requests and failed_requests the reason, if the server has one; else empty',
    at DateTime64(3, 'UTC') COMMENT 'Time of the scrape' CODEC(Delta, ZSTD(1)),
    server LowCardinality(String) COMMENT 'Kind of server that the metric belongs to: vllm, sglang, tgi, trtllm, triton or llamacpp; empty if the scrape failed',
    kind LowCardinality(String) COMMENT 'gauge: the value at this time; counter: what was added; histogram: the mean of what was added; ratio: what was added to one counter, divided by what was added to another',
    unit LowCardinality(String) COMMENT 'Unit of value: requests, tokens, ms or share; empty for up and restarts',
    value Float64 COMMENT 'The value' CODEC(ZSTD(1)),
    n Float64 COMMENT 'For a histogram its observations, for a ratio its denominator; else 0' CODEC(ZSTD(1)),
    total Float64 COMMENT 'For a histogram the sum of its observations, for a ratio its numerator; else 0' CODEC(ZSTD(1)),
    interval_s Float64 COMMENT 'Seconds over which counters, histograms and ratios grew; 0 for a gauge' CODEC(ZSTD(1)),
    bucket_ends Array(Float64) COMMENT 'For a histogram the upper limits of its buckets, the last infinite; else empty' CODEC(ZSTD(1)),
    bucket_counts Array(UInt64) COMMENT 'Observations in each bucket, not cumulative' CODEC(ZSTD(1)),
    p50_low Float64 COMMENT 'Lower limit of the bucket that holds the median; NaN without buckets' CODEC(ZSTD(1)),
    p50_high Float64 COMMENT 'Upper limit of this bucket, infinite for the last one; the median is between the two' CODEC(ZSTD(1)),
    p95_low Float64 COMMENT 'The same for the 95th percentile' CODEC(ZSTD(1)),
    p95_high Float64 COMMENT 'The same for the 95th percentile' CODEC(ZSTD(1)),
    p99_low Float64 COMMENT 'The same for the 99th percentile' CODEC(ZSTD(1)),
    p99_high Float64 COMMENT 'The same for the 99th percentile' CODEC(ZSTD(1))
)
ENGINE = ReplacingMergeTree
PARTITION BY toMonday(at)
ORDER BY (model, name, instance, label, at)
TTL toDateTime(at) + INTERVAL 90 DAY
SETTINGS ttl_only_drop_parts = 1
COMMENT 'What inference servers report about themselves, per scrape; kept for 90 days. A fact without a row was not observed. A repeated write can leave duplicate rows until the next merge: read with FINAL.';

CREATE TABLE IF NOT EXISTS cost_settings
(
    model LowCardinality(String) COMMENT 'Model',
    contract_id String COMMENT 'Hash of the content of the contract',
    budget_day Float64 COMMENT 'Budget of a day of UTC in US dollars; NaN if there is none',
    budget_month Float64 COMMENT 'Budget of a month of UTC in US dollars; NaN if there is none',
    user_member String COMMENT 'Member of context that names the user; empty if the contract names none',
    applied_at DateTime64(3, 'UTC') COMMENT 'Time at which the contract was applied; the latest row of a model is in effect'
)
ENGINE = ReplacingMergeTree
ORDER BY (model, applied_at, contract_id)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1
COMMENT 'Budget and user of each applied contract; kept forever.';

CREATE TABLE IF NOT EXISTS deployments
(
    model LowCardinality(String) COMMENT 'Model',
    version LowCardinality(String) COMMENT 'Version that is described',
    quantisation LowCardinality(String) COMMENT 'Number format of the weights: AWQ, GPTQ, INT4, INT8, FP8, FP16, BF16 or none; empty if not stated',
    speculative_decoding String COMMENT 'What drafts tokens; empty if not stated',
    continuous_batching LowCardinality(String) COMMENT 'yes or no; empty if not stated',
    gpu String COMMENT 'Accelerators; empty if not stated',
    engine String COMMENT 'Inference server and its version; empty if not stated',
    notes String COMMENT 'Further facts, for people',
    contract_id String COMMENT 'Hash of the content of the contract that has the description',
    applied_at DateTime64(3, 'UTC') COMMENT 'Time at which the contract was applied'
)
ENGINE = ReplacingMergeTree
ORDER BY (model, applied_at, version)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1
COMMENT 'Descriptions of served versions of each applied contract; kept forever. The view latest_deployments has those in effect.';
