-- Volume, the golden signal: traffic, latency objectives, errors by kind, losses before Kafka, dead letters, and contract
-- violations.
--
-- errors, producers and dead_letter_counts have one row per record of the partials topic: record_seq is part of the
-- sorting key, so rereading a record replaces its rows and never adds to them. Views take the sums.
--
-- producers has a row per flush: 17 million rows for fifty models in a month, too many to sum per query. The projection
-- totals has the sums. A projection cannot detect duplicate rows, which a crash between a write and its acknowledgement
-- leaves until the next merge. So producer_totals is a lower bound, and producer_gaps counts one model exactly.

CREATE TABLE IF NOT EXISTS volume
(
    partials_partition UInt16 COMMENT 'Partition of the partials topic that contains the model',
    model LowCardinality(String) COMMENT 'Model that made the predictions',
    version LowCardinality(String) COMMENT 'Version of the model',
    baseline_id LowCardinality(String) COMMENT 'Baseline in effect for the pane',
    slice LowCardinality(String) COMMENT 'Slice of the events: all, or NAME=value',
    pane_start DateTime('UTC') COMMENT 'Start of the pane in event time; the pane ends, exclusive, after pane_s seconds' CODEC(Delta, ZSTD(1)),
    pane_s UInt32 COMMENT 'Length of the pane in seconds',
    n UInt64 COMMENT 'Predictions, including failed ones; a pane without traffic has a row with 0' CODEC(T64, ZSTD(1)),
    errors UInt64 COMMENT 'Predictions that failed' CODEC(T64, ZSTD(1)),
    timed UInt64 COMMENT 'Predictions with a valid latency; 0 if the contract does not mention latency' CODEC(T64, ZSTD(1)),
    slow UInt64 COMMENT 'Predictions whose latency exceeds slo.latency_ms of the contract; 0 if the contract sets no such objective' CODEC(T64, ZSTD(1)),
    late UInt64 COMMENT 'Late predictions, which arrived after the pane was sealed; n includes them' CODEC(T64, ZSTD(1)),
    sealed Bool COMMENT 'Whether the pane is complete: no more events for it are expected',
    unregistered Bool COMMENT 'Whether the version is not registered; it is then compared with the newest baseline of its model',
    record_seq UInt64 COMMENT 'Position of the last record that changed the row in the partials topic: epoch * 2^48 + offset' CODEC(Delta, ZSTD(1))
)
ENGINE = ReplacingMergeTree(record_seq)
PARTITION BY toYYYYMM(pane_start)
ORDER BY (model, version, baseline_id, slice, pane_s, pane_start)
TTL pane_start + INTERVAL 750 DAY
SETTINGS ttl_only_drop_parts = 1, fsync_after_insert = 1, fsync_part_directory = 1
COMMENT 'Predictions and failures per slice and pane, including panes without traffic; kept for 750 days of event time. Superseded rows can remain until the next merge: read the view all_volume.';

CREATE TABLE IF NOT EXISTS errors
(
    partials_partition UInt16 COMMENT 'Partition of the partials topic that contains the model',
    model LowCardinality(String) COMMENT 'Model that made the predictions',
    version LowCardinality(String) COMMENT 'Version of the model',
    baseline_id LowCardinality(String) COMMENT 'Baseline in effect for the pane',
    slice LowCardinality(String) COMMENT 'Slice of the events: all, or arm=value where the contract slices by arm',
    kind String COMMENT 'Kind of error as reported by the event, at most 200 characters; other beyond 50 kinds per flush' CODEC(ZSTD(1)),
    pane_start DateTime('UTC') COMMENT 'Start of the pane in event time; the pane ends, exclusive, after pane_s seconds' CODEC(Delta, ZSTD(1)),
    pane_s UInt32 COMMENT 'Length of the pane in seconds',
    n UInt64 COMMENT 'Predictions of the flush that failed with this error' CODEC(T64, ZSTD(1)),
    record_seq UInt64 COMMENT 'Position of the counting record in the partials topic: epoch * 2^48 + offset' CODEC(Delta, ZSTD(1))
)
ENGINE = ReplacingMergeTree(record_seq)
PARTITION BY toYYYYMM(pane_start)
ORDER BY (model, version, baseline_id, slice, kind, pane_s, pane_start, partials_partition, record_seq)
TTL pane_start + INTERVAL 430 DAY
SETTINGS ttl_only_drop_parts = 1, fsync_after_insert = 1, fsync_part_directory = 1
COMMENT 'Failed predictions by kind of error per pane, one row per counting record; kept for 430 days of event time. The view errors_by_kind sums them.';

CREATE TABLE IF NOT EXISTS producers
(
    partials_partition UInt16 COMMENT 'Partition of the partials topic that contains the model',
    model LowCardinality(String) COMMENT 'Model of the events',
    producer String COMMENT 'Publisher process, at most 200 characters; other beyond 1,000 producers per flush' CODEC(ZSTD(1)),
    pane_start DateTime('UTC') COMMENT 'Start of the pane in event time; in received time for dead-lettered events' CODEC(Delta, ZSTD(1)),
    pane_s UInt32 COMMENT 'Length of the pane in seconds',
    n UInt64 COMMENT 'Distinct seq among the events of the flush, including dead-lettered events' CODEC(T64, ZSTD(1)),
    first_seq Int64 COMMENT 'Smallest seq, -1 for other' CODEC(Delta, ZSTD(1)),
    last_seq Int64 COMMENT 'Largest seq, -1 for other' CODEC(Delta, ZSTD(1)),
    record_seq UInt64 COMMENT 'Position of the counting record in the partials topic: epoch * 2^48 + offset' CODEC(Delta, ZSTD(1)),
    PROJECTION last_seen_at (SELECT model, producer, maxIf(pane_start, last_seq >= 0) GROUP BY model, producer),
    PROJECTION totals
    (
        SELECT
            model,
            producer,
            minIf(pane_start, last_seq >= 0),
            maxIf(pane_start + pane_s, last_seq >= 0),
            sumIf(n, last_seq >= 0),
            minIf(first_seq, last_seq >= 0),
            maxIf(last_seq, last_seq >= 0)
        GROUP BY model, producer
    )
)
ENGINE = ReplacingMergeTree(record_seq)
PARTITION BY toYYYYMM(pane_start)
ORDER BY (model, producer, pane_s, pane_start, partials_partition, record_seq)
TTL pane_start + INTERVAL 30 DAY
SETTINGS deduplicate_merge_projection_mode = 'rebuild', fsync_after_insert = 1, fsync_part_directory = 1
COMMENT 'Events received from each producer per pane, one row per counting record; kept for 30 days of event time. The views producer_gaps and producer_panes compute the missing events.';

CREATE TABLE IF NOT EXISTS heartbeats
(
    partials_partition UInt16 COMMENT 'Partition of the partials topic that contains the model',
    model LowCardinality(String) COMMENT 'Model of the events',
    producer String COMMENT 'Publisher process',
    since DateTime('UTC') COMMENT 'When the process began to publish',
    at DateTime('UTC') COMMENT 'When Kafka received the heartbeat',
    last_seq Int64 COMMENT 'Newest seq of the process, of sent, waiting and dropped events alike',
    queued UInt64 COMMENT 'Events, labels included, that waited in the process',
    ended Bool COMMENT 'Whether the process has ended: the heartbeat is its farewell',
    discarded Map(LowCardinality(String), UInt64) COMMENT 'Of a farewell: events, labels included, that were not sent, by cause; empty if another process sent it',
    record_seq UInt64 COMMENT 'Position of the record in the partials topic: epoch * 2^48 + offset'
)
ENGINE = ReplacingMergeTree(record_seq)
ORDER BY (model, producer)
TTL at + INTERVAL 30 DAY
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1
COMMENT 'The last heartbeat of each producer that sent one; kept for 30 days. Superseded rows can remain until the next merge: read it with FINAL.';

CREATE TABLE IF NOT EXISTS dead_letter_counts
(
    partials_partition UInt16 COMMENT 'Partition of the partials topic that contained the count',
    topic LowCardinality(String) COMMENT 'Source topic: predictions or labels',
    model LowCardinality(String) COMMENT 'Model of the events; empty if unknown',
    reason LowCardinality(String) COMMENT 'Reason code of the dead letters',
    hour DateTime('UTC') COMMENT 'Hour in which Kafka received the events' CODEC(Delta, ZSTD(1)),
    n UInt64 COMMENT 'Events that one flush dead-lettered' CODEC(T64, ZSTD(1)),
    record_seq UInt64 COMMENT 'Position of the counting record in the partials topic: epoch * 2^48 + offset' CODEC(Delta, ZSTD(1))
)
ENGINE = ReplacingMergeTree(record_seq)
PARTITION BY toYYYYMM(hour)
ORDER BY (topic, model, reason, hour, partials_partition, record_seq)
TTL hour + INTERVAL 430 DAY
SETTINGS ttl_only_drop_parts = 1, fsync_after_insert = 1, fsync_part_directory = 1
COMMENT 'Dead-letter counts by reason and hour, one row per counting record; kept for 430 days from receipt. The view dead_letters sums them.';

CREATE TABLE IF NOT EXISTS violations
(
    partials_partition UInt16 COMMENT 'Partition of the partials topic that contains the model',
    model LowCardinality(String) COMMENT 'Model whose contract is violated',
    version LowCardinality(String) COMMENT 'Version of the model',
    baseline_id LowCardinality(String) COMMENT 'Baseline in effect for the pane',
    field LowCardinality(String) COMMENT 'Field of the contract',
    kind LowCardinality(String) COMMENT 'null (if the contract forbids nulls), invalid, below or above (if the contract sets that limit), or unseen (a class that is not in label.classes)',
    pane_start DateTime('UTC') COMMENT 'Start of the pane in event time; the pane ends, exclusive, after pane_s seconds' CODEC(Delta, ZSTD(1)),
    pane_s UInt32 COMMENT 'Length of the pane in seconds',
    n UInt64 COMMENT 'Values that violate the contract, never 0' CODEC(T64, ZSTD(1)),
    total UInt64 COMMENT 'All values of the field in the pane, including null and invalid values' CODEC(T64, ZSTD(1)),
    policy LowCardinality(String) COMMENT 'How the contract tells publishers to treat such a value: flag or reject',
    record_seq UInt64 COMMENT 'Position of the last record that changed the row in the partials topic: epoch * 2^48 + offset' CODEC(Delta, ZSTD(1))
)
ENGINE = ReplacingMergeTree(record_seq)
PARTITION BY toYYYYMM(pane_start)
ORDER BY (model, version, baseline_id, field, kind, pane_s, pane_start)
TTL pane_start + INTERVAL 430 DAY
SETTINGS ttl_only_drop_parts = 1, fsync_after_insert = 1, fsync_part_directory = 1
COMMENT 'Contract violations per field and pane, over all events; kept for 430 days of event time. Superseded rows can remain until the next merge: read the view all_violations.';
