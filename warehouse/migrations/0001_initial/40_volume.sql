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

CREATE VIEW IF NOT EXISTS all_volume
(
    model LowCardinality(String) COMMENT 'Model',
    version LowCardinality(String) COMMENT 'Version of the model',
    baseline_id LowCardinality(String) COMMENT 'Baseline in effect for the pane',
    slice LowCardinality(String) COMMENT 'Slice of the events: all, or NAME=value',
    pane_start DateTime('UTC') COMMENT 'Start of the pane in event time, inclusive',
    pane_end DateTime('UTC') COMMENT 'End of the pane in event time, exclusive',
    pane_s UInt32 COMMENT 'Length of the pane in seconds',
    n UInt64 COMMENT 'Predictions, including failed ones; a pane without traffic has a row with 0',
    errors UInt64 COMMENT 'Predictions that failed',
    error_rate Float64 COMMENT 'errors / n; NaN if n is 0',
    timed UInt64 COMMENT 'Predictions with a valid latency',
    slow UInt64 COMMENT 'Predictions whose latency exceeds slo.latency_ms',
    slow_share Float64 COMMENT 'slow / timed; NaN if timed is 0',
    late UInt64 COMMENT 'Late predictions, which arrived after the pane was sealed; n includes them',
    sealed Bool COMMENT 'Whether the pane is complete: no more events for it are expected',
    unregistered Bool COMMENT 'Whether the version has no baseline of its own'
)
AS
SELECT
    model,
    version,
    baseline_id,
    slice,
    pane_start,
    pane_start + pane_s AS pane_end,
    pane_s,
    n,
    errors,
    errors / n AS error_rate,
    timed,
    slow,
    slow / timed AS slow_share,
    late,
    sealed,
    unregistered
FROM volume FINAL
COMMENT 'Predictions, failures and slow responses per slice and pane, one row each, including panes without traffic.';

CREATE VIEW IF NOT EXISTS volume_by_hour
(
    model LowCardinality(String) COMMENT 'Model',
    version LowCardinality(String) COMMENT 'Version of the model',
    slice LowCardinality(String) COMMENT 'Slice of the events: all, or NAME=value',
    hour DateTime('UTC') COMMENT 'Start of the hour in event time; for panes longer than an hour, start of the pane',
    requests UInt64 COMMENT 'Predictions, including failed ones; an hour without traffic has a row with 0 in the slice all',
    errors UInt64 COMMENT 'Predictions that failed',
    error_rate Float64 COMMENT 'errors / requests; NaN if requests is 0',
    timed UInt64 COMMENT 'Predictions with a valid latency',
    slow UInt64 COMMENT 'Predictions whose latency exceeds slo.latency_ms',
    slow_share Float64 COMMENT 'slow / timed; NaN if timed is 0',
    late UInt64 COMMENT 'Late predictions, which arrived after their pane was sealed; requests includes them',
    sealed Bool COMMENT 'Whether all panes of the hour are sealed'
)
AS
SELECT
    model,
    version,
    slice,
    toStartOfHour(pane.pane_start) AS hour,
    sum(pane.n) AS requests,
    sum(pane.errors) AS errors,
    sum(pane.errors) / sum(pane.n) AS error_rate,
    sum(pane.timed) AS timed,
    sum(pane.slow) AS slow,
    sum(pane.slow) / sum(pane.timed) AS slow_share,
    sum(pane.late) AS late,
    min(pane.sealed) AS sealed
FROM volume AS pane FINAL
GROUP BY model, version, slice, hour
COMMENT 'Predictions, failures and slow responses per slice and hour. Filter by model, slice and a range of hours.';

CREATE VIEW IF NOT EXISTS errors_by_kind
(
    model LowCardinality(String) COMMENT 'Model',
    version LowCardinality(String) COMMENT 'Version of the model',
    baseline_id LowCardinality(String) COMMENT 'Baseline in effect for the pane',
    slice LowCardinality(String) COMMENT 'Slice of the events: all, or arm=value where the contract slices by arm',
    kind String COMMENT 'Kind of error as reported by the event, at most 200 characters; other beyond 50 kinds per flush',
    pane_start DateTime('UTC') COMMENT 'Start of the pane in event time, inclusive',
    pane_end DateTime('UTC') COMMENT 'End of the pane in event time, exclusive',
    pane_s UInt32 COMMENT 'Length of the pane in seconds',
    n UInt64 COMMENT 'Predictions that failed with this error; the sum over all kinds is errors of all_volume'
)
AS
SELECT
    model,
    version,
    baseline_id,
    slice,
    kind,
    pane_start,
    pane_start + pane_s AS pane_end,
    pane_s,
    sum(batch.n) AS n
FROM errors AS batch FINAL
GROUP BY model, version, baseline_id, slice, kind, pane_s, pane_start
COMMENT 'Failed predictions by kind of error, per pane, for all events and per arm.';

CREATE VIEW IF NOT EXISTS all_violations
(
    model LowCardinality(String) COMMENT 'Model whose contract is violated',
    version LowCardinality(String) COMMENT 'Version of the model',
    baseline_id LowCardinality(String) COMMENT 'Baseline in effect for the pane',
    field LowCardinality(String) COMMENT 'Field of the contract',
    kind LowCardinality(String) COMMENT 'null, invalid, below, above, or unseen (a class that is not in label.classes)',
    pane_start DateTime('UTC') COMMENT 'Start of the pane in event time, inclusive',
    pane_end DateTime('UTC') COMMENT 'End of the pane in event time, exclusive',
    pane_s UInt32 COMMENT 'Length of the pane in seconds',
    n UInt64 COMMENT 'Values that violate the contract, never 0',
    total UInt64 COMMENT 'All values of the field in the pane, including null and invalid values',
    share Float64 COMMENT 'n / total',
    policy LowCardinality(String) COMMENT 'How the contract tells publishers to treat such a value: flag or reject'
)
AS
SELECT
    model,
    version,
    baseline_id,
    field,
    kind,
    pane_start,
    pane_start + pane_s AS pane_end,
    pane_s,
    n,
    total,
    n / total AS share,
    policy
FROM violations FINAL
COMMENT 'Contract violations per field and pane, one row each; a pane without violations has no row.';

CREATE VIEW IF NOT EXISTS dead_letters
(
    topic LowCardinality(String) COMMENT 'Source topic: predictions or labels',
    model LowCardinality(String) COMMENT 'Model of the events; empty if unknown',
    reason LowCardinality(String) COMMENT 'Reason code of the dead letters',
    hour DateTime('UTC') COMMENT 'Hour in which Kafka received the events',
    n UInt64 COMMENT 'Dead-lettered events; each is in the topic predictions.dead or labels.dead'
)
AS
SELECT
    topic,
    model,
    reason,
    hour,
    sum(batch.n) AS n
FROM dead_letter_counts AS batch FINAL
GROUP BY topic, model, reason, hour
COMMENT 'Number of dead-lettered events by model, reason and hour of receipt.';

CREATE VIEW IF NOT EXISTS producer_gaps
(
    model LowCardinality(String) COMMENT 'Model of the events',
    producer String COMMENT 'Publisher process',
    models UInt64 COMMENT 'Number of models that this producer publishes for; with more than one, gaps cannot be attributed to a model',
    first_at DateTime('UTC') COMMENT 'Start of the producer''s first pane in the last 30 days, or when its process began to publish, if that is known and earlier',
    last_at DateTime('UTC') COMMENT 'End of the producer''s last pane, or its last heartbeat, if that is later',
    state LowCardinality(String) COMMENT 'ended: its farewell arrived; silent: no event and no heartbeat for 10 minutes, so it ended without a farewell or is idle; otherwise live',
    queued UInt64 COMMENT 'Events, labels included, that waited in the process at its last heartbeat; 0 without a heartbeat',
    received UInt64 COMMENT 'Events of the producer in Kafka, including dead-lettered events',
    start_seq Int64 COMMENT 'First expected seq: 0, or the smallest of the last 30 days if the producer started earlier',
    first_seq Int64 COMMENT 'Smallest received seq, or one more than that of the last heartbeat, if that is smaller',
    last_seq Int64 COMMENT 'Largest known seq: of a received event, or of the last heartbeat if that is a farewell or 10 minutes old',
    lost Nullable(Int64) COMMENT 'last_seq + 1 - start_seq - received: events published but not in Kafka, or removed by retention before they were read; NULL if the producer publishes for several models, negative if events were duplicated',
    lost_share Nullable(Float64) COMMENT 'lost / (lost + received)',
    unattributed UInt64 COMMENT 'Events of the model in panes with more than 1,000 producers, whose producer is unknown; lost overestimates by at most this number'
)
AS
SELECT
    traffic.model AS model,
    traffic.producer AS producer,
    greatest(shared.models, 1) AS models,
    traffic.first_at AS first_at,
    traffic.last_at AS last_at,
    multiIf(traffic.ended, 'ended', traffic.last_at < now('UTC') - INTERVAL 10 MINUTE, 'silent', 'live') AS state,
    traffic.queued AS queued,
    traffic.received AS received,
    if(traffic.first_at < now('UTC') - INTERVAL 29 DAY, traffic.first_seq, 0) AS start_seq,
    traffic.first_seq AS first_seq,
    traffic.last_seq AS last_seq,
    if(models > 1, NULL, traffic.last_seq + 1 - start_seq - toInt64(traffic.received)) AS lost,
    lost / (traffic.last_seq + 1 - start_seq) AS lost_share,
    others.n AS unattributed
FROM
(
    SELECT
        model,
        producer,
        min(since) AS first_at,
        max(at) AS last_at,
        sum(n) AS received,
        min(batch.first_seq) AS first_seq,
        max(batch.last_seq) AS last_seq,
        max(batch.queued) AS queued,
        max(batch.ended) AS ended
    FROM
    (
        SELECT
            model, producer, pane_start AS since, pane_start + pane_s AS at, n, first_seq, last_seq,
            0 AS queued, false AS ended
        FROM producers FINAL
        WHERE last_seq >= 0 AND pane_start >= now('UTC') - INTERVAL 30 DAY
        UNION ALL
        SELECT
            model, producer, since, at, 0, last_seq + 1,
            if(ended OR at < now('UTC') - INTERVAL 10 MINUTE, last_seq, -1), queued, ended
        FROM heartbeats FINAL
        WHERE at >= now('UTC') - INTERVAL 30 DAY
    ) AS batch
    GROUP BY model, producer
) AS traffic
LEFT JOIN
(
    SELECT producer, count() AS models
    FROM
    (
        SELECT model, producer, maxIf(pane_start, last_seq >= 0) AS last_at
        FROM producers
        GROUP BY model, producer
    )
    WHERE last_at >= now('UTC') - INTERVAL 30 DAY
    GROUP BY producer
) AS shared ON traffic.producer = shared.producer
LEFT JOIN
(
    SELECT model, sum(n) AS n
    FROM producers FINAL
    WHERE producer = 'other' AND last_seq < 0 AND pane_start >= now('UTC') - INTERVAL 30 DAY
    GROUP BY model
) AS others ON traffic.model = others.model
COMMENT 'Losses before Kafka: sequence numbers missing per model and producer over the last 30 days. Events without producer and seq are not included. Filter by model.';

CREATE VIEW IF NOT EXISTS producer_panes
(
    model LowCardinality(String) COMMENT 'Model of the events',
    producer String COMMENT 'Publisher process',
    pane_start DateTime('UTC') COMMENT 'Start of the pane in event time, inclusive',
    pane_end DateTime('UTC') COMMENT 'End of the pane in event time, exclusive',
    pane_s UInt32 COMMENT 'Length of the pane in seconds',
    received UInt64 COMMENT 'Events of the producer and pane in Kafka',
    first_seq Int64 COMMENT 'Smallest seq in the pane',
    last_seq Int64 COMMENT 'Largest seq in the pane; a last heartbeat that is a farewell or 10 minutes old is a row of its own, with 0 received',
    missing Int64 COMMENT 'Growth of the largest seq so far, minus received; negative if a pane''s events have a seq that an earlier pane already passed. The sum over all panes is lost of producer_gaps'
)
AS
SELECT
    model,
    producer,
    batch.pane_start AS pane_start,
    batch.pane_start + batch.pane_s AS pane_end,
    batch.pane_s AS pane_s,
    batch.received AS received,
    batch.first_seq AS first_seq,
    batch.last_seq AS last_seq,
    greatest(before, batch.last_seq) - before - toInt64(batch.received) AS missing
FROM
(
    SELECT
        *,
        if(
            count() OVER earlier > 0,
            max(last_seq) OVER earlier,
            if(min(since) OVER whole < now('UTC') - INTERVAL 29 DAY, min(first_seq) OVER whole, 0) - 1
        ) AS before
    FROM
    (
        SELECT
            model,
            producer,
            pane_start AS since,
            pane_start,
            pane_s,
            sum(n) AS received,
            min(batch.first_seq) AS first_seq,
            max(batch.last_seq) AS last_seq
        FROM producers AS batch FINAL
        WHERE batch.last_seq >= 0 AND pane_start >= now('UTC') - INTERVAL 30 DAY
        GROUP BY model, producer, pane_s, pane_start
        UNION ALL
        SELECT model, producer, since, at, 0, 0, last_seq + 1, last_seq
        FROM heartbeats FINAL
        WHERE (ended OR at < now('UTC') - INTERVAL 10 MINUTE) AND at >= now('UTC') - INTERVAL 30 DAY
    )
    WINDOW
        whole AS (PARTITION BY model, producer),
        earlier AS (PARTITION BY model, producer ORDER BY pane_start ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)
) AS batch
COMMENT 'Losses before Kafka over time: per model, producer and pane of the last 30 days. Filter by model.';

CREATE VIEW IF NOT EXISTS producer_totals
(
    model LowCardinality(String) COMMENT 'Model of the events',
    producer String COMMENT 'Publisher process',
    models UInt64 COMMENT 'Number of models that this producer publishes for; with more than one, gaps cannot be attributed to a model',
    first_at DateTime('UTC') COMMENT 'Start of the producer''s first retained pane, or when its process began to publish, if that is known and earlier',
    last_at DateTime('UTC') COMMENT 'End of the producer''s last pane, or its last heartbeat, if that is later',
    state LowCardinality(String) COMMENT 'ended, silent or live, as in producer_gaps',
    queued UInt64 COMMENT 'Events, labels included, that waited in the process at its last heartbeat; 0 without a heartbeat',
    received UInt64 COMMENT 'Events of the producer in Kafka; a repeated write counts twice until the next merge',
    lost Nullable(Int64) COMMENT 'Lower bound of the events published but not in Kafka, or removed by retention before they were read; NULL if the producer publishes for several models, negative if events were duplicated',
    lost_share Nullable(Float64) COMMENT 'lost / (lost + received)'
)
AS
SELECT
    model,
    producer,
    count() OVER (PARTITION BY producer) AS models,
    first_at,
    last_at,
    multiIf(ended, 'ended', last_at < now('UTC') - INTERVAL 10 MINUTE, 'silent', 'live') AS state,
    queued,
    received,
    if(models > 1, NULL, last_seq + 1 - start_seq - toInt64(received)) AS lost,
    lost / (last_seq + 1 - start_seq) AS lost_share
FROM
(
    SELECT
        model,
        producer,
        min(since) AS first_at,
        max(at) AS last_at,
        sum(n) AS received,
        max(batch.last_seq) AS last_seq,
        max(batch.queued) AS queued,
        max(batch.ended) AS ended,
        if(first_at < now('UTC') - INTERVAL 29 DAY, min(batch.first_seq), 0) AS start_seq
    FROM
    (
        SELECT
            model,
            producer,
            minIf(pane_start, batch.last_seq >= 0) AS since,
            maxIf(pane_start + pane_s, batch.last_seq >= 0) AS at,
            sumIf(n, batch.last_seq >= 0) AS n,
            minIf(batch.first_seq, batch.last_seq >= 0) AS first_seq,
            maxIf(batch.last_seq, batch.last_seq >= 0) AS last_seq,
            0 AS queued,
            false AS ended
        FROM producers AS batch
        GROUP BY model, producer
        HAVING at >= now('UTC') - INTERVAL 30 DAY
        UNION ALL
        SELECT
            model, producer, since, at, 0, last_seq + 1,
            if(ended OR at < now('UTC') - INTERVAL 10 MINUTE, last_seq, -1), queued, ended
        FROM heartbeats FINAL
        WHERE at >= now('UTC') - INTERVAL 30 DAY
    ) AS batch
    GROUP BY model, producer
)
COMMENT 'Losses before Kafka of all models at once: a fast lower bound. Use producer_gaps for the exact loss of one model.';
