-- Language models: what inference servers report about themselves.
--
-- serving_facts has values of their metrics endpoints beside the spans of applications: counters there are of the whole
-- server, so that adding them to what spans count would count twice.

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
